"""The models one can put in a column: found by name, searched for, and described for the page."""

from collections.abc import Iterable
from dataclasses import dataclass, replace

from django.db.models import Q

from accounts.models import Project
from playground.external.models import ExternalModel
from playground.models import Deployment
from training.aliases.models import Alias
from training.models import BEST, BaseModel, Checkpoint
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

    @property
    def gone(self) -> bool:
        there = self.external is not None and self.external.removed_at is None
        return self.base is None and self.checkpoint is None and not there

    @property
    def known_as(self) -> str:
        """The name that people know it by beside its title: of an external model the one at its server."""
        return self.external.model if self.external else self.model

    @property
    def trouble(self) -> str:
        """Why an external model's last test failed; empty where none did."""
        tested = self.external.tested if self.external else None
        return str(tested["words"]) if tested and not tested["ok"] else ""

    @property
    def when(self) -> str:
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
        return f"{self.title}, {self.when}" if self.checkpoint else self.title

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
    """In the given order; one that has been deleted since stays under its name."""
    wanted = [lasting(project, name) for name in names]
    found = find(project, wanted)
    return [found.get(name) or Contender(name, name, "run-base") for name in wanted]


def lasting(project: Project, name: str) -> str:
    """NAME:best and aliases as the name of what they mean now: what people judge must not change under them."""
    if alias := Alias.objects.of(project).filter(name=name).prefetch_related("promotions").first():
        return alias.current.model_name
    best = Checkpoint.objects.usable_by(project).named(name).first() if name.endswith(BEST) else None
    return best.name if best else name


def search(project: Project, query: str = "") -> list[Contender]:
    """Base models on disk, external models, then checkpoints, newest job first and each job's epochs in order; last
    those that other projects share.

    Every word must occur in the name, the job, its base model or its id; a short number means an epoch.
    """
    bases = BaseModel.objects.ready().select_related("deployment")
    externals = ExternalModel.objects.of(project).kept()
    checkpoints = Checkpoint.objects.of(project).filter(archived_at=None)
    checkpoints = checkpoints.select_related("job__base_model", "base_model", "deployment")
    shared = Checkpoint.objects.usable_by(project).exclude(project=project).filter(archived_at=None)
    shared = shared.select_related("job", "base_model", "deployment")
    for word in query.split():
        epochs = word.lower() == "epoch" or (word.isdecimal() and len(word) < 4)
        bases = bases.none() if epochs else bases.filter(Q(name__icontains=word) | Q(title__icontains=word))
        named = Q(name__icontains=word) | Q(model__icontains=word)
        externals = externals.none() if epochs else externals.filter(named)
        if word.lower() != "epoch":
            checkpoints = checkpoints.filter(_mentions(word))
            shared = shared.filter(_mentions(word, SHOWN_OF_SHARED))
    newest = list(checkpoints.order_by("-job__created_at", "job_id", "step")[:MOST_FOUND])
    best = _best_of_jobs({checkpoint.job_id for checkpoint in newest})
    ours = [replace(of_checkpoint(checkpoint), best=checkpoint.pk in best) for checkpoint in newest]
    theirs = [of_checkpoint(each, shared=True) for each in shared.order_by("-created_at")[:MOST_FOUND]]
    return [*map(of_base, bases), *map(of_external, externals), *ours, *theirs]


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
    if word.isdecimal() and len(word) < 4:
        mentions, names = Q(epoch=int(word)), names - FULL_OF_DIGITS
    for name in names:
        mentions |= Q(**{f"{name}__icontains": word})
    return mentions
