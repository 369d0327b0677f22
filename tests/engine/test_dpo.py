"""Preference training on a tiny model: against the plainest code there is, what its reference is, and exact resume."""

import json
import math
import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer

from tests.engine.runs import FULL, ended, events, losses
from tests.engine.runs import train as train_sft
from tests.factories import preference_row, preference_rows, tiny_model
from training.engine import dpo, loop
from training.engine.chat import ChatFormat
from training.engine.model import LanguageModel, load_model
from training.engine.pairs import encode_pair
from training.engine.spec import JobSpec, Note

DPO = {"method": "dpo", "beta": 0.1, "learning_rate": 5e-3}


@pytest.fixture
def make_dpo(make_run: Callable[..., Path]) -> Callable[..., Path]:
    """A run folder with 12 pairs to train on and 5 to validate with, batch 4, two epochs of 3 steps, unless told."""

    def make(name: str = "run", rows: list[dict] | None = None, **changes: Any) -> Path:
        return make_run(name, rows or preference_rows(12), preference_rows(5, start=50), **(DPO | changes))

    return make


def train(folder: Path, loss: Any = dpo.batch_loss) -> list[Any]:
    loop.run(folder, replace(dpo.METHOD, loss=loss))
    return events(folder)


def after(count: int, action: Callable[[], None]) -> Any:
    """The method's loss, with `action` done at the `count`-th training pass."""
    seen = 0

    def loss(model: Any, batch: Any) -> Any:
        nonlocal seen
        seen += torch.is_grad_enabled()
        if torch.is_grad_enabled() and seen == count:
            action()
        return dpo.batch_loss(model, batch)

    return loss


# ---- against the plainest code ----


def plain_sides(tokenizer: Any, row: dict) -> Iterator[tuple[torch.Tensor, int]]:
    """Ids of prompt and answer, by transformers' own template code, and where the answer begins; preferred first."""
    before = row["input"]["messages"]
    prompt = tokenizer.apply_chat_template(before, add_generation_prompt=True, return_dict=False)
    for key in ("preferred_output", "non_preferred_output"):
        ids = tokenizer.apply_chat_template([*before, *row[key]], return_dict=False)
        end = len(ids) - ids[::-1].index(tokenizer.eos_token_id)  # the answer's end of turn is trained on, no more
        assert ids[: len(prompt)] == prompt
        yield torch.tensor([ids[:end]]), len(prompt)


def plain_logprob(model: Any, ids: torch.Tensor, start: int) -> torch.Tensor:
    logprobs = model(ids).logits[0, start - 1 : -1].log_softmax(-1)
    return logprobs.gather(1, ids[0, start:, None]).sum()


def plain_loss(policy: Any, reference: Any, tokenizer: Any, rows: list[dict], beta: float) -> torch.Tensor:
    """Mean over rows of -log sigmoid(beta (ratio of the preferred - ratio of the other)), one sequence at a time."""
    total = torch.zeros(())
    for row in rows:
        ratios = []
        for ids, start in plain_sides(tokenizer, row):
            with torch.no_grad():
                was = plain_logprob(reference, ids, start)
            ratios.append(plain_logprob(policy, ids, start) - was)
        total = total - torch.nn.functional.logsigmoid(beta * (ratios[0] - ratios[1]))
    return total / len(rows)


def moved(model: torch.nn.Module) -> None:
    """Weights a little away from where they were, the same for the same model."""
    random = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.02 * torch.randn(parameter.shape, generator=random)


def moved_from_reference(folder: Path, rows: list[dict], beta: float) -> tuple[LanguageModel, torch.Tensor]:
    """The model of a run folder, moved away from what it was judged as, with its loss; the gradients are there."""
    spec = JobSpec.model_validate_json((folder / "spec.json").read_text())
    model, chat = load_model(spec, torch.device("cpu")), ChatFormat.load(spec.base_path)
    ours = dpo.PairRows([encode_pair(chat, row) for row in rows], beta)
    every = list(range(len(rows)))
    with torch.no_grad():
        logps, _ = dpo.log_probabilities(model, dpo.collate(ours, every, model.device))
    ours.reference = logps.reshape(2, -1).T.numpy()
    moved(model.causal)
    sums = dpo.batch_loss(model, dpo.collate(ours, every, model.device))
    loss = sums.loss / sums.weight
    loss.backward()
    return model, loss


