"""Flagged rows for which a job would be refused: told before one is made."""

from dataclasses import dataclass

from training.models import DatasetFile
from training.safety import moderation
from training.safety.models import ModerationCheck, ModerationPolicy

WORDS = "No job can train on this version until each of these rows is kept or gone."


@dataclass(frozen=True)
class Blocked:
    """`rows`: flagged rows of `file` that nobody has kept."""

    file: DatasetFile
    rows: int

    @property
    def words(self) -> str:
        """Without a full stop."""
        return f"moderation flagged {self.rows:,} row{'' if self.rows == 1 else 's'}"


def blocked(file: DatasetFile | None) -> Blocked | None:
    """None where the project's policy does not block, or where nobody has judged the file yet: a job has that done."""
    policy = ModerationPolicy.of(file.project) if file else None
    if file is None or policy is None or policy.policy != ModerationPolicy.Policy.BLOCK:
        return None
    check = moderation.known(file, policy)
    if check is None or check.status != ModerationCheck.Status.DONE:
        return None
    rows = sum(1 for _ in moderation.blocking(file, check))
    return Blocked(file, rows) if rows else None
