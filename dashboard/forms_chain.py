"""The form of a recipe: a model, and one to five stages that train one after the other."""

import re
from typing import Any, Final

from django import forms
from django.http import QueryDict
from pydantic import ValidationError

from accounts.models import Project
from dashboard.form_choices import NO_MODEL, chosen_model, file_label, model_choices, offer
from dashboard.form_words import recipe_errors, teach
from dashboard.forms import HINTS, LABELS, LARGEST_SEED, pinned_fault, without
from playground.film import written
from training.chains.models import Stage
from training.checks import method_for
from training.engine.spec import Recipe
from training.models import BaseModel, Checkpoint, DatasetFile

MOST_STAGES: Final = 5
FIRST_STAGES: Final = 2
NUMBERS: Final = ("n_epochs", "batch_size", "learning_rate_multiplier", "beta", "lora_r")
TAKES: Final = [("last", "its last checkpoint"), ("best", "its best one, by validation loss")]
STAGE_KEY: Final = re.compile(r"stage-(\d{1,3})-training_file")


class ChainForm(forms.Form):
    """`base_model`, `start_checkpoint` and `stages` are there once it and its stages are valid."""

    model = forms.ChoiceField(label=LABELS["model"], help_text=HINTS["model"])
    label = forms.CharField(required=False, max_length=200, label=LABELS["label"], help_text=HINTS["label"])

    def __init__(self, data: QueryDict | None = None, *, project: Project, initial: Any = None) -> None:
        super().__init__(data, initial=initial)
        self.project = project
        self.base_model: BaseModel | None = None
        self.start_checkpoint: Checkpoint | None = None
        self.fields["model"].choices = model_choices(project)  # type: ignore[attr-defined]
        self.fields["model"].widget.attrs["class"] = "select"
        self.fields["label"].widget.attrs["class"] = "input"
        for name, field in self.fields.items():
            teach(name, field, str(field.label))
        self.fields["model"].error_messages["invalid_choice"] = NO_MODEL
        keys = numbers_of(data) if data is not None else list(range(1, FIRST_STAGES + 1))
        self.parts = [StageForm(data, project=project, key=key) for key in keys]
        self._number()

    def _number(self) -> None:
        for number, part in enumerate(self.parts, 1):
            part.number, part.is_last = number, number == len(self.parts)

    @classmethod
    def changed(cls, data: QueryDict, *, project: Project) -> "ChainForm":
        """As it was typed, not judged, with a stage more (`add`) or one less (`remove`: its key)."""
        form = cls(project=project, initial=data.dict())
        keys = [key for key in numbers_of(data) if str(key) != data.get("remove")]
        if "add" in data and len(keys) < MOST_STAGES:
            keys.append(max(keys, default=0) + 1)
        form.parts = [StageForm(None, project=project, key=key, initial=_typed(data, key)) for key in keys]
        form._number()
        if "add" in data:
            form.parts[-1].fields["training_file"].widget.attrs["autofocus"] = True
        return form

    @property
    def is_full(self) -> bool:
        return len(self.parts) >= MOST_STAGES

    def clean_model(self) -> str:
        value: str = self.cleaned_data["model"]
        self.base_model, self.start_checkpoint = chosen_model(self.project, value)
        return value

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean() or {}
        if not self.parts:
            self.add_error(None, "A recipe has at least one stage.")
        if len(self.parts) > MOST_STAGES:
            self.add_error(None, f"This form takes {MOST_STAGES} stages; the API takes more.")
        for part in self.parts:
            for name, said in part.errors.items():
                label = part.fields[name].label if name in part.fields else ""
                self.add_error(None, f"Stage {part.number}{f', {label}' if label else ''}: {said[0]}")
        if self.parts and self.base_model:
            self.parts[0].start_checkpoint = self.start_checkpoint
        for part in self.parts:
            part.base_model = self.base_model
        return cleaned

    @property
    def stages(self) -> list[Stage]:
        return [part.stage for part in self.parts if part.stage]


def numbers_of(data: QueryDict) -> list[int]:
    """The keys of the stages that were sent, in their order."""
    return sorted({int(found[1]) for name in data if (found := STAGE_KEY.fullmatch(name))})


