"""`GET /healthz`: is every process alive? Needs no login and gives nothing away."""

import json
import time
from typing import Any

import psutil
from django.db import DatabaseError, connection
from django.http import HttpRequest, JsonResponse

from playground import deployments
from training.home import home


def healthz(request: HttpRequest) -> JsonResponse:
    """200 with the state of the database and of each process; 503 when the database does not answer."""
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1")
        database = "ok"
    except DatabaseError:
        database = "unreachable"
    body = {"status": "ok" if database == "ok" else "failing", "database": database, "processes": process_states()}
    return JsonResponse(body, status=200 if database == "ok" else 503)


def process_states() -> dict[str, dict[str, Any]]:
    """By process name, as `manage.py up` started them; empty when they are run by something else."""
    try:
        recorded = json.loads((home() / "processes.json").read_text())
    except (OSError, ValueError):
        return {}
    states = {
        name: {
            "state": "running" if entry["pid"] and psutil.pid_exists(entry["pid"]) else "restarting",
            "seconds": round(time.time() - entry["started_at"]),
            "restarts": entry["restarts"],
        }
        for name, entry in recorded.items()
    }
    serve = states.get("serve")
    waited = serve and serve["state"] == "running" and serve["seconds"] > deployments.BEAT_LIMIT_SECONDS
    if waited and deployments.heartbeat() is None:
        serve["state"] = "silent"  # alive, but its loop stands still
    return states
