"""The one training loop. What differs between methods are a few functions: training/engine/method.py.

The loss of a step is the sum over the global batch divided by its weight (of SFT: the trained tokens), so that cutting
the batch into forward passes, or over processes, changes only the rounding.
"""

import logging
import shutil
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from training.engine.batches import epoch_batches
from training.engine.checkpoint import Progress, remove_leftovers
from training.engine.control import END_OF_WISH, Control, Wish
from training.engine.early import closing_words, is_best, is_enough, judge
from training.engine.emit import EventWriter
from training.engine.errors import EngineError, LossSpike, NonFiniteLoss, OutOfMemory
from training.engine.estimate import MemoryPlan
from training.engine.method import Method, TrainingRows
from training.engine.model import LanguageModel, load_model
from training.engine.optimizer import MasterAdamW, learning_rate
from training.engine.probes import ProbeSet, choose_probes
from training.engine.processes import draw_apart, is_lost_process, join_processes, leave_processes, tell_failure
from training.engine.room import is_out_of_memory, no_room
from training.engine.run import Pace, Run, Stopped, memory_bytes, run_wide
from training.engine.saving import all_finite, keep_resume_point, resume, save
from training.engine.spec import End, JobSpec, Step
from training.engine.start import device_facts, memory_plan, prepare_machine, read_data, tell_started
from training.engine.step import step_that_fits
from training.engine.validation import sampled_rows, validate

logger = logging.getLogger(__name__)


def main(method: Method) -> int:
    """The command line of every method."""
    if len(sys.argv) != 2 or not (Path(sys.argv[1]) / "spec.json").exists():
        print("usage: python -m training.engine.METHOD RUN_FOLDER (with a spec.json in it)", file=sys.stderr)
        return 2
    code = run(Path(sys.argv[1]), method)
    if code == 0:
        leave_processes()
    return code


def run(run_folder: Path, method: Method) -> int:
    """Trains as spec.json says and returns the exit code. Whatever happens, the last event is an End."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    process = join_processes()
    events = EventWriter(run_folder / "events.jsonl", enabled=process.is_main_process)
    try:
        spec = JobSpec.model_validate_json((run_folder / "spec.json").read_text())
        this = Run(run_folder, spec, events, Control(run_folder), process, method)
        try:
            status = _train(this)
        finally:
            this.beside.settle()  # what is half written gets done, whatever ended the training
        events.write(End, status=status, message=this.closing)
        return 0
    except EngineError as error:
        logger.error("%s", error)
        tell_failure(run_folder, events, process, error.code, error.message)
    except Exception as error:  # the border of the process: a bug must leave its reason too
        logger.exception("the trainer failed")
        known = OutOfMemory(no_room(this)) if is_out_of_memory(error) else None
        text = f"The trainer stopped on an error of its own: {type(error).__name__}: {error}. See trainer.log."
        if not is_lost_process(error):
            tell_failure(run_folder, events, process, known.code if known else "server_error", str(known or text))
    finally:
        events.close()
    return 1


@dataclass
class Training:
    """What is trained and how far it is; lives from the first step to the last."""

    run: Run
    model: LanguageModel
    optimizer: MasterAdamW
    rows: TrainingRows
    valid_rows: TrainingRows | None
    plan: MemoryPlan
    probes: ProbeSet
    progress: Progress
    batches: list[np.ndarray] = field(default_factory=list)  # of the epoch that is gone through
    found: dict[str, Any] = field(default_factory=dict)  # figures of the last step, for a checkpoint
    pace: Pace = field(default_factory=Pace)
    saved_at: float = field(default_factory=time.monotonic)
    saved_step: int = 0  # of the last checkpoint of this start

    @property
    def steps_per_epoch(self) -> int:
        return -(-len(self.rows) // self.run.spec.batch_size)

    @property
    def total_steps(self) -> int:
        return self.steps_per_epoch * self.run.spec.n_epochs

    @property
    def at_epoch_end(self) -> bool:
        return self.progress.step % self.steps_per_epoch == 0

    def is_due(self, every_steps: int) -> bool:
        return bool(every_steps) and self.progress.step % every_steps == 0


def _train(run: Run) -> str:
    """Everything from rows to the last checkpoint; returns the End status."""
    prepare_machine(run.spec)
    remove_leftovers(run.folder)
    try:
        training = _prepared(run)
    except Stopped as stopped:
        run.control.granted(stopped.args[0])
        return END_OF_WISH[stopped.args[0]]
    run.phase("training")
    try:
        wish = _go_through_the_steps(training)
    except (LossSpike, NonFiniteLoss) as error:
        error.message += _saved_before(training)
        raise
    _leave(training, wish)
    return END_OF_WISH.get(wish, "succeeded")


def _prepared(run: Run) -> Training:
    """Data, model and optimizer, as they are before the next step. Raises Stopped."""
    spec = run.spec
    chat, rows, valid_rows = read_data(run)
    run.phase("loading")
    device = device_facts(run)
    plan = memory_plan(run, rows, device)
    model = load_model(spec, run.device, plan.checkpoint_activations)
    if run.method.before:
        plan = run.method.before(run, model, rows, valid_rows, plan)
    probes = choose_probes(model, chat, valid_rows or rows)
    optimizer = MasterAdamW(model.trainable, spec.weight_decay, eight_bit=spec.optimizer == "adamw_8bit")
    progress = resume(run, optimizer)
    training = Training(run, model, optimizer, rows, valid_rows, plan, probes, progress)
    tell_started(run, model, rows, valid_rows, device, training.steps_per_epoch, progress)
    return training


def _go_through_the_steps(training: Training) -> Wish:
    """Until the last step, an early end or a wish that ends the run, which is returned."""
    run, progress = training.run, training.progress
    while progress.step < training.total_steps and not is_enough(run.spec, progress):
        wish = run_wide(run, run.control.wish())
        if wish in END_OF_WISH:
            return wish
        run.beside.check()
        _one_step(training)
        _validate_when_due(training)
        judge(run.spec, progress, training.found)
        _save_when_due(training, is_best(run.spec, progress, training.found))
    run.closing = closing_words(run.spec, progress) if progress.step < training.total_steps else ""
    return ""


def _one_step(training: Training) -> None:
    run, progress = training.run, training.progress
    epoch, place = divmod(progress.step, training.steps_per_epoch)
    if not training.batches or place == 0:
        training.batches = epoch_batches(training.rows.lengths, run.spec.batch_size, run.spec.seed, epoch)
    began = time.monotonic()
    rate = learning_rate(run.spec, progress.step + 1, training.total_steps)
    draw_apart(run, progress.step)
    parts = (run, training.model, training.optimizer, training.rows)
    figures, norm, training.plan = step_that_fits(*parts, training.batches[place], training.plan, rate)
    progress.step += 1
    progress.trained_tokens += figures.trained
    training.found = {"train_loss": figures.loss, "train_accuracy": figures.accuracy}
    run.events.write(
        Step,
        step=progress.step,
        epoch=progress.step / training.steps_per_epoch,
        train_loss=figures.loss,
        train_accuracy=figures.accuracy,
        learning_rate=rate,
        grad_norm=norm,
        trained_tokens=progress.trained_tokens,
        tokens_per_second=training.pace.add(figures.tokens, time.monotonic() - began),
        memory_bytes=memory_bytes(run.device),
        metrics=figures.metrics,
    )


def _validate_when_due(training: Training) -> None:
    """A sampled batch every now and then; the whole set at each epoch's end, and in between if asked."""
    run, spec, step, rows = training.run, training.run.spec, training.progress.step, training.valid_rows
    if not rows:
        return
    if training.at_epoch_end or training.is_due(spec.valid_every_steps):
        sampled = sampled_rows(rows, spec, step)
        training.found |= validate(run, training.model, rows, sampled, training.plan, step, whole=False)
    if training.at_epoch_end or training.is_due(spec.validate_every_steps):
        every = np.arange(len(rows))
        training.found |= validate(run, training.model, rows, every, training.plan, step, whole=True)


