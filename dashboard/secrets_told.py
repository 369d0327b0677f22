"""What the finders found in a file that nobody has decided about, or that still stands in it: told before training."""

from dataclasses import dataclass
from typing import Any, Final

from training.models import DatasetFile
from training.safety import reviewing, scanning

LOOKED_AT_ONCE_BYTES: Final = 256 << 10  # a fortieth of a second


@dataclass(frozen=True)
class Remaining:
    """Finds in `file`: undecided ones, and ones that are to be redacted or dropped but stand in this version."""

    file: DatasetFile
    open: int
    going: int

    @property
    def words(self) -> str:
        """Without a full stop."""
        told = []
        if self.open:
            many = "secrets or personal data are" if self.open > 1 else "secret or piece of personal data is"
            told.append(f"{self.open:,} {many} undecided")
        if self.going:
            stand = "stand" if self.going > 1 else "stands"
            what = "" if self.open else "secrets or personal data "
            told.append(f"{self.going:,} {what}to be redacted or dropped still {stand} in this version")
        return "; ".join(told)

    @property
    def query(self) -> str:
        """Of the dataset's page: where they can be decided about, or the version made."""
        return "?tab=safety&show=open#finds" if self.open else "?tab=safety#safety"


def remaining(file: DatasetFile) -> Remaining | None:
    """None where nothing was found or everything is to be kept. Only a small file is looked through for it; of others
    is told what is known."""
    if file.bytes <= LOOKED_AT_ONCE_BYTES and file.status == DatasetFile.Status.PROCESSED and file.path.exists():
        scanning.scan_or_start(file)
    outcome = reviewing.known(file)
    if outcome is None:
        return None
    found = Remaining(file, outcome.total(""), outcome.total("redact") + outcome.total("drop"))
    return found if found.open + found.going else None


def secrets(asked: dict[str, Any]) -> Remaining | None:
    """Of a form's values."""
    file = asked.get("training_file")
    return remaining(file) if file else None
