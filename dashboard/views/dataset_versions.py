"""Tab of a dataset: its versions, what was done to make each, and what came of it."""

from dataclasses import dataclass
from typing import Any

from django.http import HttpRequest

from dashboard import descent
from dashboard.forms_datasets import ExpiryForm
from dashboard.templatetags.figures import size
from training.models import DatasetFile


@dataclass(frozen=True)
class Version:
    """One line of the table."""

    file: DatasetFile
    words: str
    came: descent.Descent
    is_shown: bool
    delete_words: str


def context(request: HttpRequest, file: DatasetFile) -> dict[str, Any]:
    family = list(DatasetFile.objects.of_family(file).select_related("parent", "created_by"))
    came = descent.of_versions(family)
    return {
        "versions": [
            Version(each, done(each), came[each.pk], each.pk == file.pk, delete_words(each, came[each.pk]))
            for each in family
        ],
        "days": ExpiryForm.DAYS,
    }


def done(file: DatasetFile) -> str:
    """How it came to be, in one sentence."""
    if words := file.origin.get("words"):
        return str(words)
    if file.origin.get("kind") == "votes":
        return f"Preference pairs from {file.origin.get('votes', 0):,} votes."
    if file.sample_task:
        return "Came with Hone."
    if file.parent or "made_of" in file.origin:
        return f"Split off from {file.parent.filename if file.parent else file.origin['made_of']}."
    return "Uploaded."


def later(file: DatasetFile) -> list[tuple[DatasetFile, str]]:
    """The versions after it and what was done in each, the newest first: what is made of this one has none of that."""
    after = DatasetFile.objects.of_family(file).filter(version__gt=file.version).select_related("parent").newest()
    return [(each, done(each)) for each in after]


def delete_words(file: DatasetFile, came: descent.Descent | None = None) -> str:
    """What goes and what depends on it, for the question before a file is deleted."""
    came = came or descent.of_versions([file])[file.pk]
    several = DatasetFile.objects.of_family(file).count() > 1
    what = f"Version {file.version} of {file.filename}" if several else file.filename
    words = f"{what} ({size(file.bytes)}) is removed from the disk for good."
    if several:
        words += " The other versions stay."
    if came.words:
        words += f" It is behind {came.words}."
        words += " What they made stays, but a rerun will need another file." if came.jobs else " That stays."
    return words
