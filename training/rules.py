"""The rules of a dataset row: what its format is and everything that makes it unfit for training. Pure functions."""

import json
from dataclasses import asdict, dataclass
from typing import Any

from training.engine.pairs import is_preference, spelling_of

Row = dict[str, Any]

ROLES = ("system", "user", "assistant", "tool", "function", "developer")
ROW_KEYS = {"messages", "tools", "functions", "parallel_tool_calls"}
MESSAGE_KEYS = {"role", "content", "name", "weight", "tool_calls", "tool_call_id", "function_call", "refusal"}
PLAIN_KEYS = {"role", "content"}
FORMAT_NAMES = {"chat": "chat", "completion": "prompt/completion", "preference": "preference", "text": "raw text"}
OPENAI_FORMATS = {"chat": "fine-tune-chat", "completion": "fine-tune-completion", "preference": "fine-tune-preference"}
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

    def as_row(self) -> dict[str, Any]:
        return {**asdict(self), "lines": list(self.lines)}

    @property
    def example(self) -> str:
        """OpenAI's way to name the place."""
        if not self.row:
            return ""
        return f"Example {self.row}, message {self.turn}" if self.turn else f"Example {self.row}"


def kind_of(value: Any) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true or false"
    names = {list: "a list", dict: "an object", str: "a text", int: "a number", float: "a number"}
    return names.get(type(value), type(value).__name__)


def detect_format(row: Row) -> str:
    """chat, completion, preference or text by its keys; empty when it is none of them."""
    if is_preference(row):
        return "preference"
    if "messages" in row:
        return "chat"
    if "prompt" in row or "completion" in row:
        return "completion"
    return "text" if "text" in row else ""


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
    (b"SQLite format 3\x00", "an SQLite database", "Export the rows as JSONL: one JSON object on each line."),
    (
        b"\xff\xfe\x00\x00",
        "UTF-32 text",
        "Save the file as UTF-8, for example: iconv -f UTF-32 -t UTF-8 old > new.jsonl",
    ),
    (b"\xff\xfe", "UTF-16 text", "Save the file as UTF-8, for example: iconv -f UTF-16 -t UTF-8 old > new.jsonl"),
    (b"\xfe\xff", "UTF-16 text", "Save the file as UTF-8, for example: iconv -f UTF-16 -t UTF-8 old > new.jsonl"),
)


def recognise(head: bytes) -> Problem | None:
    """A problem if these first bytes are those of another kind of file, whatever its name says."""
    for signature, what, fix in SIGNATURES:
        if head.startswith(signature):
            return Problem(0, f"This is {what}, not a JSONL file", fix, kind="not_jsonl")
    return None


# ---- the rules of one row ----

Found = tuple[str, str, str, int, str]  # field, message, fix, turn, kind


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
        return [("messages", f'"messages" is {kind_of(messages)}, not a list', "Give a list of messages.", 0, "shape")]
    if not messages:
        return [("messages", '"messages" is empty', "Give at least a user and an assistant message.", 0, "shape")]
    found: list[Found] = []
    for index, message in enumerate(messages):
        if (
            type(message) is dict
            and message.keys() == PLAIN_KEYS
            and type(message["content"]) is str
            and message["role"] in ("system", "user", "assistant")
        ):
            continue  # by far the most common message has nothing else to look at
        found += _message_errors(message, index)
    if "tools" in row and not isinstance(row["tools"], list):
        found.append(("tools", f'"tools" is {kind_of(row["tools"])}, not a list', "Give a list of tools.", 0, "tools"))
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


