"""The verbs on base models: add one from the hub or from a folder, bring it to disk again, remove it."""

import re
import shutil
from pathlib import Path

from django.db import transaction
from django.db.models import Q

from training import home, hub, scratch
from training.downloads import download
from training.model_folders import (
    CatalogueError,
    licence_in,
    refuse_unusable_folder,
    refuse_without_room,
    register,
    size_of,
    tell_pages,
)
from training.models import BaseModel, TrainingJob

# ---- adding ----


def add_from_hub(hub_id: str, *, in_background: bool = True, name: str | None = None) -> BaseModel:
    """Looks at the hub at once, so that a refusal is told at once, then downloads (in a worker). Raises ApiError."""
    hub_id = hub_id.strip().removeprefix("https://huggingface.co/").strip("/")
    existing = BaseModel.objects.filter(source="hub", source_id__iexact=hub_id).first()
    if existing and (existing.is_present or existing.status == BaseModel.Status.DOWNLOADING):
        raise CatalogueError(f"{existing.name} is in the catalogue already.", status=409, param="source")
    try:
        found = hub.describe(hub_id)
    except hub.HubError as error:
        raise CatalogueError(str(error), param="source") from error
    refuse_without_room(found.size_bytes, found.hub_id)
    model = existing or BaseModel(source="hub", source_id=found.hub_id, name=name or free_name(found.hub_id))
    model.title = model.name
    model.licence = found.licence[:120]
    model.source_note = f"As published at {found.hub_id}, revision {found.revision[:10]}."
    model.status, model.status_text = BaseModel.Status.DOWNLOADING, "Waiting for a worker"
    model.bytes_total, model.bytes_done = found.size_bytes, 0
    model.save()
    tell_pages()
    if in_background:
        _enqueue(model)
    else:
        download(model.pk)
        model.refresh_from_db()
    return model


def add_from_folder(path: str | Path) -> BaseModel:
    """A model folder on this machine, used where it lies. Raises ApiError with what is missing."""
    folder = Path(path).expanduser()
    if not folder.is_absolute():
        raise CatalogueError(f"{path} is not an absolute path: begin it with a slash.", param="source")
    folder = folder.resolve()
    this = Q(source="folder", source_id=str(folder)) | Q(folder=home.kept_as(folder))
    existing = BaseModel.objects.filter(this).first()
    if existing and existing.is_present and existing.status == BaseModel.Status.READY:
        raise CatalogueError(
            f"This folder is in the catalogue already, as {existing.name}.", status=409, param="source"
        )
    refuse_unusable_folder(folder)
    model = existing or BaseModel(source="folder", source_id=str(folder), name=free_name(folder.name))
    model.title = model.name
    model.licence = licence_in(folder)
    model.source_note = "Used where it lies; Hone never changes or deletes it."
    register(model, folder)
    return model


def free_name(source_id: str) -> str:
    """The last part of a hub id or folder, as it may stand in ft: names; with the owner in front where it is taken."""
    parts = [re.sub(r"[^A-Za-z0-9._-]+", "-", part).strip("-.") for part in source_id.split("/")]
    name = (parts[-1] or "model")[:100]
    candidates = [name, "-".join(part for part in parts[-2:] if part)[:110], *(f"{name}-{n}" for n in range(2, 100))]
    taken = set(BaseModel.objects.filter(name__in=candidates).values_list("name", flat=True))
    return next(candidate for candidate in candidates if candidate not in taken)


# ---- bringing to disk ----


def start_download(model: BaseModel) -> None:
    """Again, after it failed or was removed from disk; a folder is looked at again."""
    if model.source == "folder":
        refuse_unusable_folder(Path(model.source_id))
        return register(model, Path(model.source_id))
    if model.source == "scratch":
        scratch.refuse_unmakeable(model)
    model.status, model.status_text = BaseModel.Status.DOWNLOADING, "Waiting for a worker"
    model.save(update_fields=["status", "status_text"])
    tell_pages()
    _enqueue(model)
    return None


def _enqueue(model: BaseModel) -> None:
    from training.tasks import download_model

    transaction.on_commit(lambda: download_model.send(model.pk))


# ---- removing ----


def remove_from_disk(model: BaseModel) -> int:
    """Frees the disk and returns the bytes; the row stays, so that it can be brought again."""
    if model.source == "folder":
        raise CatalogueError("This folder is yours: Hone does not delete it. Take it out of the catalogue instead.")
    _refuse_while_needed(model)
    freed = size_of(home.model_folder(model.name))
    shutil.rmtree(home.model_folder(model.name), ignore_errors=True)
    shutil.rmtree(home.model_folder(model.name + ".part"), ignore_errors=True)
    model.status, model.status_text, model.folder, model.bytes_done = BaseModel.Status.ABSENT, "", "", 0
    model.save()
    tell_pages()
    return freed


@transaction.atomic
def remove_from_catalogue(model: BaseModel) -> None:
    """Only where nothing was trained from it: fine-tuned models need their base."""
    if model.jobs.exists() or model.checkpoints.exists():
        raise CatalogueError(
            f"{model.name} has fine-tuned models. Delete its jobs first, or remove only its files from disk.",
            status=409,
        )
    _refuse_while_needed(model)
    if model.source != "folder":
        remove_from_disk(model)
    scratch.forget(model)
    model.delete()
    tell_pages()


def _refuse_while_needed(model: BaseModel) -> None:
    job = TrainingJob.objects.unfinished().filter(base_model=model).first()
    if job:
        raise CatalogueError(f"The job “{job.display_name}” still needs {model.name}. Stop it first.", status=409)
