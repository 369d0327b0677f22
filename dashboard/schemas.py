"""Requests and answers in the words of OpenAI's API. Ranges of hyperparameters are said in `Recipe`, once."""

from typing import Annotated, Any, Literal

from ninja import Schema
from pydantic import ConfigDict, Field, create_model

from playground.film.written import PinnedPrompts
from training.engine.spec import Recipe
from training.nulls import NullIsAbsent
from training.trackers.spec import Integration


class Asked(NullIsAbsent, Schema):
    """Part of a request: nothing unknown passes, nothing is converted, null means absent."""

    model_config = ConfigDict(extra="forbid", strict=True)


def part_of_recipe(title: str, **fields: str) -> Any:
    """A request object whose fields (name here = name in `Recipe`) keep the types and ranges of the recipe."""
    found = {ours: Recipe.model_fields[theirs] for ours, theirs in fields.items()}
    fields_here: dict[str, Any] = {name: (field.annotation, field) for name, field in found.items()}
    return create_model(title, __base__=Asked, **fields_here)


SUPERVISED_FIELDS = {name: name for name in ("n_epochs", "batch_size", "learning_rate_multiplier")}
DPO_FIELDS = SUPERVISED_FIELDS | {"beta": "beta"}
LORA_FIELDS = {
    "r": "lora_r",
    "alpha": "lora_alpha",
    "dropout": "lora_dropout",
    "target_modules": "target_modules",
    "variant": "lora_variant",
    "modules_to_save": "modules_to_save",
    "quantization": "quantization",
}
TRAINING_FIELDS = {
    name: name
    for name in (
        "adaptation",
        "max_length",
        "lr_scheduler",
        "warmup_ratio",
        "weight_decay",
        "max_grad_norm",
        "dtype",
        "packing",
        "optimizer",
        "min_learning_rate_ratio",
        "neftune_alpha",
        "gradient_checkpointing",
        "sharding",
        "validate_every_steps",
        "stop_metric",
        "stop_patience",
        "stop_min_change",
        "on_spike",
        "keep_checkpoints",
        "keep_count",
        "keep_metric",
    )
}
AskedHyperparameters = part_of_recipe("AskedHyperparameters", **SUPERVISED_FIELDS)
AskedDpoHyperparameters = part_of_recipe("AskedDpoHyperparameters", **DPO_FIELDS)
AskedLora = part_of_recipe("AskedLora", **LORA_FIELDS)
AskedTraining = part_of_recipe("AskedTraining", **TRAINING_FIELDS)
PARTS_OF_RECIPE = {  # by the title of the request object: its fields' names in `Recipe`
    "AskedHyperparameters": SUPERVISED_FIELDS,
    "AskedDpoHyperparameters": DPO_FIELDS,
    "AskedLora": LORA_FIELDS,
    "AskedTraining": TRAINING_FIELDS,
}


class AskedSupervised(Asked):
    hyperparameters: AskedHyperparameters | None = None  # type: ignore[valid-type]


class AskedDpo(Asked):
    hyperparameters: AskedDpoHyperparameters | None = None  # type: ignore[valid-type]


class AskedMethod(Asked):
    """`pretrain` is Hone's own. `reinforcement` is read so that the refusal can name it."""

    type: Literal["supervised", "pretrain", "dpo", "reinforcement"]
    supervised: AskedSupervised | None = None
    pretrain: AskedSupervised | None = None
    dpo: AskedDpo | None = None
    reinforcement: dict[str, Any] | None = None


Purpose = Annotated[str, Field(json_schema_extra={"enum": ["fine-tune"]})]  # the refusal of others has words of its own
MetadataKey = Annotated[str, Field(max_length=64)]
MetadataValue = Annotated[str, Field(max_length=512)]


Suffix = Annotated[str, Field(min_length=1, max_length=64, json_schema_extra={"pattern": "^[^:/]+$"})]


class CreateJob(Asked):
    """Body of POST /v1/fine_tuning/jobs. `lora`, `training`, `label`, `pinned_prompts` and `rerun_of` are Hone's own:
    send them by `extra_body`."""

    model: Annotated[str, Field(min_length=1, max_length=250)]
    training_file: str
    validation_file: str | None = None
    method: AskedMethod | None = None
    hyperparameters: AskedHyperparameters | None = None  # type: ignore[valid-type]
    suffix: Suffix | None = None
    seed: Annotated[int, Field(ge=0, le=2_147_483_647)] | None = None
    integrations: Annotated[list[Integration], Field(max_length=5)] | None = None
    metadata: Annotated[dict[MetadataKey, MetadataValue], Field(max_length=16)] | None = None
    lora: AskedLora | None = None  # type: ignore[valid-type]
    training: AskedTraining | None = None  # type: ignore[valid-type]
    label: Annotated[str, Field(max_length=200)] | None = None
    pinned_prompts: PinnedPrompts | None = None
    rerun_of: str | None = None


# ---- answers ----


class Error(Schema):
    model_config = ConfigDict(extra="forbid")

    message: str
    type: str
    param: str | None
    code: str | None


class ErrorBody(Schema):
    """What every answer that is not 2xx holds."""

    model_config = ConfigDict(extra="forbid")

    error: Error


