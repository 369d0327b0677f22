"""A row of every table that belongs to a project, made from the tables' own columns: a new table is in it at once."""

from itertools import count
from typing import Any

from django.db import models
from django.utils import timezone

from accounts.models import Project, User
from dashboard.owned import belonging
from training.models import BaseModel

WORD = "zanzibar"  # stands in every text column, to be looked for
_numbers = count(1)
# what a table asks for beyond its columns' types
EXTRA: dict[str, dict[str, Any]] = {
    "training.ModerationPolicy": {"guard": ""},
    "training.TrainingJob": {"claim": ""},  # nobody is at work on it
    "playground.Deployment": {"base_model": None},
    "playground.Evaluator": {"user": None},
    "playground.Assignment": {"verdict": "", "judged_at": None},
}


def one_of_each(project: Project, user: User, *chosen: models.Model) -> dict[type[models.Model], models.Model]:
    """`chosen`: of these tables the row that others belong to; else any that is there."""
    made: dict[type[models.Model], models.Model] = {type(row): row for row in chosen}
    for model in belonging.paths():
        _make(model, made, project, user)
    return made


def _make(model: type[models.Model], made: dict, project: Project, user: User) -> models.Model:
    if model not in made and (there := belonging.rows(model, project).first()):
        made[model] = there
    if model not in made:
        given = {
            field.name: _value(field, made, project, user)
            for field in model._meta.concrete_fields
            if _is_wanted(field, model)
        }
        made[model] = model._default_manager.create(**given | EXTRA.get(model._meta.label, {}))
    return made[model]


def _is_wanted(field: models.Field, model: type[models.Model]) -> bool:
    if isinstance(field, models.ForeignKey):
        return field.remote_field.model is not model and not (field.null and _leads_nowhere(field))
    if field.primary_key or (field.has_default() and not isinstance(field, models.TextField)):
        return False
    return (isinstance(field, models.TextField | models.CharField) and not field.choices) or not field.null


def _leads_nowhere(field: models.ForeignKey) -> bool:
    return field.remote_field.on_delete is models.SET_NULL and field.remote_field.model is not User


def _value(field: models.Field, made: dict, project: Project, user: User) -> Any:
    if isinstance(field, models.ForeignKey):
        known = {Project: project, User: user}
        target: Any = field.remote_field.model
        if target is BaseModel:
            return BaseModel.objects.get_or_create(name="tiny", defaults={"source": "folder", "status": "ready"})[0]
        return known.get(target) or _make(target, made, project, user)
    if field.choices:
        return field.choices[0][0]
    if isinstance(field, models.DateTimeField):
        return timezone.now()
    if isinstance(field, models.BooleanField):
        return False
    if isinstance(field, models.IntegerField | models.FloatField):
        return 1
    if isinstance(field, models.JSONField):
        return {}
    text = f"{WORD}-{next(_numbers)}"
    return text[-field.max_length :] if field.max_length else text
