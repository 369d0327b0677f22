"""A small client of the Hugging Face hub's HTTP addresses, or of any server that speaks them (HONE_HUB).

Only what training needs is fetched: safetensors, config, tokenizer and template. No pickles, no code.
"""

import hashlib
import json
import re
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path
from typing import IO, Any

from django.conf import settings

from training.engine.facts import TOKENIZER_FILES

HUB_ID = re.compile(r"^[A-Za-z0-9][\w.-]*/[\w.-]+$")
ASK_TIMEOUT_SECONDS = 10
READ_TIMEOUT_SECONDS = 60
TRIES_WITHOUT_PROGRESS = 5
BLOCK_BYTES = 1 << 20
WANTED_FILES = {
    *TOKENIZER_FILES,
    "config.json",
    "model.safetensors.index.json",
    "LICENSE",
    "LICENSE.txt",
}
PICKLE_SUFFIXES = (".bin", ".pt", ".pth", ".ckpt", ".pkl")
Progress = Callable[[int], None]  # gets the bytes that are on disk so far


class HubError(Exception):
    """What went wrong and what to do, for people."""


class HubUnreachable(HubError):
    """No answer at all: no network, a wrong HONE_HUB, or HONE_OFFLINE."""


@dataclass(frozen=True)
class HubFile:
    path: str
    size: int
    sha256: str  # empty for small files, which the hub does not keep by content


@dataclass(frozen=True)
class HubModel:
    """A model at one revision, with the files that Hone would fetch."""

    hub_id: str
    revision: str
    licence: str
    files: list[HubFile]

    @property
    def size_bytes(self) -> int:
        return sum(file.size for file in self.files)


def describe(hub_id: str, timeout: float = ASK_TIMEOUT_SECONDS) -> HubModel:
    """Asks the hub; raises HubError where the model is not there or cannot be used, with the reason."""
    if not HUB_ID.match(hub_id) or ".." in hub_id:
        raise HubError(f"“{hub_id}” is not a hub id. It looks like owner/name, for example Qwen/Qwen3-0.6B.")
    answer = json.loads(get(f"api/models/{hub_id}?blobs=true", hub_id, timeout))
    files = [file_of(entry) for entry in answer.get("siblings", [])]
    revision = answer.get("sha") or "main"
    refuse_unusable(hub_id, {file.path for file in files})
    refuse_code(hub_id, _json(f"{hub_id}/resolve/{revision}/config.json", hub_id, timeout))
    return HubModel(answer.get("id") or hub_id, revision, licence_of(answer), wanted(files))


def file_of(entry: dict[str, Any]) -> HubFile:
    large = entry.get("lfs") or {}
    return HubFile(entry["rfilename"], int(large.get("size") or entry.get("size") or 0), large.get("sha256") or "")


def wanted(files: list[HubFile]) -> list[HubFile]:
    """Small files first. Weights are model*.safetensors where there are such, for some repositories hold them twice."""
    weights = [file for file in files if file.path.endswith(".safetensors") and "/" not in file.path]
    named = [file for file in weights if file.path.startswith("model")]
    return [file for file in files if file.path in WANTED_FILES] + (named or weights)


def refuse_unusable(hub_id: str, paths: set[str]) -> None:
    """Says in words why this repository cannot be trained on."""
    has_weights = any(path.endswith(".safetensors") and "/" not in path for path in paths)
    if "adapter_config.json" in paths and "config.json" not in paths:
        raise HubError(f"{hub_id} is an adapter, not a whole model. Add the base model that it was trained on.")
    if not has_weights and any(path.endswith(".gguf") for path in paths):
        raise HubError(f"{hub_id} holds GGUF files, which cannot be trained on. Add the original model.")
    if not has_weights and any(path.endswith(PICKLE_SUFFIXES) for path in paths):
        raise HubError(
            f"{hub_id} holds its weights only as pickle files, which can run code when they are opened. Hone loads "
            "safetensors only: look for a conversion of this model."
        )
    if not has_weights:
        raise HubError(f"{hub_id} holds no safetensors weights.")
    if "config.json" not in paths:
        raise HubError(f"{hub_id} has no config.json, so it is not a transformers model.")
    if "tokenizer.json" not in paths:
        raise HubError(f"{hub_id} has no tokenizer.json. Hone needs it to count tokens without loading the model.")


def refuse_code(hub_id: str, config: dict[str, Any]) -> None:
    if config.get("auto_map"):
        raise HubError(f"{hub_id} needs Python code of its own (auto_map in config.json). Hone runs no foreign code.")


def licence_of(answer: dict[str, Any]) -> str:
    card = (answer.get("cardData") or {}).get("license")
    tags = [tag.removeprefix("license:") for tag in answer.get("tags", []) if tag.startswith("license:")]
    return str(card or (tags[0] if tags else ""))


def download(model: HubModel, folder: Path, progress: Progress = lambda done: None) -> None:
    """Fetches every file into `folder`. What is there already is kept, half a file is continued."""
    folder.mkdir(parents=True, exist_ok=True)
    before = 0
    for file in model.files:
        path = folder / file.path
        if not (path.exists() and path.stat().st_size == file.size):
            _fetch(model, file, path, lambda done, before=before: progress(before + done))  # type: ignore[misc]
        before += file.size
        progress(before)


