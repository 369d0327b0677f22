"""The real trainer on a tiny model: what it learns, what it tells, how it stops, and that it goes on exactly."""

import json
import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from playground.parity import check_adapter_files, check_full_files
from proofs.full_validation import recompute
from tests.engine.runs import FULL, ROOT, after, ended, events, losses, train
from tests.factories import chat_row, chat_rows, tiny_model
from training.engine import loop, sft
from training.engine.facts import read_start_facts
from training.engine.spec import DeviceFacts, Probes
from training.engine.weights import tensor_shapes, weights_sha256

# ---- what it does and tells ----


def test_a_run_learns_validates_and_leaves_a_checkpoint_an_epoch(make_run: Callable[..., Path]) -> None:
    folder = make_run(valid_every_steps=2)
    told = train(folder)
    assert ended(folder).status == "succeeded"
    started = events(folder, "started")[0]
    assert (started.total_steps, started.steps_per_epoch, started.train_rows, started.valid_rows) == (6, 3, 12, 5)
    assert started.trainable_parameters < started.parameters

    steps = events(folder, "step")
    assert [step.step for step in steps] == [1, 2, 3, 4, 5, 6]
    assert steps[-1].train_loss < steps[0].train_loss - 1
    assert steps[-1].trained_tokens == 2 * started.trained_tokens_per_epoch
    assert [step.epoch for step in steps][2::3] == [1.0, 2.0]

    assert [(v.step, v.whole) for v in events(folder, "validation")] == [
        (2, False),
        (3, False),
        (3, True),
        (4, False),
        (6, False),
        (6, True),
    ]
    assert {"tokenizing", "loading", "training", "saving"} <= {event.phase for event in told if event.type == "phase"}
    of_first_step = told[: told.index(steps[0])]
    passes = [event for event in of_first_step if event.type == "phase" and event.phase == "training" and event.total]
    assert passes and passes[-1].done == passes[-1].total, "the first step tells how many of its rows are done"
    later = told[told.index(steps[0]) :]
    assert not [event for event in later if event.type == "phase" and event.phase == "training" and event.total]

    saved = events(folder, "checkpoint")
    assert [(c.epoch, c.step, c.path) for c in saved] == [
        (1, 3, "checkpoints/epoch-1-step-3"),
        (2, 6, "checkpoints/epoch-2-step-6"),
    ]
    assert saved[1].full_valid_loss < saved[0].full_valid_loss
    assert None not in saved[0].model_dump().values()
    assert not (folder / "resume").exists()


def test_a_checkpoint_is_complete_and_says_what_it_holds(make_run: Callable[..., Path], base: Path) -> None:
    folder = make_run(n_epochs=1)
    train(folder)
    saved = events(folder, "checkpoint")[0]
    checkpoint = folder / saved.path
    assert saved.sha256 == weights_sha256(checkpoint)
    adapter = json.loads((checkpoint / "adapter_config.json").read_text())
    assert (adapter["r"], adapter["peft_type"], adapter["modules_to_save"]) == (4, "LORA", None)
    assert "q_proj" in adapter["target_modules"]
    assert (checkpoint / "tokenizer.json").read_bytes() == (base / "tokenizer.json").read_bytes()
    assert (checkpoint / "chat_template.jinja").exists()
    assert json.loads((checkpoint / "meta.json").read_text())["step"] == 3

    probes = Probes.model_validate_json((checkpoint / "probes.json").read_text())
    assert probes.weights_sha256 == saved.sha256 and len(probes.probes) == 5 and len(probes.modules) == 14
    assert probes.chat_token_ids and probes.chat_messages[0]["role"] == "user"
    for probe in probes.probes:
        continuation = len(probe.token_ids) - probe.prompt_length
        assert len(probe.trained_logprobs) == len(probe.base_logprobs) == continuation > 0
        assert sum(probe.trained_logprobs) > sum(probe.base_logprobs)  # it has learned them