def _message_errors(message: Any, index: int) -> list[Found]:
    where, turn = f"messages[{index}]", index + 1
    if not isinstance(message, dict):
        text = f"A message is {kind_of(message)}, not an object"
        return [(where, text, 'Write it as {"role": "user", "content": "..."}.', turn, "shape")]
    role = message.get("role")
    if "role" not in message:
        fix = 'Add "role": one of system, user, assistant, tool.'
        return [(f"{where}.role", "Discriminator 'role' is missing in value", fix, turn, "role")]
    if role not in ROLES:
        text = f"The role {role!r} is not known" if isinstance(role, str) else f'"role" is {kind_of(role)}, not a text'
        return [(f"{where}.role", text, _role_hint(role), turn, "role")]
    found = _content_errors(message, role, where, turn)
    found += _weight_errors(message, role, where, turn)
    if "name" in message and message["name"] is not None and not isinstance(message["name"], str):
        found.append(
            (f"{where}.name", f'"name" is {kind_of(message["name"])}, not a text', "Give a text.", turn, "name")
        )
    found += _tool_errors(message, role, where, turn)
    return found


def _role_hint(role: Any) -> str:
    meant = {"human": "user", "gpt": "assistant", "bot": "assistant", "model": "assistant", "ai": "assistant"}
    if isinstance(role, str):
        likely = meant.get(role.strip().lower()) or (role.strip().lower() if role.strip().lower() in ROLES else "")
        if likely:
            return f'Write "{likely}".'
    return f"Use one of {', '.join(ROLES)}."


def _content_errors(message: Row, role: str, where: str, turn: int) -> list[Found]:
    content = message.get("content")
    if isinstance(content, str):
        return []
    if role == "assistant" and content is None and (message.get("tool_calls") or message.get("function_call")):
        return []
    if "content" not in message or content is None:
        fix = 'Add "content" with the text of the message.'
        return [(f"{where}.content", 'The message has no "content"', fix, turn, "content")]
    if isinstance(content, list):
        kinds = {part.get("type") for part in content if isinstance(part, dict)}
        if kinds - {"text"}:
            others = ", ".join(sorted(map(str, kinds - {"text"})))
            text = f'"content" holds parts of type {others}; only text can be trained on'
            return [(f"{where}.content", text, "Remove these parts or leave the row out.", turn, "content")]
        text, fix = '"content" is a list of parts, not a text', "Join the text parts into one text."
        return [(f"{where}.content", text, fix, turn, "content")]
    text = f'"content" is {kind_of(content)}, not a text'
    return [
        (f"{where}.content", text, "Put quotes around it; a JSON answer is written as a text too.", turn, "content")
    ]


def _weight_errors(message: Row, role: str, where: str, turn: int) -> list[Found]:
    if "weight" not in message:
        return []
    weight, place = message["weight"], f"{where}.weight"
    if role != "assistant":
        text = f'"weight" stands on a message of the role {role}; only assistant messages are trained on'
        return [(place, text, 'Remove "weight" here.', turn, "weight")]
    if isinstance(weight, bool) or not isinstance(weight, int | float) or weight not in (0, 1):
        fix = "Use 1 (train on this message) or 0 (leave it out)."
        return [(place, f'"weight" is {json.dumps(weight)[:40]}; only 0 and 1 are possible', fix, turn, "weight")]
    return []


def _tool_errors(message: Row, role: str, where: str, turn: int) -> list[Found]:
    if role == "tool" and not isinstance(message.get("tool_call_id"), str):
        text, fix = 'A tool message has no "tool_call_id"', "Give the id of the tool call that it answers."
        return [(f"{where}.tool_call_id", text, fix, turn, "tools")]
    if role == "function" and not isinstance(message.get("name"), str):
        return [(f"{where}.name", 'A function message has no "name"', "Give the function's name.", turn, "tools")]
    calls = message.get("tool_calls")
    if calls is None:
        return []
    if role != "assistant" or not isinstance(calls, list) or not calls:
        text = '"tool_calls" must be a list with at least one call, on an assistant message'
        return [(f"{where}.tool_calls", text, "Correct the list or remove it.", turn, "tools")]
    return [found for at, call in enumerate(calls) for found in _call_errors(call, f"{where}.tool_calls[{at}]", turn)]


