"""The repairs there are: what each mends, in which order they go over a row, and their words."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from training.repairs import calls, lengths, messages, shapes
from training.rules import Row

Mended = Row | list[Row] | None
Mend = Callable[[Row], Mended]  # the same object: unchanged; None or an empty list: left out


@dataclass(frozen=True)
class Options:
    """What some repairs need to be told."""

    system: str = ""
    how: lengths.How = "truncate"
    model: str = ""  # by whose tokens a row is too long
    max_length: int = 0
    fits: lengths.Fits | None = None


@dataclass(frozen=True)
class Repair:
    """`kinds` of problems it mends; a kind that ends with a colon stands for all that begin so. `done` is said of the
    version that it made, with {rows} for "12 rows"."""

    key: str
    title: str
    done: str
    kinds: tuple[str, ...]
    make: Callable[[Options], Mend] | None = None  # None: it concerns lines, see applying.py
    note: str = ""

    def mends(self, kind: str) -> bool:
        return any(kind.startswith(each) if each.endswith(":") else kind == each for each in self.kinds)


def _each(change: Callable[[messages.Message], messages.Message]) -> Callable[[Options], Mend]:
    return lambda options: messages.each(change)


def _row(mend: Mend) -> Callable[[Options], Mend]:
    return lambda options: mend


def _shorten(options: Options) -> Mend:
    if options.fits is None:
        raise ValueError("too_long needs a base model and a length")
    shorten = partial(lengths.shorten, how=options.how, whole=options.fits)

    def mend(row: Row) -> Mended:
        found = shorten(row)
        return row if len(found) == 1 and found[0] is row else found

    return mend


CANNOT_BE_MENDED = (
    "not_json", "not_object", "not_utf8", "line_too_long", "unknown_format", "mixed", "messages", "message_shape",
    "role_missing", "role_unknown", "content_type", "other_parts", "weight_value", "name", "tools", "tool_shape",
    "tool_call_id", "tool_calls", "arguments_json", "no_assistant", "all_masked", "empty_completion", "field", "input",
    "answer", "answer_role",
)  # fmt: skip

ALL = (
    Repair("bom", "Remove the byte order mark", "the byte order mark removed", ("bom",)),
    Repair("blank_lines", "Remove blank lines", "blank lines removed", ("blank_lines",)),
    Repair(
        "sharegpt",
        "Write conversations as messages",
        "ShareGPT conversations written as messages in {rows}",
        ("sharegpt",),
        _row(shapes.sharegpt),
        'human becomes user and gpt becomes assistant; other fields stay, a "system" text becomes the system message.',
    ),
    Repair(
        "role_names",
        "Rename roles to those that are known",
        "roles renamed in {rows}",
        ("role_name",),
        _each(messages.role_name),
        "human, customer: user; gpt, bot, model, ai: assistant; USER and the like in small letters.",
    ),
    Repair(
        "text_parts",
        "Join text parts into one text",
        "text parts joined in {rows}",
        ("text_parts",),
        _each(messages.text_parts),
        "A line break stands between two parts, as vLLM joins them.",
    ),
    Repair(
        "refusal",
        'Write answers under "refusal" into the content',
        "refusals made content in {rows}",
        ("refusal",),
        _each(messages.refusal),
        "Then the model is trained to refuse here.",
    ),
    Repair(
        "arguments",
        "Encode tool arguments once, as text",
        "tool arguments encoded once in {rows}",
        ("arguments_type", "arguments_twice"),
        _each(calls.arguments),
    ),
    Repair(
        "no_calls",
        "Remove empty lists of tool calls",
        "empty lists of tool calls removed in {rows}",
        ("no_calls",),
        _each(calls.no_calls),
    ),
    Repair(
        "weight_place",
        "Remove weights that are not the assistant's",
        "weights removed where nothing is trained on in {rows}",
        ("weight_place",),
        _each(messages.weight_place),
    ),
    Repair(
        "weight_type",
        "Write weights as 0 or 1",
        "weights written as 0 or 1 in {rows}",
        ("weight_type",),
        _each(messages.weight_type),
        'true and "1" become 1, false and "0" become 0; null is removed.',
    ),
    Repair(
        "unknown_fields",
        "Remove fields that are not known",
        "unknown fields removed in {rows}",
        ("unknown_field:",),
        _row(messages.unknown_fields),
    ),
    Repair(
        "empty_messages",
        "Remove empty messages",
        "empty messages removed in {rows}",
        ("empty_message", "empty_answer", "no_content"),
        _row(messages.empty_messages),
        "With an empty answer goes the question before it; a row without any other answer is left out.",
    ),
    Repair(
        "system_prompt",
        "Add the system prompt where there is none",
        "the system prompt added to {rows}",
        ("some_without_system",),
        lambda options: messages.system_prompt(options.system),
    ),
    Repair(
        "trailing_space",
        "Remove spaces at the end of answers",
        "spaces at the end of answers removed in {rows}",
        ("trailing_space",),
        _each(messages.trailing_space),
    ),
    Repair(
        "prompt_space",
        "Move the last space of prompts to the completion",
        "the last space of prompts moved to the completion in {rows}",
        ("prompt_space",),
        _row(shapes.prompt_space),
    ),
    Repair(
        "same_answers",
        "Leave out pairs whose answers are the same",
        "pairs with the same answer twice left out: {rows}",
        ("same_answers",),
        _row(shapes.same_answers),
    ),
    Repair("too_long", "Shorten rows that are too long", "rows that were too long: {rows}", ("too_long",), _shorten),
    Repair(
        "drop_bad",
        "Leave out the rows that cannot be mended",
        "rows that cannot be mended left out: {rows}",
        CANNOT_BE_MENDED,
        None,
        "Every row that still has a problem after the other repairs.",
    ),
)
BY_KEY = {repair.key: repair for repair in ALL}
SHORTENED = {"truncate": "cut after a turn", "split": "split between turns", "drop": "left out"}


def repair_of(kind: str) -> Repair | None:
    """What mends this kind of problem."""
    return next((repair for repair in ALL if repair.mends(kind)), None)


def words_of(by: dict[str, int], options: Options) -> str:
    """One sentence of what was done, by how many rows each repair changed."""
    told = []
    for repair in ALL:
        count = by.get(repair.key, 0)
        if not count:
            continue
        rows = f"{count:,} row{'' if count == 1 else 's'}"
        if repair.key == "too_long":
            done = f"{rows} above {options.max_length:,} tokens of {options.model} {SHORTENED[options.how]}"
        else:
            done = repair.done.format(rows=rows)
        told.append(done)
    sentence = "; ".join(told)
    return f"{sentence[:1].upper()}{sentence[1:]}." if sentence else "Nothing to mend was found."