def test_probes_are_those_of_transformers_and_peft(make_run: Callable[..., Path], base: Path) -> None:
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    folder = make_run(n_epochs=1)
    train(folder)
    checkpoint = folder / events(folder, "checkpoint")[0].path
    probes = Probes.model_validate_json((checkpoint / "probes.json").read_text())
    model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    for name in ("base_logprobs", "trained_logprobs"):
        if name == "trained_logprobs":
            model = PeftModel.from_pretrained(model, str(checkpoint))
        for probe in probes.probes:
            with torch.no_grad():
                logprobs = model(torch.tensor([probe.token_ids])).logits[0].log_softmax(-1)
            own = [logprobs[i - 1, probe.token_ids[i]].item() for i in range(probe.prompt_length, len(probe.token_ids))]
            assert getattr(probe, name) == pytest.approx(own, abs=1e-4)


@pytest.mark.parametrize(
    ("dtype", "adaptation"), [("float32", {}), ("bfloat16", {}), ("float32", FULL), ("bfloat16", FULL)]
)
def test_whole_validation_figures_are_those_of_an_independent_forward(
    make_run: Callable[..., Path], dtype: str, adaptation: dict
) -> None:
    folder = make_run(dtype=dtype, **adaptation)
    train(folder)
    checks = recompute(folder)
    assert len(checks) == 2
    assert all(check.agrees for check in checks), checks


def test_prompt_and_completion_rows_train_a_model_without_template(
    make_run: Callable[..., Path], tmp_path: Path
) -> None:
    plain = tiny_model(tmp_path / "plain", chat_template=False)
    rows = [{"prompt": f"{n} plus {n} is", "completion": f" {2 * n}."} for n in range(12)]
    folder = make_run(rows=rows, valid=rows[:4], base_path=plain)
    train(folder)
    assert ended(folder).status == "succeeded"
    assert losses(folder)[6] < losses(folder)[1]
    assert all(check.agrees for check in recompute(folder))


def test_two_processes_of_torchrun_give_the_curve_of_one(make_run: Callable[..., Path]) -> None:
    alone, together = make_run("alone"), make_run("together")
    train(alone)
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    environment = {**os.environ, "CUDA_VISIBLE_DEVICES": ""}
    subprocess.run(
        [*torchrun, "-m", "training.engine.sft", str(together)], cwd=ROOT, env=environment, check=True, timeout=300
    )
    assert ended(together).status == "succeeded" and events(together, "started")[0].world_size == 2
    assert losses(together) == pytest.approx(losses(alone), abs=2e-5)
    whole = [[v.loss for v in events(folder, "validation") if v.whole] for folder in (together, alone)]
    assert whole[0] == pytest.approx(whole[1], abs=2e-5)


def test_a_row_of_4000_tokens_trains(make_run: Callable[..., Path]) -> None:
    rows = [*chat_rows(3), chat_row("Count", "one two three four five six " * 700)]
    folder = make_run(rows=rows, n_epochs=1, batch_size=4, max_length=4096)
    train(folder)
    assert ended(folder).status == "succeeded"
    started = events(folder, "started")[0]
    assert started.train_tokens > 4000
    assert events(folder, "step")[0].trained_tokens == started.trained_tokens_per_epoch


# ---- control ----


def test_stop_saves_what_there_is_and_ends_cancelled(make_run: Callable[..., Path]) -> None:
    folder = make_run()
    train(folder, after(2, (folder / "stop").touch))
    assert ended(folder).status == "cancelled"
    assert [c.path for c in events(folder, "checkpoint")] == ["checkpoints/epoch-1-step-2"]
    assert not (folder / "stop").exists()


def test_save_leaves_a_checkpoint_and_goes_on(make_run: Callable[..., Path]) -> None:
    folder = make_run()
    train(folder, after(2, (folder / "save").touch))
    assert ended(folder).status == "succeeded"
    assert [c.step for c in events(folder, "checkpoint")] == [2, 3, 6]


@pytest.mark.parametrize("changes", [{"lora_dropout": 0.1}, {"dtype": "bfloat16"}, FULL, {**FULL, "dtype": "bfloat16"}])
def test_a_paused_run_goes_on_exactly(make_run: Callable[..., Path], changes: dict) -> None:
    whole, paused = make_run("whole", **changes), make_run("paused", **changes)
    train(whole)
    train(paused, after(4, (paused / "pause").touch))
    assert ended(paused).status == "paused" and len(events(paused, "step")) == 4
    train(paused)
    assert ended(paused).status == "succeeded"
    assert events(paused, "started")[-1].resumed_step == 4
    assert [step.step for step in events(paused, "step")] == [1, 2, 3, 4, 5, 6]
    assert losses(paused) == losses(whole)
    assert events(paused, "checkpoint")[-1].sha256 == events(whole, "checkpoint")[-1].sha256