def _call_errors(call: Any, where: str, turn: int) -> list[Found]:
    function = call.get("function") if isinstance(call, dict) else None
    if not isinstance(function, dict) or not isinstance(function.get("name"), str):
        fix = 'Write {"id": "...", "type": "function", "function": {"name": "...", "arguments": "{}"}}.'
        return [(where, "A tool call has no function name", fix, turn, "tools")]
    if not isinstance(function.get("arguments", ""), str):
        text = f'"arguments" is {kind_of(function["arguments"])}, but must be a text that holds JSON'
        return [(f"{where}.function.arguments", text, "Encode the arguments with json.dumps.", turn, "tools")]
    return []


def _completion_errors(row: Row) -> list[Found]:
    found: list[Found] = []
    for key in ("prompt", "completion"):
        value = row.get(key)
        if not isinstance(value, str):
            text = f'"{key}" is {kind_of(value)}, not a text' if key in row else f'"{key}" is missing'
            found.append((key, text, f'Give "{key}" as a text.', 0, "shape"))
    if not found and not row["completion"]:
        fix = "Give the text that should follow the prompt."
        found.append(("completion", '"completion" is empty, so there is nothing to train on', fix, 0, "no_assistant"))
    return found


def _preference_errors(row: Row) -> list[Found]:
    asked, *answers = spelling_of(row)
    missing = [key for key in (asked, *answers) if row.get(key) is None]
    if missing:
        what = {asked: "what the answers answer", answers[0]: "the better answer", answers[1]: "the other answer"}
        return [(key, f'"{key}" is missing', f'Give "{key}": {what[key]}.', 0, "shape") for key in missing]
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
            return [(key, f'"input" is {kind_of(given)}, not an object', fix, 0, "shape")]
        if not isinstance(given.get("tools") or [], list):
            text = f'"tools" is {kind_of(given["tools"])}, not a list'
            return [("input.tools", text, "Give a list of tools.", 0, "tools")]
        given, place = given.get("messages"), "input.messages"
    if not isinstance(given, list) or not given:
        text = f'"{place}" is {kind_of(given) if given != [] else "empty"}; it must hold the messages to answer'
        return [(place, text, "Give at least the user's message.", 0, "shape")]
    found = [_moved(error, place) for at, message in enumerate(given) for error in _message_errors(message, at)]
    if not found and given[-1]["role"] == "assistant":
        fix = "End the input with the message that is answered; the answers stand apart."
        found.append((place, "The input ends with an assistant message", fix, len(given), "shape"))
    return found


def _answer_errors(answer: Any, key: str) -> list[Found]:
    if not isinstance(answer, list):
        fix = 'Write it as [{"role": "assistant", "content": "..."}].'
        return [(key, f'"{key}" is {kind_of(answer)}, not a list', fix, 0, "shape")]
    if len(answer) != 1:
        fix = "Give the last assistant message alone; what stands before it belongs to the input."
        return [(key, f'"{key}" holds {len(answer)} messages, not one', fix, 0, "shape")]
    found = [_moved(error, key, turn=0) for error in _message_errors(answer[0], 0)]
    if not found and answer[0]["role"] != "assistant":
        text = f'The message in "{key}" is from the {answer[0]["role"]}, not the assistant'
        found.append((f"{key}[0].role", text, 'Write "assistant".', 0, "role"))
    if not found and not answer[0].get("content") and not answer[0].get("tool_calls"):
        found.append((f"{key}[0].content", f'The answer in "{key}" is empty', "Give its text.", 0, "no_assistant"))
    return found


def _text_answer_errors(answer: Any, key: str) -> list[Found]:
    if isinstance(answer, str) and answer:
        return []
    text = f'"{key}" is {"empty" if answer == "" else kind_of(answer) + ", but the prompt is a text"}'
    return [(key, text, "Give the answer as a text too.", 0, "shape")]


def _moved(error: Found, place: str, turn: int | None = None) -> Found:
    """The error of a message whose list stands elsewhere than under "messages"."""
    where, message, fix, own_turn, kind = error
    return where.replace("messages", place, 1), message, fix, own_turn if turn is None else turn, kind


def _text_errors(row: Row) -> list[Found]:
    text = row.get("text")
    if isinstance(text, str) and text:
        return []
    return [("text", f'"text" is {kind_of(text)}' if text != "" else '"text" is empty', "Give a text.", 0, "shape")]
