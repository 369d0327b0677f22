"""Settings for experts on a tiny model: each learns, validates as an independent forward, and is saved as served."""

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel
from torch import nn
from transformers import AutoModelForCausalLM

from playground.parity import check_adapter_files, check_full_files
from proofs.full_validation import recompute
from tests.engine.runs import FULL, after, ended, events, losses, train
from training.engine.facts import read_start_facts
from training.engine.neftune import add_noise
from training.engine.optimizer import learning_rate
from training.engine.spec import JobSpec, Probes

DORA = {"lora_variant": "dora"}
NORM = {"modules_to_save": ["norm"]}


def last_checkpoint(folder: Path) -> Path:
    return folder / events(folder, "checkpoint")[-1].path


def log_probabilities(model: nn.Module, probe: Any) -> list[float]:
    with torch.no_grad():
        logprobs = model(torch.tensor([probe.token_ids])).logits[0].log_softmax(-1)
    return [logprobs[i - 1, probe.token_ids[i]].item() for i in range(probe.prompt_length, len(probe.token_ids))]


@pytest.mark.parametrize("changes", [DORA, NORM, {**DORA, **NORM}, {**DORA, "dtype": "bfloat16"}], ids=str)
def test_what_vllm_does_not_serve_as_an_adapter_is_saved_merged_and_answers_the_same(
    make_run: Callable[..., Path], changes: dict
) -> None:
    folder = make_run(**changes)
    train(folder)
    assert ended(folder).status == "succeeded", ended(folder)
    assert losses(folder)[6] < losses(folder)[1]
    for check in recompute(folder):  # a single one of the tokens may have two answers that are equal in bfloat16
        assert check.told_loss == pytest.approx(check.own_loss, abs=check.tolerance)
    saved = events(folder, "checkpoint")[-1]
    probes = Probes.model_validate_json((folder / saved.path / "probes.json").read_text())
    assert (saved.kind, probes.modules) == ("full", [])
    check_full_files(folder / saved.path, probes, saved.sha256)
    plain = AutoModelForCausalLM.from_pretrained(folder / saved.path)
    near = 1e-4 if plain.dtype == torch.float32 else 0.05
    for probe in probes.probes:
        assert log_probabilities(plain, probe) == pytest.approx(probe.trained_logprobs, abs=near)


def test_a_module_that_the_model_lacks_is_not_passed_over(make_run: Callable[..., Path]) -> None:
    folder = make_run(modules_to_save=["nope"])
    train(folder)
    end = ended(folder)
    assert end.status == "failed" and "no module named nope" in end.message


def test_dora_merged_is_pefts_own_merge(make_run: Callable[..., Path], base: Path) -> None:
    """peft's merge_and_unload of the same trained adapter, built from the optimizer's state of the checkpoint."""
    from peft import LoraConfig, get_peft_model
    from safetensors.torch import load_file

    folder = make_run(**DORA, target_modules=["q_proj", "down_proj"])
    train(folder)
    checkpoint = last_checkpoint(folder)
    config = LoraConfig(r=4, lora_alpha=8, use_dora=True, target_modules=["q_proj", "down_proj"])
    network = get_peft_model(AutoModelForCausalLM.from_pretrained(base), config)
    state = load_file(checkpoint / "trainer_state" / "state.safetensors")
    trained = {name.removeprefix("weight/"): tensor for name, tensor in state.items() if name.startswith("weight/")}
    missing = network.load_state_dict(trained, strict=False)
    assert not missing.unexpected_keys and any("lora_magnitude_vector" in name for name in trained)
    theirs = network.merge_and_unload().state_dict()
    ours = AutoModelForCausalLM.from_pretrained(checkpoint).state_dict()
    for name, tensor in theirs.items():
        assert torch.allclose(ours[name], tensor, atol=1e-5), name


