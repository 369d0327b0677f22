"""The contract between the site and the trainer, both ways. pydantic only: no torch, no Django.

Downwards: a `Recipe` is what a person or a script asks for (values may be "auto"); `resolve.resolve` turns it into
numbers; a `JobSpec` is what the trainer reads from `spec.json` in its run folder.
Upwards: the trainer appends one JSON object a line to `events.jsonl`; the classes below are its lines.

Run folder:
    spec.json                     written by the launcher
    events.jsonl                  appended by the trainer (rank 0)
    plan.json                     how batches are cut into passes, decided at the first start
    reference/                    DPO: log-probabilities of every answer under the weights the job starts from
    tokens/                       raw text as numbers, while it is trained on
    trainer.log                   stdout and stderr of the trainer
    failed-process-N.json         an End, from a process that is not the first and failed by itself
    stop | pause                  control files, looked at every step; `save` asks for a checkpoint now
    validation/step-S.json        the loss of every validation row, after each validation of the whole set
    checkpoints/epoch-E-step-S/   weights, tokenizer, meta.json, probes.json, trainer_state/ (optimizer, RNG, position)
    resume/                       the rolling resume point, one kept
A folder appears under its final name only when it is complete (written beside it, then renamed).
"""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, model_validator

Auto = Literal["auto"]
Method = Literal["sft", "dpo", "pretrain"]
Adaptation = Literal["lora", "full"]
Scheduler = Literal["linear", "cosine", "cosine_with_min", "constant", "constant_with_warmup"]
LoraVariant = Literal["lora", "rslora", "dora"]
Quantization = Literal["none", "4bit"]
Sharding = Literal["data_parallel", "fsdp"]  # of several devices: each has all weights, or they are shared out
Optimizer = Literal["adamw", "adamw_8bit"]
OnOff = Literal["on", "off"]
StopMetric = Literal["none", "full_valid_loss", "full_valid_accuracy"]
Reaction = Literal["off", "warn", "stop"]
Keep = Literal["all", "last", "best"]
Judged = Literal["full_valid_loss", "full_valid_accuracy"]
Dtype = Literal["auto", "float32", "bfloat16"]
FAILED_PROCESS = "failed-process-*.json"


class Strict(BaseModel):
    """Refuses unknown fields: nothing is silently ignored."""

    model_config = ConfigDict(extra="forbid")


class Recipe(Strict):
    """The hyperparameters as asked for. The ranges here are the only place where they are said."""

    method: Method = "sft"
    n_epochs: Annotated[int, Field(ge=1, le=50)] | Auto = "auto"
    batch_size: Annotated[int, Field(ge=1, le=256)] | Auto = "auto"
    learning_rate_multiplier: Annotated[float, Field(gt=0, le=1000)] | Auto = "auto"
    beta: Annotated[float, Field(gt=0, le=2)] | Auto = "auto"  # of DPO: how strongly it is held to its reference
    adaptation: Adaptation = "lora"
    lora_r: Annotated[int, Field(ge=1, le=256)] | Auto = "auto"
    lora_alpha: Annotated[int, Field(ge=1, le=1024)] | Auto = "auto"
    lora_dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0
    target_modules: list[str] | Auto = "auto"  # names of linear layers, such as q_proj; auto = every linear layer
    lora_variant: LoraVariant | Auto = "auto"
    modules_to_save: list[str] = []  # modules trained in full beside the adapter, such as norm
    quantization: Quantization = "none"  # of the frozen weights under the adapter
    max_length: Annotated[int, Field(ge=16, le=1_048_576)] | Auto = "auto"  # tokens a row; longer rows are cut
    lr_scheduler: Scheduler | Auto = "auto"
    warmup_ratio: Annotated[float, Field(ge=0, lt=1)] | Auto = "auto"
    weight_decay: Annotated[float, Field(ge=0, le=1)] = 0.0
    max_grad_norm: Annotated[float, Field(gt=0, le=1000)] = 1.0
    dtype: Dtype = "auto"
    packing: OnOff | Auto = "auto"  # several rows in one sequence, their borders kept
    optimizer: Optimizer | Auto = "auto"
    min_learning_rate_ratio: Annotated[float, Field(ge=0, lt=1)] = 0.1  # of cosine_with_min, where the rate ends
    neftune_alpha: Annotated[float, Field(ge=0, le=100)] = 0.0  # noise on the embeddings while training; 0 = none
    gradient_checkpointing: OnOff | Auto = "auto"
    sharding: Sharding | Auto = "auto"
    validate_every_steps: Annotated[int, Field(ge=0)] = 0  # the whole set, besides each epoch's end; 0 = only there
    stop_metric: StopMetric = "none"  # stop early when it has not become better ...
    stop_patience: Annotated[int, Field(ge=1, le=100)] = 2  # ... in so many validations of the whole set in a row ...
    stop_min_change: Annotated[float, Field(ge=0, le=1000)] = 0.0  # ... by more than this
    on_spike: Reaction = "warn"  # a training loss far above the last ones (spikes.py)
    keep_checkpoints: Keep = "all"  # the site deletes the others; the newest one always stays
    keep_count: Annotated[int, Field(ge=1, le=1000)] = 3  # of last and best
    keep_metric: Judged = "full_valid_loss"  # of best


