"""Who may call, what an error looks like, how often, and who is told: errors, limits, projects, webhooks."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import openai
from openai import APIStatusError, AuthenticationError, BadRequestError, ConflictError, NotFoundError

from proofs.clients.rows.stage import Stage, chat_rows, refused, row

ENDS = ["fine_tuning.job.succeeded", "fine_tuning.job.failed", "fine_tuning.job.cancelled"]
LIMITS = [f"x-ratelimit-{what}-{of}" for what in ("limit", "remaining", "reset") for of in ("requests", "tokens")]


@row("errors", light=True)
def errors(stage: Stage) -> None:
    """Class, shape and request id; bad input is 400, never 422; no body has `detail`."""
    client, sent = stage.counted()
    wrong = openai.OpenAI(base_url=f"{stage.url}/v1", api_key="sk-hone-0123456789abcdefgh")
    error = refused(lambda: wrong.models.list(), AuthenticationError, code="invalid_api_key")
    assert "456789" not in error.message, "shows the key"
    for body in ({}, {"model": stage.model, "training_file": 3}, {"model": None, "training_file": "file-none"}):
        refused(lambda body=body: client.post("/fine_tuning/jobs", body=body, cast_to=object), BadRequestError)
    refused(lambda: client.fine_tuning.jobs.retrieve("ftjob-none"), NotFoundError)
    refused(lambda: client.get("/nothing", cast_to=object), NotFoundError, code="unknown_url")
    error = refused(lambda: client.delete("/fine_tuning/jobs", cast_to=object), APIStatusError)
    assert error.status_code == 405
    for each in (error, refused(lambda: client.files.create(file=b"", purpose="fine-tune"), BadRequestError)):
        assert set(each.response.json()) == {"error"}
    assert {request.headers["x-stainless-retry-count"] for request in sent} == {"0"}, "something was retried"


@row("org and project headers", light=True)
def projects(stage: Stage) -> None:
    """A key belongs to a project: a header that names it passes, another one does not; nobody sees a stranger's."""
    project, job = stage.keys["project"], stage.create()
    stage.client.fine_tuning.jobs.cancel(job.id)
    assert stage.client_of("key", project=project).fine_tuning.jobs.retrieve(job.id).id == job.id
    for named in (stage.keys["stranger_project"], "proj_none"):
        client = stage.client_of("key", project=named)
        error = refused(lambda client=client: client.fine_tuning.jobs.list().data, AuthenticationError)
        assert error.code == "mismatched_project"
    stranger = stage.client_of("stranger_key", project=stage.keys["stranger_project"])
    assert job.id not in [each.id for each in stranger.fine_tuning.jobs.list()]
    refused(lambda: stranger.fine_tuning.jobs.retrieve(job.id), NotFoundError)
    refused(lambda: stranger.files.retrieve(stage.training_file), NotFoundError)
    refused(lambda: stranger.fine_tuning.jobs.create(model=stage.model, training_file=stage.training_file),
            BadRequestError, "training_file")  # fmt: skip


@row("rate-limit headers")
def rate_limit_headers(stage: Stage) -> None:
    stage.ask(stage.model)
    asked = {"model": stage.model, "messages": [{"role": "user", "content": "Hi"}], "max_tokens": 4}
    headers = stage.client.chat.completions.with_raw_response.create(**asked).headers
    absent = [name for name in LIMITS if name not in headers]
    assert not absent, f"no {', '.join(absent)}"
    for of in ("requests", "tokens"):
        assert 0 <= int(headers[f"x-ratelimit-remaining-{of}"]) <= int(headers[f"x-ratelimit-limit-{of}"])
        assert headers[f"x-ratelimit-reset-{of}"].endswith("s")


@row("retries", light=True)
def retries(stage: Stage) -> None:
    """A conflict that a second try cannot solve is sent once."""
    client, sent = stage.counted()
    job = stage.create()
    refused(lambda: client.files.delete(stage.training_file), ConflictError, "file_id")
    assert len(sent) == 1, f"the conflict was sent {len(sent)} times"
    stage.client.fine_tuning.jobs.cancel(job.id)


class Told(BaseHTTPRequestHandler):
    came: "list[tuple[dict[str, str], str]]"

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"])).decode()
        self.came.append(({name.lower(): value for name, value in self.headers.items()}, body))
        self.send_response(204)
        self.end_headers()

    def log_message(self, format: str, *arguments: object) -> None:
        pass


@contextmanager
def listening() -> "Iterator[tuple[str, list[tuple[dict[str, str], str]]]]":
    """An address, and what is posted there."""
    handler = type("Handler", (Told,), {"came": []})
    with HTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/hook", handler.came
        server.shutdown()


@row("webhooks")
def webhooks(stage: Stage) -> None:
    """The end of a job, signed as the SDK checks it. Older SDKs make the endpoint by a plain request."""
    client = stage.client
    with listening() as (url, came):
        asked = {"name": "release script", "url": url, "event_types": ENDS}
        made = client.post("/webhook_endpoints", body=asked, cast_to=dict[str, Any])
        secret = made["signing_secret"]
        job = stage.until(stage.create(training_file=stage.upload(chat_rows(3)).id).id, "failed")
        deadline = time.monotonic() + 300
        while not came and time.monotonic() < deadline:
            time.sleep(0.1)
        client.delete(f"/webhook_endpoints/{made['id']}", cast_to=dict[str, Any])
    assert came, "nobody was told"
    headers, body = came[0]
    event = client.webhooks.unwrap(body, headers, secret=secret)
    assert (event.type, event.data.id) == ("fine_tuning.job.failed", job.id) and event.id.startswith("evt_")
    try:
        client.webhooks.unwrap(body.replace(job.id, "ftjob-other"), headers, secret=secret)
    except openai.InvalidWebhookSignatureError:
        return
    raise AssertionError("a changed body is believed")
