"""A trainer without torch that keeps the run-folder contract: python -m tests.fakes.trainer RUN_FOLDER.

Its loss is a formula of seed and step, its "weights" are the sum of all batches so far, so that a resume that skipped
or repeated a step ends with another number. `tests/engine/test_trainer_contract.py` holds it and the real trainer to
the same rules. Knobs in the environment: FAKE_STEP_SECONDS, FAKE_CRASH_AT and FAKE_FAIL_AT (steps), FAKE_DEAF.
"""

import hashlib
import json
import math
import os
import shutil
import signal
import sys
import time
from pathlib import Path

from training.engine.emit import EventWriter
from training.engine.spec import CheckpointSaved, End, JobSpec, Note, Phase, Started, Step, Validation

STEP_SECONDS = float(os.environ.get("FAKE_STEP_SECONDS", "0.02"))
CRASH_AT = int(os.environ.get("FAKE_CRASH_AT", "0"))
FAIL_AT = int(os.environ.get("FAKE_FAIL_AT", "0"))
DEAF = bool(os.environ.get("FAKE_DEAF"))  # hears neither control files nor SIGTERM


class Interrupted(Exception):
    """SIGTERM came."""


class FakeTrainer:
    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.spec = JobSpec.model_validate_json((folder / "spec.json").read_text())
        self.out = EventWriter(folder / "events.jsonl")
        self.rows = sum(1 for line in self.spec.training_file.read_bytes().splitlines() if line.strip())
        self.steps_per_epoch = math.ceil(self.rows / self.spec.batch_size)
        self.total = self.steps_per_epoch * self.spec.n_epochs
        self.step, self.weights = self._saved_state()
        self.interrupted = False
        self.next_resume = time.monotonic() + self.spec.resume_every_seconds

    def run(self) -> int:
        signal.signal(signal.SIGTERM, lambda *_: setattr(self, "interrupted", True))
        self.out.write(Phase, phase="loading")
        self.out.write(
            Started,
            total_steps=self.total,
            steps_per_epoch=self.steps_per_epoch,
            train_rows=self.rows,
            valid_rows=4 if self.spec.validation_file else 0,
            train_tokens=self.rows * 10,
            trained_tokens_per_epoch=self.rows * 5,
            valid_tokens=20,
            truncated_rows=0,
            parameters=1000,
            trainable_parameters=100,
            device="cpu",
            dtype=self.spec.dtype,
            resumed_step=self.step,
        )
        self.out.write(Phase, phase="training")
        while self.step < self.total:
            self._one_step()
            wish = self._wish()
            if wish:
                self._save(self.folder / "resume")
                return self._end(wish)
        return self._end("succeeded")

    def _one_step(self) -> None:
        time.sleep(STEP_SECONDS)
        self.step += 1
        if self.step == FAIL_AT:
            self.out.write(Note, level="error", message=f"The loss became NaN at step {self.step}.")
            raise SystemExit(self._end("failed", "The loss became NaN. Lower the learning rate.", "non_finite_loss"))
        if self.step == CRASH_AT:
            print("RuntimeError: a bug at this very step", file=sys.stderr, flush=True)
            os._exit(1)
        self.weights = (self.weights * 31 + self.step * 7 + self.spec.seed) % 1_000_003
        self.out.write(
            Step,
            step=self.step,
            epoch=self.step / self.steps_per_epoch,
            train_loss=self._loss(),
            train_accuracy=0.5,
            learning_rate=self.spec.learning_rate,
            grad_norm=1.0,
            trained_tokens=self.step * 5,
            tokens_per_second=100.0,
            memory_bytes=1_000_000,
        )
        every = self.spec.valid_every_steps
        if self.spec.validation_file and every and self.step % every == 0:
            self._validate(whole=False)
        if self.step % self.steps_per_epoch == 0:
            self._end_of_epoch()
        elif time.monotonic() > self.next_resume:
            self._save(self.folder / "resume")
            self.next_resume = time.monotonic() + self.spec.resume_every_seconds

    def _loss(self) -> float:
        return 2.0 / (1 + self.step / 10) + (self.weights % 100) / 10_000

    def _validate(self, whole: bool) -> float:
        loss = self._loss() + 0.1
        self.out.write(Validation, step=self.step, whole=whole, loss=loss, accuracy=0.4, tokens=20, rows=4)
        return loss

    def _end_of_epoch(self) -> None:
        epoch = self.step // self.steps_per_epoch
        full = self._validate(whole=True) if self.spec.validation_file else None
        path = Path("checkpoints") / f"epoch-{epoch}-step-{self.step}"
        content = self._save(self.folder / path)
        self.out.write(
            CheckpointSaved,
            step=self.step,
            epoch=epoch,
            path=str(path),
            kind=self.spec.adaptation,
            size_bytes=len(content),
            sha256=hashlib.sha256(content).hexdigest(),
            train_loss=self._loss(),
            full_valid_loss=full,
            full_valid_accuracy=0.4 if full else None,
        )

    def _save(self, folder: Path) -> bytes:
        """Complete under its name or not there at all."""
        part = folder.with_name(f"{folder.name}.part")
        shutil.rmtree(part, ignore_errors=True)
        part.mkdir(parents=True)
        content = json.dumps({"step": self.step, "weights": self.weights}).encode()
        for name in ("meta.json", "adapter_model.safetensors"):
            (part / name).write_bytes(content)
        shutil.rmtree(folder, ignore_errors=True)
        part.rename(folder)
        return content

    def _saved_state(self) -> tuple[int, int]:
        """The furthest of the resume point and the checkpoints."""
        folders = [self.folder / "resume", *(self.folder / "checkpoints").glob("epoch-*")]
        found = [json.loads((folder / "meta.json").read_text()) for folder in folders if folder.is_dir()]
        newest = max(found, key=lambda state: state["step"], default={"step": 0, "weights": 0})
        return newest["step"], newest["weights"]

    def _wish(self) -> str:
        if DEAF:
            return ""
        if self.interrupted:
            return "interrupted"
        for name, status in (("stop", "cancelled"), ("pause", "paused")):
            if (self.folder / name).exists():
                (self.folder / name).unlink()
                return status
        return ""

    def _end(self, status: str, message: str = "", code: str | None = None) -> int:
        self.out.write(End, status=status, message=message, code=code)
        return 1 if status == "failed" else 0


if __name__ == "__main__":
    sys.exit(FakeTrainer(Path(sys.argv[1])).run())
