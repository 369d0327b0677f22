"""New base models with random weights: asked for here, built by a worker from a dataset of raw text."""

import json
import secrets
import shutil
from collections.abc import Callable
from pathlib import Path

from django.db import transaction

from accounts.errors import ApiError
from accounts.models import Project
from training import home
from training.engine import text
from training.engine.scratch import LARGEST_PARAMETERS, Shape, write_model
from training.model_folders import CatalogueError, register
from training.models import BaseModel, DatasetFile

WISH_FILE = "wish.json"  # in the folder `NAME.wish` beside the model's: what it is made from
NO_TEXT = "{name} is no raw text. A tokenizer is trained on documents: .txt, .md, Parquet, or JSONL of text."


@transaction.atomic
def make(*, project: Project, file: DatasetFile, name: str, shape: Shape, seed: int | None = None) -> BaseModel:
    """The model's row at once, its files soon. Raises ApiError."""
    from training import catalogue

    if file.project_id != project.pk:
        raise ApiError(f"No such File object: {file.pk}", status=404, param="file")
    if file.status != DatasetFile.Status.PROCESSED or file.format != "text":
        raise ApiError(NO_TEXT.format(name=file.filename), param="file")
    if shape.parameters > LARGEST_PARAMETERS:
        raise ApiError(
            f"{shape.parameters / 1e9:.1f} billion parameters are more than is made from scratch here "
            f"({LARGEST_PARAMETERS / 1e9:g} billion). Choose fewer layers, less width or fewer words.",
            param="width",
        )
    model = BaseModel(source="scratch", source_id=file.filename[:500], name=catalogue.free_name(name or "new-model"))
    model.title, model.licence = model.name, "yours"
    model.source_note = f"Random weights; its tokenizer is trained on {file.filename}."[:300]
    model.status, model.status_text = BaseModel.Status.DOWNLOADING, "Waiting for a worker"
    model.bytes_total = 4 * shape.parameters
    model.save()
    wish = {"file": file.pk, "seed": secrets.randbelow(2**31) if seed is None else seed, "shape": shape.model_dump()}
    folder = _wish(model)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / WISH_FILE).write_text(json.dumps(wish))
    catalogue.start_download(model)
    return model


def build(model: BaseModel, say: Callable[[str], None]) -> None:
    """Body of the worker's part. Raises CatalogueError or EngineError with the reason why not."""
    file, shape, seed = refuse_unmakeable(model)
    target = home.model_folder(model.name)
    part = target.with_name(target.name + ".part")
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    write_model(part, shape, text.documents(file.path), seed, say)
    shutil.rmtree(target, ignore_errors=True)
    part.replace(target)
    register(model, target)


def refuse_unmakeable(model: BaseModel) -> tuple[DatasetFile, Shape, int]:
    """What it is made from. Raises CatalogueError when that is gone."""
    try:
        wish = json.loads((_wish(model) / WISH_FILE).read_text())
    except (OSError, ValueError) as error:
        raise CatalogueError(f"What {model.name} is made from is not on the disk any more. Make a new one.") from error
    file = DatasetFile.objects.filter(pk=wish["file"]).first()
    if file is None or not file.path.exists():
        raise CatalogueError(f"{model.source_id}, which {model.name} is made from, was deleted. Make a new model.")
    return file, Shape.model_validate(wish["shape"]), wish["seed"]


def forget(model: BaseModel) -> None:
    """What it was made from is of no use without it."""
    shutil.rmtree(_wish(model), ignore_errors=True)


def _wish(model: BaseModel) -> Path:
    return home.model_folder(model.name + ".wish")