def _typed(data: QueryDict, key: int) -> dict[str, str]:
    prefix = f"stage-{key}-"
    return {name.removeprefix(prefix): value for name, value in data.items() if name.startswith(prefix)}


class StageForm(forms.Form):
    """Its fields are named stage-KEY-...; `number` is its place, from 1. It can be forecast like the form of a job."""

    training_file = forms.ModelChoiceField(DatasetFile.objects.none(), empty_label="Choose a file")
    validation_file = forms.ModelChoiceField(DatasetFile.objects.none(), required=False, empty_label="None")
    adaptation = forms.ChoiceField(choices=[("lora", "Adapter (LoRA)"), ("full", "Full weights")])
    n_epochs = forms.CharField(required=False)
    batch_size = forms.CharField(required=False)
    learning_rate_multiplier = forms.CharField(required=False)
    beta = forms.CharField(required=False)
    lora_r = forms.CharField(required=False)
    suffix = forms.CharField(required=False, max_length=64)
    seed = forms.IntegerField(required=False, min_value=0, max_value=LARGEST_SEED)
    pinned_prompts = forms.CharField(required=False, widget=forms.Textarea(attrs={"rows": 3}))
    take = forms.ChoiceField(required=False, choices=TAKES, label="The next stage starts from")

    def __init__(self, data: QueryDict | None, *, project: Project, key: int, initial: Any = None) -> None:
        super().__init__(data, prefix=f"stage-{key}", initial=initial)
        self.key = self.number = key
        self.is_last = False
        self.stage: Stage | None = None
        self.base_model: BaseModel | None = None
        self.start_checkpoint: Checkpoint | None = None
        self.recipe: Recipe | None = None
        self.readable_recipe: Recipe | None = None
        for name, field in self.fields.items():
            field.label = field.label or LABELS[name]
            teach(name, field, str(field.label))
            field.widget.attrs["class"] = "select" if isinstance(field.widget, forms.Select) else "input"
            if name.endswith("_file"):
                offer(self, name, DatasetFile.objects.of(project).usable(), shown)
            elif name in NUMBERS:
                field.widget.attrs |= {"placeholder": "auto", "inputmode": "decimal", "autocomplete": "off"}
        self.fields["training_file"].error_messages["required"] = "Choose the file of this stage."
        self.fields["seed"].widget.attrs["placeholder"] = "a new one"
        self.fields["pinned_prompts"].help_text = HINTS["pinned_prompts"]

    @property
    def method(self) -> str:
        """By the format of its file; also of a form that was not sent."""
        key = self["training_file"].value()
        file = self.fields["training_file"].queryset.filter(pk=key).first() if key else None  # type: ignore[attr-defined]
        return method_for(file) if file else ""

    def clean_pinned_prompts(self) -> str:
        text: str = self.cleaned_data["pinned_prompts"]
        if fault := pinned_fault(text):
            raise forms.ValidationError(fault)
        return text

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean() or {}
        file, validation = cleaned.get("training_file"), cleaned.get("validation_file")
        cleaned["validation"] = "file" if validation else "none"
        if file is None:
            return cleaned
        asked = {name: text for name in NUMBERS if (text := cleaned.get(name, "").strip())}
        asked |= {"method": method_for(file), "adaptation": cleaned.get("adaptation") or "lora"}
        if asked["method"] != "dpo":
            asked.pop("beta", None)
        if asked["adaptation"] == "full":
            asked.pop("lora_r", None)
        try:
            self.recipe = self.readable_recipe = Recipe.model_validate(asked)
        except ValidationError as problem:
            wrong = recipe_errors(problem)
            for name, message in wrong.items():
                self.add_error(name if name in self.fields else None, message)
            self.readable_recipe = without(asked, wrong)
            return cleaned
        self.stage = Stage(
            training_file=file.pk,
            validation_file=validation.pk if validation else None,
            recipe=self.recipe,
            suffix=cleaned.get("suffix") or "",
            seed=cleaned.get("seed"),
            pinned_prompts=written.entries(cleaned.get("pinned_prompts") or ""),
            take=cleaned.get("take") or "last",
        )
        return cleaned


def shown(file: DatasetFile) -> str:
    return f"{file_label(file)} · {method_for(file)}"
