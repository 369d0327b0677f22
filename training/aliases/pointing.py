"""Every write of an alias, and what it means now."""

import re
from collections.abc import Iterable

from django.db import transaction

from accounts.errors import ApiError
from accounts.models import Project, User
from training.aliases.models import Alias, Promotion
from training.imported.words import job_of as imported_job
from training.models import BaseModel, Checkpoint

NAME = re.compile(r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")
Target = BaseModel | Checkpoint


def resolve(project: Project, name: str) -> Target | None:
    """What the alias means now; None when there is none of this name. Raises ApiError 404 when its model is gone, or
    belongs to a project that shares it no more."""
    alias = find(project, name)
    return meaning(alias) if alias else None


def find(project: Project, name: str) -> Alias | None:
    found = Alias.objects.of(project).filter(name=name).prefetch_related("promotions")
    return found.first()


def meaning(alias: Alias) -> Target:
    """What the alias means now. Raises ApiError 404 as `resolve` does."""
    now, target = alias.current, alias.current.target
    if target is None:
        message = f"`{alias.name}` points at {now.model_name}, which has been deleted. Point it at another model."
        raise ApiError(message, status=404, param="model", code="model_not_found")
    borrowed = isinstance(target, Checkpoint) and target.project_id != alias.project_id
    if borrowed and now.pk not in askable(alias.project, [now]):
        message = f"`{alias.name}` points at {target.name}, which this project may not ask any more."
        raise ApiError(message, status=404, param="model", code="model_not_found")
    return target


def askable(project: Project, promotions: Iterable[Promotion]) -> set[int]:
    """The ids of those whose model is there and may be asked by this project; one query for all."""
    given = list(promotions)
    checkpoints = Checkpoint.objects.usable_by(project).filter(pk__in=[each.checkpoint_id for each in given])
    there = set(checkpoints.values_list("pk", flat=True))
    return {each.pk for each in given if each.base_model_id or each.checkpoint_id in there}


@transaction.atomic
def promote(project: Project, user: User | None, name: str, target: Target, reason: str = "") -> Alias:
    """Points the name at the model from now on; makes the name where it is new. Raises ApiError."""
    name = name.strip()
    if not imported_job(project, name):  # such a name is taken over as it is
        _refuse_bad_name(name)
    alias, _ = Alias.objects.get_or_create(project=project, name=name)
    newest = alias.promotions.first()
    if newest and newest.target == target:
        raise ApiError(f"{name} points at {newest.model_name} already.", status=409, param="model")
    _add(alias, user, target, reason)
    return alias


def _refuse_bad_name(name: str) -> None:
    if not NAME.match(name):
        message = (
            "A name has 1 to 64 letters, digits, dots, hyphens and underscores, and begins with a letter or digit."
        )
        raise ApiError(message, param="name")
    if BaseModel.objects.filter(name__iexact=name).exists():
        raise ApiError(f"{name} is the name of a base model. Choose another one.", status=409, param="name")


@transaction.atomic
def roll_back(alias: Alias, user: User | None) -> Promotion:
    """To the model before; itself a step that stands in the history and can be rolled back. Raises ApiError."""
    now, before = alias.current, earlier(alias, askable(alias.project, alias.promotions.all()))
    if before is None or before.target is None:
        raise ApiError(f"There is no earlier model of {alias.name} to go back to.", status=409)
    return _add(alias, user, before.target, f"Rolled back from {now.model_name}")


def earlier(alias: Alias, askable: set[int]) -> Promotion | None:
    """The newest earlier promotion of another model that may still be asked: where a roll-back goes."""
    now, *before = alias.promotions.all()
    return next((each for each in before if each.model_name != now.model_name and each.pk in askable), None)


def _add(alias: Alias, user: User | None, target: Target, reason: str) -> Promotion:
    is_base = isinstance(target, BaseModel)
    return Promotion.objects.create(
        alias=alias,
        checkpoint=None if is_base else target,
        base_model=target if is_base else None,
        model_name=target.name,
        reason=reason.strip()[:500],
        promoted_by=user,
    )
