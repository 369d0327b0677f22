"""Tab of a dataset: the jobs that use it with what came of them, and the files that were made of it."""

from typing import Any

from django.http import HttpRequest

from dashboard import descent
from training.models import DatasetFile

SHOWN_JOBS = 20


def context(request: HttpRequest, file: DatasetFile) -> dict[str, Any]:
    children = list(file.children.datasets().exclude(family=file.family)[:SHOWN_JOBS])
    came = descent.of_versions([file, *children])
    return {
        "jobs": came[file.pk].by_job()[:SHOWN_JOBS],
        "children": [(child, came[child.pk].by_job()[:SHOWN_JOBS]) for child in children],
    }
