"""GET /healthz."""

import json
import os

import pytest
from django.test import Client

from training.home import home


@pytest.mark.django_db
def test_healthz_needs_no_login_and_tells_each_process():
    path = home() / "processes.json"
    entry = {"started_at": 0, "restarts": 2}
    path.write_text(json.dumps({"web": {**entry, "pid": os.getpid()}, "serve": {**entry, "pid": None}}))
    try:
        answer = Client().get("/healthz")
    finally:
        path.unlink()
    assert answer.status_code == 200
    body = answer.json()
    assert body["status"] == "ok" and body["database"] == "ok"
    assert body["processes"]["web"]["state"] == "running"
    assert body["processes"]["serve"] == {**body["processes"]["serve"], "state": "restarting", "restarts": 2}
