"""The rules of a dataset row: what its format is and everything that makes it unfit for training. Pure functions.

Those of a message stand in message_rules.py, what may be meant and is only warned of in datasets.py.
"""

from dataclasses import asdict, dataclass
from itertools import islice
from typing import Any

from training.engine.pairs import is_preference, spelling_of
from training.message_rules import MOST_OF_A_ROW, message_errors, tools_errors
from training.message_rules import ROLES as ROLES
from training.message_rules import Found as Found
from training.message_rules import Row as Row
from training.message_rules import kind_of as kind_of

ROW_KEYS = {"messages", "tools", "functions", "parallel_tool_calls", "tags"}  # tags: for stratified splits
MESSAGE_KEYS = {"role", "content", "name", "weight", "tool_calls", "tool_call_id", "function_call", "refusal"}
PLAIN_KEYS = {"role", "content"}
FORMAT_NAMES = {
    "chat": "chat",
    "completion": "prompt/completion",
    "preference": "preference",
    "text": "raw text",
    "table": "table",
}
OPENAI_FORMATS = {"chat": "fine-tune-chat", "completion": "fine-tune-completion", "preference": "fine-tune-preference"}
UNEXPECTED_FORMAT = "Unexpected file format, expected either prompt/completion pairs or chat messages."
# what each method trains on
METHOD_FORMATS = {"sft": ("chat", "completion"), "dpo": ("preference",), "pretrain": ("text",)}
OPENAI_METHODS = {"sft": "supervised", "dpo": "dpo", "pretrain": "pretrain"}  # pretrain is Hone's own


@dataclass(frozen=True)
class Problem:
    """What is wrong, where and what to do. `row` and `turn` count from 1, as OpenAI's "Example 100, message 2" does."""

    line: int  # 0: the file as a whole
    message: str
    fix: str
    field: str = ""
    level: str = "error"  # error | warning
    row: int = 0
    turn: int = 0
    kind: str = ""
    count: int = 1  # a warning stands for all rows that it concerns
    lines: tuple[int, ...] = ()
    excerpt: str = ""  # what stands there, cut short

    def as_row(self) -> dict[str, Any]:
        return {**asdict(self), "lines": list(self.lines)}

    @property
    def example(self) -> str:
        """OpenAI's way to name the place."""
        if not self.row:
            return ""
        return f"Example {self.row}, message {self.turn}" if self.turn else f"Example {self.row}"


def detect_format(row: Row) -> str:
    """chat, completion, preference or text by its keys; empty when it is none of them."""
    if is_preference(row):
        return "preference"
    if "messages" in row:
        return "chat"
    if "prompt" in row or "completion" in row:
        return "completion"
    return "text" if "text" in row else ""


def unknown_format(row: Row) -> tuple[str, str, str]:
    """Kind, message and fix for a row of none of the formats."""
    if isinstance(row.get("conversations"), list):
        text = 'This row keeps its messages under "conversations" (ShareGPT), not under "messages"'
        return "sharegpt", text, 'Write "messages" with "role" and "content" for "from" and "value".'
    return "unknown_format", UNEXPECTED_FORMAT, 'Give each row "messages", or "prompt" and "completion".'


# ---- magic bytes ----

