"""A chain and what its stages are made of; the jobs come one after the other."""

from typing import Annotated, Any, Literal

from django.conf import settings
from django.db import models
from django.utils import timezone
from pydantic import BaseModel, ConfigDict, Field

from accounts.ids import new_id
from accounts.models import Project
from training.engine.spec import Recipe
from training.trackers.spec import Integration

MOST_STAGES = 8
STOPPED = "Stopped by a person in stage {}."
STAGE_STOPPED = "Stage {} was stopped."


class Stage(BaseModel):
    """What a stage's job is made of. `take`: which of its checkpoints the next stage starts from."""

    model_config = ConfigDict(extra="forbid")

    training_file: str
    validation_file: str | None = None
    recipe: Recipe = Recipe()
    label: str = ""
    suffix: str = ""
    seed: int | None = None
    trackers: list[Integration] = []
    pinned_prompts: list[Any] = []  # of playground.film.written.Entry, which reads them
    take: Literal["last", "best"] = "last"


Stages = Annotated[list[Stage], Field(min_length=1, max_length=MOST_STAGES)]


def new_chain_id() -> str:
    return new_id("chain-")


class Chain(models.Model):
    """`at` counts the stages that were begun; a stage's job is the newest one with its number."""

    id = models.CharField(primary_key=True, max_length=40, default=new_chain_id, editable=False)
    project = models.ForeignKey(Project, on_delete=models.CASCADE, related_name="chains")
    created_by = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.SET_NULL, null=True, blank=True)
    label = models.CharField(max_length=200, blank=True)
    base_model = models.ForeignKey("training.BaseModel", on_delete=models.PROTECT, related_name="+")
    start_checkpoint = models.ForeignKey(
        "training.Checkpoint", on_delete=models.SET_NULL, null=True, blank=True, related_name="+"
    )
    stages_json = models.JSONField()  # [Stage]
    at = models.PositiveSmallIntegerField(default=0)
    problem = models.TextField(blank=True)  # why it goes no further
    created_at = models.DateTimeField(default=timezone.now)
    finished_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering = ["-created_at", "-id"]

    @property
    def stages(self) -> list[Stage]:
        return [Stage.model_validate(stage) for stage in self.stages_json]

    @property
    def title(self) -> str:
        return self.label or " → ".join(stage.recipe.method for stage in self.stages)

    def job_of(self, number: int) -> Any:
        """The newest job of this stage (from 1), None before there is one."""
        return self.jobs.filter(stage=number).order_by("-created_at", "-id").first()  # type: ignore[attr-defined]

    @property
    def status(self) -> str:
        if self.finished_at is None:
            return "running"
        if self.problem in (STOPPED.format(self.at), STAGE_STOPPED.format(self.at)):
            return "cancelled"
        return "failed" if self.problem else "succeeded"
