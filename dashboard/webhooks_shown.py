"""What the settings page shows of a project's webhook endpoints."""

from typing import Any

from django.http import HttpRequest

from training.models import WebhookEndpoint

WORDS = {
    "fine_tuning.job.succeeded": "a job has succeeded",
    "fine_tuning.job.failed": "a job has failed",
    "fine_tuning.job.cancelled": "a job was cancelled",
}
SHOWN = 10  # deliveries


def context(request: HttpRequest) -> dict[str, Any]:
    """What the settings page shows of them."""
    rows = WebhookEndpoint.objects.of(request.project).select_related("created_by").order_by("created_at")
    shown = [
        {"row": row, "when": [WORDS[type] for type in row.event_types], "sent": row.deliveries.all()[:SHOWN]}
        for row in rows
    ]
    return {"webhooks": shown, "webhook_events": WORDS.items(), "webhook_given": {"event_types": list(WORDS)}}
