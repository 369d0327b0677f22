"""What the sentences of the audit log speak of: found by the ids in an address, named, linked while they exist."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final

from django.apps import apps
from django.db.models import Model
from django.urls import reverse

from accounts.models import Project
from dashboard.owned import belonging


@dataclass(frozen=True)
class Kind:
    """`label`: as the filter of the page shows it. `table`: app.Model, where it has rows."""

    label: str
    table: str = ""


@dataclass(frozen=True)
class Page:
    """`route` shows the row of `table` whose column `by` is the id that is spoken of; its address takes the column
    `part`. `only`: what a row must be to have this page."""

    route: str
    table: str
    by: str = "pk"
    part: str = "pk"
    only: tuple[tuple[str, str], ...] = ()


KINDS: Final = {
    "dataset": Kind("Datasets", "training.DatasetFile"),
    "upload": Kind("Uploads", "training.Upload"),
    "making": Kind("Datasets being made", "training.Making"),
    "job": Kind("Jobs", "training.TrainingJob"),
    "recipe": Kind("Recipes", "training.Chain"),
    "model": Kind("Fine-tuned models", "training.Checkpoint"),
    "base": Kind("Base models", "training.BaseModel"),
    "alias": Kind("Model names", "training.Alias"),
    "export": Kind("Exports", "training.Export"),
    "comparison": Kind("Comparisons", "playground.Comparison"),
    "prompts": Kind("Prompt sets", "playground.PromptSet"),
    "matrix": Kind("Matrices", "playground.Matrix"),
    "campaign": Kind("Campaigns", "playground.Campaign"),
    "judge": Kind("Judging models", "playground.JudgeRun"),
    "external": Kind("External models", "playground.ExternalModel"),
    "person": Kind("People", "accounts.Membership"),
    "invitation": Kind("Invitations", "accounts.OneTimeLink"),
    "key": Kind("API keys", "accounts.ApiKey"),
    "webhook": Kind("Webhooks", "training.WebhookEndpoint"),
    "delivery": Kind("Webhook deliveries", "training.WebhookDelivery"),
    "project": Kind("The project"),
    "audit": Kind("The audit log"),
    "account": Kind("Accounts"),
    "server": Kind("The server"),
}
PAGES: Final = {
    "dataset": (
        Page("dataset", "training.DatasetFile", only=(("purpose", "fine-tune"),)),
        Page("job", "training.TrainingJob", by="result_file"),  # the figures of a job have no page of their own
    ),
    "job": (Page("job", "training.TrainingJob"),),
    "recipe": (Page("recipe", "training.Chain"),),
    "model": (Page("job", "training.Checkpoint", part="job"),),
    "comparison": (Page("comparison", "playground.Comparison"),),
    "prompts": (Page("prompt-set", "playground.PromptSet"),),
    "matrix": (Page("matrix", "playground.Matrix"),),
    "campaign": (Page("campaign", "playground.Campaign"),),
}
IN_ADDRESSES: Final = {  # which kind a part of an address is the id of
    "file_id": "dataset",
    "upload_id": "upload",
    "making_id": "making",
    "job_id": "job",
    "chain_id": "recipe",
    "recipe_id": "recipe",
    "checkpoint_id": "model",
    "export_id": "export",
    "comparison_id": "comparison",
    "set_id": "prompts",
    "matrix_id": "matrix",
    "campaign_id": "campaign",
    "run_id": "judge",
    "membership_id": "person",
    "link_id": "invitation",
    "key_id": "key",
    "endpoint_id": "webhook",
    "delivery_id": "delivery",
}
NAMES: Final = {  # how one is called, where its `name` is not what people see
    "training.DatasetFile": lambda row: row.filename,
    "training.Upload": lambda row: row.filename,
    "training.TrainingJob": lambda row: row.label or row.pk,
    "training.Chain": lambda row: row.label or row.pk,
    "training.Export": lambda row: row.checkpoint.name,
    "training.WebhookDelivery": lambda row: f"{row.type} to {row.endpoint.name}",
    "playground.Comparison": lambda row: row.pk,
    "playground.JudgeRun": lambda row: row.model,
    "accounts.Membership": lambda row: row.user.email,
    "accounts.OneTimeLink": lambda row: row.email or "anybody with the link",
}


class Shown:
    """A row in a sentence: `{job}` is its name, `{job.pk}` a column of it."""

    def __init__(self, row: Any) -> None:
        self.row = row

    def __format__(self, spec: str) -> str:
        if not isinstance(self.row, Model):
            return str(self.row)
        named = NAMES.get(self.row._meta.label)
        return str(named(self.row) if named else getattr(self.row, "name", "") or self.row.pk)

    def __getattr__(self, name: str) -> "Shown":
        return Shown(getattr(self.row, name))


class Unknown:
    """What is not there, or not of this project: only the id that was asked for."""

    def __init__(self, pk: Any = "") -> None:
        self.asked = str(pk)[:200]

    def __format__(self, spec: str) -> str:
        return self.asked or "…"

    def __getattr__(self, name: str) -> "Unknown":
        return self


def find(kind: str, pk: Any) -> Any:
    """The row by its id; None where there is none, or where the id cannot be one. Of any project: see `belongs`."""
    if not KINDS[kind].table:
        return None
    try:
        return apps.get_model(KINDS[kind].table)._default_manager.filter(pk=pk).first()
    except (ValueError, TypeError):
        return None


def belongs(row: Any, project: Project | None) -> bool:
    """A stranger's request must not learn, nor have written down for it, what another project's things are called."""
    path = belonging.paths().get(type(row))
    for name in path.split("__") if path else ():
        row = getattr(row, name)
    return not path or (project is not None and row is not None and row.pk == project.pk)


def links(entries: Iterable[Any], project: Project) -> dict[tuple[str, str], str]:
    """The pages of what these rows speak of, as (kind, id), for what still exists in the project: one query a page. An
    id that somebody only guessed leads nowhere, so that no row tells whether another project has it."""
    asked: dict[str, set[str]] = {}
    for entry in entries:
        if entry.object_id and entry.kind in PAGES:
            asked.setdefault(entry.kind, set()).add(entry.object_id)
    found = {}
    for kind, ids in asked.items():
        for page in PAGES[kind]:
            there = belonging.rows(apps.get_model(page.table), project).filter(
                **{f"{page.by}__in": ids, **dict(page.only)}
            )
            ways = there.values_list(page.by, page.part)
            found |= {(kind, str(pk)): reverse(page.route, args=[part]) for pk, part in ways}
    return found
