"""What a person enters about an external model, cleaned; nothing is written here."""

from typing import Any
from urllib.parse import urlsplit

from django import forms
from django.conf import settings

from playground.external.models import ExternalModel
from playground.models import Response
from training.addresses import Refused, check_base_url


class ExternalForm(forms.Form):
    """`known` is the row that is edited, if any. The stored key is never filled in: an empty field keeps it."""

    name = forms.CharField(max_length=80, label="Name", help_text="As it stands over its column.")
    base_url = forms.CharField(
        max_length=500, label="Base URL", help_text="Of an OpenAI-compatible API. Most end in /v1."
    )
    model = forms.CharField(max_length=250, label="Model", help_text="Its name there.")
    key = forms.CharField(max_length=1000, required=False, label="Key", widget=forms.PasswordInput)
    forget_key = forms.BooleanField(required=False, label="Forget the stored key: that server wants none")
    input_price = forms.FloatField(min_value=0, max_value=1e6, required=False, label="Price of 1M input tokens")
    output_price = forms.FloatField(min_value=0, max_value=1e6, required=False, label="Price of 1M output tokens")

    def __init__(self, *args: Any, project: Any, known: ExternalModel | None = None, **kwargs: Any) -> None:
        names = ("name", "base_url", "model", "input_price", "output_price")
        initial = {name: getattr(known, name) for name in names} if known else {}
        super().__init__(*args, initial=initial, **kwargs)
        self.project, self.known = project, known
        for name, field in self.fields.items():
            if name != "forget_key":
                field.widget.attrs |= {"class": "input", "autocomplete": "off", "spellcheck": "false"}
        for name in ("input_price", "output_price"):
            self.fields[name].help_text = f"In {settings.HONE_PRICE_CURRENCY}. Both are needed to show costs."
            self.fields[name].widget.attrs |= {"step": "any", "class": "input input--number"}
        self.fields["base_url"].widget.attrs |= {"class": "input mono", "placeholder": "https://api.example.com/v1"}
        self.fields["model"].widget.attrs |= {"class": "input mono"}
        self.fields["key"].widget.attrs |= {"class": "input mono", "autocomplete": "new-password"}
        self.fields["key"].help_text = _key_words(known)
        if not (known and known.sealed):
            del self.fields["forget_key"]

    def clean_name(self) -> str:
        name = str(self.cleaned_data["name"])
        others = ExternalModel.objects.of(self.project).kept().filter(name__iexact=name)
        if others.exclude(pk=self.known.pk if self.known else "").exists():
            raise forms.ValidationError("Another external model of this project has this name.")
        return name

    def clean_base_url(self) -> str:
        try:
            return check_base_url(self.cleaned_data["base_url"])
        except Refused as error:
            raise forms.ValidationError(str(error)) from error

    def clean_model(self) -> str:
        model = str(self.cleaned_data["model"])
        if self.known and model != self.known.model and has_answered(self.known):
            raise forms.ValidationError(
                f"Answers and votes here are those of {self.known.model}. Add {model} as a model of its own."
            )
        return model

    def clean_key(self) -> str:
        key = str(self.cleaned_data["key"]).strip()
        if any(not 33 <= ord(letter) <= 126 for letter in key):
            raise forms.ValidationError("A key has no spaces and no other signs than letters, digits and punctuation.")
        return key

    def clean(self) -> dict[str, Any]:
        """A stored key goes to no other server than the one it was entered for."""
        cleaned = super().clean() or {}
        known, address = self.known, cleaned.get("base_url")
        keeps = bool(known and known.sealed and not cleaned.get("key") and not cleaned.get("forget_key"))
        if known and address and keeps and _server(address) != _server(known.base_url):
            self.add_error("key", f"The stored key was entered for {urlsplit(known.base_url).netloc}. Enter one again.")
        return cleaned


def has_answered(external: ExternalModel) -> bool:
    return Response.objects.filter(model=external.pk, error="").exists()


def _server(address: str) -> tuple[str, str]:
    parts = urlsplit(address)
    return parts.scheme, parts.netloc.lower()


def _key_words(known: ExternalModel | None) -> str:
    if known and known.sealed:
        return f"One is stored{f' ({known.hint})' if known.hint else ''} and is not shown again. Empty keeps it."
    return "Stored encrypted and not shown again. Empty where that server wants none."
