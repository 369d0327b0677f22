"""What a person enters about a project's moderation, cleaned, and what the settings page shows of it."""

from typing import Any

from django import forms
from django.http import HttpRequest

from training.addresses import Refused, check_base_url
from training.safety.classifiers import classifier_of
from training.safety.models import ModerationPolicy

WORDS = {
    "off": "Nothing is judged.",
    "warn": "A job's training file is judged before it starts; flagged rows are told, and it goes on.",
    "block": "A job whose training file has flagged rows fails before any GPU time, until they are kept or gone.",
}


class ModerationForm(forms.Form):
    """The stored key is never filled in: an empty field keeps it, for the same server only."""

    policy = forms.ChoiceField(choices=ModerationPolicy.Policy.choices, widget=forms.RadioSelect)
    base_url = forms.CharField(max_length=500, required=False, label="Base URL", help_text="Most end in /v1.")
    model = forms.CharField(max_length=250, required=False, label="Model", help_text="Its name there.")
    key = forms.CharField(max_length=1000, required=False, label="Key", widget=forms.PasswordInput)

    def __init__(self, *args: Any, known: ModerationPolicy, **kwargs: Any) -> None:
        initial = {name: getattr(known, name) for name in ("policy", "base_url", "model")}
        super().__init__(*args, initial=initial, auto_id="moderation_%s", **kwargs)
        self.known = known
        for name in ("base_url", "model", "key"):
            self.fields[name].widget.attrs |= {"class": "input mono", "autocomplete": "off", "spellcheck": "false"}
        self.fields["base_url"].widget.attrs["placeholder"] = "https://api.example.com/v1"
        self.fields["key"].widget.attrs["autocomplete"] = "new-password"
        kept = known.hint or "one is stored"
        self.fields["key"].help_text = f"Empty keeps the stored one ({kept})." if known.sealed else "If it wants one."

    def clean_base_url(self) -> str:
        try:
            return check_base_url(self.cleaned_data["base_url"]) if self.cleaned_data["base_url"].strip() else ""
        except Refused as error:
            raise forms.ValidationError(str(error)) from error

    def clean_key(self) -> str:
        key = str(self.cleaned_data["key"]).strip()
        if any(not 33 <= ord(letter) <= 126 for letter in key):
            raise forms.ValidationError("A key has no spaces and no other signs than letters, digits and punctuation.")
        return key


def context(request: HttpRequest, form: ModerationForm | None = None) -> dict[str, Any]:
    known = ModerationPolicy.of(request.project)
    form = form or ModerationForm(known=known)
    return {
        "moderation": known,
        "moderation_form": form,
        "moderation_choices": [(value, name, WORDS[value]) for value, name in ModerationPolicy.Policy.choices],
        "moderation_policy": form["policy"].value(),
        "moderation_by": classifier_of(known).name,
    }
