"""/v1/fine_tuning/jobs: create, list, retrieve, cancel, pause, resume, events, checkpoints."""

import hashlib
import re
import time
from collections.abc import Callable
from datetime import timedelta
from functools import partial
from typing import Annotated, Any, Literal

from django.db import transaction
from django.http import HttpRequest, HttpResponse
from django.utils import timezone
from ninja import Query, Router

from accounts import audit
from accounts.errors import ApiError
from accounts.models import ApiKey
from dashboard import configuration, imported_answers, schemas
from dashboard.job_answers import as_checkpoint, as_event, as_job, with_related
from dashboard.paging import page
from dashboard.refusals import refuse_length, refuse_recipe
from dashboard.routers.described import BY_METADATA, IDEMPOTENCY_KEY, WRITTEN
from playground.deployments import find_target
from playground.film import prompts
from training import actions
from training.engine.spec import Recipe
from training.imported.words import stayed
from training.metadata_pair import MetadataPair
from training.models import BaseModel, Checkpoint, DatasetFile, TrainingJob
from training.quotas import turns
from training.rules import OPENAI_METHODS

router = Router()

METHODS = {OPENAI_METHODS[ours]: ours for ours in ("sft", "dpo", "pretrain")}  # that are served
RETRY_WINDOW = timedelta(minutes=2)
IDEMPOTENCY_WINDOW = timedelta(hours=24)
PAUSE_SECONDS = 60  # a large model takes its time to write a checkpoint; the SDK waits ten minutes
METADATA_FILTER = re.compile(r"metadata\[(.*)\]", re.DOTALL)
Limit = Annotated[int, Query(ge=1, le=10_000)]


# ---- create ----


@router.post("/fine_tuning/jobs", response=schemas.Job, openapi_extra={"parameters": [IDEMPOTENCY_KEY]})
def create_job(request: HttpRequest, body: schemas.CreateJob) -> dict[str, Any]:
    """Answers at once with `validating_files`; a request that the SDK repeats, or one with the same `Idempotency-Key`
    within a day, makes no second job."""
    refuse_what_is_not_served(body)
    with transaction.atomic():
        # Creates of one key wait for each other here, so that a retry finds what its first try made.
        key = ApiKey.objects.select_for_update().get(pk=request.api_key.pk)  # type: ignore[attr-defined]
        fingerprint = digest(key, request.body)
        named = request.headers.get("Idempotency-Key", "")
        idempotency_key = digest(key, named.encode()) if named else ""
        job = made_under_the_same_name(request, idempotency_key, fingerprint) or made_by_first_try(request, fingerprint)
        if job:
            audit.tell_nothing(request)
        else:
            job = make_job(request, body, fingerprint, idempotency_key)
    return as_job(find_job(request, job.pk))


def digest(key: ApiKey, content: bytes) -> str:
    return hashlib.sha256(f"{key.pk} ".encode() + content).hexdigest()


def made_under_the_same_name(request: HttpRequest, idempotency_key: str, fingerprint: str) -> TrainingJob | None:
    """The caller names its creates; one name for two different bodies is a mistake of theirs."""
    if not idempotency_key:
        return None
    since = timezone.now() - IDEMPOTENCY_WINDOW
    mine = TrainingJob.objects.of(request.project)  # type: ignore[attr-defined]
    job = mine.filter(idempotency_key=idempotency_key, created_at__gte=since).order_by("created_at").first()
    if job and job.request_fingerprint != fingerprint:
        text = f"This Idempotency-Key was used for another request, which made {job.pk}. Use a new one for this one."
        raise ApiError(text, param="Idempotency-Key", code="idempotency_key_reused")
    return job


def made_by_first_try(request: HttpRequest, fingerprint: str) -> TrainingJob | None:
    """The SDK counts its retries in a header and sends no idempotency key."""
    if request.headers.get("X-Stainless-Retry-Count", "0") in {"", "0"}:
        return None
    since = timezone.now() - RETRY_WINDOW
    mine = TrainingJob.objects.of(request.project)  # type: ignore[attr-defined]
    return mine.filter(request_fingerprint=fingerprint, created_at__gte=since).first()


def make_job(request: HttpRequest, body: schemas.CreateJob, fingerprint: str, idempotency_key: str) -> TrainingJob:
    base_model, checkpoint = find_model(request, body.model)
    training_file = find_file(request, body.training_file, "training_file")
    recipe = recipe_of(body)
    refuse_recipe(body, recipe, base_model, checkpoint)
    refuse_length(body, recipe, base_model, training_file)
    job = actions.create_job(
        project=request.project,  # type: ignore[attr-defined]
        user=request.auth_user,  # type: ignore[attr-defined]
        base_model=base_model,
        start_checkpoint=checkpoint,
        training_file=training_file,
        validation_file=find_file(request, body.validation_file, "validation_file") if body.validation_file else None,
        recipe=recipe,
        suffix=body.suffix or "",
        seed=body.seed,
        metadata=body.metadata,
        label=body.label or "",
        parent=find_job(request, body.rerun_of) if body.rerun_of else None,
        trackers=body.integrations or (),
    )
    if body.pinned_prompts is not None:
        prompts.pin(job, prompts.read(job, body.pinned_prompts))
    TrainingJob.objects.filter(pk=job.pk).update(request_fingerprint=fingerprint, idempotency_key=idempotency_key)
    return job


