"""Loss and gradient of preference training beside those of TRL's DPOTrainer. Needs the extra `reference`."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from tests.engine.test_dpo import make_dpo, moved, moved_from_reference
from tests.factories import preference_rows

trl = pytest.importorskip("trl", reason="TRL is not installed: pip install -e '.[reference]'")
__all__ = ["make_dpo"]
FULL = {"adaptation": "full", "lora_r": None, "lora_alpha": None}
BETA = 0.3


def as_text(tokenizer: Any, row: dict) -> dict[str, str]:
    """The row rendered by transformers; TRL ends each answer with the end-of-turn token, as we do."""
    prompt = tokenizer.apply_chat_template(row["input"]["messages"], add_generation_prompt=True, tokenize=False)
    chosen, rejected = (row[key][0]["content"] for key in ("preferred_output", "non_preferred_output"))
    return {"prompt": prompt, "chosen": chosen, "rejected": rejected}


def test_loss_and_gradient_are_those_of_trl(make_dpo: Callable[..., Path], base: Path, tmp_path: Path) -> None:
    from datasets import Dataset

    rows = preference_rows(7)
    model, ours = moved_from_reference(make_dpo(**FULL, beta=BETA), rows, BETA)

    tokenizer = AutoTokenizer.from_pretrained(base)
    policy, reference = (AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32) for _ in range(2))
    settings = trl.DPOConfig(
        output_dir=str(tmp_path / "trl"), beta=BETA, per_device_train_batch_size=7, max_length=128, bf16=False,
        use_cpu=True, report_to=[], gradient_checkpointing=False,
    )  # fmt: skip
    trainer = trl.DPOTrainer(
        model=policy,
        ref_model=reference,
        args=settings,
        train_dataset=Dataset.from_list([as_text(tokenizer, row) for row in rows]),
        processing_class=tokenizer,
    )
    moved(trainer.model)
    batch = next(iter(trainer.get_train_dataloader()))
    loss = trainer.compute_loss(trainer.model, batch)
    loss.backward()
    print(f"ours {ours.item():.7f}, TRL {trl.__version__} {loss.item():.7f}")
    assert ours.item() == pytest.approx(loss.item(), rel=1e-5)
    theirs = dict(trainer.model.named_parameters())
    for name, parameter in model.causal.named_parameters():
        assert parameter.grad is not None and theirs[name].grad is not None
        assert torch.allclose(parameter.grad, theirs[name].grad, rtol=1e-3, atol=1e-5), name
