"""Taking a checkpoint away: the adapter as it is, or merged into its base and proven to answer alike.

The adapter and full weights are there already. Merging is asked for (`ask`), done by a worker in a process of its own
(`training.engine.export`) and offered only when the merged weights answer as the adapter does.
"""

import json
import logging
import os
import shutil
import subprocess
import sys
import time
from datetime import timedelta
from pathlib import Path

from django.conf import settings
from django.db import transaction
from django.utils import timezone
from pydantic import ValidationError

from accounts.errors import ApiError
from accounts.models import User
from training import cards, launcher, notify
from training.engine.spec import ExportReport
from training.models import Checkpoint, Export
from training.parcels import Parcel, Piece
from training.quotas import limits
from training.workers import holder_is_gone, new_claim, stopping

log = logging.getLogger(__name__)
Status = Export.Status
LEFT_HERE = {"meta.json", "probes.json"}  # paths of this server, and tokens of the training data
HEARTBEAT_SECONDS = 2.0
LOG_LINES = 6


# ---- what can be taken away ----


def folder_of(checkpoint: Checkpoint) -> Path:
    """Where the merged weights lie when they have been made."""
    return checkpoint.job.folder / "exports" / checkpoint.path.name


def as_trained(checkpoint: Checkpoint) -> Parcel:
    """The checkpoint itself with its model card. Raises ApiError when its files are gone."""
    if not checkpoint.path.is_dir():
        raise ApiError(
            f"The files of {checkpoint.name} are no longer on the server's disk.", status=404, code="content_missing"
        )
    form = "adapter" if checkpoint.kind == Checkpoint.Kind.LORA else "full"
    return _parcel(checkpoint, checkpoint.path, form, {})


def merged(export: Export) -> Parcel:
    """The merged weights with their model card. Raises ApiError when there are none (yet)."""
    if export.status != Status.SUCCEEDED:
        text = export.message or "The merged weights are still being made. Ask for the export until it has succeeded."
        raise ApiError(text, status=409, code="export_not_ready")
    folder = folder_of(export.checkpoint)
    if not folder.is_dir():
        raise ApiError("The merged weights are no longer on the server's disk.", status=404, code="content_missing")
    return _parcel(export.checkpoint, folder, "merged", export.report)


def _parcel(checkpoint: Checkpoint, folder: Path, form: str, report: dict) -> Parcel:
    found = [path for path in sorted(folder.iterdir()) if path.is_file() and path.name not in LEFT_HERE]
    pieces = [Piece("README.md", cards.card(checkpoint, form, report).encode())]
    template = cards.template_with_tools(checkpoint)
    pieces += [Piece(path.name, _portable(path, checkpoint, template)) for path in found if path.name != "README.md"]
    job = checkpoint.job
    name = f"{job.suffix or job.base_model.name}-epoch-{checkpoint.epoch}-step-{checkpoint.step}-{form}"
    return Parcel(name, pieces, int(checkpoint.created_at.timestamp()))


def _portable(path: Path, checkpoint: Checkpoint, template: str | None) -> bytes | Path:
    """An adapter's configuration names its base by a folder of this server; elsewhere its public name means more. A
    `template` that shows tools takes the place of the base's, wherever that stands."""
    if template and path.name == "chat_template.jinja":
        return template.encode()
    if template and path.name == "tokenizer_config.json":
        tokenizer = json.loads(path.read_text())
        return json.dumps(tokenizer | {"chat_template": template}, indent=2, ensure_ascii=False).encode()
    if path.name != "adapter_config.json":
        return path
    config = json.loads(path.read_text())
    config["base_model_name_or_path"] = cards.public_name(checkpoint.base_model)
    return json.dumps(config, indent=2, sort_keys=True).encode()


# ---- asking for merged weights ----


@transaction.atomic
def ask(*, checkpoint: Checkpoint, user: User | None) -> Export:
    """The export of this checkpoint, begun if there is none or if the last one failed."""
    if checkpoint.kind != Checkpoint.Kind.LORA:
        text = f"{checkpoint.name} has full weights: there is nothing to merge. Download it as it is."
        raise ApiError(text, param="model", code="nothing_to_merge")
    if not checkpoint.path.is_dir() or not checkpoint.base_model.is_present:
        text = f"The files of {checkpoint.name} or of its base model are no longer on the server's disk."
        raise ApiError(text, param="model", code="content_missing")
    if not folder_of(checkpoint).is_dir():
        limits.refuse_bytes(checkpoint.project, checkpoint.base_model.bytes_total or 0, "The model was not merged")
    row, made = Export.objects.select_for_update().get_or_create(
        checkpoint=checkpoint, defaults={"project": checkpoint.project, "created_by": user}
    )
    gone = row.status == Status.SUCCEEDED and not folder_of(checkpoint).is_dir()
    if row.status == Status.FAILED or gone:
        row.status, row.message, row.report_json, row.finished_at, row.claim = Status.QUEUED, "", None, None, ""
        row.save()
        made = True
    if made:
        _wake(row)
        notify.job_changed(checkpoint.job_id)
    return row


