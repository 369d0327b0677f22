"""A job's configuration that somebody hands in as a file: read as far as it can be, with everything that is wrong."""

import copy
import difflib
import json
import re
from dataclasses import dataclass, field
from typing import Any, Final

import yaml
from pydantic import ValidationError

from dashboard import schemas, wording
from dashboard.form_words import accepted, shortened
from dashboard.forms import LABELS
from training.engine.spec import Recipe
from training.json_words import plainly

LARGEST_BYTES: Final = 1 << 20
REQUIRED: Final = ("model", "training_file")
STAND_IN: Final = "?"  # for a required field that the file lacks; it is in `Reading.absent`
ROUNDS: Final = 4  # of leaving out what is wrong
NAMES: Final = {*schemas.CreateJob.model_fields, *schemas.DPO_FIELDS, *schemas.LORA_FIELDS, *schemas.TRAINING_FIELDS}
MORE_LABELS: Final = {
    "integrations": "Trackers",
    "metadata": "Metadata",
    "hyperparameters": "Hyperparameters",
    "lora": "Adapter",
    "rerun_of": "Rerun of",
}
ONCE_MORE: Final = "Mend it and choose the file again: what comes after it was not read."
YAML_WORDS: Final = (  # what PyYAML says, and what it means for who wrote the file
    ("mapping values are not allowed", "there is a second colon here, or the line is indented further than it should"),
    ("cannot start any token", "this character cannot begin a value; indent with spaces, and put the value in quotes"),
    ("could not find expected ':'", "a name without a colon after it"),
    ("expected <block end>", "this line does not begin below those that it belongs to; check its spaces"),
    ("expected ',' or", "a comma or a closing bracket is missing before this place"),
    ("found unexpected end of stream", "a quote was opened and never closed"),
    ("expected the node content", "a value is missing, or a bracket was never closed"),
    ("could not determine a constructor", "this is a tag of a programming language; write a plain value"),
    ("undefined alias", "this name after * is not defined anywhere before; put it in quotes"),
    ("another document", "a second document begins here; a file holds one job"),
    ("unhashable key", "an object stands here where a name must be"),
    ("duplicate anchor", "this name after & stands twice"),
)


@dataclass(frozen=True)
class Fault:
    """One thing that is wrong. `place` is its path in the file; `name` the control of the form, or empty. Lines and
    columns count from 1; 0 is not known."""

    text: str
    place: str = ""
    name: str = ""
    label: str = ""
    line: int = 0
    column: int = 0

    @property
    def where(self) -> str:
        return f"line {self.line}, column {self.column}" if self.line else ""


@dataclass
class Reading:
    """`body` is what could be understood, without what is wrong; None where the file could not be read at all."""

    body: schemas.CreateJob | None = None
    faults: list[Fault] = field(default_factory=list)
    absent: set[str] = field(default_factory=set)  # required fields that hold only a stand-in
    marks: "Marks | None" = None


class PlainLoader(yaml.SafeLoader):
    """`on`, `off`, `yes` and `no` are words, and 1e-4 is a number, as in YAML 1.2."""

    yaml_implicit_resolvers = {
        first: [
            (tag, pattern)
            for tag, pattern in found
            if tag not in ("tag:yaml.org,2002:bool", "tag:yaml.org,2002:timestamp")
        ]
        for first, found in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }


PlainLoader.add_implicit_resolver("tag:yaml.org,2002:bool", re.compile(r"^(?:true|True|false|False)$"), list("tTfF"))
PlainLoader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"^[-+]?[0-9]+(?:\.[0-9]*)?[eE][-+]?[0-9]+$"), list("-+0123456789")
)


