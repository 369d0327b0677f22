"""The one training loop. A method is two functions: how a row becomes numbers, and the loss of a batch of rows.

B batch, T tokens, N trained positions. The loss of a step is the sum over the trained tokens of the global batch
divided by their number, so that cutting the batch into forward passes, or over processes, changes only the rounding.
"""

import logging
import shutil
import time
from pathlib import Path

import numpy as np
import torch
from accelerate import PartialState

from training.engine.batches import Rows, collate, epoch_batches, micro_batches
from training.engine.checkpoint import remove_leftovers
from training.engine.control import END_OF_WISH, Control
from training.engine.emit import EventWriter
from training.engine.errors import EngineError, NonFiniteLoss, OutOfMemory
from training.engine.model import LanguageModel, load_model
from training.engine.optimizer import MasterAdamW, learning_rate
from training.engine.probes import choose_probes
from training.engine.run import (
    BatchLoss,
    EncodeRow,
    Figures,
    Pace,
    Run,
    figures_of,
    memory_bytes,
    run_wide,
    sizes,
    sum_over_processes,
)
from training.engine.saving import keep_resume_point, resume, save
from training.engine.spec import End, JobSpec, Step
from training.engine.start import Stopped, device_facts, memory_plan, prepare_machine, read_data, tell_started
from training.engine.validation import sampled_rows, validate

logger = logging.getLogger(__name__)


def run(run_folder: Path, encode_row: EncodeRow, loss: BatchLoss) -> int:
    """Trains as spec.json says and returns the exit code. Whatever happens, the last event is an End."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    process = PartialState(cpu=not torch.cuda.is_available())
    events = EventWriter(run_folder / "events.jsonl", enabled=process.is_main_process)
    try:
        spec = JobSpec.model_validate_json((run_folder / "spec.json").read_text())
        this = Run(run_folder, spec, events, Control(run_folder), process, loss)
        try:
            status = _train(this, encode_row)
        finally:
            this.beside.settle()  # what is half written gets done, whatever ended the training
        events.write(End, status=status)
        return 0
    except EngineError as error:
        logger.error("%s", error)
        events.write(End, status="failed", code=error.code, message=error.message)
    except Exception as error:  # the border of the process: a bug must leave its reason too
        logger.exception("the trainer failed")
        known = _out_of_memory(error)
        text = f"The trainer stopped on an error of its own: {type(error).__name__}: {error}. See trainer.log."
        events.write(End, status="failed", code=known.code if known else "server_error", message=str(known or text))
    finally:
        events.close()
    return 1


def _out_of_memory(error: BaseException) -> OutOfMemory | None:
    if isinstance(error, torch.OutOfMemoryError | MemoryError) or "can't allocate memory" in str(error):
        return OutOfMemory(
            "The device ran out of memory. Choose a smaller max_length or LoRA instead of full weights, "
            "or free memory that other programs hold."
        )
    return None


def _train(run: Run, encode_row: EncodeRow) -> str:
    """Everything from rows to the last checkpoint; returns the End status."""
    spec, events, control = run.spec, run.events, run.control
    prepare_machine(spec)
    remove_leftovers(run.folder)
    try:
        chat, rows, valid_rows = read_data(run, encode_row)
    except Stopped as stopped:
        control.granted(stopped.args[0])
        return END_OF_WISH[stopped.args[0]]
    run.phase("loading")
    device = device_facts(run)
    plan = memory_plan(run, rows, device)
    model = load_model(spec, run.device, plan.checkpoint_activations)
    probes = choose_probes(model, chat, valid_rows or rows)
    optimizer = MasterAdamW(model.trainable, spec.weight_decay)
    steps_per_epoch = -(-len(rows) // spec.batch_size)
    total_steps = steps_per_epoch * spec.n_epochs
    progress = resume(run, optimizer)
    tell_started(run, model, rows, valid_rows, device, steps_per_epoch, progress)
    run.phase("training")

    pace, saved_at = Pace(), time.monotonic()
    batches: list[np.ndarray] = []
    found: dict[str, float | None] = {}
    while progress.step < total_steps:
        epoch, place = divmod(progress.step, steps_per_epoch)
        if not batches or place == 0:
            batches = epoch_batches(rows.lengths, spec.batch_size, spec.seed, epoch)
        wish = run_wide(run, control.wish())
        if wish in END_OF_WISH:
            break
        run.beside.check()

        began = time.monotonic()
        rate = learning_rate(spec, progress.step + 1, total_steps)
        figures, norm = _step(run, model, optimizer, rows, batches[place], plan.micro_batch_tokens, rate)
        progress.step += 1
        progress.trained_tokens += round(figures.weight)
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
        )

        epoch_ends = progress.step % steps_per_epoch == 0
        found = {"train_loss": figures.loss, "train_accuracy": figures.accuracy}
        if valid_rows and (epoch_ends or (spec.valid_every_steps and progress.step % spec.valid_every_steps == 0)):
            sampled = sampled_rows(valid_rows, spec, progress.step)
            found |= validate(run, model, valid_rows, sampled, plan, progress.step, whole=False)
        if valid_rows and epoch_ends:
            found |= validate(run, model, valid_rows, np.arange(len(valid_rows)), plan, progress.step, whole=True)
        wish = run_wide(run, control.wish())
        if epoch_ends or wish == "save":
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

    if wish in ("stop", "pause") and progress.step:
        save(run, model, optimizer, progress, probes, found, steps_per_epoch)
    if wish == "interrupt" and progress.step:
        keep_resume_point(run, optimizer, progress, wait=True)
    run.beside.wait()
    if wish != "interrupt" and run.process.is_main_process:
        shutil.rmtree(run.folder / "resume", ignore_errors=True)  # a checkpoint holds the same state
    if wish:
        control.granted(wish)
    return END_OF_WISH.get(wish, "succeeded")


def _step(
    run: Run,
    model: LanguageModel,
    optimizer: MasterAdamW,
    rows: Rows,
    batch_rows: np.ndarray,
    token_budget: int,
    rate: float,
) -> tuple[Figures, float]:
    """Forward and backward over the batch in as many passes as needed, then one update. Returns its gradient norm."""
    model.network.train()
    mine = batch_rows[run.process.process_index :: run.process.num_processes]
    sums = torch.zeros(4, dtype=torch.float64, device=run.device)
    for chosen in micro_batches(mine, rows.lengths, token_budget):
        batch = collate(rows, chosen, run.device)
        loss, correct = run.loss(model, batch)
        loss.backward()
        optimizer.collect()
        sums += torch.stack([loss.detach().double(), correct.double(), *sizes(batch, run.device)])
    sums = sum_over_processes(run, sums)
    if run.process.num_processes > 1:
        for master in optimizer.masters.values():
            master.grad = sum_over_processes(run, torch.zeros_like(master) if master.grad is None else master.grad)
    figures = figures_of(sums)
    norm = optimizer.clip(run.spec.max_grad_norm, scale=1 / figures.weight)
    if not (np.isfinite(figures.loss) and np.isfinite(norm)):
        raise NonFiniteLoss(
            f"The loss became {figures.loss} (gradient norm {norm}) and the weights were left as they were before this "
            "step. Lower the learning rate multiplier, or look for broken rows in the training file."
        )
    optimizer.step(rate)
    return figures, norm
