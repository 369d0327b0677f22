"""Loss and gradient of supervised training beside those of TRL's SFTTrainer. Needs the extra `reference`."""

from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from tests.engine.kinds import KINDS, make_bases, write_run
from training.engine.batches import collate, read_rows
from training.engine.chat import ChatFormat
from training.engine.model import load_model
from training.engine.sft import batch_loss
from training.engine.spec import JobSpec

trl = pytest.importorskip("trl", reason="TRL is not installed: pip install -e '.[reference]'")


def as_text(tokenizer: Any, row: dict[str, Any]) -> dict[str, str]:
    """Prompt and completion, a chat row rendered by transformers; TRL ends each with the end of turn, as we do."""
    if "prompt" in row:
        return row
    *before, answer = row["messages"]
    prompt = tokenizer.apply_chat_template(before, add_generation_prompt=True, tokenize=False)
    return {"prompt": prompt, "completion": answer["content"]}


@pytest.mark.parametrize("name", ["sft-chat", "sft-completion"])
def test_loss_and_gradient_are_those_of_trl(tmp_path: Path, name: str) -> None:
    from datasets import Dataset

    bases = make_bases(tmp_path / "bases")
    spec = JobSpec.model_validate_json((write_run(tmp_path / "run", bases, name, "full") / "spec.json").read_text())
    chat, rows = ChatFormat.load(spec.base_path), KINDS[name].rows
    ours = read_rows(spec.training_file, lambda row: chat.encode_row(row, spec.max_length), lambda *_: None)[0]
    model = load_model(spec, torch.device("cpu"))
    sums = batch_loss(model, collate(ours, list(range(len(rows))), model.device))
    (sums.loss / sums.weight).backward()

    tokenizer = AutoTokenizer.from_pretrained(spec.base_path)
    settings = trl.SFTConfig(
        output_dir=str(tmp_path / "trl"), per_device_train_batch_size=len(rows), max_length=spec.max_length, bf16=False,
        use_cpu=True, report_to=[], gradient_checkpointing=False,
    )  # fmt: skip
    trainer = trl.SFTTrainer(
        model=AutoModelForCausalLM.from_pretrained(spec.base_path, dtype=torch.float32),
        args=settings,
        train_dataset=Dataset.from_list([as_text(tokenizer, row) for row in rows]),
        processing_class=tokenizer,
    )
    loss = trainer.compute_loss(trainer.model, next(iter(trainer.get_train_dataloader())))
    loss.backward()
    print(f"{name}: ours {(sums.loss / sums.weight).item():.7f}, TRL {trl.__version__} {loss.item():.7f}")
    assert (sums.loss / sums.weight).item() == pytest.approx(loss.item(), rel=1e-5)
    theirs = dict(trainer.model.named_parameters())
    for key, parameter in model.causal.named_parameters():
        assert parameter.grad is not None and theirs[key].grad is not None
        assert torch.allclose(parameter.grad, theirs[key].grad, rtol=1e-3, atol=1e-5), key