def _wake(row: Export) -> None:
    from training import tasks

    transaction.on_commit(lambda: tasks.wake(tasks.merge, row.pk))


def waiting() -> list[Export]:
    """Exports that no living worker makes."""
    expired = timezone.now() - timedelta(seconds=settings.HONE_LEASE_SECONDS)
    return [
        row
        for row in Export.objects.unfinished().order_by("created_at")
        if not row.claim or not row.heartbeat_at or row.heartbeat_at < expired or holder_is_gone(row.claim)
    ]


# ---- the worker's side ----


def make(export_id: str) -> None:
    """One export; a second delivery of the same message finds it claimed and leaves."""
    row = next((row for row in waiting() if row.pk == export_id), None)
    claim = new_claim()
    if row is None or not Export.objects.filter(pk=row.pk, claim=row.claim, heartbeat_at=row.heartbeat_at).update(
        claim=claim, heartbeat_at=timezone.now(), status=Status.RUNNING
    ):
        return
    notify.job_changed(row.checkpoint.job_id)
    launcher.end_processes(row.pk, grace_seconds=0)  # of a worker that died in between
    report = _merge(row, claim)
    if report is None:  # the worker ends, or another has taken over: it begins anew
        Export.objects.filter(pk=row.pk, claim=claim).update(claim="", status=Status.QUEUED)
        return
    succeeded = report.status == "matches"
    Export.objects.filter(pk=row.pk, claim=claim).update(
        status=Status.SUCCEEDED if succeeded else Status.FAILED,
        message=report.message,
        report_json=report.model_dump(),
        finished_at=timezone.now(),
        claim="",
    )
    limits.measure(row.checkpoint.job)
    notify.job_changed(row.checkpoint.job_id)


def _merge(row: Export, claim: str) -> ExportReport | None:
    """Runs the merge and keeps the claim alive meanwhile; None when it has to be done again by somebody else."""
    checkpoint, out = row.checkpoint, folder_of(row.checkpoint)
    out.parent.mkdir(parents=True, exist_ok=True)
    if out.is_dir():  # complete, but the answer never reached the row
        shutil.rmtree(out)
    log_path = out.parent / f"{out.name}.log"
    with log_path.open("wb") as output:
        process = subprocess.Popen(
            _command(checkpoint, out),
            cwd=settings.BASE_DIR,
            env=launcher.trainer_environment(row.pk, claim, "") | {"CUDA_VISIBLE_DEVICES": ""},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    beaten_at = time.monotonic()
    while process.poll() is None:
        mine = True
        if time.monotonic() - beaten_at > HEARTBEAT_SECONDS:
            beaten_at = time.monotonic()
            mine = bool(Export.objects.filter(pk=row.pk, claim=claim).update(heartbeat_at=timezone.now()))
        if stopping.is_set() or not mine:
            launcher.end_processes(row.pk, start_id=claim, grace_seconds=0)
            process.wait()
            return None
        time.sleep(0.1)
    return _report(log_path, process.returncode, row)


def _command(checkpoint: Checkpoint, out: Path) -> list[str]:
    """On a leash, so that it cannot outlive this worker."""
    leash = [sys.executable, "-m", "training.leash", str(os.getpid())]
    folders = [str(path) for path in (checkpoint.base_model.path, checkpoint.path, out)]
    return [*leash, sys.executable, "-m", "training.engine.export", *folders]


def _report(log_path: Path, code: int, row: Export) -> ExportReport:
    """From the last line that reads as one; without one, how the process ended."""
    lines = log_path.read_text(errors="replace").splitlines()
    for line in reversed(lines):
        try:
            return ExportReport.model_validate_json(line)
        except ValidationError:
            continue
    if code in (137, -9):
        needed = 5 * row.checkpoint.base_model.facts.parameters / 1e9
        text = f"Merging was killed; the machine may have run out of memory. It needs about {needed:.0f} GB of it."
    else:
        text = f"Merging ended with code {code}: {' / '.join(lines[-LOG_LINES:])[-500:]}"
    log.error("%s: %s (log: %s)", row.pk, text, log_path)
    return ExportReport(status="failed", message=text)
