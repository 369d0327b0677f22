"""The three steps of a first run: look at the sample data, train on it, compare what came out."""

from dataclasses import dataclass

from accounts.errors import ApiError
from accounts.models import Project, User
from playground.models import Comparison
from training import starter
from training.engine.errors import EngineError
from training.engine.resolve import resolve
from training.engine.spec import Recipe
from training.models import BaseModel, Checkpoint, DatasetFile, TrainingJob

TASK = "ticket"
ENOUGH_JOBS = 2  # of their own data, and nobody needs to be shown how to train
LOOKED_AT = 500  # of the newest jobs: who has made more needs no guide
SUFFIX = "first-steps"
LOOKED = "looked_at_sample"  # in the session of who opened the sample dataset


@dataclass(frozen=True)
class Guide:
    """What is there already; the first missing thing is the step to take next."""

    starter: BaseModel | None
    train: DatasetFile | None
    valid: DatasetFile | None
    job: TrainingJob | None  # of the sample data, as the checkpoint is
    checkpoint: Checkpoint | None
    versed: bool  # somebody here has trained and compared, or trained more than once, whatever it was
    looked: bool  # at the sample data

    @property
    def step(self) -> int:
        """1 to 3, or 4 when all is done."""
        if self.versed:
            return 4
        if not self.train or not (self.looked or self.job or self.checkpoint):
            return 1
        return 3 if self.checkpoint else 2

    @property
    def starter_percent(self) -> int:
        """Of its download."""
        model = self.starter
        return round(100 * model.bytes_done / model.bytes_total) if model and model.bytes_total else 0

    @property
    def compare_models(self) -> str:
        """The names for the playground's address: the base, then the newest checkpoints."""
        assert self.checkpoint
        newest = self.checkpoint.job.checkpoints.filter(archived_at=None).order_by("-step")[:3]
        return ",".join([self.checkpoint.base_model.name, *(each.name for each in reversed(newest))])

    @property
    def expected_seconds(self) -> float | None:
        """How long the sample job would take here; None where it cannot be told yet."""
        if not (self.train and self.starter and self.starter.facts_json):
            return None
        return expected_seconds(self.train, self.valid, self.starter)


def guide(project: Project, looked: bool = False) -> Guide:
    files = DatasetFile.objects.of(project).usable().filter(sample_task=TASK)
    newest = TrainingJob.objects.of(project).values_list("pk", "suffix", "training_file__sample_task")[:LOOKED_AT]
    with_samples = {pk: suffix == SUFFIX or task == TASK for pk, suffix, task in newest}
    tickets, others = ([pk for pk, sample in with_samples.items() if sample is wanted] for wanted in (True, False))
    checkpoints = Checkpoint.objects.filter(archived_at=None)
    checkpoint = checkpoints.filter(job__in=tickets).select_related("job", "base_model").first()
    other_jobs = checkpoints.filter(job__in=others).values("job").distinct().count()
    compared = Comparison.objects.of(project).filter(turns__isnull=False).exists()
    return Guide(
        starter=BaseModel.objects.filter(name=starter.STARTER_NAME).first() or BaseModel.objects.ready().first(),
        train=files.filter(filename__contains="train").first(),
        valid=files.filter(filename__contains="valid").first(),
        job=TrainingJob.objects.visible().filter(pk__in=tickets).exclude(status__in=["failed", "cancelled"]).first(),
        checkpoint=checkpoint,
        versed=(compared and checkpoints.filter(project=project).exists())
        or (not checkpoint and other_jobs >= ENOUGH_JOBS),
        looked=looked,
    )


def expected_seconds(train: DatasetFile, valid: DatasetFile | None, model: BaseModel) -> float | None:
    from training import calibration, devices, token_counts

    try:
        facts = token_counts.facts_or_start(train, model)
        valid_facts = token_counts.facts_or_start(valid, model) if valid else None
        if facts is None:
            return None  # a worker counts the tokens now
        device = devices.device_facts()
        resolved = resolve(Recipe(), facts, model.facts, device, valid=valid_facts)
        return calibration.expect("sft", resolved, facts, model.facts, device, valid_facts).seconds
    except (EngineError, ApiError):
        return None


def start_sample_job(*, project: Project, user: User) -> TrainingJob:
    """Everything on auto. Raises ApiError with what is missing."""
    from training import actions

    now = guide(project)
    if not now.train:
        raise ApiError("The sample dataset is not there yet, or still being checked. Load it first.")
    if not now.starter or not now.starter.is_present:
        raise ApiError("The starter model is not on disk. Bring it on the Models page first.")
    return actions.create_job(
        project=project,
        user=user,
        base_model=now.starter,
        training_file=now.train,
        validation_file=now.valid,
        suffix=SUFFIX,
        label="First steps: tickets",
    )