def test_batches_are_cut_as_at_the_first_start_whatever_memory_is_free_at_a_later_one(
    make_run: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = [chat_row("Say it", "word " * (1 + 3 * (n % 9))) for n in range(12)]
    whole, paused = make_run("whole", rows=rows), make_run("paused", rows=rows)
    train(whole)
    train(paused, after(4, (paused / "pause").touch))
    plan = json.loads((paused / "plan.json").read_text())["plan"]
    room = plan["peak_bytes"] + (20 << 20)  # the run fits as before, a fresh plan would take smaller passes
    facts = DeviceFacts(kind="cpu", name="CPU", memory_bytes=room, free_bytes=room)
    monkeypatch.setattr(loop, "device_facts", lambda run: facts)
    train(paused)
    assert losses(paused) == losses(whole)
    assert events(paused, "checkpoint")[-1].sha256 == events(whole, "checkpoint")[-1].sha256
    assert json.loads((paused / "plan.json").read_text())["plan"] == plan

    fresh = make_run("fresh", rows=rows)  # shows that the free memory does matter to a run that begins with it
    train(fresh)
    assert json.loads((fresh / "plan.json").read_text())["plan"]["micro_batch_tokens"] < plan["micro_batch_tokens"]


def test_a_plan_that_does_not_fit_any_more_is_made_anew_and_told(
    make_run: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = make_run()
    train(folder, after(4, (folder / "pause").touch))
    facts = DeviceFacts(kind="cpu", name="CPU", memory_bytes=1 << 20, free_bytes=1 << 20)
    monkeypatch.setattr(loop, "device_facts", lambda run: facts)
    train(folder)
    assert ended(folder).status == "succeeded"
    assert any("cut in a new way" in note.message for note in events(folder, "note"))


def test_sigterm_keeps_a_resume_point_that_is_no_checkpoint(make_run: Callable[..., Path]) -> None:
    folder = make_run()
    train(folder, after(2, lambda: os.kill(os.getpid(), signal.SIGTERM)))
    assert ended(folder).status == "interrupted"
    assert [path.name for path in (folder / "resume").iterdir()] == ["step-2"]
    assert not events(folder, "checkpoint")
    train(folder)
    assert ended(folder).status == "succeeded" and not (folder / "resume").exists()
    assert [step.step for step in events(folder, "step")] == [1, 2, 3, 4, 5, 6]


# ---- kill -9 ----


@pytest.mark.parametrize(
    ("changes", "kill_at", "resumed"),
    [
        pytest.param({"n_epochs": 1, "batch_size": 1}, 4, 0, id="from the start, with nothing saved"),
        pytest.param({"n_epochs": 4, "batch_size": 2}, 8, 6, id="from the checkpoint of the first epoch"),
        pytest.param({"n_epochs": 1, "batch_size": 1, "resume_every_seconds": 1e-6}, 5, 1, id="from the resume point"),
    ],
)
def test_kill_9_and_the_same_command_again_give_the_unbroken_curve_bit_for_bit(
    make_run: Callable[..., Path], changes: dict, kill_at: int, resumed: int
) -> None:
    whole, broken = make_run("whole", **changes), make_run("broken", **changes)
    train(whole)
    command = [sys.executable, "-m", "training.engine.sft", str(broken)]
    with (broken / "trainer.log").open("w") as log:
        process = subprocess.Popen(command, cwd=ROOT, stdout=log, stderr=log)
        deadline = time.monotonic() + 240
        # checkpoints are written beside the training: killed before that is done, it would have nothing to resume from
        while max(losses(broken), default=0) < kill_at or (resumed == 6 and not events(broken, "checkpoint")):
            assert process.poll() is None and time.monotonic() < deadline, (broken / "trainer.log").read_text()
            time.sleep(0.002)
        process.kill()
        process.wait()
    assert events(broken)[-1].type != "end"
    train(broken)
    assert events(broken, "started")[-1].resumed_step >= resumed
    assert losses(broken) == losses(whole)
    last = [events(folder, "checkpoint")[-1] for folder in (whole, broken)]
    assert last[0].sha256 == last[1].sha256
    assert last[0].full_valid_loss == last[1].full_valid_loss
    assert not list(broken.rglob(".*.part"))


def test_a_damaged_state_is_passed_over_for_the_one_before(make_run: Callable[..., Path]) -> None:
    folder = make_run()
    train(folder)
    (folder / "checkpoints/epoch-2-step-6/trainer_state/state.safetensors").write_bytes(b"rubbish")
    train(folder)
    assert events(folder, "started")[-1].resumed_step == 3
    assert ended(folder).status == "succeeded"


def test_a_finished_run_started_again_only_says_so(make_run: Callable[..., Path]) -> None:
    folder = make_run()
    train(folder)
    train(folder)
    assert ended(folder).status == "succeeded" and len(events(folder, "step")) == 6


# ---- what goes wrong ----


def test_a_loss_that_is_not_finite_stops_before_the_step(make_run: Callable[..., Path]) -> None:
    folder = make_run()

    def loss(model: Any, batch: Any) -> Any:
        sums = sft.batch_loss(model, batch)
        broken = torch.is_grad_enabled() and len(events(folder, "step")) == 3
        return sums._replace(loss=sums.loss * float("nan")) if broken else sums

    train(folder, loss)
    end = ended(folder)
    assert (end.status, end.code) == ("failed", "non_finite_loss")
    assert len(events(folder, "step")) == 3 and "learning rate" in end.message


def test_a_full_disk_during_a_checkpoint_is_told_and_leaves_nothing_half_written(make_run: Callable[..., Path]) -> None:
    folder = make_run()
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, hard))  # larger files are refused by the kernel
    try:
        train(folder)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    end = ended(folder)
    assert (end.status, end.code) == ("failed", "disk_full")
    assert "Free some space" in end.message
    assert list((folder / "checkpoints").iterdir()) == []
    train(folder)
    assert ended(folder).status == "succeeded"


