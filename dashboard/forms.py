"""The form of a new job. It ends in a `Recipe`: the ranges and rules are said there and only shown here."""

import re
from typing import Any, Final

from django import forms
from pydantic import ValidationError

from accounts.models import Project
from dashboard import expert_fields
from dashboard.expert_fields import SCHEDULERS, ExpertFields
from dashboard.form_choices import (
    NO_MODEL,
    chosen_model,
    file_label,
    gone_file,
    model_choices,
    offer,
    training_label,
)
from dashboard.form_words import recipe_errors, teach
from dashboard.forms_trackers import TrackersForm
from playground.film import written
from training.checks import method_for
from training.engine.spec import Recipe
from training.models import BaseModel, Checkpoint, DatasetFile, TrainingJob

MAIN_FIELDS: Final = ("n_epochs", "batch_size", "learning_rate_multiplier")
LORA_FIELDS: Final = ("lora_r", "lora_alpha", "lora_dropout", "target_modules", *expert_fields.ADAPTER_FIELDS)
LOOP_FIELDS: Final = (
    "max_length", "lr_scheduler", "warmup_ratio", "weight_decay", "max_grad_norm", "dtype", "packing",
    *expert_fields.TRAINER_FIELDS,
)  # fmt: skip
LIST_FIELDS: Final = ("target_modules", "modules_to_save")
RECIPE_FIELDS: Final = ("method", *MAIN_FIELDS, "beta", "adaptation", *LORA_FIELDS, *LOOP_FIELDS)
AUTO_FIELDS: Final = (
    *MAIN_FIELDS, "beta", "lora_r", "lora_alpha", "target_modules", "max_length", "lr_scheduler", "warmup_ratio",
    "dtype", "packing", *expert_fields.AUTO_FIELDS,
)  # fmt: skip
LARGEST_SEED: Final = 2_147_483_647
IN_TRACKERS: Final = "trackers"  # code of the error that stands for those of `trackers`
OWN_RULES: Final = {
    "suffix": "Enter 1 to 64 characters without colons, slashes and spaces: it stands inside the model's name.",
}

LABELS: Final = {
    "model": "Base model",
    "training_file": "Training file",
    "validation_file": "Validation file",
    "split_share": "Share for validation, %",
    "split_seed": "Seed of the split",
    "suffix": "Suffix",
    "seed": "Seed",
    "label": "Name",
    "film": "Watch it learn",
    "pinned_prompts": "Pinned prompts",
    "method": "Method",
    "beta": "Beta",
    "n_epochs": "Epochs",
    "batch_size": "Batch size",
    "learning_rate_multiplier": "Learning rate multiplier",
    "adaptation": "Weights",
    "lora_r": "LoRA rank",
    "lora_alpha": "LoRA alpha",
    "lora_dropout": "LoRA dropout",
    "target_modules": "Target modules",
    "max_length": "Longest row",
    "lr_scheduler": "Scheduler",
    "warmup_ratio": "Warm-up",
    "weight_decay": "Weight decay",
    "max_grad_norm": "Gradient clipping",
    "dtype": "Number format",
    "packing": "Packing",
    **expert_fields.LABELS,
}

