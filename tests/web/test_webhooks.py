"""Webhooks: what is owed, when it is tried again, and the section of the settings."""

import re
from datetime import timedelta

import pytest
from django.test import Client
from django.utils import timezone

from accounts.models import Project, User
from tests import makers
from tests.receiving import receiving
from training import endings, tasks
from training.models import WebhookDelivery, WebhookEndpoint
from training.webhooks import deliveries, endpoints

FAILED = "fine_tuning.job.failed"


def owed(endpoint: WebhookEndpoint) -> WebhookDelivery:
    return WebhookDelivery.objects.get(endpoint=endpoint)


def test_the_end_of_a_job_is_owed_once_to_each_endpoint_that_asked_for_it(project: Project) -> None:
    job = makers.make_job(project, steps=2, total_steps=4)
    wants, _ = endpoints.add(project, None, "a", "https://example.com/a", [FAILED])
    endpoints.add(project, None, "b", "https://example.com/b", ["fine_tuning.job.succeeded"])
    assert endings.fail(job, "broken") and not endings.fail(job, "broken again")
    delivery = WebhookDelivery.objects.get()
    assert (delivery.endpoint, delivery.type, job.pk in delivery.body) == (wants, FAILED, True)


def test_an_endpoint_that_is_away_is_tried_for_three_days_with_the_same_event(project: Project) -> None:
    with receiving() as program:
        program.answer = 503
        endpoint, _ = endpoints.add(project, None, "a", program.url, [FAILED])
        deliveries.job_ended("ftjob-1", project.pk, "failed")
        waits = []
        while owed(endpoint).status == "waiting":
            WebhookDelivery.objects.update(next_at=timezone.now())
            deliveries.attempt(owed(endpoint).pk)
            waits.append(owed(endpoint).next_at - timezone.now())
            deliveries.attempt(owed(endpoint).pk)  # not due: nothing happens
        assert sum(waits[:-1], timedelta()) > timedelta(days=2.5) and waits[0] < timedelta(seconds=6)
        assert len({headers["webhook-id"] for headers, _ in program.came}) == 1
        assert len(program.came) == len(waits) == owed(endpoint).attempts == len(deliveries.WAITS) + 1
        assert (owed(endpoint).status, owed(endpoint).said) == ("given_up", "503 Service Unavailable")
        program.answer = 200
        deliveries.send_again(owed(endpoint))
        deliveries.attempt(owed(endpoint).pk)
        assert owed(endpoint).status == "delivered"


def test_one_that_a_killed_worker_had_begun_is_due_again(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    endpoint, _ = endpoints.add(project, None, "a", "https://example.com/a", [FAILED])
    deliveries.job_ended("ftjob-1", project.pk, "failed")
    monkeypatch.setattr(deliveries, "post", lambda *_: (_ for _ in ()).throw(SystemExit))
    with pytest.raises(SystemExit):
        deliveries.attempt(owed(endpoint).pk)
    assert not deliveries.due()
    later = timezone.now() + deliveries.LEASE
    monkeypatch.setattr(deliveries.timezone, "now", lambda: later)
    assert [delivery.pk for delivery in deliveries.due()] == [owed(endpoint).pk]


def test_a_410_ends_it_until_somebody_says_otherwise(owner_client: Client, project: Project) -> None:
    with receiving() as program:
        program.answer = 410
        endpoint, _ = endpoints.add(project, None, "gone", program.url, [FAILED])
        deliveries.job_ended("ftjob-1", project.pk, "failed")
        deliveries.attempt(owed(endpoint).pk)
        deliveries.job_ended("ftjob-2", project.pk, "failed")
        assert WebhookDelivery.objects.count() == 1
        assert "answered 410 (gone)" in owner_client.get("/settings/").content.decode()
        owner_client.post(f"/settings/webhooks/{endpoint.pk}/resume")
        endpoint.refresh_from_db()
        assert not endpoint.gone


def test_old_deliveries_leave_and_owed_ones_stay(project: Project) -> None:
    endpoint, _ = endpoints.add(project, None, "a", "https://example.com/a", [FAILED])
    for _ in range(2):
        deliveries.job_ended("ftjob-1", project.pk, "failed")
    WebhookDelivery.objects.filter(pk=WebhookDelivery.objects.first().pk).update(
        status="delivered", ended_at=timezone.now() - timedelta(days=31)
    )
    assert deliveries.remove_old() == 1 and owed(endpoint).status == "waiting"


def test_an_owner_adds_one_sees_its_secret_once_tries_it_and_removes_it(owner_client: Client) -> None:
    empty = owner_client.get("/settings/").content.decode()
    assert "None yet. A webhook tells a program" in empty
    with receiving() as program:
        asked = {"name": "release script", "url": program.url, "event_types": [FAILED]}
        page = owner_client.post("/settings/webhooks/add", asked).content.decode()
        secret = re.search(r"whsec_[A-Za-z0-9+/=]{40,}", page)
        assert secret and "told when a job has failed" in page
        later = owner_client.get("/settings/").content.decode()
        assert secret.group() not in later and f"whsec_…{secret.group()[-4:]}" in later
        endpoint = WebhookEndpoint.objects.get()
        assert (
            "took the sample"
            in owner_client.post(f"/settings/webhooks/{endpoint.pk}/try", follow=True).content.decode()
        )
        program.answer = 500
        assert (
            "answered 500" in owner_client.post(f"/settings/webhooks/{endpoint.pk}/try", follow=True).content.decode()
        )
    refused = owner_client.post("/settings/webhooks/add", asked | {"url": "nowhere"})
    assert refused.status_code == 422 and 'value="nowhere"' in refused.content.decode()
    owner_client.post(f"/settings/webhooks/{endpoint.pk}/remove")
    assert not WebhookEndpoint.objects.exists()


def test_a_member_sees_them_and_changes_nothing(teammate: User, project: Project) -> None:
    member_client = Client()
    member_client.force_login(teammate)
    endpoint, _ = endpoints.add(project, None, "a", "https://example.com/a", [FAILED])
    page = member_client.get("/settings/").content.decode()
    assert "https://example.com/a" in page and "Add a webhook" not in page
    for address in ("add", f"{endpoint.pk}/remove", f"{endpoint.pk}/rotate"):
        assert member_client.post(f"/settings/webhooks/{address}").status_code == 403
    assert WebhookEndpoint.objects.exists()


def test_a_worker_finds_by_itself_what_is_owed(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    endpoints.add(project, None, "a", "https://example.com/a", [FAILED])
    deliveries.job_ended("ftjob-1", project.pk, "failed")
    woken: list[tuple] = []
    monkeypatch.setattr(tasks, "wake", lambda actor, *arguments: woken.append((actor, *arguments)))
    tasks.send_missing_wake_ups({"default"})
    assert (tasks.deliver_webhook, WebhookDelivery.objects.get().pk) in woken
