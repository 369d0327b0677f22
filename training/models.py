"""The nouns: base models, dataset files, training jobs, their metrics, events and checkpoints."""

from pathlib import Path, PurePath
from typing import Any

from django.conf import settings
from django.db import models
from django.db.models import Exists, OuterRef, Q
from django.utils import timezone

from accounts.ids import new_id
from accounts.models import Project
from training import home
from training.engine.spec import DataFacts, Estimate, Measured, ModelFacts, Recipe, Resolved
from training.export_row import Export as Export
from training.file_task_row import FileTask as FileTask
from training.metadata_pair import MetadataPair as MetadataPair


def new_file_id() -> str:
    return new_id("file-")


def new_job_id() -> str:
    return new_id("ftjob-")


def new_checkpoint_id() -> str:
    return new_id("ftckpt_")


def new_event_id() -> str:
    return new_id("ftevent-")


SOURCES = [("hub", "Hub"), ("package", "Package"), ("folder", "Folder"), ("scratch", "Made here")]


class BaseModelQuerySet(models.QuerySet["BaseModel"]):
    def ready(self) -> "BaseModelQuerySet":
        return self.filter(status=BaseModel.Status.READY)

    def called(self, name: str) -> "BaseModel | None":
        """By its name, also without regard to case, or by its hub id."""
        found = self.filter(name=name).first() or self.filter(name__iexact=name).first()
        return found or self.filter(source="hub", source_id__iexact=name).first()


class BaseModel(models.Model):
    """An open-weight model in the catalogue. One catalogue a server: the weights hold no project's data."""

    class Status(models.TextChoices):
        ABSENT = "absent", "Not on disk"
        DOWNLOADING = "downloading", "Downloading"
        READY = "ready", "On disk"
        FAILED = "failed", "Failed"

    name = models.SlugField(max_length=120, unique=True, allow_unicode=False)  # no slash: it stands in ft: names
    title = models.CharField(max_length=160, blank=True)
    source = models.CharField(max_length=20, choices=SOURCES)
    source_id = models.CharField(max_length=500)  # hub id, package name or folder
    source_note = models.CharField(max_length=300, blank=True)  # which weights these are, in words
    licence = models.CharField(max_length=120, blank=True)
    folder = models.CharField(max_length=500, blank=True)  # of the safetensors, as home.kept_as; empty until on disk
    facts_json = models.JSONField(default=dict, blank=True)  # ModelFacts
    status = models.CharField(max_length=20, choices=Status, default=Status.ABSENT)
    status_text = models.TextField(blank=True)
    bytes_done = models.BigIntegerField(default=0)
    bytes_total = models.BigIntegerField(default=0)
    created_at = models.DateTimeField(default=timezone.now)

    objects = BaseModelQuerySet.as_manager()

    class Meta:
        ordering = ["name"]

    def __str__(self) -> str:
        return self.name

    @property
    def path(self) -> Path:
        return home.home() / self.folder

    @property
    def facts(self) -> ModelFacts:
        return ModelFacts.model_validate(self.facts_json)

    @property
    def is_present(self) -> bool:
        """Its files are really there; a folder can vanish under us."""
        return bool(self.folder) and (self.path / "config.json").exists()


class DatasetFileQuerySet(models.QuerySet["DatasetFile"]):
    def of(self, project: Project) -> "DatasetFileQuerySet":
        return self.filter(project=project)

    def datasets(self) -> "DatasetFileQuerySet":
        """Files a job can train on, complete or not; no result files."""
        return self.filter(purpose="fine-tune")

    def usable(self) -> "DatasetFileQuerySet":
        return self.datasets().filter(status=DatasetFile.Status.PROCESSED)

    def newest(self, *statuses: str) -> "DatasetFileQuerySet":
        """Of each dataset its newest version, or the newest in one of these states; one still arriving hides none."""
        return self.filter(~_newer(*statuses))

    def older(self, *statuses: str) -> "DatasetFileQuerySet":
        """All others."""
        return self.filter(_newer(*statuses))

    def of_family(self, file: "DatasetFile") -> "DatasetFileQuerySet":
        """All versions of the dataset that this file is a version of, the newest first."""
        return self.filter(project=file.project_id, family=file.family).order_by("-version")