HINTS: Final = {
    "model": "The weights to start from. Choose a fine-tuned model to continue its training.",
    "training_file": "The rows to learn from.",
    "validation": "Rows that are never trained on. Without them no one can tell learning from memorising.",
    "validation_file": "A file of this project that holds no row of the training file.",
    "split_share": "So many of the training file's rows are kept aside.",
    "split_seed": "The same seed always keeps the same rows aside.",
    "suffix": "A short word in the model's name, such as ft:base:hone:word:id.",
    "seed": "Fixes the order of the rows and every other draw: with the same seed, data and settings a run repeats. "
    "Leave it empty for a new one.",
    "label": "For people, on this site only.",
    "film": "The same prompts, answered by each checkpoint as soon as it is served: the film strip on the job's page.",
    "pinned_prompts": 'One a line, at most 12. A conversation is a line of JSON: {"messages": […], "expected": "…"}.',
    "method": "What the file is learnt as. Each format has its own: chat and prompt/completion, preferences, raw text.",
    "beta": "How closely the model is held to the weights it starts from, above 0 to 2; more changes it less.",
    "n_epochs": "How many times the whole file is gone through. More learns more, and sooner or later memorises.",
    "batch_size": "Rows for each step. Larger is smoother and needs fewer steps.",
    "learning_rate_multiplier": "Scales the base learning rate. Higher learns faster, too high unlearns.",
    "adaptation": "An adapter is small and quick; full weights change the whole model.",
    "lora_r": "The size of the adapter. Higher holds more and takes more memory.",
    "lora_alpha": "How strongly the adapter acts: it is scaled by alpha ÷ rank.",
    "lora_dropout": "Share of the adapter's inputs put to zero while training; 0 to below 1.",
    "target_modules": "The linear layers that get an adapter, by name, separated by commas.",
    "max_length": "Tokens a row; longer rows are cut at the end.",
    "lr_scheduler": "How the learning rate goes down over the run.",
    "warmup_ratio": "Share of the steps in which the learning rate rises from zero.",
    "weight_decay": "Pulls weights towards zero at each step; 0 is off.",
    "max_grad_norm": "A gradient longer than this is shortened to it.",
    "dtype": "bfloat16 is quicker where the chip has it; float32 is exact everywhere.",
    "packing": "Several rows in one sequence, each attended to by itself: no padding, the same loss.",
    **expert_fields.HINTS,
}


METHOD_CHOICES: Final = [
    ("", "by the file's format"),
    ("sft", "Supervised: answers to learn"),
    ("dpo", "Preferences (DPO): pairs of answers, one preferred"),
    ("pretrain", "Continued pre-training: raw text to go on with"),
]

METHOD_NAMES: Final = {"sft": "supervised fine-tuning", "dpo": "DPO", "pretrain": "continued pre-training"}

FILM_CHOICES: Final = [("drawn", "A few validation rows"), ("own", "Write them"), ("off", "None")]


