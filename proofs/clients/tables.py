"""What the programs told, as the tables of docs/clients.md."""

from dataclasses import dataclass

from proofs.clients.environments import NAMES
from proofs.clients.told import ABSENT
from proofs.server import ROOT

PAGE = ROOT / "docs" / "clients.md"
MARKERS = ("<!-- table -->\n", "<!-- end of table -->\n")


@dataclass(frozen=True)
class Told:
    program: str
    row: str
    said: str  # empty: passed

    @property
    def failed(self) -> bool:
        return self.said not in ("", ABSENT)

    @property
    def cell(self) -> str:
        return f"FAILED: {self.said}".replace("|", "/").replace("\n", " ") if self.failed else self.said or "passed"


def write(told: list[Told], share: bool, whole: bool) -> str:
    """Returns the tables; puts them into the page when all programs ran."""
    sdks = [name for name in NAMES if name.startswith("openai")]
    others = [name for name in NAMES if name not in sdks]
    parts = [markdown(told, part) for part in (sdks, others)]
    trained = "once, by the first SDK that needed it" if share else "by each Python SDK for itself"
    text = "\n\n".join([*parts, f"{counted(told)} In this run each job was trained {trained}."]) + "\n"
    if whole and PAGE.exists():
        before, _, rest = PAGE.read_text().partition(MARKERS[0])
        after = rest.partition(MARKERS[1])[2]
        PAGE.write_text(before + MARKERS[0] + "\n" + text + "\n" + MARKERS[1] + after)
    return text


def markdown(told: list[Told], programs: list[str]) -> str:
    names = [name for name in programs if any(each.program == name for each in told)]
    rows = dict.fromkeys(each.row for each in told if each.program in names)
    cells = {(each.row, each.program): each.cell for each in told}
    lines = [[row, *(cells.get((row, name), "") for name in names)] for row in rows]
    head = [["row", *names], ["---"] * (len(names) + 1)]
    return "\n".join(f"| {' | '.join(line)} |" for line in head + lines)


def counted(told: list[Told]) -> str:
    failed, absent = sum(each.failed for each in told), sum(each.said == ABSENT for each in told)
    return f"{len(told)} cells: {len(told) - failed - absent} passed, {absent} not in that SDK, {failed} failed."
