"""The form of a new job, and its live card."""

from typing import Any

from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse
from django.views.decorators.http import require_POST

from dashboard import differences, form_start, forms, job_as_code, sweep
from dashboard.creation import create
from dashboard.forecast import Forecast, forecast
from dashboard.forms import JobForm
from dashboard.forms_trackers import has_key
from training.models import BaseModel, Checkpoint, DatasetFile, TrainingJob

CHECKED_LIVE = ("suffix", "seed", "split_share", "split_seed")  # wrong while typing; what is merely missing waits
ADVISED = ("n_epochs", "learning_rate_multiplier", "validation")  # what a hint under a job may change
GROUPS = ("validation", "adaptation")  # radios: the group has the place, no control alone


def new_job(request: HttpRequest) -> HttpResponse:
    """Empty, or prefilled: ?from=JOB (rerun), ?file=, ?model=, ?checkpoint= (continue)."""
    if request.method == "POST":
        return _made(request)
    parent = _parent(request)
    form = JobForm(project=request.project, initial=_initial(request, parent))
    return render(request, "dashboard/job_new.html", context(form, parent))


def _made(request: HttpRequest) -> HttpResponse:
    """The new job's page, the comparison of a sweep's jobs, or the form with what is wrong."""
    each = sweep.forms_of(request.POST, request.project)
    wrong = next((form for form in each if not form.is_valid()), None)
    made = [] if wrong else create(request, each)
    if len(made) == 1:
        return redirect("job", made[0].id)
    if made:
        return redirect(f"{reverse('compare-jobs')}?ids={','.join(job.id for job in made)}")
    form = JobForm(request.POST, project=request.project)
    form.full_clean()
    sweep.show_fault(form, wrong or next(form for form in each if form.errors))
    return render(request, "dashboard/job_new.html", context(form, form.parent_job), status=400)


@require_POST
def estimate(request: HttpRequest) -> HttpResponse:
    """The card at the right, and each auto's value and each field's error beside it (out of band)."""
    each = sweep.forms_of(request.POST, request.project)
    form = next((form for form in each if not form.is_valid()), each[0])
    answer = forecast(form)
    if not answer.estimate and form.non_field_errors():
        answer.problem = form.non_field_errors()[0]
    context = {
        "form": form,
        "forecast": answer,
        "chosen_method": form.chosen_method,
        "tabs": job_as_code.as_code(form, request.build_absolute_uri("/").rstrip("/")),
        "autos": [_auto(form, answer, name) for name in forms.AUTO_FIELDS],
        "errors": [_error(form, answer, name) for name in (*forms.RECIPE_FIELDS, *CHECKED_LIVE)],
        "sweep": _sweep_figures(each),
    }
    return render(request, "dashboard/job_new.html#answer", context)


def _sweep_figures(each: list[JobForm]) -> dict[str, Any] | None:
    """Of all its jobs together; None for a single job."""
    if len(each) == 1 or not all(form.is_valid() for form in each):
        return None
    found = [answer.estimate for form in each if (answer := forecast(form)).estimate]
    return {"jobs": len(each), "seconds": sum(estimate.seconds for estimate in found if estimate)}


def _auto(form: JobForm, answer: Forecast, name: str) -> dict[str, str]:
    """The value that auto takes and why; nothing where a number was given."""
    if not answer.resolved or (form[name].value() or "auto") != "auto":
        return {"name": name}
    value = getattr(answer.resolved, name)
    shown = "" if value is None else differences.shown(value) or "every linear layer"
    return {"name": name, "value": shown, "reason": answer.resolved.reasons.get(name, "")}


def _error(form: JobForm, answer: Forecast, name: str) -> dict[str, str]:
    said = form.errors.get(name) or ([answer.problem] if answer.problem_field == name else [""])
    return {"name": name, "text": said[0]}


def context(form: JobForm, parent: TrainingJob | None) -> dict[str, Any]:
    shown = form_start.initial_from_job(parent) if parent else {}
    return {
        "form": form,
        "parent": parent,
        "parent_values": shown,
        "chosen_method": form.chosen_method,
        "main_rows": [(form[name], shown.get(name)) for name in forms.MAIN_FIELDS],
        "lora_rows": [(form[name], shown.get(name)) for name in forms.LORA_FIELDS],
        "loop_rows": [(form[name], shown.get(name)) for name in forms.LOOP_FIELDS],
        "advanced_open": _advanced_open(form),
        "queue_words": _queue_words(),
        "faults": [_fault(form, name) for name in form.errors if name in form.fields],
        "trackers": form.trackers,
        "has_wandb_key": has_key(form.project),
        "no_files": not form.fields["training_file"].queryset.exists(),  # type: ignore[attr-defined]
    }


def _queue_words() -> str:
    """What a job made now would wait for."""
    running, waiting = (TrainingJob.objects.filter(status=status).count() for status in ("running", "queued"))
    if waiting:
        jobs = f"{waiting} job{'' if waiting == 1 else 's'} before it in the queue"
        return f"{jobs}, and one trains now." if running else f"{jobs}."
    return "A job trains now; this one is next." if running else "The queue is empty: it starts at once."


def _fault(form: JobForm, name: str) -> dict[str, str]:
    """A line of the summary of errors, with the place to go to."""
    place = f"field-{name}" if name in GROUPS else form[name].id_for_label
    return {"label": forms.LABELS.get(name, name.capitalize()), "text": str(form.errors[name][0]), "id": place}


def _advanced_open(form: JobForm) -> bool:
    """Open when something in it is set or wrong: a set value must not hide."""
    names = (*forms.LORA_FIELDS, *forms.LOOP_FIELDS, "adaptation")
    usual = form_start.initial_from_recipe(forms.Recipe())
    return any(name in form.errors or (form[name].value() or usual[name]) != usual[name] for name in names)


def _parent(request: HttpRequest) -> TrainingJob | None:
    wanted = request.GET.get("from")
    return get_object_or_404(TrainingJob.objects.of(request.project), pk=wanted) if wanted else None


def _initial(request: HttpRequest, parent: TrainingJob | None) -> dict[str, Any]:
    """What is asked for in the address must exist in this project."""
    given = request.GET
    initial = form_start.initial_from_job(parent) if parent else form_start.initial_from_recipe(forms.Recipe())
    if not parent:
        initial |= {"seed": form_start.new_seed(), "method": ""} | _only_choices(request)
    if file_id := given.get("file"):
        file = get_object_or_404(DatasetFile.objects.of(request.project), pk=file_id)
        initial["training_file"] = file.pk
        if not parent and (partner := form_start.validation_partner(file)):
            initial |= {"validation": "file", "validation_file": partner.pk}
    if name := given.get("model"):
        base = get_object_or_404(BaseModel, name=name)
        initial["model"] = f"base:{base.name}"
        if base.facts_json and base.facts.untrained:
            initial |= {"adaptation": "full"}
    if checkpoint := given.get("checkpoint"):
        tuned = Checkpoint.objects.of(request.project)
        found = tuned.filter(pk=checkpoint).first() or get_object_or_404(tuned.named(checkpoint))
        initial["model"] = f"checkpoint:{found.pk}"
    return initial | {name: given[name] for name in ADVISED if name in given}


def _only_choices(request: HttpRequest) -> dict[str, Any]:
    """Where there is one thing to choose, it is chosen."""
    bases = list(BaseModel.objects.ready()[:2])
    return {"model": f"base:{bases[0].name}"} if len(bases) == 1 else {}