class Marks:
    """Where in the text each path of the file stands."""

    def __init__(self, root: yaml.Node | None) -> None:
        self.root = root

    def of(self, place: str) -> tuple[int, int]:
        """Line and column, from 1, of a value, or of the name before a list or an object; zeros where nothing is."""
        node, mark = self.root, None
        for part in place.split("."):
            if isinstance(node, yaml.MappingNode):
                pair = next((pair for pair in node.value if pair[0].value == part), None)
                if pair is None:
                    return 0, 0
                name, node = pair
                mark = (node if isinstance(node, yaml.ScalarNode) else name).start_mark
            elif isinstance(node, yaml.SequenceNode) and part.isdigit() and int(part) < len(node.value):
                node = node.value[int(part)]
                mark = node.start_mark
            else:
                return 0, 0
        return (mark.line + 1, mark.column + 1) if mark else (0, 0)


def read(content: bytes) -> Reading:
    if len(content) > LARGEST_BYTES:
        return _unread("This is no job's configuration: it is larger than 1 MiB.")
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as problem:
        before = content[: problem.start]
        line, column = before.count(b"\n") + 1, len(before) - (before.rfind(b"\n") + 1) + 1
        return _unread("This is not a text in UTF-8. Save it as UTF-8 and choose it again.", line, column)
    values, marks, fault = _parse(text)
    if fault:
        return Reading(faults=[fault])
    if not isinstance(values, dict):
        return _unread("A configuration is an object with `model` and `training_file` in it; this is not one.")
    return _understand(values, marks)


def _unread(text: str, line: int = 0, column: int = 0) -> Reading:
    return Reading(faults=[Fault(text, line=line, column=column)])


# ---- text to values ----


def _parse(text: str) -> tuple[Any, Marks, Fault | None]:
    """JSON where it begins like an object of it, else YAML (in which an object may begin so as well)."""
    in_json: Fault | None = None
    if text.lstrip().startswith("{"):
        try:
            return json.loads(text), Marks(_node(text)), None
        except json.JSONDecodeError as problem:
            in_json = _json_fault(problem)
        except RecursionError:
            return None, Marks(None), Fault("It is nested too deeply to be read.")
    try:
        loader = PlainLoader(text)
        node = loader.get_single_node()
        return (loader.construct_document(node) if node else None), Marks(node), None
    except yaml.YAMLError as problem:
        return None, Marks(None), in_json or _yaml_fault(problem, text)
    except RecursionError:
        return None, Marks(None), Fault("It is nested too deeply to be read.")


def _node(text: str) -> yaml.Node | None:
    """Of JSON, for its places: most of it is YAML as well."""
    try:
        return yaml.compose(text.replace("\t", " "), Loader=PlainLoader)  # a tab is one column too
    except (yaml.YAMLError, RecursionError):
        return None


def _json_fault(problem: json.JSONDecodeError) -> Fault:
    said = plainly(problem)
    return Fault(f"{said[0].upper()}{said[1:]}. {ONCE_MORE}", line=problem.lineno, column=problem.colno)


def _yaml_fault(problem: yaml.YAMLError, text: str) -> Fault:
    if isinstance(problem, yaml.reader.ReaderError):
        before = text[: problem.position]
        line, column = before.count("\n") + 1, len(before) - (before.rfind("\n") + 1) + 1
        return Fault(f"A character that no text has. Take it out. {ONCE_MORE}", line=line, column=column)
    theirs = str(getattr(problem, "problem", "") or problem)
    said = next((ours for part, ours in YAML_WORDS if part in theirs), "this can be read neither as JSON nor as YAML")
    mark = getattr(problem, "problem_mark", None) or getattr(problem, "context_mark", None)
    line, column = (mark.line + 1, mark.column + 1) if mark else (0, 0)
    return Fault(f"{said[0].upper()}{said[1:]}. {ONCE_MORE}", line=line, column=column)


# ---- values to a job ----


def _understand(values: dict[Any, Any], marks: Marks) -> Reading:
    """All that is wrong, and the rest of it."""
    reading, rest = Reading(marks=marks), copy.deepcopy(values)
    for round_number in range(ROUNDS):
        try:
            reading.body = schemas.CreateJob.model_validate(rest)
            return reading
        except ValidationError as problem:
            found = _faults(problem, rest, marks)
            if round_number == 0:
                reading.faults = found
            for fault in sorted(
                found, key=lambda fault: _numbers(fault.place), reverse=True
            ):  # the last of a list first
                _leave_out(rest, fault.place, whole=round_number > 0)
            for name in REQUIRED:
                if name not in rest:
                    reading.absent.add(name)
                    rest[name] = STAND_IN
    return reading


