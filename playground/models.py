"""What is served, what was compared, and how people voted."""

from typing import Any

from django.conf import settings
from django.db import models
from django.db.models import Q
from django.utils import timezone

from accounts.ids import new_id
from accounts.models import Project
from training.models import BaseModel, Checkpoint


def new_comparison_id() -> str:
    return new_id("cmp_", 16)


class DeploymentQuerySet(models.QuerySet["Deployment"]):
    def wanted(self) -> "DeploymentQuerySet":
        return self.filter(wanted=True)

    def ready(self) -> "DeploymentQuerySet":
        return self.filter(state=Deployment.State.READY)


class Deployment(models.Model):
    """A base model or a checkpoint that somebody wants answered by vLLM. `manage.py serve` makes it so."""

    class State(models.TextChoices):
        OFF = "off", "Not loaded"
        QUEUED = "queued", "Waiting"
        LOADING = "loading", "Loading"
        READY = "ready", "Ready"
        FAILED = "failed", "Failed"

    class Proof(models.TextChoices):
        NONE = "", "Not checked"
        VERIFIED = "verified", "Verified"  # vLLM answers as the trained weights do, and not as the base does
        TOO_CLOSE = "too_close", "Too close to the base to tell"
        REFUSED = "refused", "Refused"

    base_model = models.OneToOneField(
        BaseModel, on_delete=models.CASCADE, null=True, blank=True, related_name="deployment"
    )
    checkpoint = models.OneToOneField(
        Checkpoint, on_delete=models.CASCADE, null=True, blank=True, related_name="deployment"
    )
    wanted = models.BooleanField(default=True)
    pinned = models.BooleanField(default=False)  # never put away to make room
    state = models.CharField(max_length=20, choices=State, default=State.QUEUED)
    reason = models.TextField(blank=True)  # for people: why it waits or failed, what it does now
    url = models.CharField(max_length=200, blank=True)  # of the vLLM server, e.g. http://127.0.0.1:41234
    server_pid = models.IntegerField(null=True, blank=True)
    proof = models.CharField(max_length=20, choices=Proof, default=Proof.NONE, blank=True)
    proof_json = models.JSONField(null=True, blank=True)  # differences per token, versions, time
    start_seconds = models.FloatField(null=True, blank=True)  # that its server took to start, the last time
    load_seconds = models.FloatField(null=True, blank=True)  # from then until it was ready: loaded and proven
    used_at = models.DateTimeField(default=timezone.now)  # last request; the least recently used is put away first
    changed_at = models.DateTimeField(default=timezone.now)

    objects = DeploymentQuerySet.as_manager()

    class Meta:
        constraints = [
            models.CheckConstraint(
                name="deployment_serves_one_thing",
                condition=Q(base_model__isnull=False, checkpoint=None) | Q(base_model=None, checkpoint__isnull=False),
            )
        ]

    @property
    def served_name(self) -> str:
        """The model name that vLLM answers to; a checkpoint's step name, because that one never changes."""
        return self.checkpoint.step_name if self.checkpoint else self.base_model.name  # type: ignore[union-attr]

    @property
    def family(self) -> BaseModel:
        """The base model whose server this runs in (a full-weight checkpoint has a server of its own)."""
        return self.checkpoint.base_model if self.checkpoint else self.base_model  # type: ignore[return-value]


class Verification(models.Model):
    """What the parity gate found when this checkpoint was last loaded; it stays when its server stops.

    Differences of log-probabilities per token (nats); empty when the gate refused it before it could ask.
    """

    checkpoint = models.OneToOneField(Checkpoint, on_delete=models.CASCADE, related_name="verification")
    proof = models.CharField(max_length=20, choices=Deployment.Proof)
    reason = models.TextField(blank=True)  # why it was refused, or is too close to tell
    mean_to_trained = models.FloatField(null=True, blank=True)
    max_to_trained = models.FloatField(null=True, blank=True)
    mean_to_base = models.FloatField(null=True, blank=True)
    max_to_base = models.FloatField(null=True, blank=True)
    tokens = models.IntegerField(null=True, blank=True)
    vllm_version = models.CharField(max_length=60, blank=True)
    checked_at = models.DateTimeField(default=timezone.now)

    @property
    def outcome(self) -> str:
        return {"verified": "verified", "too_close": "too close to tell"}.get(self.proof, "refused")

    @property
    def words(self) -> str:
        """For people: how near the served weights were to the trained ones and to the base."""
        if self.outcome == "refused" or self.mean_to_trained is None or self.mean_to_base is None:
            return self.reason
        return f"{_nats(self.mean_to_trained)} nats from the trained weights, {_nats(self.mean_to_base)} from the base"


def _nats(mean: float) -> str:
    """Two digits; what is next to nothing says so instead of 8e-05."""
    return "under 0.0001" if 0 < mean < 0.0001 else f"{mean:.2g}"


class ComparisonQuerySet(models.QuerySet["Comparison"]):
    def of(self, project: Project) -> "ComparisonQuerySet":
        return self.filter(project=project)


