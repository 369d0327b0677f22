"""The benchmark's own arithmetic, and one real run of it over a tiny model."""

import json
from pathlib import Path

import pytest
import torch

from benchmarks import finders, gpu, peers
from benchmarks.data import prepare, read_rows
from benchmarks.gpu import LINEAR, Shape, mfu, write_model, write_rows
from benchmarks.measured import Measured, medians, ratios, table
from benchmarks.overhead import Clocks, shares
from benchmarks.precision import by_hone, by_transformers
from benchmarks.subjects import Recipe, adapter_of, judge, run_hone, spec_of
from benchmarks.training import subjects_that_run
from training.repeats import within


def run(subject: str, seconds_a_step: float, peak_bytes: int = 2**30) -> Measured:
    ends = [110.0 + seconds_a_step * step for step in range(5)]
    return Measured(
        subject,
        100.0,
        ends[-1] + 6,
        ends,
        [50, 60, 100, 100, 100],
        [5, 6, 10, 10, 10],
        2.0,
        40,
        0.5,
        peak_bytes,
        41.0,
        1.5,
    )


def test_the_steady_state_begins_with_the_third_step() -> None:
    figures = run("hone", 2.0).figures
    assert figures["tokens/s"] == 300 / 6 and figures["trained/s"] == 30 / 6
    assert figures["whole tokens/s"] == 410 / 24 and figures["valid tokens/s"] == 80
    assert (figures["start s"], figures["after s"]) == (10, 6)
    assert figures["cpu ms/token"] == 100


def test_the_table_takes_medians_and_the_ratios_name_every_peer() -> None:
    runs = [run("hone", 1.0), run("hone", 9.0), run("hone", 2.0), run("trl", 6.0, 2 * 2**30)]
    assert medians(runs)["hone"]["tokens/s"] == 50
    assert table(runs).splitlines()[2].startswith("| hone (3) | 50.0 | 5.0 |")
    assert "hone against trl: 3.00x steady state" in ratios(runs) and "0.50x memory" in ratios(runs)


def test_a_peer_whose_environment_cannot_be_made_is_left_out_with_the_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "trl.txt").write_text("./no-such-package.whl\n")
    monkeypatch.setattr(peers, "HERE", tmp_path)
    assert list(subjects_that_run(["trl", "hone"], tmp_path / "bench")) == ["hone"]
    told = capsys.readouterr().out
    assert "trl: not run" in told and "no-such-package" in told


def test_clocks_count_a_part_within_a_part_for_the_outer_one_alone() -> None:
    class Trainer:
        def tell(self) -> None:
            now[0] += 1.0

        def save(self) -> None:
            now[0] += 4.0
            self.tell()

        def step(self) -> None:
            now[0] += 100.0

    now, clocks, trainer = [0.0], Clocks(), Trainer()
    own = Trainer.save
    with (
        clocks.around(Trainer, "tell", "events", lambda: now[0]),
        clocks.around(Trainer, "save", "checkpoints", lambda: now[0]),
        clocks.around(Trainer, "step", "steps", lambda: now[0]),
    ):
        trainer.tell()
        trainer.save()
        trainer.step()
    assert clocks.seconds == {"events": [1.0], "checkpoints": [5.0], "steps": [100.0]} and Trainer.save is own
    assert "| checkpoints | 1 | 5000.00 | 5.00% |" in shares(clocks.seconds | {"control": [0.0], "beside": [0.0]})


def test_without_a_file_the_rows_are_those_of_the_sample_conversations() -> None:
    rows = read_rows(None)
    assert len(rows) > 300 and all(row["messages"][-1]["role"] == "assistant" for row in rows)


def test_flops_of_a_small_shape_are_those_counted_by_hand() -> None:
    shape = Shape(hidden=8, inner=16, layers=2, heads=4, key_heads=2, vocabulary=10, tied=True)
    linear = 2 * (8 * 8 * 2 + 8 * 4 * 2 + 8 * 16 * 3)
    adapters = 2 * 3 * (16 + 12 + 12 + 16 + 24 * 3)
    assert shape.linear_parameters == linear and shape.adapter_parameters(3) == adapters
    attention = 6 * 2 * 8 * (5 * 5 + 3 * 3)
    assert shape.flops([5, 3], [2, 1], 3) == 8 * (4 * linear + 6 * adapters) + attention + 4 * 3 * 8 * 10
    useful = shape.flops([5, 3], [2, 1], 3) * 300 / 410
    assert mfu(run("hone", 2.0), shape, [5, 3], [2, 1], 3, peak=100.0) == pytest.approx(useful / 6 / 100)


def test_without_a_gpu_the_profile_says_that_it_was_not_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(gpu, "gpu_name", lambda: None)
    gpu.main(tmp_path)
    assert capsys.readouterr().out == "GPU profile: not run: no GPU\n"


def test_in_float32_hone_has_the_loss_of_plain_transformers_token_by_token(tmp_path: Path) -> None:
    model = write_model(tmp_path / "model", Shape(32, 64, 2, 2, 1, 4096, tied=True))
    recipe = Recipe(model, LINEAR)
    data = prepare(write_rows(tmp_path / "rows.jsonl", "short", 8), model, tmp_path / "data", 6, 1, 1024, seed=1)
    rows = json.loads(data.tokens.read_text())["train"]
    plain = by_transformers(model, rows, "float32")
    assert len(plain) == sum(data.trained)
    for learns in (True, False):
        assert torch.allclose(by_hone(spec_of(recipe, data, dtype="float32"), rows, learns), plain, atol=1e-4)


def test_a_real_run_is_measured_and_its_adapter_judged(tmp_path: Path) -> None:
    model = write_model(tmp_path / "model", Shape(32, 64, 2, 2, 1, 4096, tied=True))
    rows = write_rows(tmp_path / "rows.jsonl", "short", 16)
    recipe = Recipe(model, LINEAR, batch_size=4, learning_rate=5e-3, max_length=1024)
    data = prepare(rows, model, tmp_path / "data", 12, 4, 1024, seed=1)
    found = run_hone(recipe, data, tmp_path / "run")
    assert sum(found.tokens) == sum(data.lengths) and sum(found.trained) == sum(data.trained)
    assert len(found.step_ends) == 3 and found.began < found.step_ends[0] < found.ended
    base, after = judge(recipe, data, ["-", str(adapter_of(tmp_path / "run"))])
    told = [json.loads(line) for line in (tmp_path / "run" / "events.jsonl").read_text().splitlines()]
    whole = next(event["loss"] for event in told if event["type"] == "validation" and event["whole"])
    assert after < base and after == pytest.approx(whole, abs=0.02)


def test_the_benchmark_of_the_finders_plants_what_it_says_and_counts_it(tmp_path: Path) -> None:
    planted = finders.plant(finders.made_up(400, seed=1), tmp_path, 300, seed=1)
    lines = planted.train.read_text().splitlines()
    copy, original = min(planted.repeats["exact"])
    assert len(lines) == 300 and lines[copy - 1] != lines[original - 1]
    assert json.loads(lines[copy - 1])["messages"] == json.loads(lines[original - 1])["messages"]
    within.find(planted.train, tmp_path / "work", tmp_path / "found")
    told = finders.pairs(tmp_path / "found", "exact")
    assert finders.figures("exact", planted.repeats["exact"], told, None)[1:5] == ["50", "50", "1.000", "1.000"]
    assert finders.figures("half", {(1, 2), (3, 4)}, {(1, 2), (5, 6), (7, 8)}, None)[1:5] == [
        "2",
        "3",
        "0.500",
        "0.333",
    ]
