"""The part of the job's form that says where figures are also handed to."""

import re
from collections.abc import Sequence
from typing import Any

from django import forms
from django.core.exceptions import NON_FIELD_ERRORS
from pydantic import ValidationError

from dashboard.form_words import teach
from training.models import TrackerKey
from training.trackers.spec import TITLES, Integration, TensorboardIntegration, WandbIntegration, WandbWish
from training.trackers.tending import not_installed

CHECKBOXES = ("track_tensorboard", "track_wandb", "wandb_checkpoints", "wandb_offline")


class TrackersForm(forms.Form):
    """Bound to the same data as the job's form; `wishes` is there once it is valid."""

    track_tensorboard = forms.BooleanField(required=False, label="TensorBoard")
    track_wandb = forms.BooleanField(required=False, label="Weights & Biases")
    wandb_project = forms.CharField(required=False, max_length=128, label="Project")
    wandb_entity = forms.CharField(
        required=False, max_length=128, label="Entity", help_text="A team or a person. Empty: the key's own."
    )
    wandb_name = forms.CharField(required=False, max_length=128, label="Name", help_text="Empty: the job's id.")
    wandb_tags = forms.CharField(required=False, label="Tags", help_text="Separated by commas.")
    wandb_checkpoints = forms.BooleanField(required=False, label="Upload checkpoints too")
    wandb_offline = forms.BooleanField(required=False, label="Keep it here for wandb sync")

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.wishes: list[Integration] = []
        self.lost = self._without_what_is_not_installed()
        for name, field in self.fields.items():
            teach(name, field, str(field.label))
            if name not in CHECKBOXES:
                field.widget.attrs |= {"class": "input", "autocomplete": "off"}

    def _without_what_is_not_installed(self) -> bool:
        """Those switches are off, with the reason beside them. True where one was asked for by what filled the form."""
        lost = False
        for kind in TITLES:
            name = f"track_{kind}"
            if why := not_installed(kind):
                self.fields[name].help_text = why
                lost |= bool(self.initial.get(name))
                self.initial = {**self.initial, name: False}
                if not self[name].value():  # sent all the same, it is refused and can be switched off
                    self.fields[name].widget.attrs["disabled"] = True
        return lost

    @property
    def is_open(self) -> bool:
        """Something in it is chosen or wrong: that must not hide."""
        return bool(self.errors or self.lost or self["track_tensorboard"].value() or self["track_wandb"].value())

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean() or {}
        self.wishes = [TensorboardIntegration(type="tensorboard")] if cleaned.get("track_tensorboard") else []
        if cleaned.get("track_wandb"):
            self._add_wandb(cleaned)
        return cleaned

    def _add_wandb(self, cleaned: dict[str, Any]) -> None:
        asked = {name: cleaned.get(f"wandb_{name}") or None for name in WandbWish.model_fields}
        if not asked["project"]:
            return self.add_error("wandb_project", "Say in which project the run goes.")
        asked["tags"] = [tag for word in (asked["tags"] or "").split(",") if (tag := word.strip())]
        try:
            self.wishes.append(WandbIntegration(type="wandb", wandb=WandbWish.model_validate(asked)))
        except ValidationError as problem:
            self._show(problem)
        return None

    def _show(self, problem: ValidationError) -> None:
        for error in problem.errors():
            name = f"wandb_{error['loc'][0]}" if error["loc"] else ""
            text = re.sub(r"^(String|List)", "It", error["msg"])
            if "pattern" in text:
                text = "It cannot hold any of the characters / \\ # ? % :"
            self.add_error(name if name in self.fields else NON_FIELD_ERRORS, text)


def initial_trackers(wishes: Sequence[Integration]) -> dict[str, Any]:
    """What was asked for, by control."""
    values: dict[str, Any] = {f"track_{wish.type}": True for wish in wishes}
    for wish in wishes:
        if isinstance(wish, WandbIntegration):
            values |= {f"wandb_{name}": getattr(wish.wandb, name) or "" for name in WandbWish.model_fields}
            values["wandb_tags"] = ", ".join(wish.wandb.tags)
    return values


def has_key(project: Any) -> bool:
    return TrackerKey.objects.filter(project=project).exists()