def _newer(*statuses: str) -> Exists:
    """Of each file whether its dataset has a newer version, in one of these states."""
    newer = DatasetFile.objects.exclude(status=DatasetFile.Status.UPLOADING)
    newer = newer.filter(project=OuterRef("project"), family=OuterRef("family"), version__gt=OuterRef("version"))
    return Exists(newer.filter(status__in=statuses) if statuses else newer)


class DatasetFile(models.Model):
    """A file of a project: training or validation rows, or a job's result CSV. Its bytes never change: a dataset that
    is worked on gets another version, which is a row of its own with the same `family` (training/versions.py)."""

    class Status(models.TextChoices):
        UPLOADING = "uploading", "Uploading"
        UPLOADED = "uploaded", "Checking"  # complete, waiting to be checked or being checked
        PROCESSED = "processed", "Ready"
        ERROR = "error", "Problems"

    id = models.CharField(primary_key=True, max_length=40, default=new_file_id, editable=False)
    project = models.ForeignKey(Project, on_delete=models.CASCADE, related_name="files")
    created_by = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.SET_NULL, null=True, blank=True)
    filename = models.CharField(max_length=255)
    family = models.CharField(max_length=40, db_index=True, editable=False)  # id of the dataset's first version
    version = models.PositiveIntegerField(default=1)  # of its family, from 1
    last_version = models.PositiveIntegerField(default=1, editable=False)  # ever given in its family; the same in all
    purpose = models.CharField(max_length=40, default="fine-tune")
    bytes = models.BigIntegerField(default=0)  # announced size while uploading, then the real one
    sha256 = models.CharField(max_length=64, blank=True)
    status = models.CharField(max_length=20, choices=Status, default=Status.UPLOADED)
    status_details = models.TextField(blank=True)
    check_share = models.FloatField(default=0.0)  # progress of the check, 0..1
    format = models.CharField(max_length=20, blank=True)  # chat | completion | preference | text | table
    rows = models.BigIntegerField(default=0)
    problems = models.JSONField(default=list, blank=True)  # first 200: {"line", "field", "message", "fix", "level"}
    problem_groups = models.JSONField(default=list, blank=True)  # both levels by kind, complete: problem_groups.py
    problem_count = models.IntegerField(default=0)
    warning_count = models.IntegerField(default=0)
    statistics = models.JSONField(default=dict, blank=True)  # counts that need no tokenizer: roles, turns, ...
    token_facts = models.JSONField(default=dict, blank=True)  # by base model name: DataFacts
    parent = models.ForeignKey("self", on_delete=models.SET_NULL, null=True, blank=True, related_name="children")
    sample_task = models.CharField(max_length=40, blank=True)  # ticket | tone | steer | pairs: came with Hone
    origin = models.JSONField(default=dict, blank=True)  # what it was made of here: {"kind": "votes", ...}
    created_at = models.DateTimeField(default=timezone.now)
    expires_at = models.DateTimeField(null=True, blank=True)

    objects = DatasetFileQuerySet.as_manager()

    class Meta:
        ordering = ["-created_at", "-id"]
        indexes = [models.Index(fields=["project", "purpose", "-created_at"], name="file_list")]
        constraints = [models.UniqueConstraint(fields=["family", "version"], name="one_file_a_version")]

    def __str__(self) -> str:
        return self.filename

    def save(self, *args: Any, **kwargs: Any) -> None:
        """A file that is no version of another one begins a family."""
        self.family = self.family or self.pk
        super().save(*args, **kwargs)

    @property
    def path(self) -> Path:
        return home.file_folder(self.id) / "content"

    @property
    def part_path(self) -> Path:
        """Where an upload grows until it is complete."""
        return home.file_folder(self.id) / "content.part"

    def facts_for(self, base_model: BaseModel) -> DataFacts | None:
        """Token counts under this model's tokenizer, if they were counted."""
        found = self.token_facts.get(base_model.name)
        return DataFacts.model_validate(found) if found else None