SIGNATURES = (
    (b"PK\x03\x04", "a zip archive (or an Excel file)", "Unpack it and upload the .jsonl file inside."),
    (b"\x1f\x8b", "a gzip file", "Unpack it first, for example: gunzip file.jsonl.gz"),
    (b"\x28\xb5\x2f\xfd", "a zstd file", "Unpack it first, for example: unzstd file.jsonl.zst"),
    (b"BZh", "a bzip2 file", "Unpack it first, for example: bunzip2 file.jsonl.bz2"),
    (b"\xfd7zXZ\x00", "an xz file", "Unpack it first, for example: unxz file.jsonl.xz"),
    (b"7z\xbc\xaf\x27\x1c", "a 7-Zip archive", "Unpack it and upload the .jsonl file inside."),
    (
        b"PAR1",
        "a Parquet file",
        "Convert it, for example: pandas.read_parquet(p).to_json(out, orient='records', lines=True)",
    ),
    (b"%PDF", "a PDF document", "Hone trains on JSONL: one JSON object on each line."),
    (b"\x89PNG", "a picture (PNG)", "Hone trains on text: JSONL with one JSON object on each line."),
    (b"\xff\xd8\xff", "a picture (JPEG)", "Hone trains on text: JSONL with one JSON object on each line."),
    (b"GIF8", "a picture (GIF)", "Hone trains on text: JSONL with one JSON object on each line."),
    (b"SQLite format 3\x00", "an SQLite database", "Export the rows as JSONL: one JSON object on each line."),
    (
        b"\xff\xfe\x00\x00",
        "UTF-32 text",
        "Save the file as UTF-8, for example: iconv -f UTF-32 -t UTF-8 old > new.jsonl",
    ),
    (b"\xff\xfe", "UTF-16 text", "Save the file as UTF-8, for example: iconv -f UTF-16 -t UTF-8 old > new.jsonl"),
    (b"\xfe\xff", "UTF-16 text", "Save the file as UTF-8, for example: iconv -f UTF-16 -t UTF-8 old > new.jsonl"),
)


HEAD_BYTES = 512  # enough to tell by
MOST_CONTROLS = 0.05  # of the first bytes; text has tabs and line ends only
CONTROLS = bytes(set(range(32)) - set(b"\t\n\r\f\x1b"))


def recognise(head: bytes) -> Problem | None:
    """A problem if these first bytes are those of another kind of file, whatever its name says."""
    for signature, what, fix in SIGNATURES:
        if head.startswith(signature):
            return Problem(0, f"This is {what}, not a JSONL file", fix, kind="not_jsonl")
    if b"\0" in head or len(head) - len(head.translate(None, CONTROLS)) > MOST_CONTROLS * len(head):
        fix = "Hone trains on text in UTF-8: JSONL with one JSON object on each line."
        return Problem(0, "This is binary data and no text, not a JSONL file", fix, kind="not_jsonl")
    return None


# ---- the rules of one row ----


def row_errors(row: Row, kind: str) -> list[Found]:
    """Everything that makes this row unfit for training, as a row of the format `kind`."""
    if kind == "chat":
        return _chat_errors(row)
    if kind == "completion":
        return _completion_errors(row)
    return _preference_errors(row) if kind == "preference" else _text_errors(row)


def _chat_errors(row: Row) -> list[Found]:
    messages = row.get("messages")
    if not isinstance(messages, list):
        return [
            ("messages", f'"messages" is {kind_of(messages)}, not a list', "Give a list of messages.", 0, "messages")
        ]
    if not messages:
        return [("messages", '"messages" is empty', "Give at least a user and an assistant message.", 0, "messages")]
    found: list[Found] = []
    for index, message in enumerate(messages):
        if (
            type(message) is dict
            and message.keys() == PLAIN_KEYS
            and type(message["content"]) is str
            and message["role"] in ("system", "user", "assistant")
        ):
            continue  # by far the most common message has nothing else to look at
        found += message_errors(message, index)
        if len(found) >= MOST_OF_A_ROW:
            return found
    if len(row) > 1:
        found += tools_errors(row)
    return found or _nothing_to_train_on(messages)


def _nothing_to_train_on(messages: list[Row]) -> list[Found]:
    weights = [message.get("weight", 1) for message in messages if message["role"] == "assistant"]
    if not weights:
        fix = "Add the assistant message that the model should learn to give."
        return [("messages", "There is no assistant message, so there is nothing to train on", fix, 0, "no_assistant")]
    if not any(weights):
        fix = "Set weight 1 on at least one assistant message, or remove the row."
        return [("messages", "Every assistant message has weight 0, so nothing is trained on", fix, 0, "all_masked")]
    return []


def _completion_errors(row: Row) -> list[Found]:
    found: list[Found] = []
    for key in ("prompt", "completion"):
        value = row.get(key)
        if not isinstance(value, str):
            text = f'"{key}" is {kind_of(value)}, not a text' if key in row else f'"{key}" is missing'
            found.append((key, text, f'Give "{key}" as a text.', 0, "field"))
    if not found and not row["completion"]:
        fix = "Give the text that should follow the prompt."
        found.append(
            ("completion", '"completion" is empty, so there is nothing to train on', fix, 0, "empty_completion")
        )
    return found