def _save_when_due(training: Training, best: bool) -> None:
    """A checkpoint at each epoch's end, at an early end, of the `best` weights so far where the job wants these, and
    when asked for; else a resume point after some time."""
    run, progress = training.run, training.progress
    late = time.monotonic() - training.saved_at >= run.spec.resume_every_seconds
    wish, late = run_wide(run, (run.control.wish(), late))
    if training.at_epoch_end or best or wish == "save" or is_enough(run.spec, progress):
        _save(training)
        run.control.granted("save")
        if progress.step < training.total_steps:
            run.phase("training")
    elif late and not wish:
        keep_resume_point(run, training.optimizer, progress)
        training.saved_at = time.monotonic()


def _save(training: Training) -> None:
    parts = (training.run, training.model, training.optimizer, training.progress, training.probes)
    save(*parts, training.found, training.steps_per_epoch)
    training.saved_at, training.saved_step = time.monotonic(), training.progress.step


def _saved_before(training: Training) -> str:
    """Saves the weights as a step that was not done left them; says so in words."""
    run, step = training.run, training.progress.step
    training.optimizer.forget()
    if not step or not all_finite(run, training.optimizer):
        return ""
    try:
        if step > training.saved_step:
            _save(training)
        run.beside.wait()
    except EngineError as error:
        return f" These weights could not be saved: {error.message}"
    return (  # the loss of a step tells what the step before it made of the weights
        f" These weights are saved as the checkpoint of step {step}. Where the rate is to blame and not the rows, step "
        f"{step} may have spoilt them already: try them before you train on from them."
    )


def _leave(training: Training, wish: Wish) -> None:
    """Saves what a wish asks for, waits until everything is written, and removes what nobody needs any more."""
    run, progress = training.run, training.progress
    if wish in ("stop", "pause") and progress.step:
        _save(training)
    if wish == "interrupt" and progress.step:
        keep_resume_point(run, training.optimizer, progress, wait=True)
    run.beside.wait()
    if wish != "interrupt" and run.process.is_main_process:
        shutil.rmtree(run.folder / "resume", ignore_errors=True)  # a checkpoint holds the same state
        if not wish:
            shutil.rmtree(run.folder / "tokens", ignore_errors=True)
    if wish:
        run.control.granted(wish)