class TrainingJobQuerySet(models.QuerySet["TrainingJob"]):
    def of(self, project: Project) -> "TrainingJobQuerySet":
        return self.filter(project=project)

    def visible(self) -> "TrainingJobQuerySet":
        return self.filter(archived_at=None)

    def unfinished(self) -> "TrainingJobQuerySet":
        return self.filter(status__in=UNFINISHED)

    def ended(self, status: str) -> "TrainingJobQuerySet":
        """Those on view that ended so, the latest first."""
        # archived_at is empty in all of them, and named because Postgres goes through job_states backwards only then
        return self.visible().filter(status=status).order_by("-archived_at", "-finished_at")


FINAL = ("succeeded", "failed", "cancelled")
UNFINISHED = ("validating_files", "queued", "running", "paused")


class TrainingJob(models.Model):
    """One fine-tuning job. `status` is for machines, `status_text` for people."""

    class Status(models.TextChoices):
        VALIDATING_FILES = "validating_files", "Validating files"
        QUEUED = "queued", "Queued"
        RUNNING = "running", "Running"
        PAUSED = "paused", "Paused"
        SUCCEEDED = "succeeded", "Succeeded"
        FAILED = "failed", "Failed"
        CANCELLED = "cancelled", "Cancelled"

    id = models.CharField(primary_key=True, max_length=40, default=new_job_id, editable=False)
    project = models.ForeignKey(Project, on_delete=models.CASCADE, related_name="jobs")
    created_by = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.SET_NULL, null=True, blank=True)
    label = models.CharField(max_length=200, blank=True)  # a person's name for it
    colour = models.PositiveSmallIntegerField(default=0)  # index of its run colour, the same on every page
    status = models.CharField(max_length=20, choices=Status, default=Status.VALIDATING_FILES)
    status_text = models.CharField(max_length=300, blank=True)

    # what was asked for
    base_model = models.ForeignKey(BaseModel, on_delete=models.PROTECT, related_name="jobs")
    start_checkpoint = models.ForeignKey(
        "Checkpoint", on_delete=models.SET_NULL, null=True, blank=True, related_name="continued_by"
    )
    training_file = models.ForeignKey(DatasetFile, on_delete=models.SET_NULL, null=True, related_name="trains")
    validation_file = models.ForeignKey(
        DatasetFile, on_delete=models.SET_NULL, null=True, blank=True, related_name="validates"
    )
    training_file_name = models.CharField(max_length=255, blank=True)  # stays when the file is deleted
    validation_file_name = models.CharField(max_length=255, blank=True)
    recipe_json = models.JSONField(default=dict)  # Recipe, may hold "auto"
    suffix = models.CharField(max_length=64, blank=True)
    seed = models.BigIntegerField(default=0)
    metadata = models.JSONField(null=True, blank=True)
    sweep = models.CharField(max_length=40, blank=True)  # jobs that were made together, for their values to be compared
    chain = models.ForeignKey("training.Chain", on_delete=models.SET_NULL, null=True, blank=True, related_name="jobs")
    stage = models.PositiveSmallIntegerField(default=0)  # of its chain, from 1
    request_fingerprint = models.CharField(max_length=64, blank=True)  # hash of key and body: tells a repeated create
    idempotency_key = models.CharField(max_length=64, blank=True)  # hash of key and Idempotency-Key, where one was sent
    parent = models.ForeignKey("self", on_delete=models.SET_NULL, null=True, blank=True, related_name="reruns")

    # what it was resolved to
    resolved_json = models.JSONField(null=True, blank=True)  # Resolved
    estimate_json = models.JSONField(null=True, blank=True)  # Estimate, kept to compare with what came
    measured_json = models.JSONField(null=True, blank=True)  # Measured, once it has succeeded; calibrates estimates

    # what happened
    created_at = models.DateTimeField(default=timezone.now)
    queued_at = models.DateTimeField(null=True, blank=True)
    started_at = models.DateTimeField(null=True, blank=True)
    finished_at = models.DateTimeField(null=True, blank=True)
    archived_at = models.DateTimeField(null=True, blank=True)
    started_json = models.JSONField(null=True, blank=True)  # the trainer's Started event
    phase = models.CharField(max_length=40, blank=True)
    preparation = models.JSONField(default=list, blank=True)  # of this start up to its first step (preparation.py)
    step = models.IntegerField(default=0)
    total_steps = models.IntegerField(default=0)
    trained_tokens = models.BigIntegerField(null=True, blank=True)
    estimated_finish_at = models.DateTimeField(null=True, blank=True)
    revision = models.BigIntegerField(default=0)  # of its metric rows; the next written row takes the next one
    fine_tuned_model = models.CharField(max_length=250, blank=True)
    result_file = models.ForeignKey(DatasetFile, on_delete=models.SET_NULL, null=True, blank=True, related_name="+")
    error_code = models.CharField(max_length=60, blank=True)
    error_message = models.TextField(blank=True)
    error_param = models.CharField(max_length=60, blank=True)

    # the worker's side
    claim = models.CharField(max_length=40, blank=True)  # token of the worker that owns it
    heartbeat_at = models.DateTimeField(null=True, blank=True)
    attempt = models.IntegerField(default=0)  # times a trainer was started
    stalls = models.IntegerField(default=0)  # of these, since the last step that was new
    disk_bytes = models.BigIntegerField(null=True)  # of its folder, when it was last measured (quotas.limits)
    trainer_pid = models.IntegerField(null=True, blank=True)
    trainer_seconds = models.FloatField(default=0)  # that a trainer of it was alive, over all starts
    trainer_started = models.FloatField(null=True, blank=True)  # process create time, to tell a re-used pid
    events_offset = models.BigIntegerField(default=0)  # bytes of events.jsonl already recorded
    wanted = models.CharField(max_length=10, blank=True)  # "" | cancel | drop | pause: what a person asked for
    paused_for_serving = models.BooleanField(default=False)  # by the rule of playground.sharing, which lets it go on

    objects = TrainingJobQuerySet.as_manager()

    class Meta:
        ordering = ["-created_at", "-id"]
        indexes = [
            models.Index(fields=["project", "-created_at"], name="job_list"),
            models.Index(fields=["project", "archived_at", "status", "finished_at"], name="job_states"),
            models.Index(fields=["status", "queued_at"], name="job_queue"),
            models.Index(fields=["claim"], name="job_claims"),
            models.Index(fields=["project", "started_at"], name="job_starts"),
            models.Index(fields=["project", "base_model", "-created_at"], name="job_bases"),
        ]
        constraints = [
            models.CheckConstraint(
                name="finished_jobs_have_a_time",
                condition=Q(status__in=FINAL, finished_at__isnull=False) | (~Q(status__in=FINAL) & Q(finished_at=None)),
            )
        ]

    def __str__(self) -> str:
        return self.display_name

    @property
    def display_name(self) -> str:
        """Its name, else what is trained on what."""
        return self.label or self.suffix or self.described

    @property
    def described(self) -> str:
        """With the end of its id, because a second try has the same words."""
        file = PurePath(self.training_file_name).stem
        return (
            f"{self.base_model.name} on {file} · {self.pk[-4:]}" if file else f"{self.base_model.name} · {self.pk[-4:]}"
        )

    @property
    def recipe(self) -> Recipe:
        return Recipe.model_validate(self.recipe_json)

    @property
    def resolved(self) -> Resolved | None:
        return Resolved.model_validate(self.resolved_json) if self.resolved_json else None

    @property
    def estimate(self) -> Estimate | None:
        return Estimate.model_validate(self.estimate_json) if self.estimate_json else None

    @property
    def measured(self) -> Measured | None:
        return Measured.model_validate(self.measured_json) if self.measured_json else None

    @property
    def folder(self) -> Path:
        return home.run_folder(self.id)

    @property
    def is_final(self) -> bool:
        return self.status in FINAL

    @property
    def best_name(self) -> str:
        """The name that always means the best checkpoint of this job."""
        return f"{self.fine_tuned_model or self.id}{BEST}"

    def best_checkpoint(self) -> "Checkpoint | None":
        """The one with the lowest loss over the whole validation set."""
        return self.checkpoints.exclude(full_valid_loss=None).order_by("full_valid_loss", "step").first()


