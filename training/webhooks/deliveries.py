"""A job's end is owed to each endpoint that asked for it, from the same transaction on; workers make the attempts.

An attempt that a killed worker began is made again: at least once, never lost.
"""

import asyncio
import json
import os
import random
from datetime import timedelta

import aiohttp
from django.db import transaction
from django.db.models import QuerySet
from django.utils import timezone

from accounts.ids import new_id
from accounts.sealed import Unreadable
from training import tasks
from training.addresses import Resolver, check_url
from training.webhooks import signing
from training.webhooks.models import WebhookDelivery, WebhookEndpoint

EVENT_TYPES = tuple(f"fine_tuning.job.{end}" for end in ("succeeded", "failed", "cancelled"))
WAITS = tuple(  # after each failed attempt; about 3 days in all
    timedelta(seconds=seconds) for seconds in (5, 30, 120, 600, 3600, 6 * 3600, 24 * 3600, 40 * 3600)
)
ATTEMPT_SECONDS = 15.0
LEASE = timedelta(seconds=60)  # a worker that is at it
KEPT = timedelta(days=30)
MOST_AT_ONCE = 50
Status = WebhookDelivery.Status


def job_ended(job_id: str, project_id: str, status: str) -> None:
    """Call inside the transaction that ends the job."""
    type = f"fine_tuning.job.{status}"
    endpoints = WebhookEndpoint.objects.filter(project_id=project_id, gone=False)
    wanted = [endpoint for endpoint in endpoints if type in endpoint.event_types]
    if wanted:
        event_id, text = event(type, job_id)
        for endpoint in wanted:
            send(WebhookDelivery.objects.create(endpoint=endpoint, event_id=event_id, type=type, body=text))


def event(type: str, about: str) -> tuple[str, str]:
    """Its id, and the body as it is signed and sent."""
    event_id, now = new_id("evt_"), int(timezone.now().timestamp())
    body = {"id": event_id, "object": "event", "created_at": now, "type": type, "data": {"id": about}}
    return event_id, json.dumps(body, separators=(",", ":"))


def send(delivery: WebhookDelivery) -> None:
    """As soon as the transaction is through."""
    transaction.on_commit(lambda: tasks.wake(tasks.deliver_webhook, delivery.pk))


def send_again(delivery: WebhookDelivery) -> None:
    """Because somebody asked for it; what was tried before does not count."""
    WebhookDelivery.objects.filter(pk=delivery.pk).update(
        status=Status.WAITING, attempts=0, next_at=timezone.now(), ended_at=None
    )
    send(delivery)


def due() -> "QuerySet[WebhookDelivery]":
    return WebhookDelivery.objects.filter(status=Status.WAITING, next_at__lte=timezone.now())


def attempt(delivery_id: int) -> None:
    """Body of the actor: one try, unless another worker is at it."""
    now = timezone.now()
    mine = WebhookDelivery.objects.filter(pk=delivery_id, status=Status.WAITING, next_at__lte=now)
    if not mine.update(next_at=now + LEASE):
        return
    delivery = WebhookDelivery.objects.select_related("endpoint").get(pk=delivery_id)
    status, said = post(delivery.endpoint, delivery.event_id, delivery.body)
    _told(delivery, status, said)


def _told(delivery: WebhookDelivery, status: int, said: str) -> None:
    now, attempts = timezone.now(), delivery.attempts + 1
    changes: dict[str, object] = {"attempts": attempts, "said": said}
    if 200 <= status < 300:
        changes |= {"status": Status.DELIVERED, "ended_at": now}
    elif status == 410 or attempts > len(WAITS):
        changes |= {"status": Status.GIVEN_UP, "ended_at": now}
    else:
        changes["next_at"] = now + WAITS[attempts - 1] * random.uniform(0.9, 1.1)  # not all at once after an outage
    WebhookDelivery.objects.filter(pk=delivery.pk, status=Status.WAITING).update(**changes)
    if status == 410:  # the standard's word for: send nothing more
        WebhookEndpoint.objects.filter(pk=delivery.endpoint_id).update(gone=True)


def post(endpoint: WebhookEndpoint, event_id: str, body: str) -> tuple[int, str]:
    """The status of the answer, 0 without one, and words about it."""
    now = timezone.now()
    try:
        check_url(endpoint.url)
        headers = signing.headers(event_id, body, int(now.timestamp()), endpoint.secrets(now))
        return asyncio.run(_post(endpoint.url, body, headers))
    except TimeoutError:
        return 0, f"no answer within {ATTEMPT_SECONDS:.0f} seconds"
    except Unreadable as error:
        return 0, f"The signing secret cannot be read: {error} Rotate it."
    except aiohttp.ClientConnectorError as error:
        number = error.os_error.errno or 0
        why = os.strerror(number) if number > 0 else error.os_error.strerror or str(error.os_error)
        return 0, f"nothing answers at {error.host}:{error.port} ({why})"[:300]
    except (aiohttp.ClientError, OSError, ValueError) as error:
        return 0, f"not reached: {' '.join(str(error).split()) or type(error).__name__}"[:300]


async def _post(url: str, body: str, headers: dict[str, str]) -> tuple[int, str]:
    sent = headers | {"Content-Type": "application/json", "User-Agent": "hone-webhooks"}
    async with (
        aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(resolver=Resolver()),
            timeout=aiohttp.ClientTimeout(total=ATTEMPT_SECONDS),
            cookie_jar=aiohttp.DummyCookieJar(),
        ) as session,
        session.post(url, data=body.encode(), headers=sent, allow_redirects=False) as answer,
    ):
        return answer.status, f"{answer.status} {answer.reason or ''}".strip()[:300]


def remove_old() -> int:
    old = WebhookDelivery.objects.filter(ended_at__lt=timezone.now() - KEPT)
    return old.delete()[0]
