"""The one training loop. What differs between methods are a few functions: training/engine/method.py.

The loss of a step is the sum over the global batch divided by its weight (of SFT: the trained tokens), so that cutting
the batch into forward passes, or over processes, changes only the rounding.
"""

import logging
import shutil
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import PartialState
from torch import Tensor

from training.engine.batches import epoch_batches, micro_batches
from training.engine.checkpoint import remove_leftovers
from training.engine.control import END_OF_WISH, Control
from training.engine.early import closing_words, is_enough, judge
from training.engine.emit import EventWriter
from training.engine.errors import EngineError, LossSpike, NonFiniteLoss, OutOfMemory
from training.engine.estimate import MemoryPlan
from training.engine.method import Method, TrainingRows
from training.engine.model import LanguageModel, load_model
from training.engine.optimizer import MasterAdamW, learning_rate
from training.engine.probes import choose_probes
from training.engine.room import free_memory, is_out_of_memory, no_room, smaller_plan, told_to_all
from training.engine.run import (
    Figures,
    Pace,
    Run,
    Stopped,
    figures_of,
    memory_bytes,
    no_sums,
    run_wide,
    stacked,
    sum_over_processes,
)
from training.engine.saving import keep_resume_point, resume, save
from training.engine.spec import End, JobSpec, Step
from training.engine.spikes import named_lines
from training.engine.start import device_facts, memory_plan, prepare_machine, read_data, tell_started
from training.engine.validation import sampled_rows, validate

logger = logging.getLogger(__name__)


def main(method: Method) -> int:
    """The command line of every method."""
    if len(sys.argv) != 2 or not (Path(sys.argv[1]) / "spec.json").exists():
        print("usage: python -m training.engine.METHOD RUN_FOLDER (with a spec.json in it)", file=sys.stderr)
        return 2
    return run(Path(sys.argv[1]), method)


