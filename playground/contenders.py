"""The models one can put in a column: found by name, searched for, and described for the page."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

from django.db.models import Q

from accounts.errors import ApiError
from accounts.models import Project
from playground import deployments
from playground.external.models import ExternalModel
from playground.models import Deployment
from training.aliases.models import Alias, Promotion
from training.models import BaseModel, Checkpoint
from training.unjudged import unjudged_because

MOST_FOUND = 60


@dataclass(frozen=True)
class Contender:
    """A base model, a checkpoint or an external model as a column header and the picker show it."""

    model: str  # the name the API answers to
    title: str
    colour: str  # class of its run colour
    base: BaseModel | None = None
    checkpoint: Checkpoint | None = None
    deployment: Deployment | None = None
    external: ExternalModel | None = None
    shared: bool = False  # another project's, which lets this one ask it and tells nothing else of its job
    best: bool = False  # lowest loss over the whole validation set among its job's epochs; known in a search only
    aliases: tuple[str, ...] = ()  # the project's own names that point at it now; known in a search only

    @property
    def gone(self) -> bool:
        there = self.external is not None and self.external.removed_at is None
        return self.base is None and self.checkpoint is None and not there

    @property
    def gone_words(self) -> str:
        """For people. The same of a model that exists elsewhere and of one that never was."""
        if not self.gone:
            return ""
        return "It was removed from the external models." if self.external else GONE

    @property
    def known_as(self) -> str:
        """What people know it by beside its title: the project's own names for it and the one that the API answers to;
        of an external model the one at its server."""
        name = self.external.model if self.external else self.model
        return f"{', '.join(self.aliases)} → {name}" if self.aliases else name

    @property
    def trouble(self) -> str:
        """Why an external model's last test failed; empty where none did."""
        tested = self.external.tested if self.external else None
        return str(tested["words"]) if tested and not tested["ok"] else ""

    @property
    def when(self) -> str:
        """Of a shared one only what its name says."""
        if self.checkpoint and self.shared:
            return "" if self.checkpoint.final_name else f"step {self.checkpoint.step:,}"
        return self.checkpoint.when if self.checkpoint else ""

    @property
    def loss(self) -> float | None:
        return self.checkpoint.full_valid_loss if self.checkpoint and not self.shared else None

    @property
    def unjudged(self) -> str:
        """Why a checkpoint has no such loss."""
        return unjudged_because(self.checkpoint) if self.checkpoint and not self.shared else ""

    @property
    def label(self) -> str:
        """Short enough for a table: 'ticket, epoch 3', or 'ticket, step 7' where it does not end an epoch."""
        return f"{self.title}, {self.when}" if self.when else self.title

    @property
    def job_id(self) -> str:
        """Of a job that this project can look at."""
        return self.checkpoint.job_id if self.checkpoint and not self.shared else ""

    @property
    def verified(self) -> bool:
        return bool(self.deployment and self.deployment.proof == Deployment.Proof.VERIFIED)

    @property
    def proof_words(self) -> str:
        """What the mark beside the name says."""
        if self.external:
            return NOT_OURS
        return PROOF_WORDS.get(self.deployment.proof, "") if self.deployment else ""


PROOF_WORDS = {
    Deployment.Proof.VERIFIED: "Verified: the server answers as the trained weights do",
    Deployment.Proof.TOO_CLOSE: "Too close to the base model to tell them apart",
    Deployment.Proof.REFUSED: "Refused: the server does not answer as the trained weights do",
}


GONE = "It was deleted, or its project shares it no more."
NOT_OURS = "Not verified: it runs on somebody else's server"


def of_external(external: ExternalModel) -> Contender:
    return Contender(external.pk, external.name, "run-external", external=external)


def of_base(base: BaseModel) -> Contender:
    return Contender(
        base.name, base.title or base.name, "run-base", base=base, deployment=getattr(base, "deployment", None)
    )


def of_checkpoint(checkpoint: Checkpoint, name: str = "", *, shared: bool = False) -> Contender:
    """A shared one goes by what its model's name says: what its people call it and its job is theirs."""
    job = checkpoint.job
    ours = checkpoint.label or job.display_name
    return Contender(
        name or checkpoint.name,
        (job.suffix or checkpoint.base_model.name) if shared else ours,
        f"run-{job.colour}",
        checkpoint=checkpoint,
        deployment=getattr(checkpoint, "deployment", None),
        shared=shared,
    )


def find(project: Project, names: Iterable[str]) -> dict[str, Contender]:
    """By name, what this project may use; a name that is not there is left out. An external model that was removed is
    there under its name, and `gone`."""
    wanted = list(names)
    found = {
        base.name: of_base(base) for base in BaseModel.objects.filter(name__in=wanted).select_related("deployment")
    }
    checkpoints = (
        Checkpoint.objects.usable_by(project)
        .filter(Q(step_name__in=wanted) | Q(final_name__in=wanted))
        .select_related("job__base_model", "base_model", "deployment")
    )
    for checkpoint in checkpoints:
        for name in {checkpoint.step_name, checkpoint.final_name} & set(wanted):
            found[name] = of_checkpoint(checkpoint, name, shared=checkpoint.project_id != project.pk)
    externals = ExternalModel.objects.of(project).filter(pk__in=wanted)
    return found | {external.pk: of_external(external) for external in externals}


