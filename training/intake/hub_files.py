"""Files of a dataset repository on the hub: listed, and brought by the worker."""

import json
import shutil
from pathlib import Path, PurePosixPath
from typing import Any

from accounts.models import Project, User
from training import home, hub
from training.disk import disk_errors, free_bytes, no_room, refuse_too_large, sha256_of
from training.files import arrived, clean_name
from training.hub import HubError, HubFile, HubModel
from training.intake import making
from training.intake.making import Progress
from training.intake.models import Making
from training.intake.packed import SUFFIXES
from training.models import DatasetFile
from training.quotas import limits

READABLE = (".jsonl", ".json", ".csv", ".tsv", ".parquet", ".txt", ".md")
PACKINGS = tuple(suffix for suffixes in SUFFIXES.values() for suffix in suffixes)


def describe(hub_id: str) -> HubModel:
    """The repository at its present revision, with those of its files that Hone can read. Raises HubError."""
    hub_id = hub_id.strip().removeprefix("https://huggingface.co/").removeprefix("datasets/").strip("/")
    if not hub.HUB_ID.match(hub_id) or ".." in hub_id:
        raise HubError(f"“{hub_id[:100]}” is not a hub id. It looks like owner/name, for example openai/gsm8k.")
    answer = json.loads(hub.get(f"api/datasets/{hub_id}?blobs=true", f"datasets/{hub_id}", hub.ASK_TIMEOUT_SECONDS))
    found = [hub.file_of(entry) for entry in answer.get("siblings", [])]
    files = [file for file in found if is_readable(file.path)]
    if not files:
        kinds = ", ".join(READABLE)
        raise HubError(f"{hub_id} holds no file that Hone reads ({kinds}, or one of these packed).")
    return HubModel(answer.get("id") or hub_id, answer.get("sha") or "main", hub.licence_of(answer), files)


def is_readable(path: str) -> bool:
    parts = PurePosixPath(path)
    name = parts.name.lower()
    for packing in PACKINGS:
        name = name.removesuffix(packing)
    safe = not parts.is_absolute() and ".." not in parts.parts and not any(part.startswith(".") for part in parts.parts)
    readme = name in ("readme.md", "license.txt", "license.md") or name == "dataset_infos.json"
    return safe and not readme and name.endswith(READABLE)


def ask(project: Project, user: User | None, found: HubModel, path: str) -> Making:
    """Raises HubError for a file that is not there."""
    file = next((file for file in found.files if file.path == path), None)
    if file is None:
        raise HubError(f"{found.hub_id} has no file {path} that Hone reads.")
    asked = {
        "hub_id": found.hub_id, "revision": found.revision, "licence": found.licence,
        "path": file.path, "size": file.size, "sha256": file.sha256,
    }  # fmt: skip
    name = clean_name(f"{found.hub_id.split('/')[-1]}-{PurePosixPath(path).name}")
    return making.ask(project, user, Making.Kind.HUB, name=name, asked=asked)


def make(row: Making, progress: Progress) -> DatasetFile:
    """`asked`: as `ask` wrote it. Half a file is kept and continued when it is tried again."""
    asked = row.asked
    refuse_too_large(asked["size"], row.name)
    limits.refuse_bytes(row.project, asked["size"], f"{row.name} was not made")
    if free_bytes() < asked["size"]:
        raise no_room(row.name, asked["size"])
    folder = making.folder(row.pk)
    wanted = HubFile(asked["path"], asked["size"], asked["sha256"])
    path = folder / wanted.path
    with disk_errors(row.name):
        path.parent.mkdir(parents=True, exist_ok=True)
        repository = HubModel(f"datasets/{asked['hub_id']}", asked["revision"], asked["licence"], [wanted])
        hub.download(repository, folder, lambda done: progress(done / max(1, asked["size"])))
    file = _file(row, path)
    shutil.rmtree(folder, ignore_errors=True)
    return arrived(file)


def _file(row: Making, path: Path) -> DatasetFile:
    file = DatasetFile(
        project=row.project, created_by=row.created_by, filename=row.name, status=DatasetFile.Status.UPLOADING,
        origin=_origin(row), bytes=path.stat().st_size, sha256=sha256_of(path),
    )  # fmt: skip
    home.file_folder(file.id).mkdir(parents=True, exist_ok=True)
    path.replace(file.part_path)
    return file


def _origin(row: Making) -> dict[str, Any]:
    asked = row.asked
    licence = f", licence {asked['licence']}" if asked["licence"] else ""
    words = f"{asked['path']} of {asked['hub_id']} on the hub, revision {asked['revision'][:10]}{licence}."
    kept = {name: asked[name] for name in ("hub_id", "revision", "licence", "path")}
    return {"kind": "hub", "words": words, "making": row.pk, **kept}