class Metric(models.Model):
    """The figures of one step. A row that is rewritten (replay, late validation) takes its job's next revision."""

    job = models.ForeignKey(TrainingJob, on_delete=models.CASCADE, related_name="metrics")
    step = models.IntegerField()
    revision = models.BigIntegerField()
    time = models.FloatField()  # unix seconds, when the trainer wrote it
    epoch = models.FloatField(null=True)
    train_loss = models.FloatField(null=True)
    train_accuracy = models.FloatField(null=True)
    learning_rate = models.FloatField(null=True)
    grad_norm = models.FloatField(null=True)
    trained_tokens = models.BigIntegerField(null=True)
    tokens_per_second = models.FloatField(null=True)
    memory_bytes = models.BigIntegerField(null=True)
    valid_loss = models.FloatField(null=True)
    valid_accuracy = models.FloatField(null=True)
    full_valid_loss = models.FloatField(null=True)
    full_valid_accuracy = models.FloatField(null=True)
    # what the method tells besides: {"rewards/chosen": .., "valid_rewards/chosen": .., "full_valid_rewards/chosen": ..}
    more = models.JSONField(default=dict)

    class Meta:
        ordering = ["step"]
        constraints = [models.UniqueConstraint(fields=["job", "step"], name="one_metric_row_per_step")]
        indexes = [
            models.Index(fields=["job", "revision"], name="metric_news"),
            models.Index(fields=["job", "step"], name="metric_judged", condition=Q(full_valid_loss__isnull=False)),
        ]