class JobForm(ExpertFields):
    """Data, model and recipe of one job. `recipe`, `base_model` and `start_checkpoint` are there once it is valid."""

    model = forms.ChoiceField()
    training_file = forms.ModelChoiceField(DatasetFile.objects.none(), empty_label="Choose a file")
    validation = forms.ChoiceField(
        choices=[("split", "Split off a share"), ("file", "A file"), ("none", "None")], initial="split"
    )
    validation_file = forms.ModelChoiceField(DatasetFile.objects.none(), required=False, empty_label="Choose a file")
    split_share = forms.FloatField(required=False, min_value=1, max_value=50, initial=20)
    split_seed = forms.IntegerField(required=False, min_value=0, max_value=LARGEST_SEED, initial=0)
    suffix = forms.CharField(required=False)
    seed = forms.IntegerField(required=False, min_value=0, max_value=LARGEST_SEED)
    label = forms.CharField(required=False, max_length=200)
    parent = forms.CharField(required=False)
    film = forms.ChoiceField(required=False, choices=FILM_CHOICES)  # before the prompts, which it makes needed or not
    pinned_prompts = forms.CharField(required=False, widget=forms.Textarea(attrs={"rows": 3}))

    method = forms.ChoiceField(required=False, choices=METHOD_CHOICES)
    beta = forms.CharField(required=False)
    n_epochs = forms.CharField(required=False)
    batch_size = forms.CharField(required=False)
    learning_rate_multiplier = forms.CharField(required=False)
    adaptation = forms.ChoiceField(choices=[("lora", "Adapter (LoRA)"), ("full", "Full weights")], initial="lora")
    lora_r = forms.CharField(required=False)
    lora_alpha = forms.CharField(required=False)
    lora_dropout = forms.CharField(required=False)
    target_modules = forms.CharField(required=False)
    max_length = forms.CharField(required=False)
    lr_scheduler = forms.ChoiceField(required=False, choices=SCHEDULERS)
    warmup_ratio = forms.CharField(required=False)
    weight_decay = forms.CharField(required=False)
    max_grad_norm = forms.CharField(required=False)
    dtype = forms.ChoiceField(
        required=False, choices=[("auto", "auto"), ("float32", "float32"), ("bfloat16", "bfloat16")]
    )
    packing = forms.ChoiceField(required=False, choices=[("auto", "auto"), ("on", "on"), ("off", "off")])

    def __init__(self, *args: Any, project: Project, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.project = project
        files = DatasetFile.objects.of(project).usable()
        for name, shown in (("training_file", training_label), ("validation_file", file_label)):
            offer(self, name, files, shown)
        self.fields["model"].choices = model_choices(project)  # type: ignore[attr-defined]
        self.recipe: Recipe | None = None
        self.readable_recipe: Recipe | None = None  # without the fields that are wrong, to see what else is
        self.base_model: BaseModel | None = None
        self.start_checkpoint: Checkpoint | None = None
        self.parent_job: TrainingJob | None = None
        self.trackers = TrackersForm(self.data if self.is_bound else None, initial=self.initial)
        for name, field in self.fields.items():
            field.label = LABELS.get(name, "")
            field.help_text = HINTS.get(name, "")
            teach(name, field, LABELS.get(name, ""))
            _dress(name, field)
        self.fields["model"].error_messages["invalid_choice"] = NO_MODEL

    def clean_model(self) -> str:
        value: str = self.cleaned_data["model"]
        self.base_model, self.start_checkpoint = chosen_model(self.project, value)
        return value

    def clean_training_file(self) -> DatasetFile:
        file: DatasetFile = self.cleaned_data["training_file"]
        if gone := gone_file(file):
            raise forms.ValidationError(gone)
        return file

    def clean_suffix(self) -> str:
        suffix: str = self.cleaned_data["suffix"]
        if suffix and not re.fullmatch(r"[^:/\s\x00-\x1f]{1,64}", suffix):
            raise forms.ValidationError(OWN_RULES["suffix"])
        return suffix

    def clean_pinned_prompts(self) -> str:
        text: str = self.cleaned_data["pinned_prompts"]
        if self.film_is == "own" and not text.strip():
            nothing = "Write at least one prompt, or choose “None” above."
            raise forms.ValidationError(nothing, code="required")
        if self.film_is == "own" and (fault := pinned_fault(text)):
            raise forms.ValidationError(fault)
        return text

    def clean_parent(self) -> str:
        """The job that this one is a rerun of; somebody else's is as good as none."""
        self.parent_job = TrainingJob.objects.of(self.project).filter(pk=self.cleaned_data["parent"]).first()
        return self.parent_job.id if self.parent_job else ""

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean() or {}
        self._clean_validation(cleaned)
        if not self.trackers.is_valid():
            self.add_error(None, forms.ValidationError("The trackers are not right.", code=IN_TRACKERS))
        asked = self._asked_for(cleaned)
        try:
            self.recipe = self.readable_recipe = Recipe.model_validate(asked)
        except ValidationError as problem:
            wrong = recipe_errors(problem)
            for field, message in wrong.items():
                self.add_error(field if field in self.fields else None, message)
            self.readable_recipe = without(asked, wrong)
        return cleaned

    def _clean_validation(self, cleaned: dict[str, Any]) -> None:
        how, file, training = (cleaned.get(name) for name in ("validation", "validation_file", "training_file"))
        if how != "file":
            cleaned["validation_file"] = None
        elif not file and "validation_file" not in self.errors:
            nothing = "Choose the file to validate on, or choose “None” above."
            self.add_error("validation_file", forms.ValidationError(nothing, code="required"))
        elif file and file == training and not self._parent_had(file):
            self.add_error(
                "validation_file", "This is the training file. Validation needs rows that are not trained on."
            )
        elif file and (gone := gone_file(file)):
            self.add_error("validation_file", gone)
        elif file and training and method_for(file) != method_for(training):
            self.add_error("validation_file", f"{file.filename} is of another format than {training.filename}.")
        if how == "split" and cleaned.get("split_share") is None and "split_share" not in self.errors:
            self.add_error("split_share", "Enter how many per cent of the rows to keep aside, from 1 to 50.")

    def _parent_had(self, file: DatasetFile) -> bool:
        """A rerun may repeat what its parent did, wise or not."""
        parent = self.parent_job
        return bool(parent and parent.training_file_id == parent.validation_file_id == file.pk)

    @property
    def film_is(self) -> str:
        """Which prompts each checkpoint answers; where nobody said, those that are written, else drawn ones."""
        return str(self["film"].value() or ("own" if str(self["pinned_prompts"].value() or "").strip() else "drawn"))

    @property
    def pinned(self) -> list[written.Entry] | None:
        """What each checkpoint is asked; None: what is drawn from the validation rows, or what the parent's are asked.
        Of a form that was validated."""
        if self.film_is == "own" and "pinned_prompts" not in self.errors:
            return written.entries(self.cleaned_data.get("pinned_prompts") or "")
        return [] if self.film_is == "off" else None

    @property
    def chosen_method(self) -> str:
        """By name, else by the format of the training file; also of a form that was not sent yet."""
        if self.is_bound:
            method, file = self.cleaned_data.get("method"), self.cleaned_data.get("training_file")
        else:
            method, key = self["method"].value(), self["training_file"].value()
            file = DatasetFile.objects.of(self.project).filter(pk=key).first() if key else None
        return method or (method_for(file) if file else "sft")

    def _asked_for(self, cleaned: dict[str, Any]) -> dict[str, Any]:
        """What was typed, as a recipe's raw values; what was left empty keeps the recipe's default."""
        asked: dict[str, Any] = {}
        for name in RECIPE_FIELDS:
            text = str(cleaned.get(name) or "").strip()
            if name not in self.errors and text:
                asked[name] = text.lower() if text.lower() == "auto" else text
        if "method" not in self.errors:
            asked["method"] = self.chosen_method
        if self.chosen_method != "dpo":
            asked.pop("beta", None)
        for name in LIST_FIELDS:
            if asked.get(name, "auto") != "auto":
                asked[name] = [word for word in re.split(r"[,\s]+", asked[name]) if word]
        return asked


def pinned_fault(text: str) -> str:
    """Why these lines cannot be pinned; empty when they can."""
    if fault := written.line_fault(text):
        return fault
    entries = written.entries(text)
    if len(entries) > written.MOST:
        return f"{len(entries)} prompts are too many to pin: at most {written.MOST}."
    wrong = ((number, fault) for number, entry in enumerate(entries, 1) if (fault := written.fault(entry)))
    return next((f"Prompt {number}: {fault}." for number, fault in wrong), "")


def without(asked: dict[str, Any], wrong: dict[str, str]) -> Recipe | None:
    """Of what was asked, all that can be."""
    try:
        return Recipe.model_validate({name: value for name, value in asked.items() if name not in wrong})
    except ValidationError:
        return None


def _dress(name: str, field: forms.Field) -> None:
    """Class, keyboard and placeholder of a control; the template writes label, hint and error."""
    select = isinstance(field.widget, forms.Select)
    attributes = field.widget.attrs
    attributes["class"] = "select" if select else "input"
    attributes["aria-describedby"] = f"hint-{name} auto-{name} error-{name}"
    if name in RECIPE_FIELDS and not select:
        attributes |= {"autocomplete": "off", "spellcheck": "false", "class": "input mono"}
        attributes["inputmode"] = "text" if name in LIST_FIELDS else "decimal"
        usual = Recipe.model_fields[name].default
        attributes["placeholder"] = "auto" if name in AUTO_FIELDS else "none" if usual == [] else str(usual)
