"""A job's configuration as a file, and the new job's form filled from one."""

from typing import Any

from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from pydantic import ValidationError

from accounts.errors import ApiError
from dashboard import configuration, form_start, forms, schemas
from dashboard.forms_trackers import initial_trackers
from dashboard.routers.jobs import find_file, find_model, recipe_of
from dashboard.views import new_job
from training.models import TrainingJob


def download(request: HttpRequest, job_id: str, kind: str) -> HttpResponse:
    job = get_object_or_404(TrainingJob.objects.of(request.project).select_related("base_model"), pk=job_id)
    if kind not in configuration.WRITERS:
        raise Http404(f"A configuration is json or yaml, not {kind}.")
    write, content_type = configuration.WRITERS[kind]
    name = f'attachment; filename="{job.pk}.{kind}"'
    return HttpResponse(write(job), content_type=content_type, headers={"Content-Disposition": name})


def fill_from_file(request: HttpRequest) -> HttpResponse:
    """The form with the values of an uploaded configuration; nothing is made yet. Reloaded, the empty form."""
    if request.method != "POST":
        return redirect("new-job")
    file = request.FILES.get("configuration")
    try:
        if file is None:
            raise ApiError("Choose a file with a job's configuration, JSON or YAML.")
        values, missing = initial_from(request, configuration.read(file.read(configuration.LARGEST_BYTES + 1)))
    except ApiError as problem:
        usual = form_start.initial_from_recipe(forms.Recipe()) | {"seed": form_start.new_seed()}
        form = forms.JobForm(project=request.project, initial=usual)
        context = new_job.context(form, None) | {"file_problem": problem.message}
        return render(request, "dashboard/job_new.html", context, status=400)
    form = forms.JobForm(project=request.project, initial=values)
    more = {"filled_from": file.name, "not_filled": missing}
    return render(request, "dashboard/job_new.html", new_job.context(form, None) | more)


def initial_from(request: HttpRequest, body: schemas.CreateJob) -> tuple[dict[str, Any], list[str]]:
    """Values of the controls, and in words what is not here. Raises ApiError for numbers that cannot be."""
    try:
        values = form_start.initial_from_recipe(recipe_of(body))
    except ValidationError as problem:
        field, message = next(iter(forms.recipe_errors(problem).items()))
        subject = "" if field == "__all__" else f"{forms.LABELS.get(field, field)}: "
        raise ApiError(f"{subject}{message}", param=field) from problem
    missing = []
    for name, find in (("model", _model), ("training_file", _file), ("validation_file", _file)):
        wanted = getattr(body, name)
        try:
            values |= {name: find(request, wanted)} if wanted else {}
        except ApiError:
            missing.append(f"Its {forms.LABELS[name].lower()} {wanted} is not in this project: choose another.")
    if body.metadata:
        missing.append("Its metadata has no place in the form.")
    values |= {"validation": "file" if body.validation_file else "none", "suffix": body.suffix or ""}
    values |= {"label": body.label or "", "seed": form_start.new_seed() if body.seed is None else body.seed}
    return values | initial_trackers(body.integrations or []), missing


def _model(request: HttpRequest, name: str) -> str:
    base, checkpoint = find_model(request, name)
    return f"checkpoint:{checkpoint.pk}" if checkpoint else f"base:{base.name}"


def _file(request: HttpRequest, file_id: str) -> str:
    return find_file(request, file_id, "").pk
