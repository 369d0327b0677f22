"""What a person sends from the playground, cleaned and converted; nothing is written here."""

from collections.abc import Callable
from typing import Annotated, Any, Literal, TypeVar

from django import forms
from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SerializerFunctionWrapHandler,
    ValidationError,
    model_serializer,
    model_validator,
)
from pydantic_core import PydanticCustomError

from accounts.errors import ApiError
from playground import structured
from playground.models import Vote

MOST_COLUMNS = 8
LETTERS = "ABCDEFGH"  # of the columns, as people call them
MOST_SAMPLES = 5
LONGEST_PROMPT = 200_000  # characters


class Strict(BaseModel):
    """Refuses unknown fields: nothing is silently ignored."""

    model_config = ConfigDict(extra="forbid")


class Sampling(Strict):
    """How answers are drawn; the same in every column unless a column says otherwise."""

    temperature: Annotated[float, Field(ge=0, le=2)] = 0.7
    top_p: Annotated[float, Field(gt=0, le=1)] = 1.0
    max_tokens: Annotated[int, Field(ge=1, le=32_768)] = 256
    seed: Annotated[int, Field(ge=0, le=2_147_483_647)] | None = 1  # None: another answer each time
    n: Annotated[int, Field(ge=1, le=MOST_SAMPLES)] = 1  # answers of each column to one message

    @model_serializer(mode="wrap")
    def without_one(self, dumped: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """One sample is not said: not every server knows `n`."""
        return {name: value for name, value in dumped(self).items() if (name, value) != ("n", 1)}


class ColumnSampling(Strict):
    """What one column does differently; None: as the others."""

    temperature: Annotated[float, Field(ge=0, le=2)] | None = None
    top_p: Annotated[float, Field(gt=0, le=1)] | None = None
    max_tokens: Annotated[int, Field(ge=1, le=32_768)] | None = None
    seed: Annotated[int, Field(ge=0, le=2_147_483_647)] | None = None


class Column(Strict):
    """A contender as it stands in a comparison: the model, and its own system prompt or settings if it has some."""

    model: Annotated[str, Field(min_length=1, max_length=250)]
    system: Annotated[str, Field(max_length=LONGEST_PROMPT)] | None = None
    settings: ColumnSampling | None = None


def _said(check: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """A check whose ValueError is shown to a person word for word."""

    def checked(value: Any) -> Any:
        try:
            return check(value)
        except ValueError as error:
            raise PydanticCustomError("structured", "{words}", {"words": str(error)}) from error

    return checked


class Setup(Strict):
    """Everything that is decided before a message is sent."""

    columns: Annotated[list[Column], Field(min_length=1, max_length=MOST_COLUMNS)]
    system: Annotated[str, Field(max_length=LONGEST_PROMPT)] = ""
    settings: Sampling = Sampling()
    tools: Annotated[list[dict[str, Any]] | None, BeforeValidator(_said(structured.tools_from))] = None
    response_format: Annotated[dict[str, Any] | None, BeforeValidator(_said(structured.format_from))] = None

    @model_validator(mode="after")
    def samples_can_differ(self) -> "Setup":
        """At temperature 0 there is one answer only: a column of its own at 0 gives one (comparisons.sampling_of), and
        where every column is at 0, several are refused."""
        own = [column.settings.temperature if column.settings else None for column in self.columns]
        if self.settings.n > 1 and not any(self.settings.temperature if each is None else each for each in own):
            raise PydanticCustomError("samples", "At temperature 0 the samples are all the same: ask for one")
        return self


# ---- what the page says over its websocket ----


class Open(Strict):
    type: Literal["open"]
    comparison: str | None = None
    models: Annotated[list[str], Field(max_length=MOST_COLUMNS)] = []


class Send(Strict):
    """A message to every column. `setup` is what the page shows now; a blind page has none."""

    type: Literal["send"]
    prompt: Annotated[str, Field(min_length=1, max_length=LONGEST_PROMPT)]
    setup: Setup | None = None


class Stop(Strict):
    type: Literal["stop"]
    column: int | None = None  # None: all


class Retry(Strict):
    type: Literal["retry"]
    column: int | None = None  # None: each that has no answer


FRAMES: dict[str, type[Open | Send | Stop | Retry]] = {"open": Open, "send": Send, "stop": Stop, "retry": Retry}


def parse_frame(content: Any) -> Open | Send | Stop | Retry:
    """The frame, or an ApiError that says what is wrong with it."""
    kind = FRAMES.get(content.get("type", "")) if isinstance(content, dict) else None
    if kind is None:
        raise ApiError("The page sent something this server does not know. Reload the page.", param="type")
    return parse(kind, content)


Model = TypeVar("Model", bound=BaseModel)


def parse(kind: type[Model], content: Any) -> Model:
    """Validated, or an ApiError with the first problem in plain words."""
    try:
        return kind.model_validate(content)
    except ValidationError as error:
        raise ApiError(problem(error), param=".".join(map(str, error.errors()[0]["loc"]))) from error


LABELS = {
    "max_tokens": "Longest answer",
    "top_p": "Top p",
    "prompt": "Message",
    "n": "Samples",
    "response_format": "Answer format",
}


def problem(error: ValidationError) -> str:
    """The first problem as 'field: what is wrong'."""
    first = error.errors()[0]
    field = next((str(part) for part in reversed(first["loc"]) if isinstance(part, str)), "")
    field = "n" if first["type"] == "samples" else field  # that one is about several fields at once
    return f"{LABELS.get(field, field.replace('_', ' ').capitalize())}: {first['msg'][:1].lower()}{first['msg'][1:]}."


class VoteForm(forms.Form):
    """A verdict by its button: the number of the better column, `tie` or `both_bad`."""

    verdict = forms.CharField(max_length=10)
    turn = forms.IntegerField(min_value=0)

    def clean_verdict(self) -> tuple[str, int | None]:
        """The verdict for the row, and the index of the better column."""
        value = self.cleaned_data["verdict"]
        if value in (Vote.Verdict.TIE, Vote.Verdict.BOTH_BAD):
            return value, None
        if value.isdecimal() and int(value) < MOST_COLUMNS:
            return Vote.Verdict.BEST, int(value)
        raise forms.ValidationError("Choose the better answer, a tie, or all bad.")

    @property
    def samples(self) -> dict[int, int]:
        """By column, which of its answers was judged: `sample-0=2` is the third of the first column."""
        given = ((column, self.data.get(f"sample-{column}", "")) for column in range(MOST_COLUMNS))
        return {column: int(value) for column, value in given if value.isdecimal() and len(value) < 3}


class SetupForm(forms.Form):
    """The playground's set-up as JSON, from the button "Judge blind"."""

    setup = forms.JSONField()

    def clean_setup(self) -> Setup:
        try:
            return parse(Setup, self.cleaned_data["setup"])
        except ApiError as error:
            raise forms.ValidationError(error.message) from error


class DifferenceForm(forms.Form):
    """The shared system prompt and a column's own; either may be empty."""

    shared = forms.CharField(max_length=LONGEST_PROMPT, required=False, strip=False)
    own = forms.CharField(max_length=LONGEST_PROMPT, required=False, strip=False)
