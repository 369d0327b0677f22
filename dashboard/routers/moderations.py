"""/v1/moderations: what the project's classifier says about texts (training/safety/classifiers.py)."""

from collections.abc import Sequence
from typing import Annotated, Any, Literal

from django.http import HttpRequest
from ninja import Router, Schema
from pydantic import Field

from accounts.errors import ApiError
from accounts.ids import new_id
from accounts.models import ApiKey
from training.safety.classifiers import classifier_of
from training.safety.embedded import CATEGORIES, Verdict
from training.safety.models import ModerationPolicy
from training.usage import book
from training.usage.book import Account
from training.usage.models import Usage

router = Router()
MOST_INPUTS = 1000


class TextPart(Schema):
    type: Literal["text"]
    text: str


class ImagePart(Schema):
    type: Literal["image_url"]
    image_url: dict[str, Any]


Part = Annotated[TextPart | ImagePart, Field(discriminator="type")]


A_TEXT = {"type": {"const": "text"}, "text": {"type": "string"}}  # images are read so that the refusal names them
TEXTS_ONLY: Any = {"items": {"type": "object", "properties": A_TEXT, "required": list(A_TEXT)}}


class AskModeration(Schema):
    """`model` is taken as OpenAI's SDK sends it; which classifier judges is the project's own choice."""

    input: (
        str
        | Annotated[list[str], Field(min_length=1, max_length=MOST_INPUTS)]
        | Annotated[list[Part], Field(min_length=1, max_length=MOST_INPUTS, json_schema_extra=TEXTS_ONLY)]
    )
    model: str | None = None


class Moderation(Schema):
    """`scored` is Hone's own: false where the judge gave a verdict without a figure, so that each score is 1 or 0."""

    flagged: bool
    scored: bool
    categories: dict[str, bool]
    category_scores: dict[str, float]
    category_applied_input_types: dict[str, list[str]]


class Moderations(Schema):
    id: str
    model: str
    results: list[Moderation]


@router.post("/moderations", response=Moderations)
def create_moderation(request: HttpRequest, body: AskModeration) -> dict[str, Any]:
    """One result for a text, one for each of a list of texts, one for all parts together."""
    classifier = classifier_of(ModerationPolicy.of(request.project), in_page=True)  # type: ignore[attr-defined]
    asked = [body.input] if isinstance(body.input, str) else body.input
    parts = [part for part in asked if not isinstance(part, str)]
    if any(isinstance(part, ImagePart) for part in parts):
        raise ApiError("Images are not moderated by Hone: send the parts of type text only.", param="input")
    texts = [part.text for part in parts if isinstance(part, TextPart)] if parts else [str(text) for text in asked]
    verdicts = classifier.judge(texts)
    key: ApiKey = request.api_key  # type: ignore[attr-defined]
    book.note(Account(key.project_id, Usage.Kind.MODERATION, classifier.name, "", key.pk, key.user_id), requests=1)
    results = [_result(verdicts)] if parts else [_result([verdict]) for verdict in verdicts]
    return {"id": new_id("modr-"), "model": classifier.name, "results": results}


def _result(verdicts: Sequence[Verdict]) -> dict[str, Any]:
    """All of OpenAI's categories and any other that the classifier has. What it does not know is false, with score 0
    and no kind of input that it was looked for in."""
    known = {name for verdict in verdicts for name in (*verdict.scores, *verdict.categories)}
    names = (*CATEGORIES, *sorted(known - set(CATEGORIES)))
    return {
        "flagged": any(verdict.flagged for verdict in verdicts),
        "scored": all(verdict.score is not None for verdict in verdicts),
        "categories": {name: any(name in verdict.categories for verdict in verdicts) for name in names},
        "category_scores": {name: max(verdict.scores.get(name, 0.0) for verdict in verdicts) for name in names},
        "category_applied_input_types": {name: ["text"] if name in known else [] for name in names},
    }
