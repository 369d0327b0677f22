"""Screen: a new model from scratch."""

from typing import Any

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render

from accounts.errors import ApiError
from dashboard.forms_scratch import SIZES, ScratchForm
from training import scratch
from training.models import BaseModel, DatasetFile


def new_model(request: HttpRequest) -> HttpResponse:
    """Empty, or for ?file=. A worker makes the model."""
    if request.method != "POST":
        wanted = DatasetFile.objects.of(request.project).filter(pk=request.GET.get("file", "")).first()
        form = ScratchForm(project=request.project, initial={"file": wanted.pk if wanted else None})
        return render(request, "dashboard/scratch.html", _context(form))
    form = ScratchForm(request.POST, project=request.project)
    if form.is_valid() and (model := _make(request, form)):
        messages.success(
            request,
            f"{model.name} is being made. When it is on disk, press Fine-tune: its first job is continued pre-training "
            "with full weights.",
        )
        return redirect("models")
    return render(request, "dashboard/scratch.html", _context(form), status=400)


def _context(form: ScratchForm) -> dict[str, Any]:
    return {"form": form, "sizes": [form[name] for name in SIZES], "shape": form.shape}


def _make(request: HttpRequest, form: ScratchForm) -> BaseModel | None:
    """None with the reason on the form where it is refused."""
    asked = form.cleaned_data
    assert form.shape
    try:
        return scratch.make(project=request.project, file=asked["file"], name=asked["name"], shape=form.shape)
    except ApiError as refused:
        form.add_error(refused.param if refused.param in form.fields else None, refused.message)
        return None
