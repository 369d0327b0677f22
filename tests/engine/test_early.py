"""A run that stops early: when, with what, and that a pause in between changes nothing."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from tests import makers
from tests.engine.runs import after, ended, events, train
from training.engine import sft
from training.engine.checkpoint import Progress
from training.engine.early import is_enough, judge
from training.engine.spec import JobSpec, Recipe

FLAT = {"n_epochs": 6, "stop_metric": "full_valid_loss", "stop_patience": 2, "stop_min_change": 100.0}


def test_a_run_that_gets_no_better_ends_with_a_checkpoint_and_says_why(make_run: Callable[..., Path]) -> None:
    folder = make_run(**FLAT)
    train(folder)
    end = ended(folder)
    assert end.status == "succeeded"
    assert "Stopped early after step 9: 2 validations in a row brought no better validation loss" in end.message
    assert [step.step for step in events(folder, "step")] == list(range(1, 10))
    assert events(folder, "started")[0].total_steps == 18
    assert [c.step for c in events(folder, "checkpoint")] == [3, 6, 9]
    train(folder)  # started again it is still over
    assert ended(folder).message == end.message and len(events(folder, "step")) == 9


def test_between_the_epochs_too_with_a_checkpoint_of_its_own(make_run: Callable[..., Path]) -> None:
    folder = make_run(**FLAT, validate_every_steps=1)
    train(folder)
    assert [step.step for step in events(folder, "step")] == [1, 2, 3]
    folder = make_run("patient", **{**FLAT, "stop_patience": 3}, validate_every_steps=1)
    train(folder)
    assert [step.step for step in events(folder, "step")] == [1, 2, 3, 4]
    assert [c.path for c in events(folder, "checkpoint")] == [
        "checkpoints/epoch-1-step-3",
        "checkpoints/epoch-2-step-4",
    ]


def test_a_run_that_gets_better_goes_on_to_its_end(make_run: Callable[..., Path]) -> None:
    folder = make_run(stop_metric="full_valid_loss", stop_patience=1)
    train(folder)
    assert ended(folder).message == "" and len(events(folder, "step")) == 6


def test_what_was_counted_survives_a_pause(make_run: Callable[..., Path]) -> None:
    folder = make_run(**FLAT)
    train(folder, after(7, (folder / "pause").touch))
    assert ended(folder).status == "paused"
    train(folder)
    assert len(events(folder, "step")) == 9 and "after step 9" in ended(folder).message


@pytest.mark.parametrize(
    ("metric", "values", "stale"),
    [
        ("full_valid_loss", [1.0, 0.8, 0.75, 0.79], 2),  # 0.75 is better, but by less than 0.1
        ("full_valid_loss", [1.0, 0.8, 0.69, 0.9], 1),
        ("full_valid_accuracy", [0.5, 0.7, 0.9], 0),
        ("full_valid_accuracy", [0.5, 0.55, 0.59], 2),
        ("none", [1.0, 2.0, 3.0], 0),
    ],
)
def test_the_rule_by_hand(metric: str, values: list[float], stale: int) -> None:
    spec = JobSpec.model_validate(
        {"job_id": "j", "base_model": "m", "base_path": "/m", "training_file": "/t", "n_epochs": 1, "batch_size": 1,
         "learning_rate": 1.0, "max_length": 64, "adaptation": "full", "stop_metric": metric, "stop_min_change": 0.1}
    )  # fmt: skip
    progress = Progress()
    for value in values:
        judge(spec, progress, {"full_valid_loss": value, "full_valid_accuracy": value})
        judge(spec, progress, {"train_loss": 0.1})  # a step without a whole validation counts nothing
    assert progress.stale == stale
    assert is_enough(spec, progress) is (stale >= 2)


def judged_as(folder: Path, factors: list[float]) -> Callable[..., Any]:
    """The method's loss; that of validation rows is multiplied by the factor of the step."""

    def loss(model: Any, batch: Any) -> Any:
        sums = sft.batch_loss(model, batch)
        steps = len({step.step for step in events(folder, "step")})
        return sums if torch.is_grad_enabled() or not steps else sums._replace(loss=sums.loss * factors[steps - 1])

    return loss


BEST_BETWEEN = [3.0, 1.0, 4.0, 2.0, 0.1, 5.0]
WANTED = {"validate_every_steps": 1, "save_best": "full_valid_loss"}


def test_the_best_weights_between_the_epochs_are_saved_for_a_job_that_wants_them(make_run: Callable[..., Path]) -> None:
    folder = make_run(**WANTED)
    train(folder, judged_as(folder, BEST_BETWEEN))
    saved = {each.step: each.full_valid_loss for each in events(folder, "checkpoint")}
    assert list(saved) == [1, 2, 3, 5, 6] and min(saved, key=saved.__getitem__) == 5
    left = make_run("left", validate_every_steps=1)
    train(left, judged_as(left, BEST_BETWEEN))
    assert [each.step for each in events(left, "checkpoint")] == [3, 6]


def test_which_weights_are_the_best_so_far_survives_a_pause(make_run: Callable[..., Path]) -> None:
    folder = make_run(**WANTED)
    judged = judged_as(folder, BEST_BETWEEN)

    def pausing_after_the_third_step(model: Any, batch: Any) -> Any:
        if torch.is_grad_enabled() and len(events(folder, "step")) == 2:
            (folder / "pause").touch()
        return judged(model, batch)

    train(folder, pausing_after_the_third_step)
    assert ended(folder).status == "paused"
    train(folder, judged)
    assert {each.step for each in events(folder, "checkpoint")} == {1, 2, 3, 5, 6}  # not 4, no better than 2


@pytest.mark.parametrize(
    ("keep", "stop", "wanted"),
    [
        ({"keep_checkpoints": "best", "keep_metric": "full_valid_accuracy"}, "none", "full_valid_accuracy"),
        ({"keep_checkpoints": "best"}, "full_valid_accuracy", "full_valid_loss"),
        ({}, "full_valid_accuracy", "full_valid_accuracy"),
        ({"keep_checkpoints": "last"}, "full_valid_loss", "none"),  # they would be deleted again
        ({}, "none", "none"),
    ],
)
def test_a_job_that_stops_early_or_keeps_the_best_wants_its_best_weights(keep: dict, stop: str, wanted: str) -> None:
    resolved = makers.make_resolved(Recipe(stop_metric=stop, **keep))
    assert resolved.save_best == wanted