def test_rslora_is_saved_as_an_adapter_of_its_kind_and_trained_on(make_run: Callable[..., Path], base: Path) -> None:
    first = make_run("first", lora_variant="rslora", lora_r=16)
    train(first)
    assert all(check.agrees for check in recompute(first))
    start = last_checkpoint(first)
    assert json.loads((start / "adapter_config.json").read_text())["use_rslora"] is True
    saved = events(first, "checkpoint")[-1]
    probes = Probes.model_validate_json((start / "probes.json").read_text())
    check_adapter_files(start, probes, saved.sha256)
    served = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(base), str(start))
    layer = next(module for module in served.modules() if hasattr(module, "lora_A"))
    assert layer.scaling["default"] == pytest.approx(8 / math.sqrt(16))
    for probe in probes.probes:
        assert log_probabilities(served, probe) == pytest.approx(probe.trained_logprobs, abs=1e-4)

    second = make_run("second", start_path=start, lora_variant="rslora", lora_r=16)
    train(second)
    assert losses(second)[1] < min(losses(first).values()) + 0.3
    assert read_start_facts(last_checkpoint(second)).variant == "rslora"
    third = make_run("third", start_path=start, lora_r=16)  # plain LoRA: beside the other one, saved as one
    train(third)
    assert losses(third)[1] == pytest.approx(losses(second)[1], abs=1e-4)
    assert all(check.agrees for check in recompute(third))
    found = read_start_facts(last_checkpoint(third))
    assert (found.lora_r, found.variant) == (32, "lora")


@pytest.mark.parametrize("changes", [DORA, NORM, {"neftune_alpha": 5.0}, {"gradient_checkpointing": "on"}], ids=str)
def test_a_paused_run_with_expert_settings_goes_on_exactly(make_run: Callable[..., Path], changes: dict) -> None:
    whole, paused = make_run("whole", **changes), make_run("paused", **changes)
    train(whole)
    train(paused, after(4, (paused / "pause").touch))
    assert ended(paused).status == "paused"
    train(paused)
    assert losses(paused) == losses(whole)
    assert events(paused, "checkpoint")[-1].sha256 == events(whole, "checkpoint")[-1].sha256


@pytest.mark.parametrize("adaptation", [{}, FULL], ids=["lora", "full"])
def test_activations_computed_again_change_nothing(make_run: Callable[..., Path], adaptation: dict) -> None:
    kept = make_run("kept", gradient_checkpointing="off", **adaptation)
    again = make_run("again", gradient_checkpointing="on", **adaptation)
    train(kept)
    train(again)
    assert losses(again) == losses(kept)
    plans = [json.loads((folder / "plan.json").read_text())["plan"] for folder in (kept, again)]
    assert [plan["checkpoint_activations"] for plan in plans] == [False, True]


def test_neftune_adds_bounded_noise_while_training_and_none_while_validating(make_run: Callable[..., Path]) -> None:
    embeddings = nn.Embedding(10, 16)
    add_noise(embeddings, 5.0)
    ids_BT = torch.arange(8).reshape(2, 4)
    embeddings.eval()
    plain = embeddings(ids_BT)
    embeddings.train()
    noise = embeddings(ids_BT) - plain
    bound = 5 / math.sqrt(4 * 16)
    assert noise.abs().max() <= bound + 1e-6 and noise.abs().max() > 0.9 * bound
    assert noise.mean().abs() < 0.2 * bound

    noisy, quiet = make_run("noisy", neftune_alpha=10.0), make_run("quiet")
    train(noisy)
    train(quiet)
    assert losses(noisy)[1] != losses(quiet)[1]
    assert all(check.agrees for check in recompute(noisy))  # validation and what is saved know no noise


def test_the_whole_set_is_validated_between_the_epochs_when_asked(make_run: Callable[..., Path]) -> None:
    folder = make_run(validate_every_steps=2)
    train(folder)
    assert [v.step for v in events(folder, "validation") if v.whole] == [2, 3, 4, 6]


def spec_with(scheduler: str, **changes: Any) -> JobSpec:
    fields: dict[str, Any] = {
        "job_id": "j", "base_model": "m", "base_path": "/m", "training_file": "/t", "n_epochs": 1, "batch_size": 1,
        "learning_rate": 1.0, "max_length": 64, "lora_r": 4, "lora_alpha": 8, "lr_scheduler": scheduler,
    }  # fmt: skip
    return JobSpec.model_validate(fields | changes)


def test_schedules_against_numbers_by_hand() -> None:
    with_minimum = spec_with("cosine_with_min", min_learning_rate_ratio=0.2)
    rates = [learning_rate(with_minimum, step, 4) for step in (1, 2, 3, 4)]
    assert rates == pytest.approx([0.2 + 0.8 * 0.5 * (1 + math.cos(math.pi * n / 4)) for n in range(4)])
    warm = spec_with("constant_with_warmup", warmup_ratio=0.5)
    assert [learning_rate(warm, step, 4) for step in (1, 2, 3, 4)] == pytest.approx([1 / 3, 2 / 3, 1, 1])
    assert [learning_rate(spec_with("constant"), step, 4) for step in (1, 4)] == [1, 1]