class File(Schema):
    id: str
    object: Literal["file"] = "file"
    bytes: int
    created_at: int
    expires_at: int | None
    filename: str
    purpose: str
    status: Literal["uploaded", "processed", "error"]
    status_details: str | None
    format: str | None = Field(description="Hone's own: chat, completion, preference or text, once checked")
    rows: int | None = Field(description="Hone's own: number of rows, once checked")
    problem_count: int = Field(description="Hone's own: rows or fields that cannot be trained on")


class Page(Schema):
    object: Literal["list"] = "list"
    has_more: bool


class FileList(Page):
    data: list[File]
    first_id: str | None
    last_id: str | None


class Deleted(Schema):
    id: str
    object: Literal["file", "model"]
    deleted: Literal[True] = True


class JobError(Schema):
    """All null on a job that has not failed: programs read `job.error.message` unguarded."""

    code: str | None
    message: str | None
    param: str | None


class Hyperparameters(Schema):
    n_epochs: int | Literal["auto"]
    batch_size: int | Literal["auto"]
    learning_rate_multiplier: float | Literal["auto"]


class Supervised(Schema):
    hyperparameters: Hyperparameters


class DpoHyperparameters(Hyperparameters):
    beta: float | Literal["auto"]


class Dpo(Schema):
    hyperparameters: DpoHyperparameters


class Method(Schema):
    type: Literal["supervised", "dpo", "pretrain", "reinforcement"]
    supervised: Supervised | None = None
    dpo: Dpo | None = None
    reinforcement: dict[str, Any] | None = Field(None, description="Only of a job imported from OpenAI")
    pretrain: Supervised | None = Field(None, description="Hone's own: continued pre-training on raw text")


class Job(Schema):
    id: str
    object: Literal["fine_tuning.job"] = "fine_tuning.job"
    model: str
    created_at: int
    finished_at: int | None
    fine_tuned_model: str | None
    organization_id: str
    result_files: list[str]
    status: Literal["validating_files", "queued", "running", "paused", "succeeded", "failed", "cancelled"]
    training_file: str
    validation_file: str | None
    hyperparameters: Hyperparameters
    trained_tokens: int | None
    error: JobError
    user_provided_suffix: str | None
    seed: int
    estimated_finish: int | None
    integrations: list[dict[str, Any]]
    metadata: dict[str, str] | None
    usage_metrics: None = None
    shared_with_openai: Literal[False] = False
    method: Method
    lora: dict[str, Any] | None = Field(description="Hone's own: the adapter's settings; null for full weights")
    training: dict[str, Any] = Field(description="Hone's own: the other settings")
    hone: dict[str, Any] = Field(
        description="Hone's own: label, status_text, phase, step, total_steps, best_model, queue_position,"
        " device_seconds, cost, trackers; of a job that was brought over from OpenAI also imported"
    )


class JobList(Page):
    data: list[Job]


class Event(Schema):
    object: Literal["fine_tuning.job.event"] = "fine_tuning.job.event"
    id: str
    created_at: int
    level: Literal["info", "warn", "error"]
    message: str
    type: str
    data: dict[str, Any] | None


class EventList(Page):
    data: list[Event]


class Parity(Schema):
    """What serving found when it last compared these weights with the trained ones; nats per token."""

    outcome: Literal["verified", "too close to tell", "refused"]
    reason: str | None
    mean_to_trained: float | None
    max_to_trained: float | None
    mean_to_base: float | None
    max_to_base: float | None
    vllm: str
    checked_at: int


class Checkpoint(Schema):
    object: Literal["fine_tuning.job.checkpoint"] = "fine_tuning.job.checkpoint"
    id: str
    created_at: int
    fine_tuning_job_id: str
    fine_tuned_model_checkpoint: str
    step_number: int
    metrics: dict[str, float | int] = Field(description="A key is absent when its figure was not computed")
    epoch: int | None = Field(description="Hone's own: the epoch that this checkpoint ends; null where not known")
    size_bytes: int = Field(description="Hone's own: its weights on disk")
    not_validated: str | None = Field(description="Hone's own: why it has no full_valid figures; null when it has")
    not_servable: str | None = Field(description="Hone's own: why nobody can ask it; null where it can be asked")
    parity: Parity | None = Field(description="Hone's own: null until it was served once")


class CheckpointList(Page):
    data: list[Checkpoint]
    first_id: str | None
    last_id: str | None


class SharePermission(Asked):
    """Body of POST /v1/fine_tuning/checkpoints/{fine_tuned_model_checkpoint}/permissions."""

    project_ids: Annotated[list[str], Field(min_length=1, max_length=100)]


class Permission(Schema):
    id: str
    object: Literal["checkpoint.permission"] = "checkpoint.permission"
    created_at: int
    project_id: str


class PermissionList(Page):
    data: list[Permission]
    first_id: str | None
    last_id: str | None


class PermissionDeleted(Schema):
    id: str
    object: Literal["checkpoint.permission"] = "checkpoint.permission"
    deleted: Literal[True] = True


class Model(Schema):
    id: str
    object: Literal["model"] = "model"
    created: int
    owned_by: str
    shutdown_date: None = None
    parent: str | None = Field(description="Hone's own: the base model of a fine-tuned one")


class ModelList(Schema):
    object: Literal["list"] = "list"
    data: list[Model]
    has_more: Literal[False] = False