def _numbers(place: str) -> list[int]:
    return [int(part) for part in place.split(".") if part.isdigit()]


def _leave_out(values: dict[Any, Any], place: str, *, whole: bool) -> None:
    """What stands at this place; `whole`: all under its first name, where a part alone does not do. Nothing where it
    went with another."""
    parts = place.split(".")
    if whole or any(str(key) == place for key in values):
        parts = [place] if any(str(key) == place for key in values) else parts[:1]
    inside: Any = values
    for part in parts[:-1]:
        if isinstance(inside, list) and part.isdigit() and int(part) < len(inside):
            inside = inside[int(part)]
        else:
            inside = inside.get(part) if isinstance(inside, dict) else None
    last = parts[-1]
    if isinstance(inside, list) and last.isdigit() and int(last) < len(inside):
        del inside[int(last)]
    elif isinstance(inside, dict):
        for key in [key for key in inside if str(key) == last]:
            del inside[key]


def _faults(problem: ValidationError, values: dict[Any, Any], marks: Marks) -> list[Fault]:
    """One a place, in the order of the file."""
    errors: dict[str, list[dict[str, Any]]] = {}
    for error in problem.errors():
        error = {**error, "loc": ("body", "", *error["loc"])}
        errors.setdefault(wording.locate(error, values), []).append(error)  # type: ignore[arg-type]
    found = [fault_at(place, _text(place, each, values), marks) for place, each in errors.items()]
    return sorted(found, key=lambda fault: (fault.line == 0, fault.line, fault.column))


def fault_at(place: str, text: str, marks: Marks | None) -> Fault:
    line, column = marks.of(place) if marks else (0, 0)
    if marks and not line and "." in place:  # it is missing: where its object begins
        line, column = marks.of(place.rpartition(".")[0])
    name = control_of(place)
    label = LABELS.get(name) or MORE_LABELS.get(place.partition(".")[0], "")
    return Fault(text, place, name, label, line, column)


def control_of(place: str) -> str:
    """The control of the form for a path of the file; empty where the form has none."""
    first, _, rest = place.partition(".")
    if first == "lora":
        return schemas.LORA_FIELDS.get(rest.partition(".")[0], "")
    if first in ("training", "hyperparameters", "method") and rest:
        parts = rest.split(".")
        known = next((part for part in reversed(parts) if part in LABELS), "")
        return known or ("method" if first == "method" else "")
    return first if first in LABELS else ""


def _text(place: str, errors: list[dict[str, Any]], values: dict[Any, Any]) -> str:
    kind = errors[0]["type"]
    if kind == "missing":
        return f"`{place}` is missing. Choose it here." if place in REQUIRED else f"`{place}` is missing."
    if kind in ("extra_forbidden", "invalid_key"):
        if kind == "invalid_key" and place in NAMES:
            place = f"{place}.{errors[0]['input']}"
        near = difflib.get_close_matches(place.rpartition(".")[2], sorted(NAMES), 1)
        meant = f"Did you mean `{near[0]}`?" if near else "Leave it out."
        return f"`{place}` is nothing that can be set. {meant}"
    value = wording.dig(values, place)
    came = f" It is {shortened(value) or 'empty'}." if isinstance(value, str | int | float) else ""
    name = control_of(place)
    wanted, may_be_auto = accepted(Recipe, name) if name in Recipe.model_fields else ("", False)
    if kind != "value_error" and wanted.startswith(("a whole number", "a number")):  # with its whole range
        otherwise = ' or "auto"' if may_be_auto else ""
        return f"`{place}` must be {wanted}{otherwise}.{came}"
    return f"`{place}` {wording.sentence(errors)}{came}"
