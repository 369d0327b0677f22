"""Add, change, rotate the secret, try out, remove."""

from collections.abc import Sequence
from datetime import timedelta

from django.utils import timezone

from accounts.errors import ApiError
from accounts.models import Project, User
from training.addresses import Refused, check_url
from training.webhooks import deliveries, signing
from training.webhooks.deliveries import EVENT_TYPES
from training.webhooks.models import WebhookEndpoint

MOST = 20  # of a project
OLD_SECRET_LIVES = timedelta(hours=24)


def add(
    project: Project, user: User | None, name: str, url: str, event_types: Sequence[str]
) -> tuple[WebhookEndpoint, str]:
    """The row, and the signing secret, which is readable only now."""
    if WebhookEndpoint.objects.of(project).count() >= MOST:
        raise ApiError(f"A project has at most {MOST} webhook endpoints. Remove one first.", code="too_many_endpoints")
    secret = signing.new_secret()
    endpoint = WebhookEndpoint(
        project=project, created_by=user, name=_name(name), url=_url(url), event_types=_types(event_types)
    )
    endpoint.keep_secret(secret)
    endpoint.save()
    return endpoint, secret


def change(
    endpoint: WebhookEndpoint,
    *,
    name: str | None = None,
    url: str | None = None,
    event_types: Sequence[str] | None = None,
) -> None:
    """Only what is given; one that had answered 410 is sent to again."""
    before = (endpoint.name, endpoint.url, endpoint.event_types, endpoint.gone)
    endpoint.name = endpoint.name if name is None else _name(name)
    endpoint.url = endpoint.url if url is None else _url(url)
    endpoint.event_types = endpoint.event_types if event_types is None else _types(event_types)
    endpoint.gone = False
    if before != (endpoint.name, endpoint.url, endpoint.event_types, endpoint.gone):
        endpoint.updated_at = timezone.now()
    endpoint.save()


def rotate_secret(endpoint: WebhookEndpoint, keep_old: bool = False) -> str:
    """The new secret. `keep_old`: the old one signs beside it for 24 hours."""
    secret, now = signing.new_secret(), timezone.now()
    endpoint.old_sealed = endpoint.sealed if keep_old else ""
    endpoint.old_until = now + OLD_SECRET_LIVES if keep_old else None
    endpoint.keep_secret(secret)
    endpoint.updated_at = now
    endpoint.save()
    return secret


def try_out(endpoint: WebhookEndpoint, type: str) -> int:
    """Sends a sample at once, which is not repeated; the status of the answer. Raises ApiError when there is none."""
    if type not in EVENT_TYPES:
        raise ApiError(f"'{type}' is not one of {', '.join(EVENT_TYPES)}.", param="event_type", code="invalid_value")
    status, said = deliveries.post(endpoint, *deliveries.event(type, "ftjob-sample"))
    if not status:
        raise ApiError(f"The sample was not taken: {said.removesuffix('.')}.", param="url", code="webhook_not_reached")
    return status


def _name(name: str) -> str:
    if not name.strip():
        raise ApiError("A webhook endpoint needs a name.", param="name")
    return name.strip()[:120]


def _url(url: str) -> str:
    try:
        return check_url(url)
    except Refused as error:
        raise ApiError(str(error), param="url", code="invalid_value") from error


def _types(event_types: Sequence[str]) -> list[str]:
    for type in event_types:
        if type not in EVENT_TYPES:
            text = f"Hone has no event '{type}'; it tells of {', '.join(EVENT_TYPES)}."
            raise ApiError(text, param="event_types", code="invalid_value")
    if not event_types:
        raise ApiError("Choose at least one event.", param="event_types")
    return sorted(set(event_types), key=EVENT_TYPES.index)
