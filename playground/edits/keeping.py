"""Every write of an edited answer."""

from django.db import transaction
from django.utils import timezone

from accounts.errors import ApiError
from accounts.models import User
from playground import comparisons
from playground.edits.models import EditedAnswer
from playground.forms import LONGEST_PROMPT
from playground.models import Response


@transaction.atomic
def keep(*, response: Response, editor: User, text: str) -> EditedAnswer:
    """The person's version of this answer; a later one replaces it. Raises ApiError."""
    text = text.replace("\r\n", "\n").strip()
    if not comparisons.is_revealed(response.turn.comparison, editor):
        raise ApiError("Vote first. A blind answer can be edited when the names are shown.", status=409)
    if response.error:
        raise ApiError("There is no whole answer to edit. Retry it first.", status=409)
    if not text:
        raise ApiError("An edited answer is not empty.", param="text")
    if len(text) > LONGEST_PROMPT:
        raise ApiError(f"An edited answer has at most {LONGEST_PROMPT:,} characters.", param="text")
    if text == response.text.strip():
        raise ApiError("Nothing is changed yet: this is the answer itself.", param="text")
    values = {"text": text, "edited_at": timezone.now()}
    return EditedAnswer.objects.update_or_create(response=response, editor=editor, defaults=values)[0]