class JobEventQuerySet(models.QuerySet["JobEvent"]):
    def messages(self) -> "JobEventQuerySet":
        """All but the metrics lines, of which a long job has very many: an index tells those without a step."""
        return self.filter(step=None).exclude(type="metrics")


class JobEvent(models.Model):
    """A line of the event log in OpenAI's words. A metrics line has its step and is replaced on replay."""

    id = models.BigAutoField(primary_key=True)
    event_id = models.CharField(max_length=40, default=new_event_id, unique=True)
    job = models.ForeignKey(TrainingJob, on_delete=models.CASCADE, related_name="events")
    created_at = models.DateTimeField(default=timezone.now)
    level = models.CharField(max_length=10, default="info")  # info | warn | error
    type = models.CharField(max_length=20, default="message")  # message | metrics
    message = models.TextField()
    data = models.JSONField(null=True, blank=True, default=dict)
    step = models.IntegerField(null=True, blank=True)

    objects = JobEventQuerySet.as_manager()

    class Meta:
        ordering = ["-created_at", "-id"]
        constraints = [models.UniqueConstraint(fields=["job", "step"], name="one_metrics_event_per_step")]
        indexes = [models.Index(fields=["job", "-created_at", "-id"], name="event_list")]


BEST = ":best"


class CheckpointQuerySet(models.QuerySet["Checkpoint"]):
    def of(self, project: Project) -> "CheckpointQuerySet":
        return self.filter(project=project)

    def usable_by(self, project: Project) -> "CheckpointQuerySet":
        """This project's own, and those of others that it may ask (training/permissions)."""
        return self.filter(Q(project=project) | Q(pk__in=project.permissions_had.values("checkpoint")))

    def named(self, name: str) -> "CheckpointQuerySet":
        """By either of its names, which never change their meaning; or by NAME:best, the best one of NAME's job at this
        moment. NAME is a model's name or the id of a job."""
        if name.endswith(BEST):
            return self._best_of(name.removesuffix(BEST))
        return self.filter(Q(step_name=name) | Q(final_name=name))

    def of_job_called(self, name: str) -> "CheckpointQuerySet":
        """Those that show which job is meant by a model's name or a job's id."""
        found = Q(final_name=name) | Q(step_name=name) | Q(step_name__startswith=f"{name}:ckpt-step-") | Q(job=name)
        return self.filter(found)

    def _best_of(self, name: str) -> "CheckpointQuerySet":
        of_same = self.filter(job__in=self.of_job_called(name).values("job")[:1]).exclude(full_valid_loss=None)
        return of_same.filter(pk__in=of_same.order_by("full_valid_loss", "step").values("pk")[:1])


