"""The repairs there are: what each mends, in which order they go over a row, and their words."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
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
    version that it made, with {rows} for "12 rows", `left_out` of the rows that it left out, by why it did."""

    key: str
    title: str
    done: str
    kinds: tuple[str, ...]
    make: Callable[[Options], Mend] | None = None  # None: it concerns lines, see applying.py
    note: str = ""
    left_out: dict[str, str] = field(default_factory=dict)  # {is} and {it} follow the number of rows
    why: Callable[[Row, Options], str] = lambda row, options: ""  # a key of left_out

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


def _why_too_long(row: Row, options: Options) -> str:
    return lengths.why_left_out(row, options.how, options.fits) if options.fits else ""


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
        "template_marks",
        "Take marks of chat templates out of texts",
        "marks of chat templates taken out of {rows}",
        ("template_marks",),
        _row(shapes.template_marks),
        "The role that belongs to a mark goes with it; a text of nothing but marks stays.",
    ),
    Repair(
        "empty_messages",
        "Remove empty messages",
        "empty messages removed in {rows}",
        ("empty_message", "empty_answer", "no_content"),
        _row(messages.empty_messages),
        "With an empty answer goes the question before it; a row without any other answer is left out.",
        {"": "{rows} {is} left out, as no answer is left in {it}"},
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
        left_out={"": "pairs with the same answer twice left out: {rows}"},
    ),
    Repair(
        "too_long",
        "Shorten rows that are too long",
        "{rows}{above} {done}",
        ("too_long",),
        _shorten,
        "A row that cannot be cut or split so that anything of it fits is left out.",
        {
            "": "{rows}{above} left out",
            "first": "{rows}{above} cannot be {cut} ({its_first} longer already) and {is} left out",
            "answer": "{rows}{above} cannot be {cut} (nothing is trained on in what fits) and {is} left out",
            "problems": "{rows}{above} cannot be {cut} (other problems stand in {it}) and {is} left out",
            "turns": "{rows}{above} cannot be {cut} (only conversations have turns) and {is} left out",
        },
        _why_too_long,
    ),
    Repair(
        "drop_bad",
        "Leave out the rows that cannot be mended",
        "rows that cannot be mended left out: {rows}",
        CANNOT_BE_MENDED,
        None,
        "Rows with a problem that no repair mends, or that a chosen one could not. Rows with others stay.",
        {"": "rows that cannot be mended left out: {rows}"},
    ),
)
BY_KEY = {repair.key: repair for repair in ALL}
SHORTENED = {"truncate": "cut after a turn", "split": "split between turns", "drop": "left out"}
CUT = {"truncate": "cut", "split": "split"}


def repair_of(kind: str) -> Repair | None:
    """What mends this kind of problem."""
    return next((repair for repair in ALL if repair.mends(kind)), None)


def words_of(by: Mapping[str, int], left_out: Mapping[str, int], options: Options) -> str:
    """One sentence of what was done: how many rows each repair changed, and how many it left out and why. The rows left
    out are told once each, so that they add up."""
    told = []
    for repair in ALL:
        words = _Words(options)
        if by.get(repair.key):
            told.append(words.of(repair.done, by[repair.key]))
        for why, sentence in repair.left_out.items():
            if count := left_out.get(reason(repair.key, why), 0):
                told.append(words.of(sentence, count))
    sentence = "; ".join(told)
    return f"{sentence[:1].upper()}{sentence[1:]}." if sentence else "Nothing to mend was found."


def reason(key: str, why: str) -> str:
    """Under which rows that a repair left out are counted."""
    return f"{key}:{why}" if why else key


class _Words:
    """Sentences of one repair; the first says what is too long, the others mean the same."""

    def __init__(self, options: Options) -> None:
        self.options = options
        self.above = f" above {options.max_length:,} tokens of {options.model}"

    def of(self, sentence: str, count: int) -> str:
        one, how = count == 1, self.options.how
        first = {"truncate": "{its} first turn is", "split": "each of {its} turns is"}.get(how, "")
        given = {"is": "is" if one else "are", "it": "it" if one else "them", "its": "its" if one else "their"}
        given |= {"rows": f"{count:,} row{'' if one else 's'}", "above": self.above, "its_first": first.format(**given)}
        given |= {"done": SHORTENED.get(how, ""), "cut": CUT.get(how, "")}
        self.above = ""
        return sentence.format(**given)
