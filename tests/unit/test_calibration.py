"""Prices, the parts of an estimate, and what finished runs say of the formulas."""

from dataclasses import replace
from datetime import timedelta

import pytest
from django.utils import timezone

from accounts.models import Project
from tests.jobs import make_job, make_resolved
from tests.makers import FACTS
from training import calibration
from training.endings import finish
from training.engine.calibrate import FORMULAS, FinishedRun, Kind, calibrate
from training.engine.spec import DataFacts, DeviceFacts, End, Measured, MemoryParts, Price, SecondsParts
from training.models import Metric
from training.usage import terms

SFT = Kind("small", 135_000_000, "sft", "lora", "bfloat16", 100.0)
SAID = SecondsParts(start=10, training=100, rest=20)


def run(kind: Kind = SFT, *, start: float = 5, training: float = 200, rest: float = 20, memory: int = 3) -> FinishedRun:
    parts = SecondsParts(start=start, training=training, rest=rest)
    return FinishedRun(kind, SAID, 2, Measured(seconds=parts.total, parts=parts, memory_bytes=memory, disk_bytes=1))


def test_the_cost_is_tokens_times_epochs_times_the_price() -> None:
    """OpenAI's own example: 100,000 tokens, 3 epochs, $0.008 per 1,000 tokens."""
    assert Price(million_tokens=8).cost(tokens=100_000 * 3, seconds=0) == pytest.approx(2.40)
    assert Price(device_hour=2.5).cost(tokens=300_000, seconds=1800) == pytest.approx(1.25)


def test_without_finished_runs_the_formulas_stand_as_they_are() -> None:
    assert calibrate([], SFT) == FORMULAS
    assert FORMULAS.seconds(SAID) == SAID


def test_each_part_takes_the_median_factor_of_the_newest_five_runs() -> None:
    slow = [run(training=training) for training in (200, 300, 250, 200, 400, 9999)]
    found = calibrate(slow, SFT)
    assert (found.runs, found.training, found.start, found.rest, found.bytes) == (5, 2.5, 0.5, 1.0, 1.5)
    assert found.seconds(SAID) == SecondsParts(start=5, training=250, rest=20)
    parts = MemoryParts(own=10, weights=20, optimizer=30, activations=40, logits=50)
    assert found.memory(parts).total == 225


def test_runs_of_the_same_work_count_before_others_and_strangers_not_at_all() -> None:
    longer, other = replace(SFT, row_tokens=900.0), replace(SFT, model="other", parameters=150_000_000)
    same_work, same_model, same_size = run(training=110), run(longer, training=150), run(other, training=190)
    everything = [same_size, same_model, same_work]
    assert calibrate(everything, SFT).training == pytest.approx(1.1)
    assert calibrate([same_size, same_model], SFT).training == pytest.approx(1.5)
    assert calibrate([same_size], SFT).training == pytest.approx(1.9)
    strangers = [run(replace(SFT, parameters=10**9, model="x")), run(replace(SFT, adaptation="full"))]
    assert calibrate(strangers, SFT) == FORMULAS


def test_a_run_that_was_paused_says_nothing_of_time_but_of_memory() -> None:
    paused = FinishedRun(SFT, SAID, 2, Measured(seconds=9, parts=None, memory_bytes=4, disk_bytes=1))
    found = calibrate([paused], SFT)
    assert (found.runs, found.training, found.bytes) == (0, 1.0, 2.0)
    longer = run(replace(SFT, row_tokens=900.0), training=150)  # less alike, and never paused: the time is its
    found = calibrate([paused, longer], SFT)
    assert (found.runs, found.training, found.bytes) == (1, 1.5, 2.0)


@pytest.fixture
def trained(db, project: Project):
    """A job of 20 rows and 3 epochs that trained for 12 s: 4 until its first step, 6 in steps, 2 in between."""
    began = timezone.now() - timedelta(seconds=12)
    job = make_job(project, status="running", started_at=began, attempt=1)
    started = {"time": began.timestamp() + 4, "train_tokens": 200, "train_rows": 20, "valid_tokens": 40}
    job.started_json = started | {"resumed_step": 0, "total_steps": 60}
    job.estimate_json |= {"device": "a CPU"}
    job.save()
    rows = [
        Metric(job=job, step=step, revision=step, time=0, tokens_per_second=100, memory_bytes=memory)
        for step, memory in ((1, 500), (2, 900))
    ]
    Metric.objects.bulk_create(rows)
    (job.folder / "checkpoints/epoch-1-step-20/trainer_state").mkdir(parents=True)
    (job.folder / "checkpoints/epoch-1-step-20/trainer_state/state.json").write_bytes(b"x" * 321)
    return job


def test_a_job_that_ends_well_leaves_its_measured_parts(trained) -> None:
    measured = calibration.measure(trained)
    assert measured and measured.parts
    assert measured.parts.start == pytest.approx(4) and measured.parts.training == pytest.approx(6)
    assert measured.parts.rest == pytest.approx(2, abs=0.5) and measured.seconds == pytest.approx(12, abs=0.5)
    assert (measured.memory_bytes, measured.disk_bytes) == (900, 321)


def test_a_job_that_was_interrupted_is_not_taken_for_a_slow_one(trained) -> None:
    trained.attempt = 2
    measured = calibration.measure(trained)
    assert measured and measured.parts is None and measured.memory_bytes == 900


def test_a_finished_job_calibrates_the_next_estimate_on_this_device_only(trained) -> None:
    trained.checkpoints.create(
        **{"project": trained.project, "base_model": trained.base_model, "step": 60, "epoch": 3, "kind": "lora"},
        **{"step_name": "ft:tiny:hone:orders:abcdefgh:ckpt-step-60", "path_in_run": "x", "sha256": "0"},
    )
    finish(trained, End(time=0, status="succeeded"))
    assert trained.status == "succeeded" and trained.measured
    device = DeviceFacts(kind="cpu", name="a CPU", memory_bytes=8 << 30, free_bytes=8 << 30)
    data = DataFacts(rows=20, tokens=200, trained_tokens=100, longest_tokens=12)
    facts, resolved = trained.base_model.facts, make_resolved()
    found = calibration.expect("sft", resolved, data, facts, device, data.model_copy(update={"tokens": 40}))
    assert found.calibrated_by == 1 and found.seconds_parts
    assert found.seconds_parts.start == pytest.approx(4) and found.seconds_parts.training == pytest.approx(6)
    assert found.memory_bytes == pytest.approx(900, abs=5)
    elsewhere = device.model_copy(update={"name": "another"})
    assert calibration.expect("sft", resolved, data, facts, elsewhere).calibrated_by == 0


def test_a_price_is_part_of_the_estimate_only_where_one_is_set(db, settings) -> None:
    device = DeviceFacts(kind="cpu", name="a CPU", memory_bytes=8 << 30, free_bytes=8 << 30)
    data = DataFacts(rows=100, tokens=100_000, trained_tokens=50_000, longest_tokens=1000)
    facts = FACTS
    assert terms.training_price("proj_x", facts.name) is None
    assert calibration.expect("sft", make_resolved(max_length=1024), data, facts, device).cost is None
    settings.HONE_PRICE_MILLION_TOKENS = 8
    price = terms.training_price("proj_x", facts.name)
    found = calibration.expect("sft", make_resolved(max_length=1024), data, facts, device, price=price)
    assert found.cost == pytest.approx(2.40)
