"""From valid forms to jobs: one, or each of a sweep. All of them, or none."""

from django.core.exceptions import ValidationError
from django.db import transaction
from django.http import HttpRequest

from accounts.errors import ApiError
from accounts.ids import new_id
from dashboard.forecast import Forecast, forecast
from dashboard.form_faults import NO_KEY
from dashboard.forms import JobForm
from playground.film import prompts
from training import actions, files, splits
from training.engine.errors import EngineError
from training.models import DatasetFile, TrainingJob
from training.trackers import tending

CONTROLS = {"share": "split_share", "count": "split_share", "file": "training_file"}  # other words for our controls


def judge(form: JobForm) -> Forecast:
    """What the job takes; all that is wrong, as far as it can be seen without making anything, is on the form as its
    errors."""
    form.is_valid()
    answer = forecast(form)
    found: list[tuple[str, str | ValidationError]] = [(fault.field, fault.text) for fault in answer.faults]
    try:
        tending.refuse_impossible(form.project, form.trackers.wishes)
    except ApiError as refused:
        found.append(("", ValidationError(refused.message, code=NO_KEY)))
    for name, said in found:
        if name not in form.errors:  # one word on a field is enough
            form.add_error(name if name in form.fields else None, said)
    return answer


def create(request: HttpRequest, forms: list[JobForm]) -> list[TrainingJob]:
    """Of forms without faults. Empty, with the reason on the form, where one is refused all the same; what is refused
    leaves no split files behind."""
    parts: list[DatasetFile] = []
    sweep = new_id("sweep-", 20) if len(forms) > 1 else ""
    form = forms[0]
    try:
        training, validation = _data(request, form, parts)
        jobs = []
        with transaction.atomic():
            for form in forms:
                jobs.append(_create(request, form, training, validation, sweep))
        return jobs
    except (ApiError, EngineError) as refused:
        for part in parts:
            files.delete(part)
        name = CONTROLS.get(refused.param or "", (refused.param or "").rsplit(".", 1)[-1])
        form.add_error(name if name in form.fields else None, refused.message)
        return []


def _data(request: HttpRequest, form: JobForm, parts: list[DatasetFile]) -> tuple[DatasetFile, DatasetFile | None]:
    """Both files; a split is made here and noted in `parts`. Jobs of a sweep share it."""
    asked = form.cleaned_data
    if asked["validation"] != "split":
        return asked["training_file"], asked["validation_file"]
    share, seed = asked["split_share"] / 100, asked["split_seed"] or 0
    parts += splits.split(asked["training_file"], share=share, seed=seed, user=request.user)  # type: ignore[arg-type]
    return parts[0], parts[1]


def _create(
    request: HttpRequest, form: JobForm, training: DatasetFile, validation: DatasetFile | None, sweep: str
) -> TrainingJob:
    asked = form.cleaned_data
    assert form.base_model
    job = actions.create_job(
        project=request.project,
        user=request.user,  # type: ignore[arg-type]
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
        sweep=sweep,
    )
    if (pinned := form.pinned) is not None:
        prompts.pin(job, prompts.read(job, pinned))
    elif form.parent_job:
        prompts.keep_from(form.parent_job, job)
    return job
