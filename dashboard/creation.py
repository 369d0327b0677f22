"""From valid forms to jobs: one, or each of a sweep. All of them, or none."""

from django.db import transaction
from django.http import HttpRequest

from accounts.errors import ApiError
from accounts.ids import new_id
from dashboard.forecast import forecast
from dashboard.forms import JobForm
from playground.film import prompts
from training import actions, files, splits
from training.engine.errors import EngineError
from training.models import DatasetFile, TrainingJob

CONTROLS = {"share": "split_share", "count": "split_share", "file": "training_file"}  # other words for our controls


def create(request: HttpRequest, forms: list[JobForm]) -> list[TrainingJob]:
    """Empty, with the reason on the form, where one is refused. What is refused leaves no split files behind."""
    for form in forms:
        expected = forecast(form)
        if expected.refused:
            form.add_error(expected.problem_field if expected.problem_field in form.fields else None, expected.problem)
            return []
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
    written = [line.strip() for line in asked["pinned_prompts"].splitlines() if line.strip()]
    if written:
        prompts.pin(job, prompts.typed(job, written))
    elif form.parent_job:
        prompts.keep_from(form.parent_job, job)
    return job
