"""The folder of a base model and its row: whether it can be trained on, what is read from it, where it came from."""

import json
import re
from pathlib import Path
from typing import Any

from accounts.errors import ApiError
from accounts.models import Project
from training import home, hub, notify
from training.disk import free_bytes
from training.engine.errors import EngineError
from training.engine.facts import read_model_facts
from training.engine.spec import ModelFacts
from training.models import BaseModel

SOURCE_FILE = "hone-source.json"


class CatalogueError(ApiError):
    """A model that cannot be added or brought to disk, with the reason and what to do."""


def refuse_unusable_folder(folder: Path) -> None:
    """Raises with the first thing that keeps this folder from being trained on."""
    if not folder.is_dir():
        raise CatalogueError(f"There is no folder {folder} on the machine that runs Hone.", param="source")
    names = {path.name for path in folder.iterdir()}
    try:
        hub.refuse_unusable(str(folder), names)
        hub.refuse_code(str(folder), _json_in(folder / "config.json"))
    except hub.HubError as error:
        raise CatalogueError(str(error), param="source") from error


def register(model: BaseModel, folder: Path) -> None:
    """Reads the facts of what lies in `folder` and marks the model ready. Raises ApiError where they cannot be read."""
    model.facts_json = read_facts(folder, model.name).model_dump()
    model.folder = home.kept_as(folder)
    model.bytes_total = model.bytes_done = sum(file.stat().st_size for file in folder.iterdir() if file.is_file())
    model.status, model.status_text = BaseModel.Status.READY, ""
    model.save()
    tell_pages()


def read_facts(folder: Path, name: str) -> ModelFacts:
    try:
        return read_model_facts(folder, name)
    except EngineError as error:
        raise CatalogueError(str(error), param="source") from error
    except (OSError, KeyError, ValueError) as error:
        raise CatalogueError(f"{folder} cannot be read as a model: {error}", param="source") from error


def note_source(model: BaseModel, folder: Path) -> None:
    """Beside the weights, so that a new database still knows which weights they are."""
    note = {"source": model.source, "source_id": model.source_id, "source_note": model.source_note}
    (folder / SOURCE_FILE).write_text(json.dumps({**note, "licence": model.licence}, indent=1))


def licence_in(folder: Path) -> str:
    """From the front matter of its README, as the hub writes it."""
    try:
        head = (folder / "README.md").read_text(encoding="utf-8", errors="replace")[:4000]
    except OSError:
        return ""
    found = re.search(r"^license:\s*([\w.+-]+)", head, re.M)
    return found.group(1)[:120] if found else ""


def _json_in(path: Path) -> dict[str, Any]:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise CatalogueError(f"{path} cannot be read: {error}", param="source") from error


def refuse_without_room(needed: int, name: str) -> None:
    free = free_bytes()
    if needed > free:
        raise CatalogueError(
            f"{name} needs {needed / 1e9:.1f} GB, but only {free / 1e9:.1f} GB are free under {home.home()}.",
            param="source",
        )


def size_of(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) if folder.exists() else 0


def report(model: BaseModel, text: str) -> None:
    BaseModel.objects.filter(pk=model.pk).update(status_text=text)
    tell_pages()


def fail(model: BaseModel, reason: str) -> None:
    BaseModel.objects.filter(pk=model.pk).update(status=BaseModel.Status.FAILED, status_text=reason)
    tell_pages()


def tell_pages() -> None:
    """The catalogue belongs to the server, so every project's pages are told."""
    for project_id in Project.objects.values_list("pk", flat=True):
        notify.project_changed(project_id)
