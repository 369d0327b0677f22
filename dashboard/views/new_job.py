"""The form of a new job, and its live card."""

from typing import Any

from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse
from django.views.decorators.http import require_POST

from accounts import audit
from dashboard import differences, form_start, forms, job_as_code, moderation_told, quotas_shown, sweep
from dashboard.creation import create, judge
from dashboard.forecast import Forecast
from dashboard.form_choices import only_model
from dashboard.form_faults import FaultLine, fault_lines
from dashboard.form_groups import shown_groups
from dashboard.forms import JobForm
from dashboard.forms_trackers import has_key
from dashboard.leaks_told import asks, leak, unsplit
from dashboard.preparing import busy_now
from dashboard.secrets_told import secrets
from dashboard.views import model_choice
from playground import sharing
from playground.film import prompts
from playground.film.answering import MOST_TOKENS
from training.engine.spec import Resolved
from training.models import BaseModel, Checkpoint, DatasetFile, TrainingJob

ADVISED = ("n_epochs", "learning_rate_multiplier", "validation", "method")  # what a link on a job's page may change


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
    for form in each:
        judge(form)
    wrong = [form for form in each if form.errors]
    made = [] if wrong else create(request, each)
    if len(made) == 1:
        return redirect("job", made[0].id)
    if made:
        audit.tell(request, f"make {len(made)} jobs: {', '.join(job.id for job in made)}")
        return redirect(f"{reverse('compare-jobs')}?ids={','.join(job.id for job in made)}")
    form = JobForm(request.POST, project=request.project)
    form.full_clean()
    sweep.show_faults(form, wrong or [form for form in each if form.errors])
    return render(request, "dashboard/job_new.html", context(form, form.parent_job), status=400)


@require_POST
def estimate(request: HttpRequest) -> HttpResponse:
    """The card at the right, and each auto's value and each field's error beside it (out of band)."""
    each = sweep.forms_of(request.POST, request.project)
    form = next((form for form in each if not form.is_valid()), each[0])
    # Before the judgement: it takes what is refused out of the cleaned data, which the code still shows.
    method, tabs = form.chosen_method, job_as_code.as_code(form, request.build_absolute_uri("/").rstrip("/"))
    answers = [judge(one) for one in each]
    wrong = [one for one in each if one.errors]
    form = wrong[0] if wrong else form
    answer = answers[each.index(form)]
    sweep.add_faults(form, wrong)
    lines = fault_lines(form)
    context = {
        "form": form,
        "forecast": answer,
        "leak": leak(form.cleaned_data),
        "asks": asks(form.cleaned_data),
        "unsplit": unsplit(form.cleaned_data),
        "secrets": secrets(form.cleaned_data),
        "flagged": moderation_told.blocked(form.cleaned_data.get("training_file")),
        "flagged_words": moderation_told.WORDS,
        "busy": busy_now(request.project),
        "faults": [line for line in lines if not line.is_missing],  # what is merely missing is no fault while one types
        "chosen_method": method,
        "tabs": tabs,
        "autos": [_auto(form, answer, name) for name in forms.AUTO_FIELDS],
        "errors": _errors(form, lines),
        "sweep": None if wrong else _sweep_figures(answers),
    }
    return render(request, "dashboard/job_new.html#answer", context)


def _errors(form: JobForm, lines: list[FaultLine]) -> list[dict[str, str]]:
    """Of each field what is wrong, or that nothing is."""
    wrong = {line.name: line.text for line in lines if not line.is_missing}
    return [{"name": name, "text": wrong.get(name, "")} for name in form.fields if name != "parent"]


def _sweep_figures(answers: list[Forecast]) -> dict[str, Any] | None:
    """Of all its jobs together; None for a single job."""
    if len(answers) == 1:
        return None
    return {"jobs": len(answers), "seconds": sum(answer.estimate.seconds for answer in answers if answer.estimate)}


def _auto(form: JobForm, answer: Forecast, name: str) -> dict[str, str]:
    """The value that auto takes and why; nothing where a number was given."""
    if not answer.resolved or (form[name].value() or "auto") != "auto":
        return {"name": name}
    return {"name": name, **resolved_auto(answer.resolved, name)}


def resolved_auto(resolved: Resolved, name: str) -> dict[str, str]:
    value = getattr(resolved, name)
    shown = "" if value is None else differences.shown(value) or "every linear layer"
    return {"value": shown, "reason": resolved.reasons.get(name, "")}


def context(form: JobForm, parent: TrainingJob | None) -> dict[str, Any]:
    shown = form_start.initial_from_job(parent) if parent else {}
    return model_choice.news(form) | {
        "form": form,
        "parent": parent,
        "parent_values": shown,
        "chosen_method": form.chosen_method,
        "main_rows": [(form[name], shown.get(name)) for name in forms.MAIN_FIELDS],
        "groups": shown_groups(form, form_start.initial_from_recipe(forms.Recipe()), shown),
        "queue_words": _queue_words(),
        "faults": fault_lines(form) if form.is_bound else [],
        "parent_prompts": [pinned.text for pinned in prompts.of(parent)] if parent else [],
        "film_shared": sharing.shares_device(),
        "film_tokens": MOST_TOKENS,
        "trackers": form.trackers,
        "has_wandb_key": has_key(form.project),
        "quota_near": quotas_shown.near(form.project),
        "no_files": not form.fields["training_file"].queryset.exists(),  # type: ignore[attr-defined]
    }


def _queue_words() -> str:
    """What a job made now would wait for."""
    running, waiting = (TrainingJob.objects.filter(status=status).count() for status in ("running", "queued"))
    if waiting:
        jobs = f"{waiting} job{'' if waiting == 1 else 's'} before it in the queue"
        return f"{jobs}, and one trains now." if running else f"{jobs}."
    return "A job trains now; this one is next." if running else "The queue is empty: it starts at once."


def _parent(request: HttpRequest) -> TrainingJob | None:
    wanted = request.GET.get("from")
    return get_object_or_404(TrainingJob.objects.of(request.project), pk=wanted) if wanted else None


def _initial(request: HttpRequest, parent: TrainingJob | None) -> dict[str, Any]:
    """What is asked for in the address must exist in this project."""
    given = request.GET
    initial = form_start.initial_from_job(parent) if parent else form_start.initial_from_recipe(forms.Recipe())
    if not parent:
        initial |= {"seed": form_start.new_seed(), "method": ""} | {"model": only_model()}
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
