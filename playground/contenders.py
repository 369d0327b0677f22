"""The models one can put in a column: found by name, searched for, and described for the page."""

from collections.abc import Iterable
from dataclasses import dataclass

from django.db.models import Q

from accounts.models import Project
from playground.models import Deployment
from training.models import BaseModel, Checkpoint

MOST_FOUND = 60


@dataclass(frozen=True)
class Contender:
    """A base model or a checkpoint as a column header and the picker show it."""

    model: str  # the name the API answers to
    title: str
    colour: str  # class of its run colour
    base: BaseModel | None = None
    checkpoint: Checkpoint | None = None
    deployment: Deployment | None = None

    @property
    def gone(self) -> bool:
        return self.base is None and self.checkpoint is None

    @property
    def epoch(self) -> int | None:
        return self.checkpoint.epoch if self.checkpoint else None

    @property
    def loss(self) -> float | None:
        return self.checkpoint.full_valid_loss if self.checkpoint else None

    @property
    def label(self) -> str:
        """Short enough for a table: 'ticket, epoch 3'."""
        return f"{self.title}, epoch {self.epoch}" if self.checkpoint else self.title

    @property
    def verified(self) -> bool:
        return bool(self.deployment and self.deployment.proof == Deployment.Proof.VERIFIED)

    @property
    def best(self) -> bool:
        """Lowest loss over the whole validation set among the epochs of its job."""
        best = self.checkpoint.job.best_checkpoint() if self.checkpoint else None
        return bool(best and best.pk == self.checkpoint.pk)  # type: ignore[union-attr]


def of_base(base: BaseModel) -> Contender:
    return Contender(
        base.name, base.title or base.name, "run-base", base=base, deployment=getattr(base, "deployment", None)
    )


def of_checkpoint(checkpoint: Checkpoint, name: str = "") -> Contender:
    job = checkpoint.job
    return Contender(
        name or checkpoint.name,
        checkpoint.label or job.display_name,
        f"run-{job.colour}",
        checkpoint=checkpoint,
        deployment=getattr(checkpoint, "deployment", None),
    )


def find(project: Project, names: Iterable[str]) -> dict[str, Contender]:
    """By name, what this project may use; a name that is not there is left out."""
    wanted = list(names)
    found = {base.name: of_base(base) for base in BaseModel.objects.filter(name__in=wanted)}
    checkpoints = (
        Checkpoint.objects.of(project)
        .filter(Q(step_name__in=wanted) | Q(final_name__in=wanted))
        .select_related("job", "base_model")
    )
    for checkpoint in checkpoints:
        for name in {checkpoint.step_name, checkpoint.final_name} & set(wanted):
            found[name] = of_checkpoint(checkpoint, name)
    return found


def named(project: Project, names: Iterable[str]) -> list[Contender]:
    """In the given order; one that has been deleted since stays under its name."""
    wanted = list(names)
    found = find(project, wanted)
    return [found.get(name) or Contender(name, name, "run-base") for name in wanted]


def search(project: Project, query: str = "") -> list[Contender]:
    """Base models on disk, then checkpoints, newest job first and each job's epochs in order.

    Every word must occur in the name, the job, its base model or its id; a bare number also means an epoch.
    """
    bases = BaseModel.objects.ready()
    checkpoints = Checkpoint.objects.of(project).filter(archived_at=None).select_related("job", "base_model")
    for word in query.split():
        if word.lower() == "epoch":
            bases = bases.none()
            continue
        bases = bases.filter(Q(name__icontains=word) | Q(title__icontains=word))
        checkpoints = checkpoints.filter(_mentions(word))
    newest = checkpoints.order_by("-job__created_at", "job_id", "step")[:MOST_FOUND]
    return [of_base(base) for base in bases] + [of_checkpoint(checkpoint) for checkpoint in newest]


def _mentions(word: str) -> Q:
    fields = ("step_name", "final_name", "label", "job__label", "job__suffix", "job__id", "base_model__name")
    mentions = Q()
    for field in fields:
        mentions |= Q(**{f"{field}__icontains": word})
    return mentions | Q(epoch=int(word)) if word.isdecimal() and len(word) < 6 else mentions
