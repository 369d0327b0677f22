"""A sweep: several values in a box of the form, separated by semicolons, make a job for each (0.5; 1; 2)."""

from itertools import product
from typing import Any

from django.forms import CharField
from django.http import QueryDict

from accounts.models import Project
from dashboard.forms import LABELS, LIST_FIELDS, RECIPE_FIELDS, JobForm
from dashboard.templatetags.figures import within

MOST_JOBS = 10  # as many as one page compares
BETWEEN = ";"


def forms_of(data: QueryDict, project: Project) -> list[JobForm]:
    """A bound form for each job; a single one where no box holds a list, or where there are too many jobs."""
    chosen = axes(data)
    combinations = list(product(*chosen.values()))
    if len(combinations) > MOST_JOBS:
        form = JobForm(data, project=project)
        form.full_clean()
        form.errors.clear()
        form.add_error(None, f"These lists make {len(combinations)} jobs; a sweep has at most {MOST_JOBS}.")
        return [form]
    return [JobForm(_one(data, dict(zip(chosen, values, strict=True))), project=project) for values in combinations]


def axes(data: QueryDict) -> dict[str, list[str]]:
    """The boxes that hold several values, without what stands twice."""
    found = {}
    for name in RECIPE_FIELDS:
        text = data.get(name, "")
        if BETWEEN in text and name not in LIST_FIELDS and type(JobForm.base_fields[name]) is CharField:
            values = [value for part in text.split(BETWEEN) if (value := part.strip())]
            found[name] = list(dict.fromkeys(values)) or [""]
    return found


def _one(data: QueryDict, values: dict[str, str]) -> QueryDict:
    """The data of one job; its name says what is its own."""
    mine = data.copy()
    for name, value in values.items():
        mine[name] = value
    if values:
        said = ", ".join(f"{within(LABELS[name])} {value}" for name, value in values.items())
        mine["label"] = f"{data.get('label') or data.get('suffix') or 'Sweep'}: {said}"[:200]
    return mine


def show_faults(form: JobForm, wrong: list[JobForm]) -> None:
    """On the form as it was typed, what is wrong with its jobs."""
    form.errors.clear()
    add_faults(form, wrong)


def add_faults(form: JobForm, wrong: list[JobForm]) -> None:
    """Of each field that has no fault yet the first."""
    for each in wrong:
        form.errors.update({name: said for name, said in each.errors.items() if name not in form.errors})


def jobs_beside(job: Any) -> list[Any]:
    """The jobs of its sweep, itself among them, in the order of the form; empty where it is of none."""
    if not job.sweep:
        return []
    return list(type(job).objects.of(job.project).filter(sweep=job.sweep).order_by("created_at", "id")[:MOST_JOBS])
