"""The rows of a matrix: a set of prompts, the models that answer each of them, and the answers that are kept.

A matrix is answered once by a worker (filling.py) and can be read, scored and judged from then on. An answer belongs to
what was asked and to how (`KeptAnswer.contender` and `.prompt`), not to one matrix: another matrix that asks the same
finds it there. A kept answer without an error never changes, so that what people judge stays what was answered.
"""

import hashlib
import json
from typing import Any

from django.conf import settings
from django.db import models
from django.utils import timezone

from accounts.ids import new_id
from accounts.models import Project
from training.models import Checkpoint


def new_set_id() -> str:
    return new_id("pset_", 16)


def new_matrix_id() -> str:
    return new_id("mtx_", 16)


class PromptSetQuerySet(models.QuerySet["PromptSet"]):
    def of(self, project: Project) -> "PromptSetQuerySet":
        return self.filter(project=project)


class PromptSet(models.Model):
    """Prompts under a name. They never change: a changed set is another one."""

    id = models.CharField(primary_key=True, max_length=40, default=new_set_id, editable=False)
    project = models.ForeignKey(Project, on_delete=models.CASCADE, related_name="prompt_sets")
    name = models.CharField(max_length=120)
    source = models.JSONField(default=dict)  # {"kind": "typed" | "file" | "comparisons", "file"?: id, ...}
    created_by = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.SET_NULL, null=True, blank=True)
    created_at = models.DateTimeField(default=timezone.now)

    objects = PromptSetQuerySet.as_manager()

    class Meta:
        ordering = ["-created_at"]

    @property
    def source_words(self) -> str:
        """Where its prompts came from, for people."""
        if self.source.get("kind") == "file":
            return f"drawn from {self.source.get('filename', 'a file')}, seed {self.source.get('seed', 0)}"
        judged = " that were judged" if self.source.get("judged") else ""
        return {"comparisons": f"from earlier comparisons{judged}"}.get(self.source.get("kind", ""), "written here")


class Prompt(models.Model):
    """One thing that is asked, and what was expected, if the set knows."""

    prompt_set = models.ForeignKey(PromptSet, on_delete=models.CASCADE, related_name="prompts")
    position = models.PositiveIntegerField()
    key = models.CharField(max_length=16)  # of playground.film.prompts.Pinned: the same for the same question
    ask = models.JSONField()  # {"messages", "tools"?} or, of bare text, {"prompt"}
    text = models.TextField()  # the last thing that the user says, to show and to search
    expected = models.TextField(blank=True)
    tags = models.JSONField(default=list)

    class Meta:
        ordering = ["position"]
        constraints = [models.UniqueConstraint(fields=["prompt_set", "key"], name="one_prompt_per_set_and_question")]

    @property
    def before(self) -> int:
        """Messages of the conversation that come before what is asked."""
        said = [each for each in self.ask.get("messages", []) if each.get("role") not in ("system", "developer")]
        return max(0, len(said) - 1)


class MatrixQuerySet(models.QuerySet["Matrix"]):
    def of(self, project: Project) -> "MatrixQuerySet":
        return self.filter(project=project)


class Matrix(models.Model):
    """A prompt set put to several contenders."""

    class State(models.TextChoices):
        ANSWERING = "answering", "Being answered"
        DONE = "done", "Answered"
        CANCELLED = "cancelled", "Cancelled"

    id = models.CharField(primary_key=True, max_length=40, default=new_matrix_id, editable=False)
    project = models.ForeignKey(Project, on_delete=models.CASCADE, related_name="matrices")
    name = models.CharField(max_length=120)
    prompt_set = models.ForeignKey(PromptSet, on_delete=models.PROTECT, related_name="matrices")
    created_by = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.SET_NULL, null=True, blank=True)
    # as Comparison.columns: {"model": lasting name, "system": str?, "settings": {...}?}; the first is the reference
    columns = models.JSONField(default=list)
    system_prompt = models.TextField(blank=True)  # in place of the prompts' own; empty: each prompt as it is
    settings = models.JSONField(default=dict)  # of playground.forms.Sampling
    scores = models.JSONField(default=list)  # of playground.matrix.scores.Score
    state = models.CharField(max_length=12, choices=State, default=State.ANSWERING)
    troubles = models.JSONField(default=dict)  # contender -> why it cannot answer at all, for people
    created_at = models.DateTimeField(default=timezone.now)
    finished_at = models.DateTimeField(null=True, blank=True)
    woken_at = models.DateTimeField(null=True, blank=True)  # when a worker was last told
    claim = models.CharField(max_length=80, blank=True)  # token of the worker that fills it
    heartbeat_at = models.DateTimeField(null=True, blank=True)

    objects = MatrixQuerySet.as_manager()

    class Meta:
        ordering = ["-created_at"]
        verbose_name_plural = "matrices"

    @property
    def contenders(self) -> list[str]:
        """The contender key of each column."""
        return [contender(column, self.system_prompt, self.settings) for column in self.columns]


class KeptAnswer(models.Model):
    """What one contender answered to one prompt, with what it cost."""

    project = models.ForeignKey(Project, on_delete=models.CASCADE, related_name="kept_answers")
    contender = models.CharField(max_length=32)
    prompt = models.CharField(max_length=16)  # Prompt.key
    model = models.CharField(max_length=250)
    checkpoint = models.ForeignKey(Checkpoint, on_delete=models.SET_NULL, null=True, blank=True)
    text = models.TextField(blank=True)
    tool_calls = models.JSONField(default=list)  # [{"name", "arguments"}]
    stop_reason = models.CharField(max_length=40, blank=True)
    error = models.TextField(blank=True)  # why there is no answer; asked again when somebody says so
    prompt_tokens = models.IntegerField(null=True)
    completion_tokens = models.IntegerField(null=True)
    first_token_seconds = models.FloatField(null=True)
    seconds = models.FloatField(null=True)
    proof = models.JSONField(null=True, blank=True)  # the deployment's proof when it answered
    created_at = models.DateTimeField(default=timezone.now)

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["project", "contender", "prompt"], name="one_answer_per_contender_and_prompt"
            )
        ]


def contender(column: dict[str, Any], system_prompt: str, shared: dict[str, Any]) -> str:
    """The same for the same model under the same system prompt and settings."""
    own = {name: value for name, value in (column.get("settings") or {}).items() if value is not None}
    how = {
        "model": column["model"],
        "system": column.get("system", system_prompt or None),
        "settings": {name: value for name, value in {**shared, **own}.items() if value is not None},
    }
    return hashlib.sha256(json.dumps(how, sort_keys=True).encode()).hexdigest()[:32]