def merges(variant: str, modules_to_save: list[str]) -> bool:
    """Adapters that vLLM does not serve are saved merged into the base's weights."""
    return variant == "dora" or bool(modules_to_save)


class ModelFacts(Strict):
    """What is known of a base model without loading its weights (read from its config.json)."""

    name: str
    parameters: int
    hidden_size: int
    intermediate_size: int
    layers: int
    vocabulary: int
    heads: int
    kv_heads: int
    context_length: int
    has_chat_template: bool = True
    linear_modules: list[str] = []  # short names of its linear layers, e.g. q_proj
    other_modules: list[str] = []  # of its other modules with weights, e.g. norm; empty in facts from before this field
    tied_embeddings: bool = False  # the output layer is the embedding matrix
    untrained: bool = False  # its weights are random


class DataFacts(Strict):
    """What is known of a dataset under a base model's tokenizer. Tokens are counted before truncation."""

    rows: int
    tokens: int
    trained_tokens: int
    longest_tokens: int
    lengths: list[int] = []  # tokens of each row, or of an even sample when there are many
    least_length: int = 0  # tokens a row must have left so that one has something to train on; 0: not known


class DeviceFacts(Strict):
    """The device a job would train on; with a `count`, several alike, on a CPU processes. Bytes are those of each."""

    kind: Literal["cpu", "cuda"]
    name: str
    count: int = 1
    memory_bytes: int
    free_bytes: int
    bfloat16: bool = True

    @property
    def label(self) -> str:
        return self.name if self.count == 1 else f"{self.count} × {self.name}"


class Resolved(Strict):
    """A recipe with every auto replaced by a number; `reasons` says why, by field name."""

    method: Method = "sft"
    n_epochs: int
    batch_size: int
    learning_rate_multiplier: float
    base_learning_rate: float
    learning_rate: float
    beta: float | None = None
    adaptation: Adaptation
    lora_r: int | None
    lora_alpha: int | None
    lora_dropout: float
    target_modules: list[str]
    max_length: int
    lr_scheduler: Scheduler
    warmup_ratio: float
    weight_decay: float
    max_grad_norm: float
    dtype: Literal["float32", "bfloat16"]
    packing: OnOff = "off"
    lora_variant: LoraVariant = "lora"
    modules_to_save: list[str] = []
    quantization: Quantization = "none"
    optimizer: Optimizer = "adamw"
    min_learning_rate_ratio: float = 0.1
    neftune_alpha: float = 0.0
    gradient_checkpointing: OnOff | Auto = "auto"  # auto only in jobs from before this field
    sharding: Sharding = "data_parallel"
    validate_every_steps: int = 0
    stop_metric: StopMetric = "none"
    stop_patience: int = 2
    stop_min_change: float = 0.0
    on_spike: Reaction = "warn"
    keep_checkpoints: Keep = "all"
    keep_count: int = 3
    keep_metric: Judged = "full_valid_loss"
    reasons: dict[str, str]

    @property
    def row_tokens(self) -> int:
        """Padded tokens that a row may take in a pass: of a pair, both answers."""
        return self.max_length * (2 if self.method == "dpo" else 1)

    @property
    def save_best(self) -> StopMetric:
        """The figure whose best weights are saved between the epochs' ends too. A job that stops early wants its best
        weights, as long as the policy would not delete them again."""
        if self.keep_checkpoints == "best":
            return self.keep_metric
        return self.stop_metric if self.keep_checkpoints == "all" else "none"

    @property
    def most_checkpoints(self) -> int:
        """On disk at the same time: the policy acts when the next one is there."""
        more = {"all": self.n_epochs, "last": 1, "best": 2}[self.keep_checkpoints]
        return min(self.n_epochs, (0 if self.keep_checkpoints == "all" else self.keep_count) + more)

    @property
    def saves_merged(self) -> bool:
        return self.adaptation == "lora" and merges(self.lora_variant, self.modules_to_save)


