"""Screen: a project's moderation policy, a section of the settings; owners change it."""

import time
from typing import Any

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.urls import URLPattern, path
from django.utils import timezone
from django.views.decorators.debug import sensitive_post_parameters
from django.views.decorators.http import require_POST

from accounts.errors import ApiError
from dashboard.forms_moderation import ModerationForm, context
from dashboard.views import settings
from training.safety.classifiers import classifier_of
from training.safety.models import ModerationPolicy

MOST_CHARACTERS = 2_000  # of a sentence that is tried
HARMLESS = "Good morning, how are you?"


@require_POST
@sensitive_post_parameters("key")
def change(request: HttpRequest) -> HttpResponse:
    """Stored, then tried with one harmless text where another server judges."""
    known = ModerationPolicy.of(request.project)
    form = ModerationForm(request.POST, known=known)
    if not form.is_valid():
        return settings.page(request, 422, **context(request, form))
    given = form.cleaned_data
    if given["key"] or given["base_url"] != known.base_url:  # a stored key goes to no other server
        known.keep_key(given["key"])
    for name in ("policy", "base_url", "model", "guard"):
        setattr(known, name, given[name])
    known.changed_by, known.changed_at = request.user, timezone.now()  # type: ignore[assignment]
    known.save()
    if problem := _trouble(known):
        messages.warning(request, f"Stored, but it did not answer. {problem}")
    else:
        messages.success(request, "Stored.")
    return settings.back("moderation")


def _trouble(policy: ModerationPolicy) -> str:
    """Why another server does not judge one harmless text; empty when it does, or when nobody is to be asked."""
    if not policy.base_url or policy.policy == ModerationPolicy.Policy.OFF:
        return ""
    try:
        classifier_of(policy, in_page=True).judge([HARMLESS])
    except ApiError as error:
        return error.message
    return ""


@require_POST
def attempt(request: HttpRequest) -> HttpResponse:
    """One sentence, by who judges the project's rows; nothing is stored. Members may, as with /v1/moderations."""
    sentence = request.POST.get("sentence", "").strip()[:MOST_CHARACTERS]
    found: dict[str, Any] = {"moderation_sentence": sentence}
    if not sentence:
        return settings.page(request, 422, **found, tried_trouble="Write a sentence to be judged.")
    classifier = classifier_of(ModerationPolicy.of(request.project), in_page=True)
    began = time.monotonic()
    try:
        [verdict] = classifier.judge([sentence])
    except ApiError as error:
        return settings.page(request, 200, **found, tried_trouble=error.message)
    found |= {"verdict": verdict, "verdict_by": classifier.name, "verdict_seconds": time.monotonic() - began}
    return settings.page(request, 200, **found)


urlpatterns: list[URLPattern] = [
    path("moderation", change, name="change-moderation"),
    path("moderation/try", attempt, name="try-moderation"),
]
