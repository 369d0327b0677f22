"""Screen: a project's moderation policy, a section of the settings; owners change it."""

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

HARMLESS = "Good morning, how are you?"


@require_POST
@sensitive_post_parameters("key")
def change(request: HttpRequest) -> HttpResponse:
    """Stored, then tried with one harmless text where another server judges."""
    known = ModerationPolicy.of(request.project)
    form = ModerationForm(request.POST, known=known)
    if not settings.is_owner(request):
        return settings.page(request, 403, moderation_problem="Only an owner of the project can do this.")
    if not form.is_valid():
        return settings.page(request, 422, **context(request, form))
    given = form.cleaned_data
    if given["key"] or given["base_url"] != known.base_url:  # a stored key goes to no other server
        known.keep_key(given["key"])
    known.policy, known.base_url, known.model = given["policy"], given["base_url"], given["model"]
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
        classifier_of(policy).judge([HARMLESS])
    except ApiError as error:
        return error.message
    return ""


urlpatterns: list[URLPattern] = [path("moderation", change, name="change-moderation")]
