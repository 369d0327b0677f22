"""Screens: the catalogue of base models, each with its family of fine-tuned ones."""

from dataclasses import dataclass
from typing import Any

from django.contrib import messages
from django.db.models import Exists, OuterRef, Prefetch
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import URLPattern, path
from django.views.decorators.http import require_POST

from accounts.errors import ApiError
from accounts.first_start import looks_after_server
from accounts.models import Project
from dashboard.fit import Fit, fit
from dashboard.views.scratch import new_model
from playground import deployments
from playground.models import Deployment
from training import catalogue, devices
from training.engine.spec import ModelFacts
from training.models import BaseModel, Checkpoint, TrainingJob

FAMILY = 20  # jobs shown below their base model; the page of jobs has the others


@dataclass(frozen=True)
class ModelRow:
    """A base model as the page shows it, with this project's fine-tuned ones."""

    model: BaseModel
    facts: ModelFacts | None
    fit: Fit | None
    is_gone: bool  # the row says on disk, the folder says no
    deployment: Deployment | None
    family: list[TrainingJob]  # the newest FAMILY, with `.kept`: their checkpoints, the newest first
    has_more: bool  # than those

    @property
    def percent(self) -> int:
        return round(100 * self.model.bytes_done / self.model.bytes_total) if self.model.bytes_total else 0


def models(request: HttpRequest) -> HttpResponse:
    """The open page fetches `#catalogue` again when something changed."""
    context = _context(request)
    return render(request, "dashboard/models.html#catalogue" if request.htmx else "dashboard/models.html", context)


def _context(request: HttpRequest) -> dict[str, Any]:
    return {
        "rows": rows(request.project),
        "source": "",
        "device": devices.device_facts(),
        "looks_after_server": looks_after_server(request.user),
    }


def rows(project: Project) -> list[ModelRow]:
    device = devices.device_facts()
    known = list(BaseModel.objects.select_related("deployment"))
    families = {model.pk: family(project, model) for model in known}
    return [
        ModelRow(
            model=model,
            facts=model.facts if model.facts_json else None,
            fit=fit(model, device),
            is_gone=model.status == BaseModel.Status.READY and not model.is_present,
            deployment=getattr(model, "deployment", None),
            family=families[model.pk][:FAMILY],
            has_more=len(families[model.pk]) > FAMILY,
        )
        for model in known
    ]


def family(project: Project, model: BaseModel) -> list[TrainingJob]:
    """The newest jobs of the project with checkpoints of this model: one more than is shown."""
    kept = Checkpoint.objects.filter(archived_at=None)
    trained = TrainingJob.objects.of(project).visible().filter(base_model=model)
    trained = trained.filter(Exists(kept.filter(job=OuterRef("pk")))).order_by("-created_at", "-id")
    listed = kept.select_related("deployment").order_by("-step")
    return list(trained.prefetch_related(Prefetch("checkpoints", listed, to_attr="kept"))[: FAMILY + 1])


@require_POST
def add_model(request: HttpRequest) -> HttpResponse:
    """A hub id, or an absolute folder: the slash in front tells them apart. What lies on the server's disk is not a
    member's to open to every project."""
    source = request.POST.get("source", "").strip()
    is_folder = source.startswith(("/", "~"))
    try:
        if not source:
            raise ApiError("Write a hub id such as Qwen/Qwen3-0.6B, or a folder such as /models/my-model.")
        if is_folder and not looks_after_server(request.user):
            raise ApiError("Only whoever looks after this server adds a model from a folder of it. Write a hub id.")
        add = catalogue.add_from_folder if is_folder else catalogue.add_from_hub
        model = add(source)
    except ApiError as error:
        context = _context(request) | {"source": source, "problem": error.message}
        return render(request, "dashboard/models.html", context, status=422)
    if model.status == BaseModel.Status.READY:
        messages.success(request, f"{model.name} is in the catalogue.")
    return redirect("models")


ACTIONS = {"download", "remove-files", "remove", "load", "unload"}


@require_POST
def remove_model(request: HttpRequest, name: str, action: str) -> HttpResponse:
    """From disk, or altogether: every project of the server uses it, so no member of just one of them does this."""
    if looks_after_server(request.user):
        return act_on_model(request, name, action)
    words = f"Every project of this server uses {name}: only whoever looks after the server takes it away."
    return render(request, "403.html", {"reason_for_people": words}, status=403)


@require_POST
def act_on_model(request: HttpRequest, name: str, action: str) -> HttpResponse:
    if action not in ACTIONS:
        raise Http404(f"No such action: {action}")
    model = get_object_or_404(BaseModel, name=name)
    try:
        said = _act(model, action)
    except ApiError as error:
        messages.error(request, error.message)
    else:
        if said:
            messages.success(request, said)
    return redirect("models")


def _act(model: BaseModel, action: str) -> str:
    """Does it and returns what to say about it. Raises ApiError with the reason why not."""
    match action:
        case "download":
            catalogue.start_download(model)
            return ""
        case "load":
            deployments.want(base_model=model)
            return ""
        case "unload":
            deployments.release(_deployment(model))
            return f"{model.name} is put away from memory."
        case "remove-files":
            _refuse_while_served(model)
            freed = catalogue.remove_from_disk(model)
            return f"{model.name} is removed from disk; {freed / 1e6:,.0f} MB are free again."
        case _:
            _refuse_while_served(model)
            catalogue.remove_from_catalogue(model)
            return f"{model.name} is out of the catalogue."


def _deployment(model: BaseModel) -> Deployment:
    found = Deployment.objects.filter(base_model=model).first()
    if found is None:
        raise ApiError(f"{model.name} is not loaded.", status=409)
    return found


def _refuse_while_served(model: BaseModel) -> None:
    """The base serves its own adapters too. Those that are on but idle are put away; vLLM may still hold the files."""
    family = Deployment.objects.filter(base_model=model) | Deployment.objects.filter(checkpoint__base_model=model)
    busy = [each for each in family if each.state in {Deployment.State.READY, Deployment.State.LOADING}]
    for deployment in family.wanted():
        deployments.release(deployment)
    if busy:
        raise ApiError(f"{model.name} is loaded in vLLM. It is being put away now: try again in a moment.", status=409)


urlpatterns: list[URLPattern] = [
    path("", models, name="models"),
    path("add", add_model, name="add-model"),
    path("scratch", new_model, name="new-model"),
    path("<str:name>/remove", remove_model, {"action": "remove"}, name="remove-model"),
    path("<str:name>/remove-files", remove_model, {"action": "remove-files"}, name="remove-model-files"),
    path("<str:name>/<str:action>", act_on_model, name="act-on-model"),
]
