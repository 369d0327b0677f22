"""What differs between the configurations of jobs, in the words of the form."""

from dataclasses import dataclass
from typing import Any

from dashboard.form_start import plain
from dashboard.forms import LABELS, RECIPE_FIELDS
from training.models import TrainingJob


@dataclass(frozen=True)
class Line:
    """One configuration value, one cell for each job in the order given."""

    field: str
    label: str
    values: list[str]

    @property
    def differs(self) -> bool:
        return len(set(self.values)) > 1


def configuration(job: TrainingJob) -> dict[str, str]:
    """Everything that was asked for, by field name, as text."""
    start = job.start_checkpoint.name if job.start_checkpoint else job.base_model.name
    asked = job.recipe
    return {
        "model": start,
        "training_file": job.training_file_name or "none",
        "validation_file": job.validation_file_name or "none",
        **{name: shown(getattr(asked, name)) or "none" for name in RECIPE_FIELDS},
        "seed": str(job.seed),
        "suffix": job.suffix or "none",
    }


def shown(value: Any) -> str:
    if isinstance(value, list):
        return ", ".join(value)
    return plain(value)


def lines(jobs: list[TrainingJob]) -> list[Line]:
    """One line a field; files of the same name count as different when they are different files."""
    tables = [_with_file_ids(job) for job in jobs]
    return [Line(name, LABELS[name], [table[name] for table in tables]) for name in tables[0]] if tables else []


def _with_file_ids(job: TrainingJob) -> dict[str, str]:
    table = configuration(job)
    for field, file_id in (("training_file", job.training_file_id), ("validation_file", job.validation_file_id)):
        if file_id:
            table[field] = f"{table[field]} ({file_id[-6:]})"
    return table


def between(parent: TrainingJob, child: TrainingJob) -> list[Line]:
    """Only what differs, the parent's value first."""
    return [line for line in lines([parent, child]) if line.differs]
