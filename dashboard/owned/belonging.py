"""Which rows belong to a project: every table of ours, found by following its foreign keys down to Project.

Nothing is listed by hand, so a new table is taken along and erased from its first day; one that no key leads from must
be named in SERVER_WIDE with the reason (a test asks).
"""

from functools import cache
from typing import Any, Final

from django.apps import apps
from django.db.models import ForeignKey, Model, QuerySet

from accounts.models import Project

OURS: Final = ("accounts", "training", "playground", "dashboard")
SERVER_WIDE: Final = {
    "accounts.User": "a person may belong to several projects",
    "accounts.Project": "the project itself",
    "training.BaseModel": "the weights that everybody on the server starts from",
}


@cache
def paths() -> dict[type[Model], str]:
    """For each table the lookup that leads to its project: "project", "job__project", ... The shortest one."""
    ours = [model for model in apps.get_models() if model._meta.app_label in OURS]
    found: dict[type[Model], str] = {}
    while True:
        step = {model: path for model in ours if model not in found and (path := _path(model, found))}
        if not step:
            return found
        found |= step


def _path(model: type[Model], found: dict[type[Model], str]) -> str:
    """Through one of its own foreign keys; a key that only remembers (who made it) leads nowhere."""
    for field in model._meta.concrete_fields:
        if not isinstance(field, ForeignKey):
            continue
        target: Any = field.remote_field.model
        if target is Project:
            return field.name
        if target in found and target is not model and field.remote_field.on_delete.__name__ != "SET_NULL":
            return f"{field.name}__{found[target]}"
    return ""


def rows(model: type[Model], project: Project) -> QuerySet[Any]:
    """Those of this project, in the order they were made."""
    return model._default_manager.filter(**{paths()[model]: project}).order_by("pk")


def label(model: type[Model]) -> str:
    return model._meta.label