@pytest.mark.parametrize("beta", [0.1, 0.7])
def test_loss_and_gradient_are_those_of_the_plainest_code(
    make_dpo: Callable[..., Path], base: Path, beta: float
) -> None:
    rows = preference_rows(7)
    model, ours = moved_from_reference(make_dpo(**FULL, beta=beta), rows, beta)

    tokenizer = AutoTokenizer.from_pretrained(base)
    policy, reference = (AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32) for _ in range(2))
    moved(policy)
    loss = plain_loss(policy, reference, tokenizer, rows, beta)
    loss.backward()
    assert abs(loss.item() - math.log(2)) > 0.01  # away from the start, where any reference would do
    assert ours.item() == pytest.approx(loss.item(), rel=1e-5)
    plain = dict(policy.named_parameters())
    for name, parameter in model.causal.named_parameters():
        assert parameter.grad is not None and plain[name].grad is not None
        assert torch.allclose(parameter.grad, plain[name].grad, rtol=1e-3, atol=1e-5), name


@pytest.mark.parametrize(("dtype", "tolerance"), [("float32", 1e-3), ("bfloat16", 4e-2)])
def test_whole_validation_figures_are_those_of_the_plainest_code(
    make_dpo: Callable[..., Path], base: Path, dtype: str, tolerance: float
) -> None:
    folder = make_dpo(dtype=dtype)
    train(folder)
    tokenizer = AutoTokenizer.from_pretrained(base)
    reference = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    saved = events(folder, "checkpoint")[-1]
    policy = PeftModel.from_pretrained(
        AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32), str(folder / saved.path)
    )
    rewards = []
    with torch.no_grad():
        loss = plain_loss(policy, reference, tokenizer, preference_rows(5, start=50), 0.1).item()
        for row in preference_rows(5, start=50):
            rewards.append(
                [
                    0.1 * (plain_logprob(policy, *side) - plain_logprob(reference, *side)).item()
                    for side in plain_sides(tokenizer, row)
                ]
            )
    chosen, rejected = np.array(rewards).T
    assert saved.full_valid_loss == pytest.approx(loss, abs=tolerance)
    assert saved.metrics["rewards/chosen"] == pytest.approx(chosen.mean(), abs=tolerance)
    assert saved.metrics["rewards/margins"] == pytest.approx((chosen - rejected).mean(), abs=tolerance)
    assert saved.metrics["rewards/accuracies"] == (chosen > rejected).mean()


# ---- what it does and tells ----


def test_pairs_are_learned_from_ln_2_on_and_every_figure_is_told(make_dpo: Callable[..., Path]) -> None:
    folder = make_dpo(valid_every_steps=2)
    train(folder)
    assert ended(folder).status == "succeeded"
    steps = events(folder, "step")
    assert steps[0].train_loss == pytest.approx(math.log(2), abs=1e-6)  # the job starts at its own reference
    assert steps[0].metrics["rewards/margins"] == pytest.approx(0, abs=1e-5)
    assert steps[-1].train_loss < 0.3 and steps[-1].metrics["rewards/accuracies"] == 1
    for told in (*steps, *events(folder, "validation"), events(folder, "checkpoint")[-1]):
        assert set(told.metrics) == set(dpo.METRICS)
        chosen, rejected, margin = (told.metrics[f"rewards/{name}"] for name in ("chosen", "rejected", "margins"))
        assert margin == pytest.approx(chosen - rejected, abs=1e-5)
    started = events(folder, "started")[0]
    assert (started.total_steps, started.train_rows, started.valid_rows) == (6, 12, 5)
    judged = [phase for phase in events(folder, "phase") if phase.phase == "reference"]
    assert (judged[-1].done, judged[-1].total) == (17, 17)


def test_what_rounding_does_to_a_margin_is_told_before_the_first_step(make_dpo: Callable[..., Path]) -> None:
    def notes(folder: Path) -> list[str]:
        return [each.message for each in train(folder) if isinstance(each, Note) and "Rounding" in each.message]

    assert notes(make_dpo("exact", dtype="float32")) == []
    told = notes(make_dpo("rounded", dtype="bfloat16", beta=10.0))
    assert len(told) == 1
    found = re.fullmatch(
        r"Rounding in bfloat16 moves the margin of a pair by ±([\d.]+), measured on 12 pairs; "
        r"the mean over all 5 validation pairs by ±([\d.]+). Smaller differences say nothing; float32 shows them.",
        told[0],
    )
    assert found, told
    assert float(found[2]) == pytest.approx(float(found[1]) / 5**0.5, rel=0.1)


def test_how_a_batch_is_cut_into_passes_changes_only_rounding(make_dpo: Callable[..., Path]) -> None:
    curves = []
    for tokens in (10_000, 150, 1):
        folder = make_dpo(f"budget-{tokens}", micro_batch_tokens=tokens)
        train(folder)
        curves.append(losses(folder))
    for curve in curves[1:]:
        assert curve == pytest.approx(curves[0], abs=2e-5)