class Comparison(models.Model):
    """One conversation put to several models at once."""

    id = models.CharField(primary_key=True, max_length=40, default=new_comparison_id, editable=False)
    project = models.ForeignKey(Project, on_delete=models.CASCADE, related_name="comparisons")
    created_by = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.SET_NULL, null=True, blank=True)
    blind = models.BooleanField(default=False)
    # in the order of the page: {"model": name, "system": str|null, "settings": {...}|null}; shuffled when blind
    columns = models.JSONField(default=list)
    system_prompt = models.TextField(blank=True)
    settings = models.JSONField(default=dict)  # temperature, top_p, max_tokens, seed, n
    tools = models.JSONField(null=True, blank=True)  # as OpenAI's API takes them
    response_format = models.JSONField(null=True, blank=True)  # likewise
    created_at = models.DateTimeField(default=timezone.now)

    objects = ComparisonQuerySet.as_manager()

    class Meta:
        ordering = ["-created_at"]


class Turn(models.Model):
    """One message that went to every column of a comparison."""

    comparison = models.ForeignKey(Comparison, on_delete=models.CASCADE, related_name="turns")
    position = models.PositiveIntegerField()
    prompt = models.TextField()
    created_at = models.DateTimeField(default=timezone.now)

    class Meta:
        ordering = ["position"]
        constraints = [models.UniqueConstraint(fields=["comparison", "position"], name="one_turn_per_position")]


class Response(models.Model):
    """What one column answered in one turn, with what it cost."""

    turn = models.ForeignKey(Turn, on_delete=models.CASCADE, related_name="responses")
    column = models.PositiveIntegerField()  # index into Comparison.columns
    model = models.CharField(max_length=250)
    checkpoint = models.ForeignKey(Checkpoint, on_delete=models.SET_NULL, null=True, blank=True)
    text = models.TextField(blank=True)
    tool_calls = models.JSONField(default=list, blank=True)  # [{"name": str, "arguments": str}]
    # further answers to the same message: [{"text", "tool_calls", "stop_reason"}]; edits are of the first
    more_samples = models.JSONField(default=list, blank=True)
    prompt_tokens = models.IntegerField(null=True)
    completion_tokens = models.IntegerField(null=True)
    first_token_seconds = models.FloatField(null=True)
    tokens_per_second = models.FloatField(null=True)
    cost = models.FloatField(null=True)  # in HONE_PRICE_CURRENCY, where the model's prices are known
    seconds = models.FloatField(null=True)  # from the question to the last token, without loading the model
    stop_reason = models.CharField(max_length=40, blank=True)
    error = models.TextField(blank=True)
    settings = models.JSONField(default=dict)
    proof = models.JSONField(null=True, blank=True)  # the deployment's proof when it answered
    created_at = models.DateTimeField(default=timezone.now)

    def sample(self, index: int) -> dict[str, Any]:
        """{"text", "tool_calls"} of one of its answers; 0 is the first."""
        return self.more_samples[index - 1] if index else {"text": self.text, "tool_calls": self.tool_calls}

    class Meta:
        ordering = ["column"]
        constraints = [models.UniqueConstraint(fields=["turn", "column"], name="one_response_per_column")]


class Vote(models.Model):
    """A person's judgement of one turn."""

    class Verdict(models.TextChoices):
        BEST = "best", "One is better"
        TIE = "tie", "Tie"
        BOTH_BAD = "both_bad", "All bad"

    turn = models.ForeignKey(Turn, on_delete=models.CASCADE, related_name="votes")
    project = models.ForeignKey(Project, on_delete=models.CASCADE, related_name="votes")
    voter = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.SET_NULL, null=True)
    verdict = models.CharField(max_length=10, choices=Verdict)
    best = models.ForeignKey(Response, on_delete=models.CASCADE, null=True, blank=True, related_name="won")
    samples = models.JSONField(default=list, blank=True)  # by column, which sample was judged; empty: each first one
    blind = models.BooleanField(default=False)
    created_at = models.DateTimeField(default=timezone.now)

    def sample_of(self, column: int) -> int:
        """Which answer of this column the vote is about: 0 is Response.text."""
        return self.samples[column] if column < len(self.samples) else 0

    class Meta:
        ordering = ["-created_at"]
        constraints = [
            models.UniqueConstraint(fields=["turn", "voter"], name="one_vote_per_person_and_turn"),
            models.CheckConstraint(
                name="a_best_vote_names_its_answer",
                condition=Q(verdict="best", best__isnull=False) | (~Q(verdict="best") & Q(best=None)),
            ),
        ]


from playground.campaigns.models import Assignment, Campaign, Evaluator, Invitation  # noqa: E402, F401
from playground.edits.models import EditedAnswer  # noqa: E402, F401
from playground.external.models import ExternalModel  # noqa: E402, F401
from playground.film.models import Film, Frame  # noqa: E402, F401 - Django looks for models here
from playground.judge.models import JudgeRun, JudgeVerdict  # noqa: E402, F401
from playground.matrix.models import KeptAnswer, Matrix, Prompt, PromptSet  # noqa: E402, F401
from playground.refusals.models import RefusalCheck, RefusalPolicy  # noqa: E402, F401