def named(project: Project, names: Iterable[str]) -> list[Contender]:
    """In the given order, NAME:best and aliases as what they mean now; one that is not there stays under its name."""
    asked = list(names)
    found = find(project, asked)
    meant = {name: lasting(project, name) for name in asked if name not in found}
    if meant:
        found |= find(project, meant.values())
    return [found.get(meant.get(name, name)) or Contender(name, name, "run-base") for name in asked]


def lasting(project: Project, name: str) -> str:
    """NAME:best and aliases as the name of what they mean now: what people judge must not change under them."""
    try:
        return deployments.find_target(project, name).name
    except ApiError:
        return name


def lasting_columns(project: Project, columns: Iterable[dict[str, Any]], *, param: str) -> list[dict[str, Any]]:
    """Columns whose models go by names that always mean the same weights. Raises ApiError 404, about `param`, for one
    that is not there."""
    given = list(columns)
    found = named(project, [column["model"] for column in given])
    for column, contender in zip(given, found, strict=True):
        if contender.gone:
            raise ApiError(
                f"The model '{column['model']}' does not exist in this project. Choose another one.",
                status=404,
                param=param,
                code="model_not_found",
            )
    return [column | {"model": contender.model} for column, contender in zip(given, found, strict=True)]


def why_not(project: Project, name: str) -> str:
    """Why nothing of this project answers to the name."""
    try:
        deployments.find_target(project, name)
    except ApiError as error:
        return error.message
    return f"{name} has just come. Load the page again."


def search(project: Project, query: str = "") -> list[Contender]:
    """Base models on disk, external models, then checkpoints, newest job first and each job's epochs in order; last
    those that other projects share.

    Every word must occur in the name, the job, its base model, its id or an alias of it; a short number means an epoch.
    """
    pointed = [(each.name, each.current) for each in Alias.objects.of(project).prefetch_related("promotions")]
    bases = BaseModel.objects.ready().select_related("deployment")
    externals = ExternalModel.objects.of(project).kept()
    checkpoints = Checkpoint.objects.of(project).filter(archived_at=None)
    checkpoints = checkpoints.select_related("job__base_model", "base_model", "deployment")
    shared = Checkpoint.objects.usable_by(project).exclude(project=project).filter(archived_at=None)
    shared = shared.select_related("job", "base_model", "deployment")
    for word in query.split():
        epochs = word.lower() == "epoch" or (word.isdecimal() and len(word) < 4)
        called = Q(name__icontains=word) | Q(title__icontains=word) | _pointed_at(pointed, "base_model", word)
        bases = bases.none() if epochs else bases.filter(called)
        named = Q(name__icontains=word) | Q(model__icontains=word)
        externals = externals.none() if epochs else externals.filter(named)
        if word.lower() != "epoch":
            alias = Q() if epochs else _pointed_at(pointed, "checkpoint", word)
            checkpoints = checkpoints.filter(_mentions(word) | alias)
            shared = shared.filter(_mentions(word, SHOWN_OF_SHARED) | alias)
    newest = list(checkpoints.order_by("-job__created_at", "job_id", "step")[:MOST_FOUND])
    best = _best_of_jobs({checkpoint.job_id for checkpoint in newest})
    ours = [replace(of_checkpoint(checkpoint), best=checkpoint.pk in best) for checkpoint in newest]
    theirs = [of_checkpoint(each, shared=True) for each in shared.order_by("-created_at")[:MOST_FOUND]]
    found = [*map(of_base, bases), *map(of_external, externals), *ours, *theirs]
    return [replace(each, aliases=_pointing_at(each, pointed)) for each in found]


def _pointed_at(pointed: list[tuple[str, Promotion]], kind: str, word: str) -> Q:
    """What an alias with the word in its name points at. `kind`: checkpoint or base_model."""
    ids = [getattr(now, f"{kind}_id") for name, now in pointed if word.lower() in name.lower()]
    return Q(pk__in=[pk for pk in ids if pk is not None])


def _pointing_at(one: Contender, pointed: list[tuple[str, Promotion]]) -> tuple[str, ...]:
    target = one.checkpoint or one.base
    return tuple(name for name, now in pointed if target and target.pk in (now.checkpoint_id, now.base_model_id))


def _best_of_jobs(job_ids: set[str]) -> set[str]:
    """The id of the best checkpoint of each job."""
    ranked = Checkpoint.objects.filter(job_id__in=job_ids).exclude(full_valid_loss=None)
    best: dict[str, str] = {}
    for job_id, pk in ranked.order_by("full_valid_loss", "step").values_list("job_id", "pk"):
        best.setdefault(job_id, pk)
    return set(best.values())


SHOWN = frozenset({"label", "job__label", "job__suffix", "step_name", "final_name", "job__id", "base_model__name"})
SHOWN_OF_SHARED = frozenset({"job__suffix", "step_name", "final_name", "base_model__name"})
FULL_OF_DIGITS = frozenset({"step_name", "final_name", "job__id", "base_model__name"})


def _mentions(word: str, names: frozenset[str] = SHOWN) -> Q:
    mentions = Q()
    if "label" in names and word.isdecimal() and len(word) < 4:  # of a shared one the epoch is not told
        mentions, names = Q(epoch=int(word)), names - FULL_OF_DIGITS
    for name in names:
        mentions |= Q(**{f"{name}__icontains": word})
    return mentions
