"""What people want answered: asking for a model, saying that it was used, letting it go. `manage.py serve` does it."""

import json
import os
import time
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import Any

from django.db import transaction
from django.db.models import Q
from django.utils import timezone

from accounts.models import Project
from playground.models import Deployment, Verification
from training.aliases import pointing as aliases
from training.home import home
from training.imported.words import no_such_model
from training.models import BEST, BaseModel, Checkpoint
from training.notify import project_changed

Target = BaseModel | Checkpoint
TOUCH_EVERY = timedelta(seconds=3)  # a row written at most this often, however many requests come
BEAT_LIMIT_SECONDS = 15.0  # serve writes its heartbeat about every second
SERVE_IS_GONE = "The serving process does not run. Start it with “make run”, or alone with “manage.py serve”."


def find_target(project: Project, model_name: str) -> Target:
    """The base model, the checkpoint of that name that this project may ask, or what its alias points at. Raises
    ApiError 404.
    """
    name = model_name.strip()
    found: Target | None
    if name.startswith("ft:") or name.endswith(BEST):
        found_by_name = Checkpoint.objects.usable_by(project).named(name)
        found = found_by_name.select_related("job", "base_model", "deployment").first()
    else:
        bases = BaseModel.objects.select_related("deployment")
        found = bases.called(name)
    found = found or aliases.resolve(project, name)
    if found is None:
        raise no_such_model(project, name)
    return found


def target_of(deployment: Deployment) -> Target:
    return deployment.checkpoint or deployment.base_model  # type: ignore[return-value]


def base_of(target: Target) -> BaseModel:
    """The base model of its family."""
    return target.base_model if isinstance(target, Checkpoint) else target


def want(*, base_model: BaseModel | None = None, checkpoint: Checkpoint | None = None) -> Deployment:
    """Have it loaded. One that is on stays as it is; one that failed is tried again."""
    assert (base_model is None) != (checkpoint is None), "exactly one of base_model and checkpoint"
    now = timezone.now()
    with transaction.atomic():
        deployment, created = Deployment.objects.get_or_create(base_model=base_model, checkpoint=checkpoint)
        off = not deployment.wanted or deployment.state in {Deployment.State.OFF, Deployment.State.FAILED}
        fields: dict[str, Any] = {"wanted": True, "used_at": now}
        if off:
            fields |= {"state": Deployment.State.QUEUED, "reason": "", "changed_at": now}
        Deployment.objects.filter(pk=deployment.pk).update(**fields)
    if created or off:
        tell(deployment)
    return Deployment.objects.select_related("base_model", "checkpoint__job", "checkpoint__base_model").get(
        pk=deployment.pk
    )


def want_target(target: Target) -> Deployment:
    return want(checkpoint=target) if isinstance(target, Checkpoint) else want(base_model=target)


def touch(deployment: Deployment) -> None:
    """It is in use now: the least recently used is put away first."""
    now = timezone.now()
    if deployment.used_at < now - TOUCH_EVERY:  # as it was read: else not even the lock of a write that changes nothing
        Deployment.objects.filter(pk=deployment.pk, used_at__lt=now - TOUCH_EVERY).update(used_at=now)
        deployment.used_at = now


def release(deployment: Deployment) -> None:
    """Nobody needs it any more: it is unloaded and its memory freed."""
    Deployment.objects.filter(pk=deployment.pk).update(wanted=False, pinned=False)
    tell(deployment)


def pin(deployment: Deployment, pinned: bool) -> None:
    """A pinned one is never put away to make room."""
    Deployment.objects.filter(pk=deployment.pk).update(pinned=pinned)
    tell(deployment)


def change(deployment: Deployment, *, only_from: set[str] | None = None, **fields: Any) -> bool:
    """Write a new state if the row is (still) in one of `only_from`; pages hear of it. False: somebody was first."""
    rows = Deployment.objects.filter(pk=deployment.pk)
    if only_from is not None:
        rows = rows.filter(state__in=only_from)
    if not rows.update(**fields, changed_at=timezone.now()):
        return False
    for name, value in fields.items():
        setattr(deployment, name, value)
    tell(deployment)
    return True


def take_down(deployment: Deployment, state: str, reason: str, **fields: Any) -> None:
    """A row that does not answer has no address and no proof."""
    proof = {"proof": Deployment.Proof.NONE, "proof_json": None}
    change(deployment, **{"state": state, "reason": reason, "url": "", "server_pid": None} | proof | fields)


FIGURES = ("mean_to_trained", "max_to_trained", "mean_to_base", "max_to_base", "tokens")


def remember_proof(deployment: Deployment, *, proof: str, proof_json: dict[str, Any], reason: str = "") -> None:
    """Keeps what the gate found with the checkpoint, for when nothing serves it any more."""
    if not Checkpoint.objects.filter(pk=deployment.checkpoint_id).exists():  # a base model, or deleted meanwhile
        return
    found = {name: proof_json.get(name) for name in FIGURES}
    found |= {"proof": proof, "reason": reason, "vllm_version": proof_json["vllm"], "checked_at": timezone.now()}
    Verification.objects.update_or_create(checkpoint_id=deployment.checkpoint_id, defaults=found)


def tell(deployment: Deployment) -> None:
    """Ping the pages of every project that can see it; base models are everybody's."""
    seen_by = Project.objects.all()
    if checkpoint := deployment.checkpoint_id:
        seen_by = seen_by.filter(Q(checkpoints=checkpoint) | Q(permissions_had__checkpoint=checkpoint)).distinct()
    for project_id in seen_by.values_list("id", flat=True):
        project_changed(project_id)


# ---- the heartbeat of `manage.py serve` ----


def heartbeat_path() -> Path:
    return home() / "processes" / "serve.json"


def beat(**figures: Any) -> None:
    """Says that the reconcile loop runs and what it holds. On a full disk only the former: that needs no room."""
    path = heartbeat_path()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_suffix(".part")
        part.write_text(json.dumps({"name": "serve", **figures}))
        part.replace(path)
    except OSError:
        with suppress(OSError):
            os.utime(path)


def heartbeat() -> dict[str, Any] | None:
    """The last one if it is fresh; None: nobody serves."""
    path = heartbeat_path()
    try:
        found, beaten_at = json.loads(path.read_text()), path.stat().st_mtime
    except (OSError, ValueError):
        return None
    return found if time.time() - beaten_at < BEAT_LIMIT_SECONDS else None
