"""How far are estimates off? Five jobs of different size, each estimated before and measured after.

    python -m proofs.estimates --model FOLDER

Each kind of job runs twice with real workers and the real trainer: the first run calibrates, the second one (more rows,
another number of epochs) is compared with the estimate that it was queued with, and with what the formulas alone would
have said. Without --model the larger jobs train a tiny random Llama too. Works in a folder of its own. Exits 1 when a
job fails or a calibrated median is over a third.
"""

import argparse
import json
import os
import shutil
import signal
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from proofs.followed import ended_well, followed
from proofs.recovery import WorkerProcesses
from proofs.screen import Screen, duration, table

LARGEST_MEDIAN = 1 / 3


@dataclass(frozen=True)
class Work:
    """A kind of job, and its two sizes as (rows, epochs)."""

    name: str
    model: str  # tiny | large
    recipe: dict[str, Any]
    words: int  # of each answer
    first: tuple[int, int]
    second: tuple[int, int]


WORKS = [
    Work("tiny, LoRA, short rows", "tiny", {"batch_size": 4}, 8, (200, 2), (400, 4)),
    Work("tiny, full weights, long rows", "tiny", {"batch_size": 2, "adaptation": "full"}, 200, (60, 1), (100, 2)),
    Work("large, LoRA, short rows", "large", {"batch_size": 2}, 8, (10, 1), (20, 2)),
    Work("large, LoRA, long rows", "large", {"batch_size": 2}, 60, (10, 1), (16, 1)),
    Work("large, full weights", "large", {"batch_size": 4, "adaptation": "full"}, 20, (12, 1), (20, 1)),
]


@dataclass
class Outcome:
    """Seconds and bytes: said by the formulas, said after calibration, and measured."""

    work: Work
    steps: int
    tokens: tuple[int, int]
    seconds: tuple[float, float, float]
    memory: tuple[float, float, float]
    calibrated_by: int

    def errors(self, of: str, which: int) -> float:
        figures = getattr(self, of)
        return abs(figures[which] - figures[2]) / figures[2]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", type=Path, help="a folder with a real model for the three larger kinds of job")
    arguments = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="hone-estimates-"))
    os.environ["HONE_HOME"] = str(folder)
    os.environ["DJANGO_SETTINGS_MODULE"] = "dashboard.settings"
    os.environ.setdefault("HONE_LOG_LEVEL", "WARNING")
    workers = WorkerProcesses(folder / "workers.log")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    try:
        return prove(Screen(), workers, arguments.model)
    finally:
        workers.kill_everything()
        shutil.rmtree(folder, ignore_errors=True)


def prove(screen: Screen, workers: WorkerProcesses, large: Path | None) -> int:
    import django

    django.setup()
    from django.core.management import call_command

    from accounts.models import Project

    call_command("migrate", verbosity=0)
    project = Project.objects.create(name="Estimates proof")
    models = make_models(large)
    screen.heading(f"Estimates: five kinds of job, large is {large.name if large else 'tiny too'}")
    workers.start()
    try:
        for work in WORKS:
            run(screen, project, models, work, *work.first)
        outcomes = [outcome(run(screen, project, models, work, *work.second), work) for work in WORKS]
    finally:
        workers.end()
    return report(screen, outcomes)


def make_models(large: Path | None) -> dict[str, Any]:
    from tests.factories import tiny_model
    from training import home, model_folders
    from training.models import BaseModel

    folders = {"tiny": tiny_model(home.model_folder("tiny"))}
    folders["large"] = large.resolve() if large else tiny_model(home.model_folder("large"), layers=4)
    rows = {name: BaseModel(name=name, source="folder", source_id=str(path)) for name, path in folders.items()}
    for name, row in rows.items():
        model_folders.register(row, folders[name])
    return rows


def run(screen: Screen, project: Any, models: dict[str, Any], work: Work, rows: int, epochs: int) -> Any:
    """The job, ended well."""
    from training import actions
    from training.engine.spec import Recipe

    job = actions.create_job(
        project=project,
        user=None,
        base_model=models[work.model],
        training_file=dataset(project, rows, work.words),
        validation_file=dataset(project, max(4, rows // 5), work.words, first=10_000),
        recipe=Recipe(n_epochs=epochs, **work.recipe),
        label=work.name,
        seed=1,
    )
    began = time.monotonic()
    job = ended_well(followed(screen, job, work.name), work.name)
    screen.line(f"{work.name}, {rows} rows, {epochs} epochs: {duration(time.monotonic() - began)}")
    return job


def dataset(project: Any, rows: int, words: int, first: int = 0) -> Any:
    """Chat rows of about this many words."""
    from tests.factories import chat_row
    from training import files

    text = [
        chat_row(f"Order {n}?", " ".join(f"order {n} is done" for _ in range(words // 4)))
        for n in range(first, first + rows)
    ]
    content = "".join(json.dumps(row) + "\n" for row in text)
    return files.create_file(project, None, f"rows-{first}.jsonl", "fine-tune", content.encode())


def outcome(job: Any, work: Work) -> Outcome:
    from training.calibration import finished_run
    from training.devices import device_facts

    ran, expected = finished_run(job, device_facts()), job.estimate
    started = job.started_json
    return Outcome(
        work=work,
        steps=job.step,
        tokens=(expected.tokens, started["train_tokens"] * job.resolved.n_epochs),
        seconds=(ran.formula_seconds.total, expected.seconds, job.measured.seconds),
        memory=(ran.formula_bytes, expected.memory_bytes, job.measured.memory_bytes),
        calibrated_by=expected.calibrated_by,
    )


def report(screen: Screen, outcomes: list[Outcome]) -> int:
    head = ["job", "steps", "tokens", "time: formulas", "estimate", "came", "error"]
    head += ["memory: formulas", "estimate", "came", "error"]
    lines = [
        [
            *(each.work.name, str(each.steps), "exact" if each.tokens[0] == each.tokens[1] else str(each.tokens)),
            *(duration(seconds) for seconds in each.seconds),
            f"{each.errors('seconds', 1):.0%}",
            *(f"{size / 1e9:.2f} GB" for size in each.memory),
            f"{each.errors('memory', 1):.0%}",
        ]
        for each in outcomes
    ]
    screen.table(table(head, lines))
    medians = {
        (of, which): median(each.errors(of, which) for each in outcomes)
        for of in ("seconds", "memory")
        for which in (0, 1)
    }
    screen.line(f"median error of time: {medians['seconds', 1]:.0%} ({medians['seconds', 0]:.0%} by formulas alone)")
    screen.line(f"median error of memory: {medians['memory', 1]:.0%} ({medians['memory', 0]:.0%} by formulas alone)")
    good = all(each.calibrated_by for each in outcomes)
    return 0 if good and max(medians["seconds", 1], medians["memory", 1]) <= LARGEST_MEDIAN else 1


if __name__ == "__main__":
    sys.exit(main())