def refuse_what_is_not_served(body: schemas.CreateJob) -> None:
    if body.method and body.method.type not in METHODS:
        message = f"The method '{body.method.type}' is not served yet by Hone; it trains with {', '.join(METHODS)}."
        raise ApiError(message, param="method.type", code="not_served")


def recipe_of(body: schemas.CreateJob) -> Recipe:
    """Hyperparameters from `method` or from the older top-level field, and Hone's own `lora` and `training`."""
    asked = {**dump(hyperparameters_of(body)), **dump(body.training)}
    adapter = {schemas.LORA_FIELDS[name]: value for name, value in dump(body.lora).items()}
    if adapter and asked.get("adaptation") == "full":
        message = "`lora` cannot be combined with training.adaptation = 'full': full training has no adapter."
        raise ApiError(message, param="lora", code="invalid_value")
    method = METHODS[body.method.type] if body.method else "sft"
    return Recipe.model_validate({**asked, **adapter, "method": method})


def hyperparameters_of(body: schemas.CreateJob) -> Any:
    kind = body.method.type if body.method else "supervised"
    for other in set(METHODS) - {kind}:
        if body.method and getattr(body.method, other):
            message = f"`method.{other}` does not go with method.type = '{kind}'. Send `method.{kind}`."
            raise ApiError(message, param=f"method.{other}", code="invalid_value")
    part = getattr(body.method, kind) if body.method else None
    within = part.hyperparameters if part else None
    if within and body.hyperparameters and dump(within) != dump(body.hyperparameters):
        message = (
            "`hyperparameters` and those of `method` differ. Send one of them; the first is the"
            " older name of the second."
        )
        raise ApiError(message, param="hyperparameters", code="invalid_value")
    return within or body.hyperparameters


def dump(part: Any) -> dict[str, Any]:
    """What was really sent."""
    return part.model_dump(exclude_unset=True) if part else {}


def find_model(request: HttpRequest, name: str) -> tuple[BaseModel, Checkpoint | None]:
    """A base model (also by its hub id), or a fine-tuned model or checkpoint to continue from."""
    try:
        found = find_target(request.project, name)  # type: ignore[attr-defined]
    except ApiError as error:
        raise not_available(name, stayed(request.project, name) or "Hone does not know it") from error  # type: ignore[attr-defined]
    if isinstance(found, Checkpoint):
        if found.project_id != request.project.pk:  # type: ignore[attr-defined]
            raise not_available(name, "another project shares it, for asking it only")
        return found.base_model, found
    if found.status != BaseModel.Status.READY:
        raise not_available(name, f"it is in the catalogue, but {found.get_status_display().lower()}")
    return found, None


def not_available(name: str, why: str) -> ApiError:
    known = ", ".join(BaseModel.objects.ready().values_list("name", flat=True)[:10]) or "none yet"
    message = f"Model {name} is not available for fine-tuning: {why.removesuffix('.')}. Base models on disk: {known}."
    return ApiError(message, param="model", code="model_not_available")


def find_file(request: HttpRequest, file_id: str, param: str) -> DatasetFile:
    from dashboard.routers.files import complete_files

    row = complete_files(request).filter(pk=file_id).first()
    if row is None:
        raise ApiError(f"No such File object: {file_id}", param=param, code="file_not_found")
    if row.purpose != "fine-tune":
        message = f"The file {file_id} has the purpose '{row.purpose}'; a job trains on 'fine-tune' files."
        raise ApiError(message, param=param, code="invalid_file_purpose")
    return row


# ---- read ----


@router.get("/fine_tuning/jobs", response=schemas.JobList, openapi_extra={"parameters": [BY_METADATA]})
def list_jobs(request: HttpRequest, after: str | None = None, limit: Limit = 20) -> dict[str, Any]:
    """Newest first; archived jobs are left out. Filter by `metadata[key]=value` or `metadata=null`."""
    rows, wanted = jobs_of(request), wanted_metadata(request)
    if request.GET.get("metadata") == "null":
        found, more = page(rows.visible().filter(metadata__isnull=True), after=after, limit=limit)
    elif wanted:
        pairs = MetadataPair.objects.listed(request.project, wanted)  # type: ignore[attr-defined]
        having, more = page(pairs, after=after, limit=limit, id_field="job_id")
        # by nothing but their ids: with a project or an order to them SQLite would go through the project's jobs
        by_id = with_related(TrainingJob.objects.order_by()).in_bulk([pair.job_id for pair in having])
        found = [by_id[pair.job_id] for pair in having if pair.job_id in by_id]  # one may just have been deleted
    else:
        found, more = page(rows.visible(), after=after, limit=limit)
    positions = turns.positions() if any(row.status == TrainingJob.Status.QUEUED for row in found) else {}
    return {"data": [as_job(row, positions) for row in found], "has_more": more}


