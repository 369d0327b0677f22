"""A job's configuration as a file, and the new job's form filled from one."""

from typing import Any

from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render

from accounts.errors import ApiError
from dashboard import configuration, configuration_file, form_start, forms
from dashboard.configuration_file import Fault, Reading
from dashboard.form_faults import place_of
from dashboard.forms_trackers import initial_trackers
from dashboard.routers.jobs import find_file, find_model, recipe_of, refuse_what_is_not_served
from dashboard.views import new_job
from playground.film import written
from training.engine.spec import Recipe
from training.models import TrainingJob


def download(request: HttpRequest, job_id: str, kind: str) -> HttpResponse:
    job = get_object_or_404(TrainingJob.objects.of(request.project).select_related("base_model"), pk=job_id)
    if kind not in configuration.WRITERS:
        raise Http404(f"A configuration is json or yaml, not {kind}.")
    write, content_type = configuration.WRITERS[kind]
    name = f'attachment; filename="{job.pk}.{kind}"'
    return HttpResponse(write(job), content_type=content_type, headers={"Content-Disposition": name})


def fill_from_file(request: HttpRequest) -> HttpResponse:
    """The form with the values of a configuration, as far as it can be read; nothing is made yet, and what was typed
    before stays where the file says nothing. Reloaded, the empty form."""
    if request.method != "POST":
        return redirect("new-job")
    typed = {name: request.POST[name] for name in request.POST if name != "csrfmiddlewaretoken"}
    file = request.FILES.get("configuration")
    if file is None:
        reading = Reading(faults=[Fault("No file was chosen. Choose a job's configuration, JSON or YAML.")])
    else:
        reading = configuration_file.read(file.read(configuration_file.LARGEST_BYTES + 1))
    values, missing = initial_from(request, reading)
    form = forms.JobForm(project=request.project, initial=typed | values)
    context = new_job.context(form, None) | {
        "filled_from": file.name if file else "",
        "filled": reading.body is not None,
        "file_faults": [(fault, place_of(form, fault.name)) for fault in reading.faults],
        "not_filled": missing,
        "unused": len(reading.faults) + len(missing),
    }
    return render(request, "dashboard/job_new.html", context, status=400 if reading.faults else 200)


def initial_from(request: HttpRequest, reading: Reading) -> tuple[dict[str, Any], list[str]]:
    """Values of the controls, and in words what is not here; adds to the reading's faults what cannot be together."""
    body, recipe = reading.body, _recipe_of(reading)
    if body is None or recipe is None:
        return {}, []
    values = form_start.initial_from_recipe(recipe)
    missing = []
    for name, find in (("model", _model), ("training_file", _file), ("validation_file", _file)):
        wanted = "" if name in reading.absent else getattr(body, name)
        try:
            values |= {name: find(request, wanted)} if wanted else {}
        except ApiError:
            missing.append(f"Its {forms.LABELS[name].lower()} {wanted} is not in this project: choose another.")
    if body.metadata:
        missing.append("Its metadata has no place in the form.")
    values |= {"validation": "file" if body.validation_file else "none"} if "training_file" in values else {}
    for name in ("suffix", "label", "seed"):
        if (said := getattr(body, name)) is not None:
            values[name] = said
    if body.rerun_of:
        values["parent"] = body.rerun_of
    if body.pinned_prompts is not None:
        values |= {
            "pinned_prompts": written.lines(body.pinned_prompts),
            "film": "own" if body.pinned_prompts else "off",
        }
    return values | initial_trackers(body.integrations or []), missing


def _recipe_of(reading: Reading) -> Recipe | None:
    """Of what fits together; the parts that do not are left out one by one, each with a fault."""
    while reading.body is not None:
        try:
            refuse_what_is_not_served(reading.body)
            return recipe_of(reading.body)
        except ApiError as refused:
            place = refused.param or ""
            reading.faults.append(configuration_file.fault_at(place, refused.message, reading.marks))
            name = place.partition(".")[0]
            if getattr(reading.body, name, None) is None:
                return None
            reading.body = reading.body.model_copy(update={name: None})
    return None


def _model(request: HttpRequest, name: str) -> str:
    base, checkpoint = find_model(request, name)
    return f"checkpoint:{checkpoint.pk}" if checkpoint else f"base:{base.name}"


def _file(request: HttpRequest, file_id: str) -> str:
    return find_file(request, file_id, "").pk
