"""Golden loss curves: a change that should not change any number is held against these.

    python -m tests.engine.test_golden [KIND ...]    writes them anew, after a change that should: commit them with its
                                                     reason

golden/KIND.json holds, for each adaptation, the training loss of every step and the loss over the whole validation set
after each epoch, in float32 on a tiny random model with fixed seeds. Another processor adds the same numbers in another
order: measured over these runs (ATEN_CPU_CAPABILITY=default, MKL_CBWR=COMPATIBLE: no vector instructions), that moves a
loss by at most 3e-7 of itself, of DPO 9e-6. TOLERANCE is ten times that, and a learning rate that is off by a hundredth
is still noticed.
"""

import json
import os
import sys
import tempfile
from pathlib import Path

import pytest

from tests.engine.kinds import KINDS, PAIRS, make_bases, write_run
from tests.engine.runs import ended, events
from training.engine import loop

GOLDEN = Path(__file__).parent / "golden"
TOLERANCE = 1e-4  # of each loss

Curves = dict[str, list[float]]


@pytest.fixture(scope="module")
def bases(tmp_path_factory: pytest.TempPathFactory) -> dict[bool, Path]:
    return make_bases(tmp_path_factory.mktemp("golden"))


def curves(folder: Path, name: str) -> Curves:
    """Trains the run and returns what it told."""
    loop.run(folder, KINDS[name].code)
    assert ended(folder).status == "succeeded", ended(folder)
    return {
        "train": [step.train_loss for step in events(folder, "step")],
        "valid": [told.loss for told in events(folder, "validation") if told.whole],
    }


def kept(name: str, adaptation: str) -> Curves:
    found: Curves = json.loads((GOLDEN / f"{name}.json").read_text())[adaptation]
    return found


def farthest(found: Curves, golden: Curves) -> float:
    """The largest difference of a loss, as a share of the golden one; infinite when there are not as many."""
    if {part: len(values) for part, values in found.items()} != {part: len(values) for part, values in golden.items()}:
        return float("inf")
    return max(
        abs(one - other) / abs(other) for part in golden for one, other in zip(found[part], golden[part], strict=True)
    )


@pytest.mark.parametrize(("name", "adaptation"), PAIRS)
def test_the_losses_are_the_golden_ones(tmp_path: Path, bases: dict[bool, Path], name: str, adaptation: str) -> None:
    found, golden = curves(write_run(tmp_path / "run", bases, name, adaptation), name), kept(name, adaptation)
    print(f"{name} {adaptation}: at most {farthest(found, golden):.1e} away")
    assert farthest(found, golden) <= TOLERANCE, (found, golden)


@pytest.mark.parametrize("changes", [{"learning_rate": 5.05e-3}, {"seed": 8}, {"weight_decay": 0.1}], ids=str)
def test_a_small_change_of_the_training_is_noticed(tmp_path: Path, bases: dict[bool, Path], changes: dict) -> None:
    found = curves(write_run(tmp_path / "run", bases, "sft-chat", "lora", **changes), "sft-chat")
    assert farthest(found, kept("sft-chat", "lora")) > TOLERANCE


def renew(names: list[str]) -> None:
    os.environ["HONE_TRAIN_THREADS"] = "1"
    with tempfile.TemporaryDirectory() as folder:
        bases = make_bases(Path(folder))
        for name in names:
            golden = {
                adaptation: curves(write_run(Path(folder) / name / adaptation, bases, name, adaptation), name)
                for kind, adaptation in PAIRS
                if kind == name
            }
            path = GOLDEN / f"{name}.json"
            before = json.loads(path.read_text()) if path.exists() else {}
            path.write_text(json.dumps(golden, indent=1) + "\n")
            moved = {key: farthest(golden[key], before[key]) for key in golden if key in before}
            print(name, ", ".join(f"{key} moved by {value:.1e}" for key, value in moved.items()) or "written")


if __name__ == "__main__":
    renew(sys.argv[1:] or list(KINDS))
