"""Packed rows learn what they learn alone; that the passes of a batch change nothing is test_invariance.py's."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM

from tests.engine.plainest import Gradient, eight_rows, plainest, rows_of
from tests.factories import tiny_model
from training.engine.batches import Rows, collate, micro_batches
from training.engine.errors import InvalidRecipe
from training.engine.loss import token_losses
from training.engine.model import LanguageModel, load_model
from training.engine.packing import OWN_ATTENTION, borders_of, keeps_borders
from training.engine.spec import JobSpec

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_model(tmp_path_factory.mktemp("packing") / "tiny")


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return eight_rows(tmp_path_factory.mktemp("rows") / "rows.jsonl")


def spec_of(base: Path, file: Path, **changes: Any) -> JobSpec:
    fields: dict[str, Any] = {
        "job_id": "ftjob-test",
        "base_model": "tiny",
        "base_path": base,
        "training_file": file,
        "n_epochs": 2,
        "batch_size": 8,
        "learning_rate": 1e-3,
        "max_length": 256,
        "adaptation": "full",
        "seed": 3,
    }
    return JobSpec.model_validate(fields | changes)


def whole_batch(model: LanguageModel, rows: Rows, passes: list[list[int]]) -> tuple[float, Gradient]:
    """Mean loss over trained tokens and its gradient, over these passes."""
    loss_sum = weight_sum = torch.zeros(())
    model.network.zero_grad()
    for chosen in passes:
        batch = collate(rows, chosen, CPU)
        hidden_ND = model.hidden(batch.input_ids_BT, batch.borders).flatten(0, 1)[batch.picked_N]
        losses_N, _ = token_losses(hidden_ND, batch.targets_N, model.logits, model.rows_at_once)
        loss = (losses_N * batch.weights_N).sum()
        loss.backward()
        loss_sum, weight_sum = loss_sum + loss.detach(), weight_sum + batch.weights_N.sum()
    gradient = {name: p.grad / weight_sum for name, p in model.trainable.items() if p.grad is not None}
    return float(loss_sum / weight_sum), gradient


def assert_same(one: tuple[float, Gradient], other: tuple[float, Gradient]) -> None:
    assert one[0] == pytest.approx(other[0], abs=1e-5)
    assert one[1].keys() == other[1].keys()
    for name, gradient in one[1].items():
        scale = float(other[1][name].abs().max())
        assert torch.allclose(gradient, other[1][name], atol=2e-5 * max(scale, 1e-2), rtol=1e-3), name


def test_a_model_with_a_sliding_window_packs_by_a_mask_and_gives_the_same(tmp_path: Path, file: Path) -> None:
    base = tiny_model(tmp_path / "windowed")
    config = json.loads((base / "config.json").read_text())
    config |= {"model_type": "mistral", "architectures": ["MistralForCausalLM"], "sliding_window": 8}
    (base / "config.json").write_text(json.dumps(config))
    model = load_model(spec_of(base, file, packing=True), CPU)
    assert not model.own_attention
    rows = rows_of(base, file, True)
    assert_same(whole_batch(model, rows, [list(range(8))]), plainest(base, rows))


def test_packing_with_recomputed_activations_gives_the_same(base: Path, file: Path) -> None:
    rows = rows_of(base, file, True)
    model = load_model(spec_of(base, file, packing=True), CPU, checkpoint_activations=True)
    model.network.train()
    assert_same(whole_batch(model, rows, [list(range(8))]), plainest(base, rows))


def test_what_stands_in_one_row_changes_no_answer_in_another(base: Path, file: Path) -> None:
    model = load_model(spec_of(base, file, packing=True), CPU)
    borders = borders_of([5, 6], CPU)
    ids = torch.arange(3, 14)[None]
    other = ids.clone()
    other[0, :5] = torch.tensor([90, 80, 70, 60, 50])
    with torch.inference_mode():
        assert torch.equal(model.hidden(ids, borders)[0, 5:], model.hidden(other, borders)[0, 5:])
        assert not torch.equal(model.hidden(ids)[0, 5:], model.hidden(other)[0, 5:])  # the test can fail


def test_a_model_that_looks_across_borders_is_refused(base: Path, file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    causal = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    assert keeps_borders(causal, CPU, own_attention=False)
    body = causal.model
    forward = body.forward
    body.forward = lambda input_ids, position_ids=None, **others: forward(input_ids, **others)  # reads no borders
    assert not keeps_borders(causal, CPU, own_attention=False)
    monkeypatch.setattr("training.engine.packing.keeps_borders", lambda *given, **named: False)
    with pytest.raises(InvalidRecipe, match=r"Choose packing: off\.") as refused:
        load_model(spec_of(base, file, packing=True), CPU)
    assert refused.value.param == "packing"


def test_a_pass_holds_what_fits_without_padding(base: Path, file: Path) -> None:
    rows = rows_of(base, file, True)
    budget = int(rows.lengths.sum()) // 2
    passes = list(micro_batches(range(8), rows.lengths, budget, packed=True))
    assert all(rows.lengths[chosen].sum() <= budget or len(chosen) == 1 for chosen in passes)
    assert sorted(row for chosen in passes for row in chosen) == list(range(8))
    assert len(passes) < len(list(micro_batches(range(8), rows.lengths, budget)))
    batch = collate(rows, passes[0], CPU)
    assert batch.input_ids_BT.numel() == batch.tokens  # nothing is padded


def test_a_packed_checkpoint_says_nothing_of_our_attention(tmp_path: Path, base: Path, file: Path) -> None:
    model = load_model(spec_of(base, file, packing=True), CPU)
    model.causal.save_pretrained(tmp_path)
    assert OWN_ATTENTION not in (tmp_path / "config.json").read_text()


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="not run: needs a GPU")
def test_on_a_gpu_the_variable_length_kernel_gives_the_answers_of_the_mask(base: Path, file: Path) -> None:
    gpu = torch.device("cuda")
    own = load_model(spec_of(base, file, packing=True, dtype="bfloat16"), gpu)
    assert own.own_attention
    masked = load_model(spec_of(base, file, dtype="bfloat16"), gpu)
    borders = borders_of([40, 3, 85], gpu)
    ids = torch.arange(128, device=gpu)[None] + 3
    with torch.inference_mode():
        difference = own.hidden(ids, borders) - masked.hidden(ids, borders)
    assert float(difference.abs().max()) < 0.05 * float(masked.hidden(ids, borders).abs().max())
