"""The loss of every validation row, kept in the run folder: validation/step-S.json. No torch."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class RowLosses:
    """After `step`; `lines` count from 1 in the validation file, losses are means over the row's trained tokens."""

    step: int
    lines: list[int]
    losses: list[float]


def keep(run_folder: Path, step: int, lines: Sequence[int], losses: Sequence[float]) -> None:
    """Complete under its name or not there at all."""
    path = run_folder / "validation" / f"step-{step}.json"
    path.parent.mkdir(exist_ok=True)
    part = path.with_suffix(".part")
    rounded = [float(f"{loss:.6g}") for loss in losses]
    part.write_text(json.dumps({"lines": [int(line) for line in lines], "losses": rounded}))
    part.replace(path)


def kept_steps(run_folder: Path) -> list[int]:
    """Steps after which every row was judged, in order."""
    return sorted(int(path.stem.removeprefix("step-")) for path in run_folder.glob("validation/step-*.json"))


def read(run_folder: Path, step: int) -> RowLosses:
    found = json.loads((run_folder / "validation" / f"step-{step}.json").read_text())
    return RowLosses(step, found["lines"], found["losses"])
