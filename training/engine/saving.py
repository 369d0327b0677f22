"""When the run writes: checkpoints, the resume point, and going on from them."""

from safetensors import SafetensorError

from training.engine.checkpoint import Progress, read_state, save_checkpoint, save_resume_point, states
from training.engine.errors import DiskFull
from training.engine.model import LanguageModel
from training.engine.optimizer import MasterAdamW
from training.engine.probes import ProbeSet, measure_probes
from training.engine.run import Run
from training.engine.spec import CheckpointSaved


def save(
    run: Run,
    model: LanguageModel,
    optimizer: MasterAdamW,
    progress: Progress,
    probes: ProbeSet,
    found: dict[str, float | None],
    steps_per_epoch: int,
) -> None:
    if run.process.is_main_process:
        run.phase("saving")
        model.network.eval()
        epoch = -(-progress.step // steps_per_epoch)
        with model.as_saved():
            measured = measure_probes(model, probes)
            meta = save_checkpoint(run.folder, epoch, run.spec, model, optimizer, progress, measured, found)
        run.events.write(CheckpointSaved, **{key: meta.get(key) for key in CheckpointSaved.model_fields if key in meta})
    run.process.wait_for_everyone()


def write_resume_point(run: Run, optimizer: MasterAdamW, progress: Progress) -> None:
    if run.process.is_main_process:
        try:
            save_resume_point(run.folder, optimizer, progress)
        except DiskFull as error:  # training can go on; only a crash would cost more
            run.note(f"No resume point: {error.message}", "warn")
    run.process.wait_for_everyone()


def resume(run: Run, optimizer: MasterAdamW) -> Progress:
    """Goes on from the newest state that can be read, else from the beginning."""
    for folder in states(run.folder):
        try:
            progress = read_state(folder, optimizer)
        except (OSError, ValueError, KeyError, RuntimeError, SafetensorError) as error:
            run.note(f"{folder.relative_to(run.folder)} cannot be read and is passed over: {error}", "warn")
            continue
        run.note(f"Continuing after step {progress.step}")
        return progress
    return Progress()
