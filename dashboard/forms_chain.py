"""The form of a recipe: a model, and up to three stages that train one after the other."""

from typing import Any, Final

from django import forms
from django.http import QueryDict
from pydantic import ValidationError

from accounts.models import Project
from dashboard.form_choices import chosen_model, model_choices
from dashboard.forms import HINTS, LABELS, recipe_errors
from training.chains.models import Stage
from training.checks import method_for
from training.engine.spec import Recipe
from training.models import BaseModel, Checkpoint, DatasetFile

STAGES: Final = 3
NUMBERS: Final = ("n_epochs", "batch_size", "learning_rate_multiplier", "lora_r")
TAKES: Final = [("last", "its last checkpoint"), ("best", "its best one, by validation loss")]


class ChainForm(forms.Form):
    """`base_model`, `start_checkpoint` and `stages` are there once it and its stages are valid."""

    model = forms.ChoiceField(label=LABELS["model"])
    label = forms.CharField(required=False, max_length=200, label=LABELS["label"], help_text=HINTS["label"])

    def __init__(self, data: QueryDict | None = None, *, project: Project) -> None:
        super().__init__(data)
        self.project = project
        self.base_model: BaseModel | None = None
        self.start_checkpoint: Checkpoint | None = None
        self.fields["model"].choices = model_choices(project)  # type: ignore[attr-defined]
        self.fields["model"].widget.attrs["class"] = "select"
        self.fields["label"].widget.attrs["class"] = "input"
        self.parts = [StageForm(data, project=project, number=number) for number in range(1, STAGES + 1)]

    def clean_model(self) -> str:
        value: str = self.cleaned_data["model"]
        self.base_model, self.start_checkpoint = chosen_model(self.project, value)
        return value

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean() or {}
        wrong = [part for part in self.parts if not part.is_valid()]
        if wrong:
            self.add_error(None, f"Stage {wrong[0].number}: {next(iter(wrong[0].errors.values()))[0]}")
        return cleaned

    @property
    def stages(self) -> list[Stage]:
        return [part.stage for part in self.parts if part.stage]


class StageForm(forms.Form):
    """Its fields are named stage-N-...; without a training file it is no stage."""

    training_file = forms.ModelChoiceField(
        DatasetFile.objects.none(), required=False, empty_label="No file: no such stage"
    )
    validation_file = forms.ModelChoiceField(DatasetFile.objects.none(), required=False, empty_label="None")
    adaptation = forms.ChoiceField(choices=[("lora", "Adapter (LoRA)"), ("full", "Full weights")])
    n_epochs = forms.CharField(required=False)
    batch_size = forms.CharField(required=False)
    learning_rate_multiplier = forms.CharField(required=False)
    lora_r = forms.CharField(required=False)
    suffix = forms.CharField(required=False, max_length=64)
    take = forms.ChoiceField(choices=TAKES, label="The next stage starts from")

    def __init__(self, data: QueryDict | None, *, project: Project, number: int) -> None:
        super().__init__(data, prefix=f"stage-{number}")
        self.number, self.stage = number, None
        files = DatasetFile.objects.of(project).usable()
        for name, field in self.fields.items():
            field.label = field.label or LABELS[name]
            field.widget.attrs["class"] = "select" if isinstance(field.widget, forms.Select) else "input mono"
            if name.endswith("_file"):
                field.queryset = files  # type: ignore[attr-defined]
                field.label_from_instance = shown  # type: ignore[attr-defined]
            elif name in NUMBERS:
                field.widget.attrs |= {"placeholder": "auto", "inputmode": "decimal", "autocomplete": "off"}

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean() or {}
        self.stage = None
        file, validation = cleaned.get("training_file"), cleaned.get("validation_file")
        if file is None:
            if self.number < STAGES and "training_file" not in self.errors:
                self.add_error("training_file", "Choose the file of this stage.")
            return cleaned
        asked = {name: text for name in NUMBERS if (text := cleaned.get(name, "").strip())}
        try:
            recipe = Recipe.model_validate({**asked, "method": method_for(file), "adaptation": cleaned["adaptation"]})
        except ValidationError as problem:
            for name, message in recipe_errors(problem).items():
                self.add_error(name if name in self.fields else None, message)
            return cleaned
        self.stage = Stage(
            training_file=file.pk,
            validation_file=validation.pk if validation else None,
            recipe=recipe,
            suffix=cleaned["suffix"],
            take=cleaned["take"],
        )
        return cleaned


def shown(file: DatasetFile) -> str:
    return f"{file.filename} · {file.rows:,} rows · {method_for(file)}"