class SecondsParts(Strict):
    """Where the time of a job goes. `start`: until the first step; `rest`: validation, checkpoints and the end."""

    start: float
    training: float
    rest: float

    @property
    def total(self) -> float:
        return self.start + self.training + self.rest


class MemoryParts(Strict):
    """Where the memory goes at its peak, in bytes; memory.py has the formulas."""

    own: int  # interpreter and libraries; kernels on a GPU
    weights: int
    optimizer: int  # gradients, Adam's averages, float32 copies of what is trained
    activations: int
    logits: int

    @property
    def total(self) -> int:
        return self.own + self.weights + self.optimizer + self.activations + self.logits


class Price(Strict):
    """What training costs here; of two prices both are charged."""

    million_tokens: float = 0  # a million tokens of the training file, once for each epoch
    device_hour: float = 0
    currency: str = "$"

    def cost(self, tokens: float, seconds: float) -> float:
        return tokens / 1e6 * self.million_tokens + seconds / 3600 * self.device_hour


class Estimate(Strict):
    """What a job is expected to take; compared afterwards with what came."""

    steps: int
    steps_per_epoch: int
    tokens: int  # over all epochs, after truncation
    trained_tokens: int
    truncated_rows: int
    seconds: float
    memory_bytes: int
    disk_bytes: int
    fits: bool
    warnings: list[str] = []
    device: str = ""
    seconds_parts: SecondsParts | None = None
    memory_parts: MemoryParts | None = None
    calibrated_by: int = 0  # finished runs of this machine whose measured times went in; 0: the formulas alone
    price: Price | None = None

    @property
    def cost(self) -> float | None:
        return self.price.cost(self.tokens, self.seconds) if self.price else None


class Measured(Strict):
    """What a finished job took, in the parts of its estimate."""

    seconds: float  # from its turn to its end, without pauses and later waits in the queue
    parts: SecondsParts | None = None  # None when it was paused or interrupted: such a time says nothing of the machine
    memory_bytes: int
    disk_bytes: int


class JobSpec(Strict):
    """Everything the trainer needs; numbers only, no auto. Paths are absolute."""

    job_id: str
    method: Method = "sft"
    base_model: str  # the catalogue name
    base_path: Path
    start_path: Path | None = None  # a checkpoint folder to continue from: an adapter or full weights
    training_file: Path
    validation_file: Path | None = None
    n_epochs: Annotated[int, Field(ge=1)]
    batch_size: Annotated[int, Field(ge=1)]  # rows an optimizer step, over all processes
    learning_rate: Annotated[float, Field(gt=0)]
    lr_scheduler: Scheduler = "linear"
    warmup_ratio: float = 0.0
    weight_decay: float = 0.0
    max_grad_norm: float = 1.0
    max_length: int
    beta: float | None = None
    adaptation: Adaptation = "lora"
    lora_r: int | None = None
    lora_alpha: int | None = None
    lora_dropout: float = 0.0
    target_modules: list[str] = []  # empty: every linear layer but the output head
    dtype: Literal["float32", "bfloat16"] = "float32"
    lora_variant: LoraVariant = "lora"
    modules_to_save: list[str] = []
    quantization: Quantization = "none"
    optimizer: Optimizer = "adamw"
    min_learning_rate_ratio: float = 0.1
    neftune_alpha: float = 0.0
    gradient_checkpointing: OnOff | Auto = "auto"
    validate_every_steps: int = 0
    stop_metric: StopMetric = "none"
    stop_patience: int = 2
    stop_min_change: float = 0.0
    save_best: StopMetric = "none"  # a checkpoint at each whole validation that is the best so far by this
    on_spike: Reaction = "warn"
    may_checkpoint: bool = True  # activations may be computed twice after all when memory runs out
    seed: Annotated[int, Field(ge=0, le=2_147_483_647)] = 0
    valid_every_steps: Annotated[int, Field(ge=0)] = 0  # a sampled validation batch every so many steps; 0 = never
    valid_batch_rows: Annotated[int, Field(ge=1)] = 8
    resume_every_seconds: Annotated[float, Field(gt=0)] = 600
    micro_batch_tokens: Annotated[int, Field(ge=1)] | None = None  # padded tokens a forward pass; None = chosen
    packing: bool = False  # several rows in one sequence, their borders kept
    sharding: Sharding = "data_parallel"  # of several processes

    @model_validator(mode="after")
    def lora_is_complete(self) -> "JobSpec":
        if self.adaptation == "lora" and not (self.lora_r and self.lora_alpha):
            raise ValueError("LoRA needs lora_r and lora_alpha")
        return self

    @model_validator(mode="after")
    def dpo_has_beta(self) -> "JobSpec":
        if self.method == "dpo" and not self.beta:
            raise ValueError("DPO needs beta")
        return self