def wanted_metadata(request: HttpRequest) -> dict[str, str]:
    named = {METADATA_FILTER.fullmatch(name): value for name, value in request.GET.items()}
    return {match[1]: str(value) for match, value in named.items() if match}


@router.get("/fine_tuning/jobs/{job_id}", response=schemas.Job)
def retrieve_job(request: HttpRequest, job_id: str) -> dict[str, Any]:
    return as_job(find_job(request, job_id))


@router.get("/fine_tuning/jobs/{job_id}/configuration", openapi_extra={"responses": WRITTEN})
def retrieve_configuration(request: HttpRequest, job_id: str, format: Literal["json", "yaml"] = "json") -> HttpResponse:
    """What was asked for, as `create` takes it."""
    write, content_type = configuration.WRITERS[format]
    return HttpResponse(write(find_job(request, job_id)), content_type=content_type)


@router.get("/fine_tuning/jobs/{job_id}/events", response=schemas.EventList)
def list_events(request: HttpRequest, job_id: str, after: str | None = None, limit: Limit = 20) -> dict[str, Any]:
    """Newest first: messages, and one metrics event for each step."""
    rows = find_job(request, job_id).events.all()
    found, more = page(rows, after=after, limit=limit, id_field="event_id")
    return {"data": [as_event(row) for row in found], "has_more": more}


@router.get("/fine_tuning/jobs/{job_id}/checkpoints", response=schemas.CheckpointList)
def list_checkpoints(request: HttpRequest, job_id: str, after: str | None = None, limit: Limit = 10) -> dict[str, Any]:
    """Newest first, as soon as they are written; the last one of a finished job has the final model's name."""
    job = find_job(request, job_id)
    if hasattr(job, "imported"):
        left, more = page(job.imported_checkpoints.all(), after=after, limit=limit)
        data = [imported_answers.as_checkpoint(row) for row in left]
    else:
        rows = job.checkpoints.filter(archived_at=None).select_related("job", "verification")
        found, more = page(rows, after=after, limit=limit)
        data = [as_checkpoint(row) for row in found]
    first, last = (data[0]["id"], data[-1]["id"]) if data else (None, None)
    return {"data": data, "has_more": more, "first_id": first, "last_id": last}


# ---- change ----


@router.post("/fine_tuning/jobs/{job_id}/cancel", response=schemas.Job)
def cancel_job(request: HttpRequest, job_id: str, checkpoints: Literal["keep", "drop"] = "keep") -> dict[str, Any]:
    """`?checkpoints=drop` is Hone's own: what was saved so far is deleted."""
    return changed(request, job_id, partial(actions.cancel_job, drop=checkpoints == "drop"))


@router.post("/fine_tuning/jobs/{job_id}/save", response=schemas.Job)
def save_checkpoint(request: HttpRequest, job_id: str) -> dict[str, Any]:
    """Hone's own: a checkpoint after the present step; the training goes on and the checkpoint is listed when done."""
    return changed(request, job_id, actions.save_checkpoint)


@router.post("/fine_tuning/jobs/{job_id}/pause", response=schemas.Job)
def pause_job(request: HttpRequest, job_id: str) -> dict[str, Any]:
    """The trainer saves a checkpoint and stops, and only then this answers; `resume` goes on from there."""
    answer = changed(request, job_id, actions.pause_job)
    deadline = time.monotonic() + PAUSE_SECONDS
    while answer["status"] in {"running", "validating_files"} and time.monotonic() < deadline:
        time.sleep(0.2)
        answer = as_job(find_job(request, job_id))
    return answer


@router.post("/fine_tuning/jobs/{job_id}/resume", response=schemas.Job)
def resume_job(request: HttpRequest, job_id: str) -> dict[str, Any]:
    return changed(request, job_id, actions.resume_job)


def changed(request: HttpRequest, job_id: str, action: Callable[[TrainingJob], Any]) -> dict[str, Any]:
    action(find_job(request, job_id))
    return as_job(find_job(request, job_id))


# ---- whose jobs ----


def jobs_of(request: HttpRequest) -> Any:
    return with_related(TrainingJob.objects.of(request.project))  # type: ignore[attr-defined]


def find_job(request: HttpRequest, job_id: str) -> TrainingJob:
    row = jobs_of(request).filter(pk=job_id).first()
    if row is None:
        message = f"Could not find fine tune: {job_id}"
        raise ApiError(message, status=404, param="fine_tune_id", code="fine_tune_not_found")
    return row
