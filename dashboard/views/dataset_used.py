"""Tab of a dataset: the jobs that use it, and the files that were made of it."""

from typing import Any

from django.http import HttpRequest

from training import files
from training.models import DatasetFile

SHOWN_JOBS = 20


def context(request: HttpRequest, file: DatasetFile) -> dict[str, Any]:
    children = file.children.datasets().exclude(family=file.family)[:SHOWN_JOBS]
    return {
        "jobs": list(files.jobs_using(file)[:SHOWN_JOBS]),
        "children": [(child, list(files.jobs_using(child)[:SHOWN_JOBS])) for child in children],
    }
