"""Rules over the validations of the whole set: stopping early, and which weights are the best so far."""

from typing import Any

from training.engine.checkpoint import Progress
from training.engine.spec import JobSpec

WORDS = {"full_valid_loss": "validation loss", "full_valid_accuracy": "validation accuracy"}


def judge(spec: JobSpec, progress: Progress, found: dict[str, Any]) -> None:
    """Counts in `progress` how many whole validations in a row brought nothing better; `found` holds the newest one."""
    value = found.get(spec.stop_metric)
    if value is None:
        return
    better = -value if spec.stop_metric == "full_valid_loss" else value
    if progress.best is None or better > progress.best + spec.stop_min_change:
        progress.best, progress.best_step, progress.stale = better, progress.step, 0
    else:
        progress.stale += 1


def is_best(spec: JobSpec, progress: Progress, found: dict[str, Any]) -> bool:
    """Whether a validation at this step tells the best weights so far, for a job that wants them kept."""
    value = found.get(spec.save_best)
    if value is None:
        return False
    better = -value if spec.save_best == "full_valid_loss" else value
    if progress.best_saved is not None and better <= progress.best_saved:
        return False
    progress.best_saved = better
    return True


def is_enough(spec: JobSpec, progress: Progress) -> bool:
    return spec.stop_metric != "none" and progress.stale >= spec.stop_patience


def closing_words(spec: JobSpec, progress: Progress) -> str:
    """For people: why a run ended before its last step."""
    times = f"{spec.stop_patience} validation{'s in a row' if spec.stop_patience > 1 else ''}"
    least = f" by more than {spec.stop_min_change:g}" if spec.stop_min_change else ""
    return (
        f"Stopped early after step {progress.step}: {times} brought no better {WORDS[spec.stop_metric]}{least} "
        f"than {abs(progress.best or 0.0):.4g} at step {progress.best_step}"
    )