def test_prompts_that_are_plain_text_train_a_model_without_template(
    make_dpo: Callable[..., Path], tmp_path: Path
) -> None:
    plain = tiny_model(tmp_path / "plain", chat_template=False)
    rows = [{"prompt": f"{n} plus {n} is", "chosen": f" {2 * n}.", "rejected": " who knows"} for n in range(12)]
    folder = make_dpo(rows=rows, base_path=plain, validation_file=None)
    train(folder)
    assert ended(folder).status == "succeeded" and losses(folder)[6] < losses(folder)[1]


def test_a_pair_whose_answer_is_cut_away_is_left_out_and_a_broken_one_named(make_dpo: Callable[..., Path]) -> None:
    long = preference_row("word " * 200, "yes", "no")
    folder = make_dpo(rows=[*preference_rows(6), long], max_length=64)
    train(folder)
    assert events(folder, "started")[0].train_rows == 6
    assert any("1 training rows have nothing to train on" in note.message for note in events(folder, "note"))
    broken = make_dpo("broken", rows=[*preference_rows(2), {"input": {"messages": []}, "preferred_output": []}])
    train(broken)
    assert ended(broken).message.startswith("Line 3: ") and ended(broken).code == "invalid_training_file"


# ---- the reference ----


@pytest.mark.parametrize("changes", [{}, {"lora_r": 2, "lora_alpha": 4}, FULL], ids=["same", "beside", "merged"])
def test_the_reference_is_the_checkpoint_that_the_job_starts_from(
    make_run: Callable[..., Path], make_dpo: Callable[..., Path], base: Path, changes: dict
) -> None:
    first = make_run("sft", n_epochs=1)
    train_sft(first)
    start = first / events(first, "checkpoint")[0].path
    folder = make_dpo(start_path=start, n_epochs=1, **changes)
    train(folder)
    assert losses(folder)[1] == pytest.approx(math.log(2), abs=1e-5)

    tokenizer = AutoTokenizer.from_pretrained(base)
    model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    with torch.no_grad():
        raw = [
            plain_logprob(model, *side).item() for row in preference_rows(12) for side in plain_sides(tokenizer, row)
        ]
        tuned = PeftModel.from_pretrained(model, str(start))
        own = [
            plain_logprob(tuned, *side).item() for row in preference_rows(12) for side in plain_sides(tokenizer, row)
        ]
    kept = np.load(next(folder.glob("reference/train-*.npy"))).reshape(-1)
    assert kept.tolist() == pytest.approx(own, abs=1e-3)
    assert np.abs(kept - raw).max() > 0.1  # not the base model's


@pytest.mark.parametrize("changes", [{"lora_dropout": 0.1}, {"dtype": "bfloat16"}, FULL])
def test_a_paused_run_goes_on_exactly_with_the_reference_of_its_first_start(
    make_dpo: Callable[..., Path], changes: dict
) -> None:
    whole, paused = make_dpo("whole", **changes), make_dpo("paused", **changes)
    train(whole)
    train(paused, after(4, (paused / "pause").touch))
    assert ended(paused).status == "paused" and len(events(paused, "step")) == 4
    judged = len([phase for phase in events(paused, "phase") if phase.phase == "reference"])
    train(paused)
    assert ended(paused).status == "succeeded" and events(paused, "started")[-1].resumed_step == 4
    assert len([phase for phase in events(paused, "phase") if phase.phase == "reference"]) == judged > 0
    figures = [{step.step: (step.train_loss, step.metrics) for step in events(f, "step")} for f in (whole, paused)]
    assert figures[0] == figures[1]
    assert events(paused, "checkpoint")[-1].sha256 == events(whole, "checkpoint")[-1].sha256


def test_a_reference_that_is_damaged_or_of_other_rows_is_computed_anew(make_dpo: Callable[..., Path]) -> None:
    folder = make_dpo()
    train(folder, after(4, (folder / "pause").touch))
    kept = {path: np.load(path) for path in folder.glob("reference/*.npy")}
    assert sorted(len(values) for values in kept.values()) == [5, 12]
    for path in kept:
        path.write_bytes(path.read_bytes()[:90])
    train(folder)
    assert ended(folder).status == "succeeded"
    for path, values in kept.items():
        assert np.load(path) == pytest.approx(values, abs=1e-4)
    assert json.loads((folder / "spec.json").read_text())["method"] == "dpo"
