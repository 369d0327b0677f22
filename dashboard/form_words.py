"""What the forms say of a value that cannot be. One voice: what to enter, how to leave it to us, what came."""

from typing import Any, Final

from django import forms
from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from dashboard.templatetags.figures import within
from training.engine.spec import Recipe

LONGEST_SHOWN: Final = 60  # characters of what came
KINDS: Final = {"integer": "a whole number", "number": "a number", "string": "a text", "array": "names"}
REQUIRED: Final = {
    "model": "Choose the model to start from.",
    "training_file": "Choose the file to train on.",
    "validation": "Choose how to validate: split off a share, a file, or none.",
    "adaptation": "Choose an adapter or full weights.",
}
EMPTY_MEANS: Final = {"seed": "a new seed", "split_seed": "0"}


def recipe_errors(problem: ValidationError, model: type[BaseModel] = Recipe) -> dict[str, str]:
    """One sentence a field out of pydantic's list (a field that may be "auto" gives one error for each reading)."""
    found: dict[str, str] = {}
    for error in problem.errors():
        name = str(error["loc"][0]) if error["loc"] else "__all__"
        found.setdefault(name, _sentence(name, error, model))
    return found


def _sentence(name: str, error: ErrorDetails, model: type[BaseModel]) -> str:
    if error["type"] == "value_error" or name not in model.model_fields:
        return error["msg"].removeprefix("Value error, ").rstrip(".") + "."
    wanted, may_be_auto = accepted(model, name)
    otherwise = ", or leave it empty for auto" if may_be_auto else ""
    given = error["input"]
    came = f" You entered {shortened(given)}." if isinstance(given, str | int | float) else ""
    return f"Enter {wanted}{otherwise}.{came}"


def shortened(value: Any) -> str:
    text = str(value)
    return text if len(text) <= LONGEST_SHOWN else f"{text[:LONGEST_SHOWN]}…"


def accepted(model: type[BaseModel], name: str) -> tuple[str, bool]:
    """In words what a field takes, from its type and range, and whether "auto" is one of it."""
    schema = model.model_json_schema()["properties"][name]
    kinds = schema.get("anyOf", [schema])
    others = [kind for kind in kinds if kind.get("const") != "auto"]
    kind = others[0] if others else schema
    choices = [word for word in kind.get("enum", []) if word != "auto"]
    may_be_auto = len(others) < len(kinds) or "auto" in kind.get("enum", [])
    return (f"one of {listed(choices)}" if choices else _range(kind)), may_be_auto


def listed(words: list[str]) -> str:
    return f"{', '.join(words[:-1])} or {words[-1]}" if len(words) > 1 else "".join(words)


def _range(kind: dict[str, Any]) -> str:
    word = KINDS.get(kind.get("type", ""), "a value")
    if kind.get("type") == "array":
        return f"{word} separated by commas"
    least, above, most, below = (
        kind.get(bound) for bound in ("minimum", "exclusiveMinimum", "maximum", "exclusiveMaximum")
    )
    if least is None and above is None:
        ends = "" if most is None else f"of at most {_figure(most)}"
    elif least is None:
        ends = f"above {_figure(above)}" + ("" if most is None else f" and at most {_figure(most)}")
    elif most is None and below is None:
        ends = f"of {_figure(least)} or more"
    else:
        ends = f"from {_figure(least)} to " + (f"below {_figure(below)}" if most is None else _figure(most))
    steps = f" and a multiple of {kind['multipleOf']:,}" if "multipleOf" in kind else ""
    return f"{word} {ends}".rstrip() + steps


def _figure(value: float) -> str:
    return f"{int(value):,}" if value == int(value) else f"{value:g}"


def teach(name: str, field: forms.Field, label: str = "") -> None:
    """Puts our sentences where Django's own would stand."""
    words = field.error_messages
    words["required"] = REQUIRED.get(name) or f"Enter {within(label) or 'a value'}."
    if isinstance(field, forms.IntegerField):  # and FloatField, which is one
        kind = "a number" if isinstance(field, forms.FloatField) else "a whole number"
        empty = f", or leave it empty for {EMPTY_MEANS[name]}" if name in EMPTY_MEANS else ""
        said = f"Enter {kind} from {_figure(field.min_value)} to {_figure(field.max_value)}{empty}."
        words["invalid"] = said
        words["min_value"] = words["max_value"] = f"{said} You entered %(show_value)s."
    elif isinstance(field, forms.ModelChoiceField):
        words.setdefault("invalid_choice", "Choose a file from the list.")
    elif isinstance(field, forms.ChoiceField):
        words["invalid_choice"] = "Choose one from the list; “%(value)s” is not in it."
    elif isinstance(field, forms.CharField) and field.max_length:
        words["max_length"] = "Enter at most %(limit_value)d characters. You entered %(show_value)d."
