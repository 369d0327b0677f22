"""The parts of OpenAI's API that Hone does not serve: what each is, and what to do instead (docs/differences.md)."""

from typing import Final

from accounts.errors import ApiError

CHAT: Final = "Use POST /v1/chat/completions, which answers with base and fine-tuned models."
LEGACY: Final = "fine-tunes"
INSTEAD: Final = {  # by the beginning of the path below /v1
    "assistants": ("Assistants are", CHAT),
    "audio": ("Audio is", "Hone trains and serves models of text."),
    "batches": ("The batch API is", "Send the requests one by one; a model's server answers many at once."),
    "chat/completions": ("Stored chat completions are", "Keep the answers where you ask for them."),
    "chatkit": ("ChatKit is", CHAT),
    "containers": ("Containers are", CHAT),
    "conversations": ("The Conversations API is", CHAT),
    "embeddings": ("Embeddings are", "Hone serves models that write text."),
    "evals": ("The evals API is", "Compare models on a prompt set in the playground: Matrices, under Playground."),
    LEGACY: ("The legacy /v1/fine-tunes API is", "Use /v1/fine_tuning/jobs (SDK: client.fine_tuning.jobs)."),
    "fine_tuning/alpha/graders": (
        "Graders are",
        "Train with the method supervised or dpo; compare models in Matrices.",
    ),
    "images": ("Images are", "Hone trains and serves models of text."),
    "organization": (
        "The administration API is",
        "Members and keys stand on the Settings page; a request names its project by its key.",
    ),
    "realtime": ("The Realtime API is", CHAT),
    "responses": ("The Responses API is", CHAT),
    "skills": ("Skills are", CHAT),
    "threads": ("Assistants are", CHAT),
    "vector_stores": ("Vector stores are", "Put what the model needs to know into its messages, or train on it."),
    "videos": ("Videos are", "Hone trains and serves models of text."),
}


def refusal(rest: str) -> ApiError | None:
    """Of a path below /v1, without the first slash; None where it is no part of OpenAI's API that we know."""
    for beginning, (subject, instead) in INSTEAD.items():
        if rest == beginning or rest.startswith(beginning + "/"):
            status = 410 if beginning == LEGACY else 404
            ended = "gone: OpenAI switched it off in 2024" if status == 410 else "not served yet by Hone"
            return ApiError(f"{subject} {ended}. {instead}", status=status, code="not_served")
    return None
