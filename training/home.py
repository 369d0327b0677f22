"""Where things lie under HONE_HOME."""

import os
import re
import secrets
import shutil
import stat
from contextlib import suppress
from pathlib import Path

from django.conf import settings


def home() -> Path:
    return Path(settings.HONE_HOME)


def file_folder(file_id: str) -> Path:
    """One folder for each dataset file: `content` and, while it arrives, `content.part`."""
    return home() / "files" / file_id


def upload_folder(upload_id: str) -> Path:
    """The parts of an upload, each under its id, until they are put together."""
    return home() / "uploads" / upload_id


def run_folder(job_id: str) -> Path:
    """The trainer's folder; see training.engine.spec for what lies in it."""
    return home() / "runs" / job_id


def model_folder(name: str) -> Path:
    return home() / "models" / name


def kept_as(folder: Path) -> str:
    """How a row remembers a folder: what lies under HONE_HOME may move with it, to another disk or machine."""
    return str(folder.relative_to(home()) if folder.is_relative_to(home()) else folder)


def log_folder() -> Path:
    path = home() / "logs"
    path.mkdir(parents=True, exist_ok=True)
    return path


def server_log(served_name: str) -> Path:
    """Of the vLLM server that serves a base model with its adapters, or full weights, under this name."""
    return log_folder() / f"vllm-{re.sub(r'[^A-Za-z0-9._-]+', '-', served_name)}.log"


def size_of(place: Path) -> int:
    """Bytes of a file, or of the files in a folder, links not followed. What goes meanwhile is passed over."""
    inside = (Path(folder, name) for folder, _, names in os.walk(place) for name in names)
    return sum(map(_regular_bytes, inside if place.is_dir() else [place]))


def _regular_bytes(file: Path) -> int:
    with suppress(OSError):
        about = file.lstat()
        return about.st_size if stat.S_ISREG(about.st_mode) else 0
    return 0


def free(folder: Path) -> None:
    """Remove a folder at once for everybody, then its bytes."""
    doomed = folder.with_name(f"{folder.name}.deleted-{secrets.token_hex(4)}")
    try:
        folder.rename(doomed)
    except FileNotFoundError:
        return
    shutil.rmtree(doomed, ignore_errors=True)
