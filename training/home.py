"""Where things lie under HONE_HOME."""

import re
import secrets
import shutil
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


def free(folder: Path) -> None:
    """Remove a folder at once for everybody, then its bytes."""
    doomed = folder.with_name(f"{folder.name}.deleted-{secrets.token_hex(4)}")
    try:
        folder.rename(doomed)
    except FileNotFoundError:
        return
    shutil.rmtree(doomed, ignore_errors=True)
