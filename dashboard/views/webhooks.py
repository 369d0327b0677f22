"""Screen: a project's webhook endpoints, a section of the settings; owners change them."""

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404
from django.urls import URLPattern, path
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_POST

from accounts.errors import ApiError
from dashboard.views import settings
from training.models import WebhookDelivery, WebhookEndpoint
from training.webhooks import deliveries, endpoints


@never_cache
@require_POST
def add(request: HttpRequest) -> HttpResponse:
    """The signing secret is shown once, in this answer."""
    given = {"name": request.POST.get("name", ""), "url": request.POST.get("url", "")}
    types = request.POST.getlist("event_types")
    try:
        endpoint, secret = endpoints.add(request.project, request.user, event_types=types, **given)  # type: ignore[arg-type]
    except ApiError as error:
        status = 422 if error.status == 400 else error.status
        asked = given | {"event_types": types}
        return settings.page(request, status, webhook_problem=error.message, webhook_given=asked)
    return settings.page(request, webhook_secret=secret, webhook_new=endpoint)


@never_cache
@require_POST
def act(request: HttpRequest, endpoint_id: str, action: str) -> HttpResponse:
    endpoint = get_object_or_404(WebhookEndpoint.objects.of(request.project), pk=endpoint_id)
    try:
        if action == "rotate":
            secret = endpoints.rotate_secret(endpoint, keep_old=True)
            return settings.page(request, webhook_secret=secret, webhook_new=endpoint, webhook_rotated=True)
        if action == "try":
            _try_out(request, endpoint)
        elif action == "resume":
            endpoints.change(endpoint)
            messages.success(request, f"“{endpoint.name}” is told again from now on.")
        elif action == "remove":
            endpoint.delete()
            messages.success(request, f"“{endpoint.name}” is told nothing any more.")
    except ApiError as error:
        return settings.page(request, 422 if error.status == 400 else error.status, webhook_problem=error.message)
    return settings.back("webhooks")


def _try_out(request: HttpRequest, endpoint: WebhookEndpoint) -> None:
    status = endpoints.try_out(endpoint, endpoint.event_types[0])
    if 200 <= status < 300:
        messages.success(request, f"“{endpoint.name}” took the sample (it answered {status}).")
    else:
        messages.warning(
            request,
            f"“{endpoint.name}” was reached but answered {status}; an event would be sent again until it is 2xx.",
        )


@require_POST
def send_again(request: HttpRequest, delivery_id: int) -> HttpResponse:
    mine = WebhookDelivery.objects.filter(endpoint__project=request.project)
    delivery = get_object_or_404(mine, pk=delivery_id)
    deliveries.send_again(delivery)
    messages.success(request, "It is sent again at once.")
    return settings.back("webhooks")


urlpatterns: list[URLPattern] = [
    path("webhooks/add", add, name="add-webhook"),
    path("webhooks/<str:endpoint_id>/<str:action>", act, name="act-on-webhook"),
    path("webhook-deliveries/<int:delivery_id>/again", send_again, name="send-webhook-again"),
]
