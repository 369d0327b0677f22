"""Everything of a project as one tar: its rows as JSON lines, its files, its run folders with all weights.

The rows are written by a worker into HONE_HOME/takeaways/PROJECT (`prepare`); the tar itself is made while it is read,
so it needs no second copy of the weights on the disk, and a download that broke off goes on.

    README.md                what is in it
    rows/APP.Table.jsonl     as Django's serializers write them: {"model", "pk", "fields"}
    files/ID/NAME            each dataset and result file, byte for byte
    runs/JOB/...             each job's folder: configuration, events, log, checkpoints, exports
"""

import json
import shutil
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from django.core import serializers
from django.db import connection, transaction

from accounts.errors import ApiError
from accounts.models import Project, User
from dashboard.owned import belonging
from training import home, notify
from training.models import DatasetFile, TrainingJob
from training.parcels import Parcel, Piece

SECRETS: Final = {"hash", "secret_hash", "sealed"}  # columns that open doors; they are of no use elsewhere
STILL_SECONDS: Final = 600.0  # without a sign of life: the worker that made it is gone
ABOUT: Final = "about.json"
README: Final = """# {name}

Everything that the Hone project "{name}" ({id}) held on {when} (UTC).

- `rows/`: one file for each table, one JSON object a line: {{"model", "pk", "fields"}}, as `manage.py loaddata` reads.
  `people.jsonl` names everybody who belongs to the project or made something in it.
- `files/ID/NAME`: each dataset and result file as it was uploaded or made; their rows are in
  `rows/training.DatasetFile.jsonl`.
- `runs/JOB/`: each training job: `spec.json` (its configuration), `events.jsonl` (every figure), `trainer.log`,
  `checkpoints/` (the weights, in safetensors), `exports/`.

Left out, because they only open doors: hashes of API keys, invitations and links, and the encrypted keys of other
services. Base models are not part of a project; each run's `spec.json` names its own.
{missing}"""


@dataclass(frozen=True)
class State:
    """`status`: none | making | ready | failed."""

    status: str = "none"
    at: float = 0.0  # unix seconds
    rows: int = 0
    reason: str = ""

    @property
    def when(self) -> datetime:
        return datetime.fromtimestamp(self.at, UTC)


def folder(project: Project) -> Path:
    return home.home() / "takeaways" / project.pk


def state(project: Project) -> State:
    try:
        about = json.loads((folder(project) / ABOUT).read_text())
        seen = (folder(project) / ABOUT).stat().st_mtime
    except (OSError, ValueError):
        return State()
    found = State(about["status"], about["at"], sum(about.get("counts", {}).values()), about.get("reason", ""))
    if found.status == "making" and time.time() - seen > STILL_SECONDS:
        return State("failed", found.at, reason="The worker that was writing it is gone. Prepare it again.")
    return found


def ask(project: Project) -> None:
    """Has a worker write the rows; asked twice it is written once."""
    from dashboard.tasks import prepare_takeaway

    if state(project).status == "making":
        return
    _tell(project, status="making")
    transaction.on_commit(lambda: prepare_takeaway.send(project.pk))


def prepare(project_id: str) -> None:
    """Body of the actor."""
    project = Project.objects.filter(pk=project_id).first()
    if project is None:
        return
    try:
        counts = _write_rows(project)
    except Exception as error:
        _tell(project, status="failed", reason=f"The rows could not be written: {error}")
        raise
    own = {"files": _ids(DatasetFile, project), "jobs": _ids(TrainingJob, project)}
    _tell(project, status="ready", counts=counts, **own)


def _tell(project: Project, **about: Any) -> None:
    place = folder(project)
    place.mkdir(parents=True, exist_ok=True)
    part = place / f".{ABOUT}.part"
    part.write_text(json.dumps({"at": time.time(), **about}))
    part.replace(place / ABOUT)
    notify.project_changed(project.pk)


def _ids(model: Any, project: Project) -> list[str]:
    return list(model.objects.of(project).values_list("pk", flat=True))


