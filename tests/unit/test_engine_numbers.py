"""Loss, batches, learning rate and optimizer against numbers computed by hand or by plain torch."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from training.engine.batches import Rows, collate, epoch_batches, micro_batches, read_rows
from training.engine.chat import Encoded
from training.engine.emit import EventWriter
from training.engine.errors import InvalidTrainingFile
from training.engine.loss import token_losses, weighted_sums
from training.engine.optimizer import MasterAdamW, learning_rate
from training.engine.spec import JobSpec, Note, event_adapter

CPU = torch.device("cpu")


def test_the_loss_of_a_token_is_its_negative_log_probability() -> None:
    logits = torch.tensor([[0.0, math.log(3.0)], [0.0, 0.0]])
    losses, correct = token_losses(logits, torch.tensor([1, 0]), lambda hidden: hidden, rows_at_once=8)
    assert losses.tolist() == pytest.approx([-math.log(0.75), -math.log(0.5)])
    assert correct.tolist() == [True, True]


def test_chunks_of_the_output_layer_change_neither_loss_nor_gradient() -> None:
    torch.manual_seed(0)
    head = torch.nn.Linear(8, 50)
    hidden = torch.randn(10, 8, requires_grad=True)
    targets, weights = torch.randint(50, (10,)), torch.tensor([1.0] * 7 + [0.5] * 3)
    found = []
    for rows_at_once in (100, 3):
        loss, _ = weighted_sums(*token_losses(hidden, targets, head, rows_at_once), weights)
        found.append((loss, *torch.autograd.grad(loss, [hidden, head.weight])))
    plain = (F.cross_entropy(head(hidden), targets, reduction="none") * weights).sum()
    for whole, chunked in zip(*found, strict=True):
        torch.testing.assert_close(whole, chunked)
    torch.testing.assert_close(found[0][0], plain)


def rows_of(*lengths: int) -> Rows:
    return Rows([Encoded(list(range(1, n + 1)), [0.0] * (n - 2) + [1.0, 1.0]) for n in lengths])


def test_only_positions_before_trained_tokens_are_picked() -> None:
    rows = Rows([Encoded([5, 6, 7], [1.0, 0.0, 1.0]), Encoded([8, 9, 10, 11, 12], [0.0, 1.0, 0.0, 0.0, 1.0])])
    batch = collate(rows, [1, 0], CPU)
    assert batch.input_ids_BT.tolist() == [[8, 9, 10, 11, 12], [5, 6, 7, 0, 0]]
    assert batch.picked_N.tolist() == [0, 3, 5 + 1]  # the first token of a row has nothing before it
    assert batch.targets_N.tolist() == [9, 12, 7]
    assert batch.tokens == 8


def test_every_row_comes_once_a_pass_in_an_order_of_seed_and_pass() -> None:
    lengths = np.random.default_rng(0).integers(5, 500, 103)
    first = epoch_batches(lengths, 8, seed=1, epoch=0)
    assert sorted(np.concatenate(first).tolist()) == list(range(103))
    assert [len(batch) for batch in first].count(8) == 12 and len(first) == 13
    again, later, other = (epoch_batches(lengths, 8, s, e) for s, e in ((1, 0), (1, 1), (2, 0)))
    assert all((a == b).all() for a, b in zip(first, again, strict=True))
    assert any((a != b).any() for a, b in zip(first, later, strict=True) if len(a) == len(b))
    assert any((a != b).any() for a, b in zip(first, other, strict=True) if len(a) == len(b))


def test_grouping_by_length_leaves_little_padding() -> None:
    lengths = np.random.default_rng(0).integers(5, 500, 800)

    def padded(batches: list[np.ndarray]) -> int:
        return sum(int(lengths[batch].max()) * len(batch) for batch in batches)

    plain = [np.arange(i, i + 8) for i in range(0, 800, 8)]
    assert padded(epoch_batches(lengths, 8, 0, 0)) < 1.15 * lengths.sum() < padded(plain)


def test_passes_stay_within_the_token_budget_and_a_long_row_goes_alone() -> None:
    lengths = np.array([10, 900, 20, 30, 40])
    passes = list(micro_batches([0, 1, 2, 3, 4], lengths, token_budget=100))
    assert passes == [[1], [4, 3], [2, 0]]


def test_rows_of_a_file_are_read_with_their_line_in_every_refusal(tmp_path: Path) -> None:
    def encode(row: dict) -> Encoded:
        return Encoded(list(range(row["n"])), [row.get("w", 1.0)] * row["n"], truncated=row.get("cut", False))

    def write(*lines: str) -> Path:
        path = tmp_path / "rows.jsonl"
        path.write_text("\n".join(lines) + "\n")
        return path

    rows, left_out = read_rows(write('{"n": 3}', "", '{"n": 5}', '{"n": 4, "w": 0, "cut": true}'), encode, print)
    assert (rows.lengths.tolist(), rows.trained.tolist(), left_out) == ([3, 5], [2, 4], 1)
    for line, reason in (("{", "Line 2"), ("[1]", "Line 2"), ('{"n": 3, "w": 0}', "Line 2 has nothing to train on")):
        with pytest.raises(InvalidTrainingFile, match=reason):
            read_rows(write('{"n": 3}', line), encode, print)
    with pytest.raises(InvalidTrainingFile, match="gone"):
        read_rows(tmp_path / "no.jsonl", encode, print)


def spec(**changes: object) -> JobSpec:
    fields = {
        "job_id": "j",
        "base_model": "m",
        "base_path": "/m",
        "training_file": "/t",
        "n_epochs": 1,
        "batch_size": 1,
        "learning_rate": 1.0,
        "max_length": 64,
        "lora_r": 1,
        "lora_alpha": 1,
    }
    return JobSpec.model_validate(fields | changes)


def test_the_rate_warms_up_and_falls_to_nearly_zero() -> None:
    linear = [learning_rate(spec(warmup_ratio=0.2), step, 10) for step in range(1, 11)]
    assert linear == pytest.approx([1 / 3, 2 / 3, 1.0, 0.875, 0.75, 0.625, 0.5, 0.375, 0.25, 0.125])
    cosine = [learning_rate(spec(lr_scheduler="cosine"), step, 4) for step in range(1, 5)]
    assert cosine == pytest.approx([1.0, 0.8535534, 0.5, 0.1464466])
    assert {learning_rate(spec(lr_scheduler="constant"), step, 4) for step in range(1, 5)} == {1.0}


def test_bfloat16_weights_learn_by_steps_smaller_than_their_precision() -> None:
    live = torch.nn.Parameter(torch.ones(4, dtype=torch.bfloat16))
    optimizer = MasterAdamW({"w": live}, weight_decay=0.0)
    for _ in range(20):
        (live.sum() * 1.0).backward()
        optimizer.collect()
        optimizer.clip(100.0, scale=1.0)
        optimizer.step(1e-3)  # bfloat16 alone would round every one of these away
    assert optimizer.masters["w"].tolist() == pytest.approx([0.98] * 4, abs=1e-4)
    assert live.tolist() == pytest.approx([0.98] * 4, abs=4e-3)


def test_float32_weights_have_no_second_copy_and_match_plain_adamw() -> None:
    torch.manual_seed(0)
    ours, theirs = torch.nn.Linear(3, 2), torch.nn.Linear(3, 2)
    theirs.load_state_dict(ours.state_dict())
    optimizer = MasterAdamW(dict(ours.named_parameters()), weight_decay=0.1)
    plain = torch.optim.AdamW(theirs.parameters(), lr=0.01, weight_decay=0.1)
    assert optimizer.masters["weight"] is ours.weight
    for _ in range(5):
        data = torch.randn(4, 3)
        ours(data).square().sum().backward()
        optimizer.collect()
        norm = optimizer.clip(1.0, scale=0.5)
        optimizer.step(0.01)
        plain.zero_grad()
        (theirs(data).square().sum() * 0.5).backward()
        assert norm == pytest.approx(float(torch.nn.utils.clip_grad_norm_(theirs.parameters(), 1.0)))
        plain.step()
    torch.testing.assert_close(ours.weight, theirs.weight)


def test_events_are_appended_and_a_half_line_is_cut_off(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    writer = EventWriter(path)
    writer.write(Note, message="one")
    assert event_adapter.validate_json(path.read_text()).message == "one"  # out at once, before any close
    writer.close()
    with path.open("a") as file:
        file.write('{"type": "note", "mess')
    writer = EventWriter(path)
    writer.write(Note, message="two")
    writer.close()
    assert [json.loads(line)["message"] for line in path.read_text().splitlines()] == ["one", "two"]
