"""/v1/webhook_endpoints: which addresses are told when a job ends."""

from typing import Annotated, Any, Literal

from django.http import HttpRequest
from ninja import Router, Schema
from pydantic import Field

from accounts.errors import ApiError
from dashboard import schemas
from dashboard.paging import Limit, page
from training.models import WebhookEndpoint
from training.webhooks import endpoints
from training.webhooks.deliveries import EVENT_TYPES

router = Router()

Name = Annotated[str, Field(min_length=1, max_length=120)]
ADDRESS = r"^[Hh][Tt][Tt][Pp][Ss]?://[^\s/?#:@\\][^\s#\\]*$"
Url = Annotated[str, Field(min_length=1, max_length=1000, json_schema_extra={"pattern": ADDRESS})]
# which events there are, and what is no address, is said in training/webhooks; here it is only described
EventType = Annotated[str, Field(json_schema_extra={"enum": list(EVENT_TYPES)})]
SomeTypes = Annotated[list[EventType], Field(json_schema_extra={"minItems": 1})]


class AskEndpoint(schemas.Asked):
    name: Name
    url: Url
    event_types: SomeTypes


class AskChange(schemas.Asked):
    name: Name | None = None
    url: Url | None = None
    event_types: SomeTypes | None = None


class AskRotation(schemas.Asked):
    keep_old_secret_active_for_24_hours: bool = False


class AskTest(schemas.Asked):
    event_type: EventType


class Endpoint(Schema):
    id: str
    object: Literal["webhook_endpoint"] = "webhook_endpoint"
    created_at: int
    updated_at: int
    name: str
    url: str
    event_types: list[str]
    signing_secret_hint: str


class EndpointWithSecret(Endpoint):
    signing_secret: str


class EndpointList(schemas.Page):
    data: list[Endpoint]
    first_id: str | None
    last_id: str | None


class DeletedEndpoint(Schema):
    id: str
    object: Literal["webhook_endpoint.deleted"] = "webhook_endpoint.deleted"
    deleted: Literal[True] = True


class Tried(Schema):
    object: Literal["webhook_endpoint.test"] = "webhook_endpoint.test"
    event_type: str
    status_code: int
    success: Literal[True] = True
    webhook_endpoint_id: str


class EventTypes(Schema):
    object: Literal["list"] = "list"
    data: list[str]


@router.get("/webhook_event_types", response=EventTypes)
def event_types(request: HttpRequest) -> dict[str, Any]:
    return {"data": EVENT_TYPES}


@router.post("/webhook_endpoints", response=EndpointWithSecret)
def create_endpoint(request: HttpRequest, asked: AskEndpoint) -> dict[str, Any]:
    """The signing secret stands in this answer and in no other."""
    project, user = request.project, request.auth_user  # type: ignore[attr-defined]
    endpoint, secret = endpoints.add(project, user, asked.name, asked.url, asked.event_types)
    return as_endpoint(endpoint) | {"signing_secret": secret}


@router.get("/webhook_endpoints", response=EndpointList)
def list_endpoints(request: HttpRequest, after: str | None = None, limit: Limit = 20) -> dict[str, Any]:
    found, more = page(WebhookEndpoint.objects.of(request.project), after=after, limit=limit)  # type: ignore[attr-defined]
    data = [as_endpoint(row) for row in found]
    first, last = (data[0]["id"], data[-1]["id"]) if data else (None, None)
    return {"data": data, "has_more": more, "first_id": first, "last_id": last}


@router.get("/webhook_endpoints/{endpoint_id}", response=Endpoint)
def retrieve_endpoint(request: HttpRequest, endpoint_id: str) -> dict[str, Any]:
    return as_endpoint(find_endpoint(request, endpoint_id))


@router.post("/webhook_endpoints/{endpoint_id}", response=Endpoint)
def change_endpoint(request: HttpRequest, endpoint_id: str, asked: AskChange) -> dict[str, Any]:
    endpoint = find_endpoint(request, endpoint_id)
    endpoints.change(endpoint, **asked.model_dump(exclude_none=True))
    return as_endpoint(endpoint)


@router.delete("/webhook_endpoints/{endpoint_id}", response=DeletedEndpoint)
def delete_endpoint(request: HttpRequest, endpoint_id: str) -> dict[str, Any]:
    """What it was still owed is not sent."""
    find_endpoint(request, endpoint_id).delete()
    return {"id": endpoint_id}


@router.post("/webhook_endpoints/{endpoint_id}/rotate_secret", response=EndpointWithSecret)
def rotate_secret(request: HttpRequest, endpoint_id: str, asked: AskRotation | None = None) -> dict[str, Any]:
    endpoint = find_endpoint(request, endpoint_id)
    secret = endpoints.rotate_secret(endpoint, bool(asked and asked.keep_old_secret_active_for_24_hours))
    return as_endpoint(endpoint) | {"signing_secret": secret}


@router.post("/webhook_endpoints/{endpoint_id}/test", response=Tried)
def try_endpoint(request: HttpRequest, endpoint_id: str, asked: AskTest) -> dict[str, Any]:
    """Sends a sample at once; `status_code` is what the endpoint answered, whatever that is."""
    status = endpoints.try_out(find_endpoint(request, endpoint_id), asked.event_type)
    return {"event_type": asked.event_type, "status_code": status, "webhook_endpoint_id": endpoint_id}


def find_endpoint(request: HttpRequest, endpoint_id: str) -> WebhookEndpoint:
    row = WebhookEndpoint.objects.of(request.project).filter(pk=endpoint_id).first()  # type: ignore[attr-defined]
    if row is None:
        raise ApiError(f"No such webhook endpoint: {endpoint_id}", status=404, param="webhook_endpoint_id")
    return row


def as_endpoint(row: WebhookEndpoint) -> dict[str, Any]:
    return {
        "id": row.id,
        "created_at": int(row.created_at.timestamp()),
        "updated_at": int(row.updated_at.timestamp()),
        "name": row.name,
        "url": row.url,
        "event_types": row.event_types,
        "signing_secret_hint": row.hint,
    }
