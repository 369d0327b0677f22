"""The trainer's processes, started as often as a test wants without loading torch each time, and ended by kill -9.

    python -m tests.engine.killed      reads one start a line from stdin and writes how it ended to stdout

It loads the trainer's modules and computes nothing; each start is a fork of it that runs the command of the method
(`training.engine.loop.main`) from its first line. A start that is to be killed sends itself SIGKILL at an exact place
of an exact step, so that no test depends on who is faster.
"""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
FORWARD, UPDATE, TOLD, SAVED = (
    "in its forward pass", "before its update", "when it is told", "when its checkpoint is in place and not yet told",
)  # fmt: skip


@dataclass(frozen=True)
class Kill:
    """In which step, and where in it."""

    step: int
    place: str


class Starter:
    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self.process = process

    def start(self, folder: Path, kill: Kill | None = None) -> int:
        """Runs the trainer on this run folder to its end; the exit code, -9 when it was killed."""
        method = json.loads((folder / "spec.json").read_text())["method"]
        assert self.process.stdin and self.process.stdout
        print(json.dumps([str(folder), method, asdict(kill) if kill else None]), file=self.process.stdin, flush=True)
        answer = self.process.stdout.readline()
        assert answer, "the starter is gone"
        return int(answer)


@contextmanager
def starter() -> Iterator[Starter]:
    environment = {**os.environ, "HONE_TRAIN_THREADS": "1", "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    with subprocess.Popen(
        [sys.executable, "-m", "tests.engine.killed"],
        cwd=ROOT,
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        yield Starter(process)
        assert process.stdin
        process.stdin.close()  # its end


def main() -> None:
    from training.engine import dpo, pretrain, sft

    methods = {"sft": sft.METHOD, "dpo": dpo.METHOD, "pretrain": pretrain.METHOD}
    for line in sys.stdin:
        folder, method, kill = json.loads(line)
        child = os.fork()
        if not child:
            _train(folder, methods[method], Kill(**kill) if kill else None)
        _, status = os.waitpid(child, 0)
        print(os.waitstatus_to_exitcode(status), flush=True)


def _train(folder: str, method: Any, kill: Kill | None) -> None:
    from training.engine import loop

    log = os.open(f"{folder}/trainer.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(log, 1)
    os.dup2(log, 2)
    sys.argv = [method.__module__, folder]
    code = 1
    try:
        code = loop.main(_dying(method, kill) if kill else method)
    finally:
        os._exit(code)


def _dying(method: Any, kill: Kill) -> Any:
    """The same method; the process is gone at that place."""
    from dataclasses import replace

    import torch

    from training.engine.emit import EventWriter
    from training.engine.optimizer import MasterAdamW

    now = 0  # the last step that was told
    write, update = EventWriter.write, MasterAdamW.step

    def die_if(place: str, step: int) -> None:
        if (place, step) == (kill.place, kill.step):
            os.kill(os.getpid(), signal.SIGKILL)

    def telling(self: Any, kind: Any, /, **fields: Any) -> None:
        nonlocal now
        if kind.__name__ == "CheckpointSaved":
            die_if(SAVED, fields["step"])
        write(self, kind, **fields)
        if kind.__name__ == "Started":
            now = fields["resumed_step"]
        if kind.__name__ == "Step":
            now = fields["step"]
            die_if(TOLD, now)

    def updating(self: Any, *given: Any) -> None:
        die_if(UPDATE, now + 1)
        update(self, *given)

    def loss(model: Any, batch: Any) -> Any:
        if torch.is_grad_enabled():
            die_if(FORWARD, now + 1)
        return method.loss(model, batch)

    EventWriter.write, MasterAdamW.step = telling, updating  # type: ignore[method-assign]
    return replace(method, loss=loss)


if __name__ == "__main__":
    main()