def _preference_errors(row: Row) -> list[Found]:
    asked, *answers = spelling_of(row)
    missing = [key for key in (asked, *answers) if row.get(key) is None]
    if missing:
        what = {asked: "what the answers answer", answers[0]: "the better answer", answers[1]: "the other answer"}
        return [(key, f'"{key}" is missing', f'Give "{key}": {what[key]}.', 0, "field") for key in missing]
    if asked == "prompt" and (found := tools_errors(row)):
        return found
    if asked == "prompt" and isinstance(row[asked], str):
        found = [error for key in answers for error in _text_answer_errors(row[key], key)]
    else:
        found = _input_errors(row[asked], asked)
        found += [error for key in answers for error in _answer_errors(row[key], key)]
    if not found and row[answers[0]] == row[answers[1]]:
        fix = "Leave the row out: it says nothing about which answer is better."
        found.append((answers[1], "Both answers are the same", fix, 0, "same_answers"))
    return found


def _input_errors(given: Any, key: str) -> list[Found]:
    """`given` is {"messages", "tools"?} under "input", a list of messages under "prompt"."""
    place = key
    if key == "input":
        if not isinstance(given, dict):
            fix = 'Write it as {"messages": [{"role": "user", "content": "..."}]}.'
            return [(key, f'"input" is {kind_of(given)}, not an object', fix, 0, "input")]
        if found := tools_errors(given, "input."):
            return found
        given, place = given.get("messages"), "input.messages"
    if not isinstance(given, list) or not given:
        text = f'"{place}" is {kind_of(given) if given != [] else "empty"}; it must hold the messages to answer'
        return [(place, text, "Give at least the user's message.", 0, "input")]
    wrong = (_moved(error, place) for at, message in enumerate(given) for error in message_errors(message, at))
    found = list(islice(wrong, MOST_OF_A_ROW))
    if not found and given[-1]["role"] == "assistant":
        fix = "End the input with the message that is answered; the answers stand apart."
        found.append((place, "The input ends with an assistant message", fix, len(given), "input"))
    return found


def _answer_errors(answer: Any, key: str) -> list[Found]:
    if not isinstance(answer, list):
        fix = 'Write it as [{"role": "assistant", "content": "..."}].'
        return [(key, f'"{key}" is {kind_of(answer)}, not a list', fix, 0, "answer")]
    if len(answer) != 1:
        fix = "Give the last assistant message alone; what stands before it belongs to the input."
        return [(key, f'"{key}" holds {len(answer)} messages, not one', fix, 0, "answer")]
    found = [_moved(error, key, turn=0) for error in message_errors(answer[0], 0)]
    if not found and answer[0]["role"] != "assistant":
        text = f'The message in "{key}" is from the {answer[0]["role"]}, not the assistant'
        found.append((f"{key}[0].role", text, 'Write "assistant".', 0, "answer_role"))
    if not found and not answer[0].get("content") and not answer[0].get("tool_calls"):
        found.append((f"{key}[0].content", f'The answer in "{key}" is empty', "Give its text.", 0, "answer"))
    return found


def _text_answer_errors(answer: Any, key: str) -> list[Found]:
    if isinstance(answer, str) and answer:
        return []
    text = f'"{key}" is {"empty" if answer == "" else kind_of(answer) + ", but the prompt is a text"}'
    return [(key, text, "Give the answer as a text too.", 0, "answer")]


def _moved(error: Found, place: str, turn: int | None = None) -> Found:
    """The error of a message whose list stands elsewhere than under "messages"."""
    where, message, fix, own_turn, kind = error
    return where.replace("messages", place, 1), message, fix, own_turn if turn is None else turn, kind


def _text_errors(row: Row) -> list[Found]:
    text = row.get("text")
    if isinstance(text, str) and text:
        return []
    return [("text", f'"text" is {kind_of(text)}' if text != "" else '"text" is empty', "Give a text.", 0, "field")]