def _write_rows(project: Project) -> dict[str, int]:
    """Returns how many of each table. One transaction, so that the tables fit each other."""
    place = folder(project) / "rows"
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir(parents=True)
    counts: dict[str, int] = {}
    with transaction.atomic():
        if connection.vendor == "postgresql":
            with connection.cursor() as cursor:
                cursor.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        for model in [Project, *belonging.paths()]:
            found = belonging.rows(model, project) if model is not Project else Project.objects.filter(pk=project.pk)
            counts[belonging.label(model)] = _write_table(place, model, found)
            (folder(project) / ABOUT).touch()  # a sign of life
        counts["people"] = _write_people(place / "people.jsonl", project)
    return {name: count for name, count in counts.items() if count}


def _write_table(place: Path, model: Any, found: Any) -> int:
    count = found.count()
    if not count:
        return 0
    fields = [field.name for field in model._meta.local_fields if field.name not in SECRETS]
    with (place / f"{belonging.label(model)}.jsonl").open("w", encoding="utf-8") as out:
        serializers.serialize("jsonl", found.iterator(chunk_size=2000), stream=out, fields=fields)
    return int(count)


def _write_people(path: Path, project: Project) -> int:
    """Members, and everybody else whom a row names."""
    ids = set(project.memberships.values_list("user_id", flat=True))
    for model in belonging.paths():
        for field in model._meta.local_fields:
            if field.related_model is User:
                ids.update(belonging.rows(model, project).order_by().values_list(field.attname, flat=True).distinct())
    people = User.objects.filter(pk__in=ids - {None}).order_by("pk")
    with path.open("w", encoding="utf-8") as out:
        for person in people:
            told = {"pk": person.pk, "name": person.name, "email": person.email}
            out.write(json.dumps(told, ensure_ascii=False) + "\n")
    return len(people)


def parcel(project: Project) -> Parcel:
    """The tar. Raises ApiError while there is none."""
    found = state(project)
    if found.status != "ready":
        text = found.reason or "It is not ready yet. Prepare it under Settings, then download it."
        raise ApiError(text, status=409, code="takeaway_not_ready")
    about = json.loads((folder(project) / ABOUT).read_text())
    pieces = [Piece(f"rows/{path.name}", path) for path in sorted((folder(project) / "rows").iterdir())]
    names = dict(DatasetFile.objects.of(project).values_list("pk", "filename"))
    begun = set(TrainingJob.objects.of(project).exclude(attempt=0).values_list("pk", flat=True))
    missing: list[str] = []
    for file_id in about["files"]:
        place = home.file_folder(file_id)
        renamed = {"content": f"content-{names[file_id]}"} if file_id in names else {}
        pieces += _pieces(place, f"files/{file_id}", renamed, missing)
    for job_id in about["jobs"]:
        if job_id not in begun and not home.run_folder(job_id).is_dir():
            continue  # no trainer was ever started, so there never was a folder
        pieces += _pieces(home.run_folder(job_id), f"runs/{job_id}", {}, missing)
    when = f"{found.when:%Y-%m-%d %H:%M}"
    left = "".join(f"\nNot on the disk any more: {name}" for name in missing)
    readme = README.format(name=project.name, id=project.pk, when=when, missing=left).encode()
    return Parcel(f"hone-{project.pk}", [Piece("README.md", readme), *pieces], int(found.at))


def _pieces(place: Path, name: str, renamed: dict[str, str], missing: list[str]) -> list[Piece]:
    """All files of a folder; links (a folder of the server that is trained on in its place) are not followed."""
    if not place.is_dir():
        missing.append(name)
        return []
    found = []
    for path in sorted(place.rglob("*")):
        if path.is_file() and not path.is_symlink():
            inner = path.relative_to(place).as_posix()
            found.append(Piece(f"{name}/{renamed.get(inner, inner)}", path))
    return found


def remove(project: Project) -> None:
    home.free(folder(project))
