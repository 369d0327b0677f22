"""What is known of rows that stand in both the training and the validation file of a job's form."""

from dataclasses import dataclass
from typing import Any, Final

from django.db.models import Q

from training.models import DatasetFile, FileTask
from training.repeats import work

COMPARED_AT_ONCE_BYTES: Final = 256 << 10  # both files together: a tenth of a second


@dataclass(frozen=True)
class Leak:
    """`file` has the tab that shows them, beside `other`."""

    file: DatasetFile
    other: DatasetFile
    exact: int
    near: int

    @property
    def words(self) -> str:
        many = self.exact + self.near
        rows = f"{many:,} row{'' if many == 1 else 's'} of {self.file.filename}"
        kinds = [f"{self.exact:,} exactly"] if self.exact else []
        kinds += [f"{self.near:,} nearly"] if self.near else []
        also = "also stands" if many == 1 else "also stand"
        text = f"{rows} {also} in {self.other.filename} ({' and '.join(kinds)})."
        return f"{text} Validation would look better than the model is."


def leak(asked: dict[str, Any]) -> Leak | None:
    """Of a form's values. Nothing is read but small files; of others what was found before is told."""
    file, other = asked.get("training_file"), asked.get("validation_file")
    if asked.get("validation") != "file" or not file or not other or file.pk == other.pk:
        return None
    task = _known(file, other)
    if task is None and file.bytes + other.bytes <= COMPARED_AT_ONCE_BYTES:
        task = work.compare(file, other) if work.searchable(file) and work.searchable(other) else None
    if task is None or not task.figures or task.other is None:
        return None
    found = Leak(task.file, task.other, task.figures["exact"]["rows"], task.figures["near"]["rows"])
    return found if found.exact + found.near else None


def _known(file: DatasetFile, other: DatasetFile) -> FileTask | None:
    """Whichever of the two was compared with the other."""
    either = Q(file=file, other=other) | Q(file=other, other=file)
    found = FileTask.objects.filter(either, kind="leaks", status=FileTask.Status.DONE).select_related("file", "other")
    return found.first()