def _fetch(model: HubModel, file: HubFile, path: Path, progress: Progress) -> None:
    """One file, continued after every broken connection as long as each try brings something."""
    part = path.with_name(path.name + ".part")
    tries = 0
    while True:
        before = part.stat().st_size if part.exists() else 0
        try:
            _append(model, file, part, progress)
            break
        except HubUnreachable as error:
            tries = tries + 1 if part.exists() and part.stat().st_size <= before else 0
            if tries >= TRIES_WITHOUT_PROGRESS or not part.exists():
                raise HubUnreachable(f"{file.path}: {error} What arrived is kept: try again to go on.") from error
            time.sleep(min(2**tries, 20) * 0.5)
    _check(file, part)
    part.replace(path)


def _append(model: HubModel, file: HubFile, part: Path, progress: Progress) -> None:
    """Asks for what is missing of one file and writes it behind what is there."""
    have = part.stat().st_size if part.exists() else 0
    if file.size and have == file.size:
        return
    headers = {"Range": f"bytes={have}-"} if have else {}
    address = f"{model.hub_id}/resolve/{model.revision}/{urllib.parse.quote(file.path)}"
    with _open(address, model.hub_id, READ_TIMEOUT_SECONDS, headers) as answer:
        continued = answer.status == 206
        have = have if continued else 0  # a server that does not know ranges starts again
        with part.open("ab" if continued else "wb") as out:
            for block in _blocks(answer):
                out.write(block)
                have += len(block)
                progress(have)
    if file.size and have < file.size:
        raise HubUnreachable("The connection broke.")


def _blocks(answer: IO[bytes]) -> Any:
    while True:
        try:
            block = answer.read(BLOCK_BYTES)
        except (OSError, HTTPException) as error:
            raise HubUnreachable("The connection broke.") from error
        if not block:
            return
        yield block


def _check(file: HubFile, part: Path) -> None:
    if file.size and part.stat().st_size != file.size:
        part.unlink()
        raise HubError(f"{file.path} arrived with a wrong size. Try again.")
    if not file.sha256:
        return
    with part.open("rb") as stream:
        found = hashlib.file_digest(stream, "sha256").hexdigest()
    if found != file.sha256:
        part.unlink()
        raise HubError(f"{file.path} arrived damaged (its checksum is wrong) and was thrown away. Try again.")


def _json(address: str, hub_id: str, timeout: float) -> dict[str, Any]:
    try:
        return json.loads(get(address, hub_id, timeout))
    except ValueError as error:
        raise HubError(f"{hub_id}: the config.json there is not valid JSON.") from error


def get(address: str, hub_id: str, timeout: float) -> bytes:
    with _open(address, hub_id, timeout) as answer:
        try:
            return answer.read()
        except (OSError, HTTPException) as error:
            raise HubUnreachable("The connection broke.") from error


def _open(address: str, hub_id: str, timeout: float, headers: dict[str, str] | None = None) -> Any:
    """The open answer; every refusal becomes a sentence."""
    if settings.HONE_OFFLINE:
        raise HubUnreachable(f"HONE_OFFLINE is set, so the hub is never asked. Unset it, or {_another_way(hub_id)}.")
    url = f"{settings.HONE_HUB.rstrip('/')}/{address}"
    request = urllib.request.Request(url, headers={"User-Agent": "hone", **(headers or {})})
    if settings.HONE_HUB_TOKEN:  # not sent on to where the hub redirects
        request.add_unredirected_header("Authorization", f"Bearer {settings.HONE_HUB_TOKEN}")
    try:
        return urllib.request.urlopen(request, timeout=timeout)
    except urllib.error.HTTPError as error:
        raise _refusal(error, hub_id) from error
    except (OSError, HTTPException) as error:
        reason = getattr(error, "reason", error)
        raise HubUnreachable(
            f"No answer from {settings.HONE_HUB} ({reason}). Check this machine's network and HONE_HUB, "
            f"or {_another_way(hub_id)}."
        ) from error


def _another_way(hub_id: str) -> str:
    if hub_id.startswith("datasets/"):
        return "download the file elsewhere and upload it from your disk"
    return "add a folder that already lies on this machine"


def _refusal(error: urllib.error.HTTPError, hub_id: str) -> HubError:
    name = hub_id.removeprefix("datasets/")
    what = "dataset" if hub_id.startswith("datasets/") else "model"
    if error.code in {401, 403}:
        return HubError(
            f"The hub does not give out {name}: it does not exist, is private, or asks you to accept its terms. "
            f"Accept them on the hub's page of the {what}, then start Hone with your access token as HONE_HUB_TOKEN."
        )
    if error.code == 404:
        return HubError(f"{settings.HONE_HUB} has no {what} {name}. Check the spelling; case matters.")
    if error.code == 429 or error.code >= 500:
        return HubUnreachable(f"The hub answered {error.code}.")
    return HubError(f"The hub answered {error.code} for {name}.")