def test_a_resume_point_that_does_not_fit_only_warns(make_run: Callable[..., Path]) -> None:
    folder = make_run(resume_every_seconds=1e-6, n_epochs=1)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)

    def loss(model: Any, batch: Any) -> Any:
        limit = 100_000 if len(events(folder, "step")) < 2 else soft
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))
        return sft.batch_loss(model, batch)

    try:
        train(folder, loss)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert any("No resume point" in note.message for note in events(folder, "note"))
    assert ended(folder).status == "succeeded"


@pytest.mark.parametrize(
    ("changes", "code", "words"),
    [
        ({"base_path": "/nowhere/model"}, "model_not_available", "tokenizer.json"),
        ({"training_file": "/nowhere/t.jsonl"}, "invalid_training_file", "gone"),
        ({"validation_file": "/nowhere/v.jsonl"}, "invalid_validation_file", "gone"),
        ({"rows": [*chat_rows(2), {"messages": "no"}]}, "invalid_training_file", "Line 3"),
        ({"max_length": 2}, "invalid_training_file", "no row to train on"),
        ({"target_modules": ["nonsense"]}, "invalid_hyperparameters", "nonsense"),
    ],
)
def test_bad_input_ends_with_its_reason(make_run: Callable[..., Path], changes: dict, code: str, words: str) -> None:
    folder = make_run(**changes)
    train(folder)
    end = ended(folder)
    assert (end.status, end.code) == ("failed", code)
    assert words in end.message


# ---- continuing from a checkpoint ----


def test_continuing_trains_the_same_adapter_on(make_run: Callable[..., Path]) -> None:
    first = make_run("first")
    train(first)
    start = first / events(first, "checkpoint")[-1].path
    second = make_run("second", start_path=start, seed=8, learning_rate=1e-3)
    train(second)
    assert ended(second).status == "succeeded"
    assert losses(second)[1] < min(losses(first).values()) + 0.3
    assert all(check.agrees for check in recompute(second))


