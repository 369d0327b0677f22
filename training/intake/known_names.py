"""Names of columns by which it is guessed what stands in them, in small letters and with _ for a space."""

MESSAGES = ("messages", "conversations", "conversation", "dialog", "dialogue", "chat", "turns")
SYSTEM = ("system", "system_prompt", "system_message")
ASKED = ("instruction", "question", "query", "user", "prompt", "input", "ask", "request", "message", "ticket")
ANSWERED = (
    "answer",
    "response",
    "output",
    "completion",
    "reply",
    "assistant",
    "target",
    "label",
    "summary",
    "expected",
)
CHOSEN = ("chosen", "preferred", "preferred_output", "preferred_completion", "better", "response_chosen")
REJECTED = (
    "rejected", "non_preferred", "non_preferred_output", "non_preferred_completion", "worse", "response_rejected",
)  # fmt: skip
TEXT = ("text", "content", "document", "body")
TAGS = ("tags", "tag")
ALL = frozenset({*MESSAGES, *SYSTEM, *ASKED, *ANSWERED, *CHOSEN, *REJECTED, *TEXT, *TAGS, "context", "id"})
