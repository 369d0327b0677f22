"""W&B's own `WandbLogger.sync` on a finished job, offline; then wandb's own reader on the file that it wrote.

Needs one succeeded job with the metadata team=support in the project, which the rows of the Python SDK leave.
"""

import csv
import io
import json
import os
import subprocess
import tempfile
from math import isclose
from pathlib import Path
from typing import Any

from proofs.clients.rows.stage import Stage
from proofs.clients.told import tell

OFFLINE = {"WANDB_MODE": "offline", "WANDB_SILENT": "true"}  # read when wandb is imported


def synced() -> None:
    os.environ |= OFFLINE
    from wandb.integration.openai.fine_tuning import WandbLogger

    stage = Stage.from_environment()
    jobs = stage.client.fine_tuning.jobs.list(metadata={"team": "support"})
    job = next(each for each in jobs if each.status == "succeeded" and each.validation_file)
    WandbLogger._logged_in = True  # its login refuses to be offline
    with tempfile.TemporaryDirectory() as folder:
        os.environ["WANDB_DIR"] = folder
        WandbLogger.sync(fine_tune_job_id=job.id, openai_client=stage.client, project="p", log_datasets=False)
        found = records(Path(folder))
    content = stage.client.files.content(job.result_files[0]).text
    compare(found, job, list(csv.DictReader(io.StringIO(content))))


def records(folder: Path) -> "list[dict[str, Any]]":
    from wandb.util import get_core_path

    (path,) = folder.glob("wandb/offline-run-*/run-*.wandb")
    command = [get_core_path(), "leet", "inspect", "--json", "--no-observability", "-run-file", str(path), str(folder)]
    printed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    return [json.loads(line) for line in printed.splitlines()]


def compare(found: "list[dict[str, Any]]", job: Any, rows: "list[dict[str, str]]") -> None:
    """Every figure of the result file stands in the run's history, under the step it belongs to."""
    run = next(each["run"] for each in found if each["type"] == "run")
    assert job.id in json.dumps(run), run
    history = [each["history"] for each in found if each["type"] == "history"]
    assert len(history) == len(rows), f"{len(history)} entries of history, {len(rows)} rows"
    for row, entry in zip(rows, history, strict=True):
        for name, value in row.items():
            if value and name != "step":
                kept = entry["item"].get(name)
                assert kept is not None and isclose(kept, float(value), rel_tol=1e-6), (
                    f"step {row['step']}: {name} is {kept}, not {value}"
                )
    assert any(job.fine_tuned_model in json.dumps(each) for each in found), "the model's name is nowhere"


if __name__ == "__main__":
    tell("WandbLogger.sync, offline", synced)