@pytest.mark.parametrize(
    "shape",
    [
        pytest.param({"lora_r": 6, "lora_alpha": 12}, id="another rank"),
        pytest.param({"lora_alpha": 4}, id="another alpha"),
        pytest.param({"target_modules": ["q_proj", "down_proj"]}, id="other modules"),
        pytest.param({"lora_r": 6, "lora_alpha": 12, "dtype": "bfloat16"}, id="in bfloat16"),
    ],
)
def test_continuing_with_another_shape_saves_the_old_and_the_new_adapter_as_one(
    make_run: Callable[..., Path], shape: dict
) -> None:
    first = make_run("first", target_modules=["q_proj", "v_proj", "up_proj"], lora_dropout=0.2)
    train(first)
    start = first / events(first, "checkpoint")[-1].path
    second = make_run("second", start_path=start, **{"target_modules": ["q_proj", "v_proj", "up_proj"], **shape})
    train(second)
    assert ended(second).status == "succeeded", ended(second)
    assert losses(second)[1] < min(losses(first).values()) + 0.3  # it begins where the first one ended
    assert losses(second)[6] < losses(second)[1]
    assert all(check.agrees for check in recompute(second)), recompute(second)

    saved = events(second, "checkpoint")[-1]
    config = json.loads((second / saved.path / "adapter_config.json").read_text())
    rank = 4 + shape.get("lora_r", 4)
    assert (saved.kind, config["r"], config["lora_alpha"], config["rank_pattern"]) == ("lora", rank, rank, {})
    assert set(config["target_modules"]) == {"q_proj", "v_proj", "up_proj", *shape.get("target_modules", [])}
    for name, (rows, columns) in tensor_shapes(second / saved.path).items():
        assert (rows if "lora_A" in name else columns) == rank
    probes = Probes.model_validate_json((second / saved.path / "probes.json").read_text())
    assert probes.lora_r == rank
    check_adapter_files(second / saved.path, probes, saved.sha256)  # the gate before serving lets it through

    same = {"lora_r": rank, "lora_alpha": rank, "target_modules": config["target_modules"]}
    third = make_run("third", start_path=second / saved.path, **same)
    train(third)
    assert losses(third)[1] < losses(second)[1]
    assert read_start_facts(third / events(third, "checkpoint")[-1].path).lora_r == rank  # one adapter, trained on


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_lora_on_a_full_weight_checkpoint_saves_merged_full_weights(make_run: Callable[..., Path], dtype: str) -> None:
    first = make_run("first", **FULL)
    train(first)
    second = make_run("second", start_path=first / events(first, "checkpoint")[-1].path, dtype=dtype)
    train(second)
    assert losses(second)[1] < min(losses(first).values()) + 0.3
    assert losses(second)[6] < losses(second)[1]
    for check in recompute(second):  # a single one of the 85 tokens may have two answers that are equal in bfloat16
        assert check.told_loss == pytest.approx(check.own_loss, abs=check.tolerance)
    saved = events(second, "checkpoint")[-1]
    probes = Probes.model_validate_json((second / saved.path / "probes.json").read_text())
    assert (saved.kind, probes.lora_r, probes.modules) == ("full", None, [])
    check_full_files(second / saved.path, probes, saved.sha256)
    assert tensor_shapes(second / saved.path) == tensor_shapes(first / events(first, "checkpoint")[-1].path)


@pytest.mark.parametrize("adaptation", [{}, FULL])
def test_a_continued_run_that_was_paused_goes_on_exactly(make_run: Callable[..., Path], adaptation: dict) -> None:
    first = make_run("first", **adaptation)
    train(first)
    changes = {"start_path": first / events(first, "checkpoint")[-1].path, "lora_r": 3, "lora_dropout": 0.1}
    whole, paused = make_run("whole", **changes), make_run("paused", **changes)
    train(whole)
    train(paused, after(4, (paused / "pause").touch))
    assert ended(paused).status == "paused" and len(events(paused, "step")) == 4
    train(paused)
    assert losses(paused) == losses(whole)
    assert events(paused, "checkpoint")[-1].sha256 == events(whole, "checkpoint")[-1].sha256


def test_full_weights_start_from_the_merged_adapter_and_go_on_from_full_weights(make_run: Callable[..., Path]) -> None:
    first = make_run("first")
    train(first)
    merged = make_run("merged", start_path=first / events(first, "checkpoint")[-1].path, **FULL)
    train(merged)
    assert losses(merged)[1] < min(losses(first).values()) + 0.3
    assert all(check.agrees for check in recompute(merged))
    further = make_run("further", start_path=merged / events(merged, "checkpoint")[-1].path, **FULL)
    train(further)
    assert losses(further)[1] < losses(merged)[1]