def run(run_folder: Path, method: Method) -> int:
    """Trains as spec.json says and returns the exit code. Whatever happens, the last event is an End."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    process = PartialState(cpu=not torch.cuda.is_available())
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
        events.write(End, status="failed", code=error.code, message=error.message)
    except Exception as error:  # the border of the process: a bug must leave its reason too
        logger.exception("the trainer failed")
        known = OutOfMemory(no_room(this)) if is_out_of_memory(error) else None
        text = f"The trainer stopped on an error of its own: {type(error).__name__}: {error}. See trainer.log."
        events.write(End, status="failed", code=known.code if known else "server_error", message=str(known or text))
    finally:
        events.close()
    return 1


def _train(run: Run) -> str:
    """Everything from rows to the last checkpoint; returns the End status."""
    spec, events, control = run.spec, run.events, run.control
    prepare_machine(spec)
    remove_leftovers(run.folder)
    try:
        chat, rows, valid_rows = read_data(run)
        run.phase("loading")
        device = device_facts(run)
        plan = memory_plan(run, rows, device)
        model = load_model(spec, run.device, plan.checkpoint_activations)
        if run.method.before:
            plan = run.method.before(run, model, rows, valid_rows, plan)
    except Stopped as stopped:
        control.granted(stopped.args[0])
        return END_OF_WISH[stopped.args[0]]
    probes = choose_probes(model, chat, valid_rows or rows)
    optimizer = MasterAdamW(model.trainable, spec.weight_decay, eight_bit=spec.optimizer == "adamw_8bit")
    steps_per_epoch = -(-len(rows) // spec.batch_size)
    total_steps = steps_per_epoch * spec.n_epochs
    progress = resume(run, optimizer)
    tell_started(run, model, rows, valid_rows, device, steps_per_epoch, progress)
    run.phase("training")

    pace, saved_at = Pace(), time.monotonic()
    batches: list[np.ndarray] = []
    found: dict[str, Any] = {}
    while progress.step < total_steps and not is_enough(spec, progress):
        epoch, place = divmod(progress.step, steps_per_epoch)
        if not batches or place == 0:
            batches = epoch_batches(rows.lengths, spec.batch_size, spec.seed, epoch)
        wish = run_wide(run, control.wish())
        if wish in END_OF_WISH:
            break
        run.beside.check()

        began = time.monotonic()
        rate = learning_rate(spec, progress.step + 1, total_steps)
        figures, norm, plan = _step_that_fits(run, model, optimizer, rows, batches[place], plan, rate)
        progress.step += 1
        progress.trained_tokens += figures.trained
        events.write(
            Step,
            step=progress.step,
            epoch=progress.step / steps_per_epoch,
            train_loss=figures.loss,
            train_accuracy=figures.accuracy,
            learning_rate=rate,
            grad_norm=norm,
            trained_tokens=progress.trained_tokens,
            tokens_per_second=pace.add(figures.tokens, time.monotonic() - began),
            memory_bytes=memory_bytes(run.device),
            metrics=figures.metrics,
        )

        epoch_ends = progress.step % steps_per_epoch == 0
        found = {"train_loss": figures.loss, "train_accuracy": figures.accuracy}
        if valid_rows and (epoch_ends or (spec.valid_every_steps and progress.step % spec.valid_every_steps == 0)):
            sampled = sampled_rows(valid_rows, spec, progress.step)
            found |= validate(run, model, valid_rows, sampled, plan, progress.step, whole=False)
        whole_asked = spec.validate_every_steps and progress.step % spec.validate_every_steps == 0
        if valid_rows and (epoch_ends or whole_asked):
            found |= validate(run, model, valid_rows, np.arange(len(valid_rows)), plan, progress.step, whole=True)
        judge(spec, progress, found)
        wish = run_wide(run, control.wish())
        if epoch_ends or wish == "save" or is_enough(spec, progress):
            save(run, model, optimizer, progress, probes, found, steps_per_epoch)
            saved_at = time.monotonic()
            control.granted("save")
            if progress.step < total_steps:
                run.phase("training")
        elif time.monotonic() - saved_at >= spec.resume_every_seconds and not wish:
            keep_resume_point(run, optimizer, progress)
            saved_at = time.monotonic()
    else:
        wish = ""
        run.closing = closing_words(spec, progress) if progress.step < total_steps else ""

    if wish in ("stop", "pause") and progress.step:
        save(run, model, optimizer, progress, probes, found, steps_per_epoch)
    if wish == "interrupt" and progress.step:
        keep_resume_point(run, optimizer, progress, wait=True)
    run.beside.wait()
    if wish != "interrupt" and run.process.is_main_process:
        shutil.rmtree(run.folder / "resume", ignore_errors=True)  # a checkpoint holds the same state
        if not wish:
            shutil.rmtree(run.folder / "tokens", ignore_errors=True)
    if wish:
        control.granted(wish)
    return END_OF_WISH.get(wish, "succeeded")


def _step_that_fits(
    run: Run,
    model: LanguageModel,
    optimizer: MasterAdamW,
    rows: TrainingRows,
    batch_rows: np.ndarray,
    plan: MemoryPlan,
    rate: float,
) -> tuple[Figures, float, MemoryPlan]:
    """A step, tried again in smaller passes where memory runs out; returns the plan that worked."""
    random = torch.get_rng_state(), torch.cuda.get_rng_state() if run.device.type == "cuda" else None
    while True:
        try:
            return *_step(run, model, optimizer, rows, batch_rows, plan.micro_batch_tokens, rate), plan
        except torch.OutOfMemoryError:
            pass  # handled outside, when the error holds no tensors any more
        optimizer.forget()
        free_memory()
        torch.set_rng_state(random[0])  # dropout draws the same once more
        if random[1] is not None:
            torch.cuda.set_rng_state(random[1])
        plan = smaller_plan(run, model, rows, batch_rows.tolist(), plan)


def _step(
    run: Run,
    model: LanguageModel,
    optimizer: MasterAdamW,
    rows: TrainingRows,
    batch_rows: np.ndarray,
    token_budget: int,
    rate: float,
) -> tuple[Figures, float]:
    """Forward and backward over the batch in as many passes as needed, then one update. Returns its gradient norm."""
    model.network.train()
    mine = batch_rows[run.process.process_index :: run.process.num_processes]
    sums = no_sums(run)
    passes: list[tuple[list[int], Tensor]] = []
    with told_to_all(run):
        for chosen in micro_batches(mine, rows.lengths, token_budget, run.spec.packing):
            batch = run.method.collate(rows, chosen, run.device)
            judged = run.method.loss(model, batch)
            judged.loss.backward()
            optimizer.collect()
            sums += stacked(run, judged, batch.tokens, batch.trained)
            passes.append((chosen, judged.loss.detach()))
    sums = sum_over_processes(run, sums)
    if run.process.num_processes > 1:
        for master in optimizer.masters.values():
            master.grad = sum_over_processes(run, torch.zeros_like(master) if master.grad is None else master.grad)
    figures = figures_of(run, sums)
    norm = optimizer.clip(run.spec.max_grad_norm, scale=1 / figures.weight)
    if not (np.isfinite(figures.loss) and np.isfinite(norm)):
        raise NonFiniteLoss(
            f"The loss became {figures.loss} (gradient norm {norm}) and the weights were left as they were before this "
            f"step. Lower the learning rate multiplier, or look for broken rows{_where(rows, batch_rows, passes)}."
        )
    _watch_for_a_spike(run, rows, batch_rows, figures.loss)
    optimizer.step(rate)
    return figures, norm


def _where(rows: TrainingRows, batch_rows: np.ndarray, passes: list[tuple[list[int], Tensor]]) -> str:
    """The lines of the passes whose own loss is no number; of the whole batch when only their gradient is none."""
    broken = [row for chosen, loss in passes if not torch.isfinite(loss) for row in chosen]
    lines = named_lines(rows, broken or batch_rows.tolist())
    return f": this batch had {lines}" if lines else " in the training file"


def _watch_for_a_spike(run: Run, rows: TrainingRows, batch_rows: np.ndarray, loss: float) -> None:
    usual = run.spikes.usual(loss) if run.spec.on_spike != "off" else None
    if usual is None:
        return
    lines = named_lines(rows, batch_rows.tolist())
    text = f"The training loss rose to {loss:.3g} from about {usual:.3g}{f'; this batch had {lines}' if lines else ''}"
    if run.spec.on_spike == "stop":
        raise LossSpike(
            f"{text}. The job asked to stop at a spike; the weights were left as they were before this step. "
            "Look at these rows, or lower the learning rate multiplier."
        )
    run.note(text, "warn")
