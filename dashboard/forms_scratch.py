"""The form of a new model from scratch. It ends in a `Shape`: the ranges are said there."""

from typing import Any, Final

from django import forms
from pydantic import ValidationError

from accounts.models import Project
from dashboard.form_choices import offer, version_label
from dashboard.form_words import recipe_errors, teach
from training.engine.scratch import Shape
from training.models import DatasetFile

SIZES: Final = ("layers", "width", "vocabulary", "context")
LABELS: Final = {
    "file": "Raw text",
    "name": "Name",
    "layers": "Layers",
    "width": "Width",
    "vocabulary": "Vocabulary",
    "context": "Context",
}
HINTS: Final = {
    "file": "The tokenizer is trained on it: words that are frequent there take one token.",
    "name": "Letters, digits, points and hyphens: it stands inside the names of what is trained from it.",
    "layers": "1 to 64.",
    "width": "Numbers a token is thought in; a multiple of 64.",
    "vocabulary": "Tokens at most, 300 to 200,000. A small text does not fill a large one.",
    "context": "Tokens that the model can look back on.",
}


def _label(file: DatasetFile) -> str:
    return f"{file.filename}{version_label(file)} · {file.rows:,} documents"


class ScratchForm(forms.Form):
    file = forms.ModelChoiceField(DatasetFile.objects.none(), empty_label="Choose a dataset of raw text")
    name = forms.RegexField(r"^[A-Za-z0-9][A-Za-z0-9._-]*$", max_length=80)
    layers = forms.CharField()
    width = forms.CharField()
    vocabulary = forms.CharField()
    context = forms.CharField()

    def __init__(self, *args: Any, project: Project, **kwargs: Any) -> None:
        super().__init__(*args, initial=Shape().model_dump() | kwargs.pop("initial", {}), **kwargs)
        self.shape: Shape | None = None
        texts = DatasetFile.objects.of(project).usable().filter(format="text")
        offer(self, "file", texts, _label)
        for name, field in self.fields.items():
            field.label, field.help_text = LABELS[name], HINTS[name]
            teach(name, field, LABELS[name])
            style = "select" if name == "file" else "input" if name == "name" else "input mono"
            field.widget.attrs |= {
                "class": style,
                "aria-describedby": f"hint-{name} error-{name}",
                "autocomplete": "off",
            }

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean() or {}
        try:
            self.shape = Shape.model_validate({name: cleaned[name] for name in SIZES if name in cleaned})
        except ValidationError as problem:
            for name, message in recipe_errors(problem, Shape).items():
                self.add_error(name if name in self.fields else None, message)
        return cleaned
