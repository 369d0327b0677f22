"""The form of a new job, and its live card."""

from typing import Any

from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.views.decorators.http import require_POST

from accounts.errors import ApiError
from dashboard import differences, forms
from dashboard.forecast import Forecast, forecast
from dashboard.forms import JobForm
from dashboard.forms_trackers import has_key
from training.engine.errors import EngineError
from training.models import BaseModel, Checkpoint, DatasetFile, TrainingJob

CHECKED_LIVE = ("suffix", "seed", "split_share", "split_seed")  # wrong while typing; what is merely missing waits
ADVISED = ("n_epochs", "learning_rate_multiplier", "validation")  # what a hint under a job may change
GROUPS = ("validation", "adaptation")  # radios: the group has the place, no control alone
CONTROLS = {"share": "split_share", "count": "split_share", "file": "training_file"}  # other words for our controls


def new_job(request: HttpRequest) -> HttpResponse:
    """Empty, or prefilled: ?from=JOB (rerun), ?file=, ?model=, ?checkpoint= (continue)."""
    if request.method == "POST":
        form = JobForm(request.POST, project=request.project)
        if form.is_valid() and (job := _create(request, form)):
            return redirect("job", job.id)
        return render(request, "dashboard/job_new.html", context(form, form.parent_job), status=400)
    parent = _parent(request)
    form = JobForm(project=request.project, initial=_initial(request, parent))
    return render(request, "dashboard/job_new.html", context(form, parent))


@require_POST
def estimate(request: HttpRequest) -> HttpResponse:
    """The card at the right, and each auto's value and each field's error beside it (out of band)."""
    form = JobForm(request.POST, project=request.project)
    form.is_valid()
    answer = forecast(form)
    context = {
        "form": form,
        "forecast": answer,
        "tabs": forms.as_code(form, request.build_absolute_uri("/").rstrip("/")),
        "autos": [_auto(form, answer, name) for name in forms.AUTO_FIELDS],
        "errors": [_error(form, answer, name) for name in (*forms.RECIPE_FIELDS, *CHECKED_LIVE)],
    }
    return render(request, "dashboard/job_new.html#answer", context)


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
    shown = forms.initial_from_job(parent) if parent else {}
    return {
        "form": form,
        "parent": parent,
        "parent_values": shown,
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
    usual = forms.initial_from_recipe(forms.Recipe())
    return any(name in form.errors or (form[name].value() or usual[name]) != usual[name] for name in names)


def _parent(request: HttpRequest) -> TrainingJob | None:
    wanted = request.GET.get("from")
    return get_object_or_404(TrainingJob.objects.of(request.project), pk=wanted) if wanted else None


def _initial(request: HttpRequest, parent: TrainingJob | None) -> dict[str, Any]:
    """What is asked for in the address must exist in this project."""
    given = request.GET
    initial = forms.initial_from_job(parent) if parent else forms.initial_from_recipe(forms.Recipe())
    if not parent:
        initial |= {"seed": forms.new_seed()} | _only_choices(request)
    if file_id := given.get("file"):
        file = get_object_or_404(DatasetFile.objects.of(request.project), pk=file_id)
        initial["training_file"] = file.pk
        if not parent and (partner := forms.validation_partner(file)):
            initial |= {"validation": "file", "validation_file": partner.pk}
    if name := given.get("model"):
        initial["model"] = f"base:{get_object_or_404(BaseModel, name=name).name}"
    if checkpoint := given.get("checkpoint"):
        tuned = Checkpoint.objects.of(request.project)
        found = tuned.filter(pk=checkpoint).first() or get_object_or_404(tuned.named(checkpoint))
        initial["model"] = f"checkpoint:{found.pk}"
    return initial | {name: given[name] for name in ADVISED if name in given}


def _only_choices(request: HttpRequest) -> dict[str, Any]:
    """Where there is one thing to choose, it is chosen."""
    bases = list(BaseModel.objects.ready()[:2])
    return {"model": f"base:{bases[0].name}"} if len(bases) == 1 else {}


def _create(request: HttpRequest, form: JobForm) -> TrainingJob | None:
    """The job; None with the reason on the form where it is refused. A refused job leaves no split files behind."""
    from training import actions, files

    asked, parts = form.cleaned_data, []
    expected = forecast(form)
    if expected.refused:
        form.add_error(expected.problem_field if expected.problem_field in form.fields else None, expected.problem)
        return None
    try:
        training, validation = asked["training_file"], asked["validation_file"]
        if asked["validation"] == "split":
            share, seed = asked["split_share"] / 100, asked["split_seed"] or 0
            training, validation = parts = files.split(training, share=share, seed=seed, user=request.user)
        return actions.create_job(
            project=request.project,
            user=request.user,
            base_model=form.base_model,
            training_file=training,
            validation_file=validation,
            recipe=form.recipe,
            suffix=asked["suffix"],
            seed=asked["seed"],
            start_checkpoint=form.start_checkpoint,
            parent=form.parent_job,
            label=asked["label"],
            trackers=form.trackers.wishes,
        )
    except (ApiError, EngineError) as refused:
        for part in parts:
            files.delete(part)
        name = CONTROLS.get(refused.param or "", (refused.param or "").rsplit(".", 1)[-1])
        form.add_error(name if name in form.fields else None, refused.message)
        return None