class Checkpoint(models.Model):
    """Weights at the end of an epoch (or saved on demand), with the figures over the whole validation set."""

    class Kind(models.TextChoices):
        LORA = "lora", "Adapter"
        FULL = "full", "Full weights"

    id = models.CharField(primary_key=True, max_length=40, default=new_checkpoint_id, editable=False)
    project = models.ForeignKey(Project, on_delete=models.CASCADE, related_name="checkpoints")
    job = models.ForeignKey(TrainingJob, on_delete=models.CASCADE, related_name="checkpoints")
    base_model = models.ForeignKey(BaseModel, on_delete=models.PROTECT, related_name="checkpoints")
    step = models.IntegerField()
    epoch = models.IntegerField()
    kind = models.CharField(max_length=10, choices=Kind)
    step_name = models.CharField(max_length=250, unique=True)  # ft:base:org:suffix:xxxxxxxx:ckpt-step-N
    final_name = models.CharField(max_length=250, unique=True, null=True, blank=True)  # the last one also has this
    label = models.CharField(max_length=200, blank=True)
    path_in_run = models.CharField(max_length=200)  # relative to the run folder
    size_bytes = models.BigIntegerField(default=0)
    sha256 = models.CharField(max_length=64)
    train_loss = models.FloatField(null=True, blank=True)
    train_accuracy = models.FloatField(null=True, blank=True)
    valid_loss = models.FloatField(null=True, blank=True)
    valid_accuracy = models.FloatField(null=True, blank=True)
    full_valid_loss = models.FloatField(null=True, blank=True)
    full_valid_accuracy = models.FloatField(null=True, blank=True)
    more = models.JSONField(default=dict, blank=True)  # the method's other figures, over the whole validation set
    created_at = models.DateTimeField(default=timezone.now)
    archived_at = models.DateTimeField(null=True, blank=True)

    objects = CheckpointQuerySet.as_manager()

    class Meta:
        ordering = ["-created_at", "-step"]
        constraints = [models.UniqueConstraint(fields=["job", "step"], name="one_checkpoint_per_step")]
        indexes = [
            models.Index(fields=["project", "-created_at", "-step"], name="checkpoint_list"),
            models.Index(fields=["project", "size_bytes"], name="checkpoint_sizes"),
        ]

    def __str__(self) -> str:
        return self.name

    @property
    def name(self) -> str:
        """The name to show and to serve: the final model's name for the last one."""
        return self.final_name or self.step_name

    @property
    def ends_epoch(self) -> bool:
        """Not so where a person had it saved, or the job ended, on the way."""
        each = (self.job.started_json or {}).get("steps_per_epoch")
        return not each or self.step % each == 0

    @property
    def when(self) -> str:
        """'epoch 3', or 'step 7' on the way: an epoch would not tell it from the one at its end."""
        return f"epoch {self.epoch}" if self.ends_epoch else f"step {self.step:,}"

    @property
    def told_apart(self) -> float | None:
        """Of preferences: the share of validation pairs whose preferred answer has the higher reward."""
        return self.more.get("rewards/accuracies")

    @property
    def margin(self) -> float | None:
        return self.more.get("rewards/margins")

    @property
    def path(self) -> Path:
        return self.job.folder / self.path_in_run


from training.aliases.models import Alias, Promotion  # noqa: E402, F401 - Django looks for models here
from training.chains.models import Chain  # noqa: E402, F401 - Django looks for models here
from training.imported.models import ImportedCheckpoint, ImportedJob  # noqa: E402, F401 - Django looks for models here
from training.intake.models import Making  # noqa: E402, F401 - Django looks for models here
from training.parts.models import Upload, UploadPart  # noqa: E402, F401 - Django looks for models here
from training.permissions.models import CheckpointPermission  # noqa: E402, F401 - Django looks for models here
from training.quotas.models import Quota  # noqa: E402, F401 - Django looks for models here
from training.repairs.models import Repair  # noqa: E402, F401 - Django looks for models here
from training.safety.models import (  # noqa: E402 - Django looks for models here
    ModerationCheck,  # noqa: F401
    ModerationPolicy,  # noqa: F401
    SafetyDecision,  # noqa: F401
    SafetyScan,  # noqa: F401
)
from training.trackers.models import Tracker, TrackerKey  # noqa: E402, F401 - Django looks for models here
from training.usage.models import ModelTerms, Usage  # noqa: E402, F401 - Django looks for models here
from training.webhooks.models import WebhookDelivery, WebhookEndpoint  # noqa: E402, F401 - Django looks for models here
