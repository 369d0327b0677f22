"""Tab of a dataset: two files made of it, to train on and to validate with, after a look at what they would hold."""

from typing import Any

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.views.decorators.http import require_GET, require_POST

from accounts.errors import ApiError
from dashboard.forms_datasets import SplitForm
from dashboard.views.one_dataset import one_dataset
from training import splits, splitting, texts
from training.models import DatasetFile, FileTask
from training.splitting import FIELD, Plan

BY_ITSELF = {"system": "the system prompt", "turns": "the number of answers"}
TOGETHER = {"first": "the same first question", "near": "nearly the same text"}


def context(request: HttpRequest, file: DatasetFile) -> dict[str, Any]:
    """With ?preview= and the fields of the form, what the two files would hold."""
    ready = file.status == DatasetFile.Status.PROCESSED and file.rows > 1 and file.path.exists()
    if not ready:
        return {"can_split": False}
    raw = texts.is_raw_text(file.path, file.filename)
    fields = [] if raw else splitting.fields_of(file.path)
    form = SplitForm(request.GET if "preview" in request.GET else None)
    made = file.tasks.filter(kind="split", key="make").first()
    told = {
        "can_split": True,
        "raw": raw,
        "values": _values(request),
        "spreads": [*BY_ITSELF.items(), *((FIELD + name, name) for name in fields)],
        "togethers": [*TOGETHER.items(), *((FIELD + name, f"the same {name}") for name in fields)],
        "made": made,
        "parts": DatasetFile.objects.filter(pk__in=[made.figures.get(part, "") for part in ("train", "valid")])
        if made
        else [],
        **(_preview(request, file, form) if form.is_bound else {}),
    }
    told["busy"] = bool(made and made.is_busy) or bool(told.get("counts") and told["counts"].is_busy)
    return told


def _values(request: HttpRequest) -> dict[str, str]:
    """What stands in the form."""
    asked = request.GET if "preview" in request.GET else {}
    return {name: asked.get(name, shown) for name, shown in (
        ("percent", "10"), ("count", ""), ("seed", "0"), ("stratify", ""), ("group", "")
    )}  # fmt: skip


def _preview(request: HttpRequest, file: DatasetFile, form: SplitForm) -> dict[str, Any]:
    if not form.is_valid():
        return {"split_errors": _errors(form)}
    try:
        plan = _plan(file, form)
        task = splits.ask(file, plan, make=False, user=request.user)
    except ApiError as error:
        return {"split_errors": [error.message]}
    if task.status == FileTask.Status.FAILED:
        return {"split_errors": [task.message]}
    strata = [
        {**each, "train": each["rows"] - each["valid"], "share": each["valid"] / each["rows"]}
        for each in task.figures.get("strata", [])
    ]
    return {"counts": task, "strata": strata, "by": _by(plan), "plan_words": splitting.words(plan)}


def _plan(file: DatasetFile, form: SplitForm) -> Plan:
    """Raises ApiError."""
    asked = form.cleaned_data
    share = None if asked["count"] else (asked["percent"] or 10) / 100
    return splits.planned(
        file,
        share=share,
        count=asked["count"],
        seed=asked["seed"] or 0,
        stratify=asked["stratify"],
        group=asked["group"],
    )


def _by(plan: Plan) -> str:
    return BY_ITSELF.get(plan.stratify) or plan.stratify.removeprefix(FIELD)


def _errors(form: SplitForm) -> list[str]:
    return [text for texts_ in form.errors.values() for text in texts_]


@require_GET
def split_tab(request: HttpRequest, file_id: str) -> HttpResponse:
    """The tab alone, while it waits for a worker."""
    file = one_dataset(request, file_id)
    told = {"file": file, "unit": "document" if file.format == "text" else "row", "present": file.path.exists()}
    return render(request, "dashboard/dataset_split.html", {**told, **context(request, file)})


@require_POST
def split(request: HttpRequest, file_id: str) -> HttpResponse:
    file = one_dataset(request, file_id)
    form = SplitForm(request.POST)
    back = f"{reverse('dataset', args=[file.pk])}?tab=split#tabs"
    if not form.is_valid():
        messages.error(request, "; ".join(_errors(form)))
        return redirect(back)
    try:
        task = splits.ask(file, _plan(file, form), make=True, user=request.user)
    except ApiError as error:
        messages.error(request, error.message)
        return redirect(back)
    if task.is_busy:
        return redirect(back)
    if task.status == FileTask.Status.FAILED:
        messages.error(request, task.message)
        return redirect(back)
    train, valid = (DatasetFile.objects.get(pk=task.result[part]) for part in ("train", "valid"))
    unit = "documents" if file.format == "text" else "rows"
    text = f"{train.filename} ({train.rows:,} {unit}) and {valid.filename} ({valid.rows:,} {unit}) are made"
    messages.success(request, f"{text}; {file.filename} stays as it was.")
    return redirect("datasets")
