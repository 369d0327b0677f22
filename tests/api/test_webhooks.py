"""/v1/webhook_endpoints with the official SDK, and what a program gets that listens there."""

import time

import pytest
from openai import BadRequestError, InvalidWebhookSignatureError, NotFoundError, PermissionDeniedError

from tests.api.conftest import jsonl
from tests.factories import chat_rows
from tests.receiving import receiving

ALL = ["fine_tuning.job.succeeded", "fine_tuning.job.failed", "fine_tuning.job.cancelled"]


@pytest.mark.servers
def test_a_program_is_told_that_a_job_has_failed_and_the_sdk_believes_the_signature(server, client):
    with receiving() as program:
        endpoint = client.webhooks.create(name="release script", url=program.url, event_types=ALL)
        assert (
            endpoint.signing_secret.startswith("whsec_")
            and endpoint.signing_secret_hint[-4:] in endpoint.signing_secret
        )
        file = client.files.create(file=("few.jsonl", jsonl(chat_rows(3))), purpose="fine-tune")
        job = client.fine_tuning.jobs.create(model="tiny", training_file=file.id)  # too few rows
        patience = time.monotonic() + 60
        while not program.came and time.monotonic() < patience:
            time.sleep(0.1)
        assert program.came, f"nobody was told\n{server.logs()}"
        headers, body = program.came[0]
        event = client.webhooks.unwrap(body, headers, secret=endpoint.signing_secret)
        assert (event.type, event.data.id, event.object) == ("fine_tuning.job.failed", job.id, "event")
        assert event.id == headers["webhook-id"] and event.id.startswith("evt_")
        with pytest.raises(InvalidWebhookSignatureError):
            client.webhooks.unwrap(body.replace(job.id, "ftjob-other"), headers, secret=endpoint.signing_secret)
        client.webhooks.delete(endpoint.id)


def test_an_endpoint_is_tried_changed_rotated_listed_and_removed(client):
    assert client.webhooks.event_types.list().data == ALL
    with receiving() as program:
        endpoint = client.webhooks.create(name="a", url=program.url, event_types=ALL[:1])
        assert client.webhooks.test(endpoint.id, event_type=ALL[1]).status_code == 200
        changed = client.webhooks.update(endpoint.id, name="b")
        assert (changed.name, changed.url, changed.event_types) == ("b", program.url, ALL[:1])
        kept = client.webhooks.rotate_secret(endpoint.id, keep_old_secret_active_for_24_hours=True).signing_secret
        client.webhooks.test(endpoint.id, event_type=ALL[0])
        for secret in (endpoint.signing_secret, kept):
            client.webhooks.unwrap(program.came[-1][1], program.came[-1][0], secret=secret)
        client.webhooks.rotate_secret(endpoint.id)
        client.webhooks.test(endpoint.id, event_type=ALL[0])
        with pytest.raises(InvalidWebhookSignatureError):
            client.webhooks.unwrap(program.came[-1][1], program.came[-1][0], secret=kept)
        program.answer = 302  # never followed
        assert client.webhooks.test(endpoint.id, event_type=ALL[0]).status_code == 302
        assert len(program.came) == 4
    assert endpoint.id in [row.id for row in client.webhooks.list()]
    assert not hasattr(client.webhooks.retrieve(endpoint.id), "signing_secret")
    with pytest.raises(BadRequestError) as away:
        client.webhooks.test(endpoint.id, event_type=ALL[0])
    assert away.value.code == "webhook_not_reached" and "Connection refused" in away.value.message
    assert client.webhooks.delete(endpoint.id).deleted
    with pytest.raises(NotFoundError):
        client.webhooks.retrieve(endpoint.id)


def test_what_cannot_be_told_or_asked_is_refused_with_its_field(server, client):
    for url, types, param in (
        ("ftp://example.com", ALL, "url"),
        ("http://169.254.169.254/latest", ALL, "url"),
        ("https://example.com", ["batch.completed"], "event_types"),
        ("https://example.com", [], "event_types"),
    ):
        with pytest.raises(BadRequestError) as caught:
            client.webhooks.create(name="x", url=url, event_types=types)
        assert caught.value.param == param
    with pytest.raises(PermissionDeniedError):
        server.client(server.member_key).webhooks.create(name="x", url="https://example.com", event_types=ALL)
    mine = client.webhooks.create(name="x", url="https://example.com", event_types=ALL)
    with pytest.raises(NotFoundError):
        server.client(server.stranger_key).webhooks.retrieve(mine.id)
    client.webhooks.delete(mine.id)
