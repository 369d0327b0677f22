"""The form's fields for experts: how the adapter is made and how its training goes. All stand under Advanced."""

from typing import Final

from django import forms

ADAPTER_FIELDS: Final = ("lora_variant", "modules_to_save", "quantization")
TRAINER_FIELDS: Final = (
    "optimizer", "min_learning_rate_ratio", "neftune_alpha", "gradient_checkpointing", "sharding",
    "validate_every_steps",
    "stop_metric", "stop_patience", "stop_min_change", "on_spike",
    "keep_checkpoints", "keep_count", "keep_metric",
)  # fmt: skip
AUTO_FIELDS: Final = ("lora_variant", "optimizer", "gradient_checkpointing", "sharding")
WITH_AUTO: Final = {"lr_scheduler", "dtype", "packing", *AUTO_FIELDS}  # lists to choose from, auto among them

LABELS: Final = {
    "lora_variant": "Kind of adapter",
    "modules_to_save": "Modules trained in full",
    "quantization": "Quantised base",
    "optimizer": "Optimizer",
    "min_learning_rate_ratio": "Lowest learning rate",
    "neftune_alpha": "NEFTune noise",
    "gradient_checkpointing": "Gradient checkpointing",
    "sharding": "Several devices",
    "validate_every_steps": "Validate every … steps",
    "stop_metric": "Stop early by",
    "stop_patience": "Patience",
    "stop_min_change": "Minimum change",
    "on_spike": "When the loss jumps",
    "keep_checkpoints": "Checkpoints to keep",
    "keep_count": "How many to keep",
    "keep_metric": "Best by",
}

HINTS: Final = {
    "lora_variant": "rsLoRA scales by alpha ÷ √rank, for high ranks; DoRA learns lengths too, and is saved merged.",
    "modules_to_save": "Names of modules that learn with all their weights, such as norm, separated by commas.",
    "quantization": "QLoRA: the frozen weights in 4 bits, a quarter of the memory. Needs an NVIDIA GPU.",
    "optimizer": "8-bit AdamW keeps its averages in a byte each. Needs an NVIDIA GPU.",
    "min_learning_rate_ratio": "Of cosine_with_min: the share of the learning rate that the run ends with.",
    "neftune_alpha": "Noise on the embeddings while training, 5 to 15 for small files of chat; 0 is off.",
    "gradient_checkpointing": "Computes activations twice instead of keeping them: less memory, a third more time.",
    "sharding": "Of a job on several GPUs: all weights on each (data parallel), or shared out over them (FSDP).",
    "validate_every_steps": "The whole validation set, besides each epoch's end; 0 is only there.",
    "stop_metric": "Ends the run when this gets no better for a while; saves each best so far (unless: keep the last).",
    "stop_patience": "So many validations of the whole set in a row without anything better end the run.",
    "stop_min_change": "What counts as better: by more than this.",
    "on_spike": "Over twice the usual training loss, from the second step on: its lines are named. NaN always stops.",
    "keep_checkpoints": "Others are deleted when a new one is there; the newest and those with a name of yours stay.",
    "keep_count": "Of the last or of the best ones.",
    "keep_metric": "The figure over the whole validation set that tells the best ones.",
}


def _choices(*values: str, **named: str) -> list[tuple[str, str]]:
    return [(value, named.get(value, value)) for value in values]


SCHEDULERS: Final = _choices("auto", "linear", "cosine", "cosine_with_min", "constant", "constant_with_warmup")


class ExpertFields(forms.Form):
    lora_variant = forms.ChoiceField(
        required=False, choices=_choices("auto", "lora", "rslora", "dora", lora="LoRA", rslora="rsLoRA", dora="DoRA")
    )
    modules_to_save = forms.CharField(required=False)
    quantization = forms.ChoiceField(
        required=False, choices=[("none", "none"), ("4bit", "4-bit (QLoRA)")], initial="none"
    )
    optimizer = forms.ChoiceField(
        required=False, choices=[("auto", "auto"), ("adamw", "AdamW"), ("adamw_8bit", "8-bit AdamW")]
    )
    min_learning_rate_ratio = forms.CharField(required=False)
    neftune_alpha = forms.CharField(required=False)
    gradient_checkpointing = forms.ChoiceField(required=False, choices=_choices("auto", "on", "off"))
    sharding = forms.ChoiceField(
        required=False, choices=_choices("auto", "data_parallel", "fsdp", data_parallel="data parallel", fsdp="FSDP")
    )
    validate_every_steps = forms.CharField(required=False)
    stop_metric = forms.ChoiceField(
        required=False,
        choices=[("none", "nothing"), ("full_valid_loss", "validation loss"), ("full_valid_accuracy", "accuracy")],
        initial="none",
    )
    stop_patience = forms.CharField(required=False)
    stop_min_change = forms.CharField(required=False)
    on_spike = forms.ChoiceField(
        required=False, choices=[("warn", "warn"), ("stop", "stop"), ("off", "do nothing")], initial="warn"
    )
    keep_checkpoints = forms.ChoiceField(
        required=False, choices=[("all", "all"), ("last", "the last ones"), ("best", "the best ones")], initial="all"
    )
    keep_count = forms.CharField(required=False)
    keep_metric = forms.ChoiceField(
        required=False,
        choices=[("full_valid_loss", "validation loss"), ("full_valid_accuracy", "accuracy")],
        initial="full_valid_loss",
    )