# ---- events.jsonl: one of these a line ----


class Event(BaseModel):
    """Common to all lines; `time` is unix seconds."""

    model_config = ConfigDict(extra="forbid")
    time: float


class Started(Event):
    """Training is about to begin; every derived size is known."""

    type: Literal["started"] = "started"
    total_steps: int
    steps_per_epoch: int
    train_rows: int
    valid_rows: int
    train_tokens: int  # a pass, after truncation
    trained_tokens_per_epoch: int
    valid_tokens: int
    truncated_rows: int
    parameters: int
    trainable_parameters: int
    device: str
    dtype: str
    world_size: int = 1
    resumed_step: int = 0  # 0: from the beginning


class Phase(Event):
    """What the trainer does now, for people: loading, tokenizing, reference, training, validating, saving. Done and
    total are rows; of training, those of the first step."""

    type: Literal["phase"] = "phase"
    phase: str
    done: int = 0
    total: int = 0


class Step(Event):
    """One optimizer step. Loss is the mean over trained tokens (of DPO: pairs) of the whole batch, in nats."""

    type: Literal["step"] = "step"
    step: int  # from 1
    epoch: float  # passes over the data so far
    train_loss: float
    train_accuracy: float  # share of trained tokens whose argmax is right; of DPO: in the preferred answers
    learning_rate: float
    grad_norm: float  # before clipping
    trained_tokens: int  # cumulative, loss-bearing
    tokens_per_second: float  # non-padding tokens through the model, smoothed
    memory_bytes: int
    metrics: dict[str, float] = {}  # what the method tells besides, such as rewards/chosen


class Validation(Event):
    """Loss and accuracy over a sampled batch or over the whole validation set, at the weights after `step`."""

    type: Literal["validation"] = "validation"
    step: int
    whole: bool
    loss: float
    accuracy: float
    tokens: int
    rows: int
    metrics: dict[str, float] = {}


class CheckpointSaved(Event):
    """A complete checkpoint folder is in place; `path` is relative to the run folder."""

    type: Literal["checkpoint"] = "checkpoint"
    step: int
    epoch: int
    path: str
    kind: Adaptation
    size_bytes: int
    sha256: str  # of the weights file(s)
    train_loss: float | None = None
    train_accuracy: float | None = None
    valid_loss: float | None = None
    valid_accuracy: float | None = None
    full_valid_loss: float | None = None
    full_valid_accuracy: float | None = None
    metrics: dict[str, float] = {}  # over the whole validation set


class Note(Event):
    """A message for the event log."""

    type: Literal["note"] = "note"
    level: Literal["info", "warn", "error"] = "info"
    message: str


class End(Event):
    """The last line. No end line and a process that is gone = a crash."""

    type: Literal["end"] = "end"
    status: Literal["succeeded", "cancelled", "paused", "interrupted", "failed"]
    message: str = ""
    code: str | None = None


AnyEvent = Annotated[Started | Phase | Step | Validation | CheckpointSaved | Note | End, Field(discriminator="type")]
event_adapter: TypeAdapter[AnyEvent] = TypeAdapter(AnyEvent)


# ---- probes.json in a checkpoint: what the parity gate compares ----


class Probe(Strict):
    """Token log-probabilities (nats) of `token_ids[prompt_length:]`, each given all tokens before it."""

    token_ids: list[int]
    prompt_length: int
    trained_logprobs: list[float]
    base_logprobs: list[float]


class Probes(Strict):
    """Written by the trainer beside the weights, from the weights it trained."""

    probes: list[Probe]
    chat_messages: list[dict[str, str]]  # empty when the base has no chat template
    chat_token_ids: list[int]  # of chat_messages with the generation prompt, by training.engine.chat
    weights_sha256: str
    modules: list[str]  # full names of the adapted modules; empty for full weights
    lora_r: int | None = None


# ---- what the export of merged weights found ----


class ExportReport(Strict):
    """Differences of log-probabilities, in nats a token: merged against adapter, adapter against base."""

    status: Literal["matches", "refused", "failed"]
    message: str = ""
    tokens: int = 0
    mean_to_adapter: float | None = None
    max_to_adapter: float | None = None
    adapter_to_base: float | None = None
    dtype: str = ""
    sha256: str = ""
    size_bytes: int = 0
