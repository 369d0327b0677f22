"""What owners and whoever looks after the server see: keys, roles, the audit log, usage, prices, quotas, old jobs."""

import math
import os
from datetime import timedelta
from unittest import mock

from django.core.management import call_command
from django.urls import reverse
from django.utils import timezone

from accounts.audit import AuditEntry
from accounts.models import ApiKey, Membership, Project, User
from tests.fakes import openai_data, openai_platform
from training.models import BaseModel, DatasetFile, ModelTerms, TrainingJob
from training.quotas.models import Quota
from training.usage.models import Usage

READER = "reader@example.com"
CHANGES = (  # who, words, kind, outcome, reason
    ("ada@example.com", "Uploaded dataset ticket-train.jsonl", "dataset", "done", ""),
    ("member@example.com", "Started job Tickets", "job", "done", ""),
    ("Hone", "Removed 1,204 rows of this log that were older than 365 days", "audit", "done", ""),
    (READER, "Tried to delete dataset ticket-train.jsonl", "dataset", "refused", "role"),
    ("ada@example.com", "Made API key Nightly evaluation", "key", "done", ""),
    ("ada@example.com", "Made evaluator@example.com an evaluator", "person", "done", ""),
    ("member@example.com", "Tried to export ft:SmolLM2-135M-Instruct:hone:ticket", "export", "failed", ""),
)
PROGRAM = {"key_hint": "sk-hone-abc…9xyz", "key_name": "Nightly evaluation", "agent": "OpenAI/Python 2.8.0"}


def seed(project: Project, owner: User, base: BaseModel) -> dict[str, str]:
    """Adds everything to a project; picture's name -> address."""
    keys = _keys(project, owner, _people(project)["member"])
    _changes(project)
    _used(project, keys, owner, base)
    own = {"training_price": 3.0, "input_price": 0.3, "output_price": 1.2, "requests_per_minute": 600}
    ModelTerms.objects.create(project=project, base_model=base, **own)
    Quota.objects.create(project=project, jobs=2, waiting=6, disk_gb=5.0, changed_by=owner)
    return {
        "audit": reverse("audit"),
        "audit-found": reverse("audit") + "?kind=dataset&text=ticket",
        "audit-none": reverse("audit") + "?text=zebra",
        "usage": reverse("usage"),
        "usage-cost": reverse("usage") + "?days=7&show=cost",
        "terms": reverse("change-terms", args=[base.name]),
        **_imported(project),
    }


def server_pages() -> dict[str, str]:
    """Of whoever looks after the server."""
    return {
        "quotas": reverse("quotas"),
        "new-project": reverse("new-project"),
        "audit-server": reverse("audit") + "?where=server",
        "usage": reverse("usage"),
    }


def docs_pages() -> dict[str, str]:
    guides = {f"docs-{slug}": reverse("docs-page", args=[slug]) for slug in ("fine-tuning", "differences", "limits")}
    return {"docs": reverse("docs"), "docs-reference": reverse("docs-reference"), **guides}


def _people(project: Project) -> dict[str, User]:
    made = {}
    for role in ("member", "evaluator", "reader"):
        made[role] = User.objects.create_user(f"{role}@example.com", "a long password", name=f"Robin {role.title()}")
        Membership.objects.create(project=project, user=made[role], role=role)
    return made


def _keys(project: Project, owner: User, member: User) -> list[ApiKey]:
    now = timezone.now()
    asked = (
        ("Nightly evaluation", ["read"], now + timedelta(days=30)),
        ("The shop's chat", ["serve"], None),
        ("Training from the data pipeline", ["read", "train"], now + timedelta(hours=5)),
        ("Last year's trial", ["all"], now - timedelta(days=12)),
    )
    keys = [
        ApiKey.make(project=project, user=owner, name=name, scopes=may, expires_at=ends)[0] for name, may, ends in asked
    ]
    keys.append(ApiKey.make(project=project, user=member, name="A notebook " + "of many words " * 6)[0])
    ApiKey.objects.filter(pk=keys[1].pk).update(last_used_at=now - timedelta(minutes=4))
    return keys


def _changes(project: Project) -> None:
    now, file = timezone.now(), DatasetFile.objects.filter(project=project, filename="ticket-train.jsonl").first()
    for number in range(70):
        who, words, kind, outcome, reason = CHANGES[number % len(CHANGES)]
        by_program = PROGRAM if number % 3 == 0 and who != AuditEntry.HONE else {"agent": "Firefox"}
        AuditEntry.objects.create(
            project=project,
            created_at=now - timedelta(hours=3 * (70 - number)),
            who=who,
            words=words,
            kind=kind,
            object_id=file.pk if file and kind == "dataset" else "",
            outcome=outcome,
            reason=reason,
            address="203.0.113.7",
            **by_program,
        )


def _used(project: Project, keys: list[ApiKey], owner: User, base: BaseModel) -> None:
    tuned = f"ft:{base.name}:hone:ticket:AbCdEf12"
    hour = timezone.now().replace(minute=0, second=0, microsecond=0)
    for day in range(28):
        waves = 1 + math.sin(day / 2) / 2
        for number, (model, kind) in enumerate(((base.name, "chat"), (tuned, "chat"), (tuned, "playground"))):
            asked = int(400 * waves) // (number + 1)
            figures = {"prompt_tokens": asked * 310, "cached_tokens": asked * 90, "completion_tokens": asked * 74}
            who = {"api_key": keys[number]} if kind == "chat" else {}
            about = {"project": project, "hour": hour - timedelta(days=day), "user": owner, "base": base.name}
            Usage.objects.create(kind=kind, model=model, requests=asked, **about, **who, **figures)
    job = TrainingJob.objects.filter(project=project, label="Tickets").first()
    trained = {"trained_tokens": 1_200_000, "file_tokens": 4_800_000, "device_seconds": 5400.0}
    at = {"hour": hour - timedelta(days=3), "user": owner, "job": job}
    Usage.objects.create(project=project, kind="training", model=tuned, base=base.name, **at, **trained)


def _imported(project: Project) -> dict[str, str]:
    """An organisation's history, as the command brings it from OpenAI."""
    with (
        mock.patch.dict(os.environ, {"OPENAI_API_KEY": openai_platform.KEY}),
        openai_platform.running(openai_data.organisation()) as platform,
    ):
        mapped = ["--base-url", platform.url, "--map", "*=SmolLM2-135M-Instruct", "--project", project.pk]
        call_command("import_openai", *mapped, verbosity=0)
    came = TrainingJob.objects.filter(project=project, imported__isnull=False)
    return {f"imported-{job.pk[6:10].strip('0').lower()}": reverse("job", args=[job.pk]) for job in came}
