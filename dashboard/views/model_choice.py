"""The choice of a base model in the forms of jobs and recipes, while models are still being brought to disk."""

from dataclasses import dataclass
from typing import Any

from django import forms as django_forms
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render

from dashboard import form_start
from dashboard.form_choices import only_model
from dashboard.forms import JobForm
from training.models import BaseModel, TrainingJob


@dataclass(frozen=True)
class Coming:
    """A model that is not on disk yet. `percent` is None while its size is not known."""

    model: BaseModel
    percent: int | None


def model_choice(request: HttpRequest) -> HttpResponse:
    """The select again, with what was chosen (`model`), and what is still on its way. Says `hone:model` when a choice
    was made for the reader, so that the card is counted."""
    chosen = request.GET.get("model") or only_model()
    parent = TrainingJob.objects.of(request.project).filter(pk=request.GET.get("parent", "")).first()
    form = JobForm(project=request.project, initial={"model": chosen})
    shown = form_start.initial_from_job(parent) if parent else {}
    context = {"field": form["model"], "parent": parent, "parent_value": shown.get("model")}
    answer = render(request, "dashboard/model_choice.html", context | news(form))
    if chosen and not request.GET.get("model"):
        answer["HX-Trigger-After-Settle"] = "hone:model"
    return answer


def news(form: django_forms.Form) -> dict[str, Any]:
    """For the template: models on their way, why there is none, and whether there is anything to choose."""
    coming = [Coming(model, _percent(model)) for model in BaseModel.objects.filter(status="downloading")]
    there = any(isinstance(options, list) and options for _, options in form.fields["model"].choices)  # type: ignore[attr-defined]
    failed = None if there or coming else BaseModel.objects.filter(status="failed").first()
    return {"coming": coming, "has_models": there, "failed_model": failed}


def _percent(model: BaseModel) -> int | None:
    return round(100 * model.bytes_done / model.bytes_total) if model.bytes_total and model.bytes_done else None
