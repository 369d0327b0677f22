"""The reconcile loop against the fake vLLM: states, the gate, room, crashes."""

import contextlib
import json
import os
import signal
import socket
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import psutil
import pytest
from django.utils import timezone
from safetensors.numpy import load_file, save_file

from playground import deployments, needs, room, vllm
from playground import fleet as fleet_module
from playground.fleet import Fleet
from playground.models import Deployment, Verification
from tests.made_checkpoint import write_checkpoint
from tests.serving.conftest import Inline, Shelf, row_of, settle, state_is
from training.models import BaseModel, Checkpoint


def server_of(thing: BaseModel | Checkpoint) -> int:
    pid = row_of(thing).server_pid
    assert pid
    return pid


def age(thing: BaseModel | Checkpoint, seconds: float = 300) -> None:
    Deployment.objects.filter(pk=row_of(thing).pk).update(used_at=timezone.now() - timedelta(seconds=seconds))


def budget_for(monkeypatch: pytest.MonkeyPatch, servers: float, of: BaseModel) -> None:
    """Serving may use as much memory as this many servers need."""
    needed = needs.needed_bytes(of.path, "cpu")
    place = room.Place("", needed * 10, int(needed * servers), needed * 10)
    monkeypatch.setattr(room, "machine", lambda: place)


def test_a_base_and_its_checkpoints_come_up_in_one_server(shelf: Shelf, fleet: Fleet) -> None:
    base = shelf.base()
    first, second, third = (shelf.checkpoint(base) for _ in range(3))
    deployments.want(base_model=base)
    for checkpoint in (first, second, third):
        deployments.want(checkpoint=checkpoint)
    settle(fleet, state_is("ready", base, first, second, third))
    assert len({server_of(thing) for thing in (base, first, second, third)}) == 1
    assert {row_of(thing).proof for thing in (first, second, third)} == {"verified"}
    (figures,) = fleet.figures()
    assert figures["adapters"] == 3
    assert figures["up"]


def test_the_proof_holds_the_figures(shelf: Shelf, fleet: Fleet) -> None:
    checkpoint = shelf.checkpoint(shelf.base())
    deployments.want(checkpoint=checkpoint)
    settle(fleet, state_is("ready", checkpoint))
    proof = row_of(checkpoint).proof_json
    assert proof["mean_to_trained"] == 0
    assert proof["mean_to_base"] == 1
    assert proof["tokens"] == 4
    assert proof["chat_tokens"] > 0
    assert proof["vllm"] == "0.0.fake"
    assert proof["at"] and proof["load_ms"] >= 0


def test_the_newest_proof_stays_with_the_checkpoint_when_its_server_stops(shelf: Shelf, fleet: Fleet) -> None:
    base = shelf.base()
    checkpoint = shelf.checkpoint(base)
    deployments.want(base_model=base)
    deployments.want(checkpoint=checkpoint)
    settle(fleet, state_is("ready", base, checkpoint))
    fleet.end()
    assert row_of(checkpoint).proof_json is None
    kept = Verification.objects.get()  # of the checkpoint; a base has none
    assert (kept.checkpoint, kept.proof, kept.vllm_version) == (checkpoint, "verified", "0.0.fake")
    assert kept.words == "0 nats from the trained weights, 1 from the base"


def test_a_refusal_takes_the_place_of_an_earlier_proof(shelf: Shelf, fleet: Fleet) -> None:
    checkpoint = shelf.checkpoint(shelf.base())
    deployments.want(checkpoint=checkpoint)
    settle(fleet, state_is("ready", checkpoint))
    deployments.release(row_of(checkpoint))
    settle(fleet, state_is("off", checkpoint))
    empty_it(checkpoint.path, checkpoint.base_model.path)
    deployments.want(checkpoint=checkpoint)
    settle(fleet, state_is("failed", checkpoint))
    kept = Verification.objects.get()
    assert (kept.outcome, kept.mean_to_trained) == ("refused", None)
    assert "The adapter is empty" in kept.words


def test_states_are_told_on_the_way(shelf: Shelf, fleet: Fleet) -> None:
    base = shelf.base()
    (base.path / "fake.json").write_text('{"start_seconds": 1}')
    deployment = deployments.want(base_model=base)
    assert deployment.state == "queued"
    fleet.tick()
    assert row_of(base).state == "loading"
    assert "Starting vLLM" in row_of(base).reason
    settle(fleet, state_is("ready", base))
    assert row_of(base).reason == ""


def test_training_that_moved_nothing_is_served_and_says_so(shelf: Shelf, fleet: Fleet) -> None:
    base = shelf.base()
    checkpoint = shelf.checkpoint(base, lambda folder: write_checkpoint(folder, base.path, apart=0.001))
    deployments.want(checkpoint=checkpoint)
    settle(fleet, state_is("ready", checkpoint))
    assert row_of(checkpoint).proof == "too_close"
    assert "Too close to the base to tell" in row_of(checkpoint).reason


# ---- the gate ----


def swap_in_another(folder: Path, base: Path) -> None:
    other = write_checkpoint(folder.parent / "other", base, seed=99)
    (other / "adapter_model.safetensors").replace(folder / "adapter_model.safetensors")


def empty_it(folder: Path, base: Path) -> None:
    save_file({}, folder / "adapter_model.safetensors")


def rename_a_module(folder: Path, base: Path) -> None:
    path = folder / "adapter_model.safetensors"
    save_file({name.replace("q_proj", "query"): tensor for name, tensor in load_file(path).items()}, path)


def lose_the_probes(folder: Path, base: Path) -> None:
    (folder / "probes.json").unlink()


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (swap_in_another, "not the ones that were trained"),
        (empty_it, "The adapter is empty"),
        (rename_a_module, "1 missing (such as model.layers.0.self_attn.q_proj)"),
        (lose_the_probes, "probes.json is missing"),
    ],
)
def test_a_spoilt_adapter_is_refused_with_its_reason(
    shelf: Shelf, fleet: Fleet, spoil: Callable[[Path, Path], None], reason: str
) -> None:
    base = shelf.base()
    checkpoint = shelf.checkpoint(base)
    spoil(checkpoint.path, base.path)
    deployments.want(base_model=base)
    deployments.want(checkpoint=checkpoint)
    settle(fleet, state_is("failed", checkpoint))
    row = row_of(checkpoint)
    assert row.proof == "refused"
    assert reason in row.reason
    settle(fleet, state_is("ready", base))
    assert checkpoint.step_name not in next(iter(fleet.members.values())).server.models()


def test_an_adapter_without_effect_in_vllm_is_refused_and_unloaded(shelf: Shelf, fleet: Fleet) -> None:
    base = shelf.base()
    (base.path / "fake.json").write_text('{"adapters_do_nothing": true}')
    checkpoint = shelf.checkpoint(base)
    deployments.want(base_model=base)
    deployments.want(checkpoint=checkpoint)
    settle(fleet, state_is("failed", checkpoint))
    assert "the adapter has no effect" in row_of(checkpoint).reason
    kept = Verification.objects.get()
    assert (kept.mean_to_trained, kept.mean_to_base, kept.tokens) == (1.0, 0.0, row_of(checkpoint).proof_json["tokens"])
    settle(fleet, state_is("ready", base))
    assert next(iter(fleet.members.values())).server.models() == ["tiny"]


def test_other_chat_ids_are_refused(shelf: Shelf, fleet: Fleet) -> None:
    checkpoint = shelf.checkpoint(shelf.base())
    path = checkpoint.path / "probes.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"chat_token_ids": [1, 2, 3]}))
    deployments.want(checkpoint=checkpoint)
    settle(fleet, state_is("failed", checkpoint))
    assert "renders a chat to other tokens" in row_of(checkpoint).reason


def test_a_mended_checkpoint_is_tried_again_when_it_is_wanted_again(shelf: Shelf, fleet: Fleet) -> None:
    base = shelf.base()
    checkpoint = shelf.checkpoint(base)
    probes = (checkpoint.path / "probes.json").read_text()
    lose_the_probes(checkpoint.path, base.path)
    deployments.want(checkpoint=checkpoint)
    settle(fleet, state_is("failed", checkpoint))
    (checkpoint.path / "probes.json").write_text(probes)
    deployments.want(checkpoint=checkpoint)
    settle(fleet, state_is("ready", checkpoint))
    assert row_of(checkpoint).proof == "verified"


# ---- what goes ----


def test_a_released_checkpoint_is_unloaded_and_the_base_stays(shelf: Shelf, fleet: Fleet) -> None:
    base = shelf.base()
    checkpoint = shelf.checkpoint(base)
    deployments.want(base_model=base)
    deployments.release(deployments.want(checkpoint=checkpoint))
    deployments.want(checkpoint=checkpoint)
    settle(fleet, state_is("ready", base, checkpoint))
    deployments.release(row_of(checkpoint))
    settle(fleet, state_is("off", checkpoint))
    fleet.tick()
    assert next(iter(fleet.members.values())).server.models() == ["tiny"]
    assert row_of(base).state == "ready"


def test_a_deleted_checkpoint_is_unloaded(shelf: Shelf, fleet: Fleet) -> None:
    base = shelf.base()
    checkpoint = shelf.checkpoint(base)
    deployments.want(base_model=base)
    deployments.want(checkpoint=checkpoint)
    settle(fleet, state_is("ready", base, checkpoint))
    checkpoint.delete()
    fleet.tick()
    assert next(iter(fleet.members.values())).server.models() == ["tiny"]


def test_a_server_that_nobody_wants_is_stopped(shelf: Shelf, fleet: Fleet) -> None:
    base = shelf.base()
    deployments.want(base_model=base)
    settle(fleet, state_is("ready", base))
    process = psutil.Process(server_of(base))
    deployments.release(row_of(base))
    settle(fleet, lambda: not fleet.members)
    assert not process.is_running()
    assert row_of(base).state == "off"


def test_full_weights_get_a_server_of_their_own(shelf: Shelf, fleet: Fleet) -> None:
    base = shelf.base()

    def full(folder: Path) -> Path:
        from tests.factories import tiny_model
        from training.engine.weights import weights_sha256

        tiny_model(folder, seed=5)
        donor = write_checkpoint(folder.parent / "donor", base.path)
        probes = json.loads((donor / "probes.json").read_text())
        (folder / "probes.json").write_text(
            json.dumps(probes | {"weights_sha256": weights_sha256(folder), "modules": [], "lora_r": None})
        )
        return folder

    checkpoint = shelf.checkpoint(base, full, kind="full")
    deployments.want(base_model=base)
    deployments.want(checkpoint=checkpoint)
    settle(fleet, state_is("ready", base, checkpoint))
    assert server_of(base) != server_of(checkpoint)
    assert row_of(checkpoint).proof == "verified"


# ---- what cannot be served ----


def test_without_vllm_every_row_says_what_to_do(shelf: Shelf, tmp_path: Path) -> None:
    base = shelf.base()
    deployments.want(base_model=base)
    bare = tmp_path / "bare-python"
    bare.write_text('#!/bin/sh\necho "[false, [], \\"\\"]"\n')
    bare.chmod(0o755)
    fleet = Fleet(Inline(), str(bare))
    fleet.tick()
    assert row_of(base).state == "failed"
    assert "vLLM is not installed" in row_of(base).reason
    assert "“make run”" in row_of(base).reason, "a plain text, on a page as in the API"


def test_a_base_whose_folder_is_gone_says_so(shelf: Shelf, fleet: Fleet) -> None:
    base = shelf.base()
    BaseModel.objects.filter(pk=base.pk).update(folder=str(base.path / "gone"))
    deployments.want(base_model=base)
    fleet.tick()
    assert row_of(base).state == "failed"
    assert "not on disk" in row_of(base).reason


def test_a_checkpoint_whose_folder_is_gone_says_so_and_the_base_lives(shelf: Shelf, fleet: Fleet) -> None:
    base = shelf.base()
    checkpoint = shelf.checkpoint(base)
    checkpoint.path.rename(checkpoint.path.with_name("moved"))
    deployments.want(base_model=base)
    deployments.want(checkpoint=checkpoint)
    settle(fleet, state_is("ready", base))
    assert row_of(checkpoint).state == "failed"
    assert "Its folder is gone" in row_of(checkpoint).reason


def test_a_model_larger_than_all_memory_fails_with_figures(
    shelf: Shelf, fleet: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    base = shelf.base()
    budget_for(monkeypatch, 0.5, base)
    deployments.want(base_model=base)
    fleet.tick()
    assert row_of(base).state == "failed"
    assert "HONE_SERVE_MEMORY_GB" in row_of(base).reason


def test_a_server_that_dies_at_once_fails_with_the_cause_from_its_log(
    shelf: Shelf, fleet: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fleet_module, "LONGEST_PAUSE_SECONDS", 0.1)
    base = shelf.base()
    text = "(EngineCore pid=1) ValueError: no kernel for head size 7\nRuntimeError: Engine core initialization failed."
    (base.path / "fake.json").write_text(json.dumps({"dies": text}))
    deployments.want(base_model=base)
    settle(fleet, state_is("failed", base))
    assert "ValueError: no kernel for head size 7" in row_of(base).reason
    assert "vllm-tiny.log" in row_of(base).reason


# ---- room ----


def test_what_does_not_fit_waits_and_says_for_what(shelf: Shelf, fleet: Fleet, monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = shelf.base("first"), shelf.base("second")
    budget_for(monkeypatch, 1.5, first)
    deployments.want(base_model=first)
    settle(fleet, state_is("ready", first))
    deployments.want(base_model=second)
    fleet.tick()
    assert row_of(second).state == "queued"
    assert "used by first" in row_of(second).reason
    assert row_of(first).state == "ready"


def test_an_idle_one_makes_room(shelf: Shelf, fleet: Fleet, monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = shelf.base("first"), shelf.base("second")
    budget_for(monkeypatch, 1.5, first)
    deployments.want(base_model=first)
    settle(fleet, state_is("ready", first))
    age(first)
    deployments.want(base_model=second)
    settle(fleet, state_is("ready", second))
    assert row_of(first).state == "off"
    assert "make room for second" in row_of(first).reason


def test_a_pinned_one_is_never_put_away(shelf: Shelf, fleet: Fleet, monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = shelf.base("first"), shelf.base("second")
    budget_for(monkeypatch, 1.5, first)
    deployments.pin(deployments.want(base_model=first), True)
    settle(fleet, state_is("ready", first))
    age(first)
    deployments.want(base_model=second)
    for _ in range(5):
        fleet.tick()
    assert row_of(first).state == "ready"
    assert row_of(second).state == "queued"


def test_the_least_recently_used_adapter_gives_up_its_place(
    shelf: Shelf, fleet: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(vllm, "ADAPTER_SLOTS", 2)
    base = shelf.base()
    first, second, third = (shelf.checkpoint(base) for _ in range(3))
    deployments.want(checkpoint=first)
    deployments.want(checkpoint=second)
    settle(fleet, state_is("ready", first, second))
    age(first, 600)
    age(second, 300)
    deployments.want(checkpoint=third)
    settle(fleet, state_is("ready", third))
    assert row_of(first).state == "off"
    assert row_of(second).state == "ready"


def test_a_higher_rank_restarts_the_idle_server_with_room_for_it(shelf: Shelf, fleet: Fleet) -> None:
    base = shelf.base()
    small, large = shelf.checkpoint(base), shelf.checkpoint(base)
    (large.path / "adapter_config.json").write_text('{"r": 8, "rank_pattern": {"q_proj": 40}}')
    deployments.want(checkpoint=small)
    settle(fleet, state_is("ready", small))
    before = server_of(small)
    age(small)
    deployments.want(checkpoint=large)
    settle(fleet, state_is("ready", small, large))
    assert server_of(small) == server_of(large) != before
    assert next(iter(fleet.members.values())).server.plan.lora_rank == 64


# ---- crashes ----


def test_a_killed_server_comes_back_with_everything_proved_anew(shelf: Shelf, fleet: Fleet) -> None:
    base = shelf.base()
    checkpoint = shelf.checkpoint(base)
    deployments.want(base_model=base)
    deployments.want(checkpoint=checkpoint)
    settle(fleet, state_is("ready", base, checkpoint))
    before = server_of(checkpoint)
    proved_at = row_of(checkpoint).changed_at
    os.kill(before, signal.SIGKILL)
    settle(fleet, lambda: row_of(checkpoint).state == "queued")
    assert "Starting it again" in row_of(checkpoint).reason
    assert row_of(checkpoint).proof == ""
    settle(fleet, state_is("ready", base, checkpoint))
    assert server_of(checkpoint) != before
    assert row_of(checkpoint).proof == "verified"
    assert row_of(checkpoint).changed_at > proved_at


def test_what_a_killed_predecessor_left_is_ended_at_the_next_start(shelf: Shelf, fleet: Fleet) -> None:
    base = shelf.base()
    deployments.want(base_model=base)
    settle(fleet, state_is("ready", base))
    left = psutil.Process(server_of(base))
    next_one = Fleet(Inline(), fleet.python)
    next_one.begin()
    assert not left.is_running() or left.status() == psutil.STATUS_ZOMBIE
    assert row_of(base).state == "queued"
    assert row_of(base).url == ""


def test_ending_stops_every_server_and_queues_what_was_wanted(shelf: Shelf, fleet: Fleet) -> None:
    base = shelf.base()
    deployments.want(base_model=base)
    settle(fleet, state_is("ready", base))
    process = psutil.Process(server_of(base))
    fleet.end()
    assert not process.is_running()
    assert row_of(base).state == "queued"


def test_a_server_whose_port_was_taken_meanwhile_starts_again_on_another(
    shelf: Shelf, fleet: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    base = shelf.base()
    start = vllm.VllmServer.start
    with socket.socket() as other:

        def start_late(server: vllm.VllmServer) -> None:
            with contextlib.suppress(OSError):  # the second time it has a port already
                other.bind(("127.0.0.1", server.port))
                other.listen()
            start(server)

        monkeypatch.setattr(vllm.VllmServer, "start", start_late)
        deployments.want(base_model=base)
        settle(fleet, lambda: "Starting it again" in row_of(base).reason)
        taken = other.getsockname()[1]
        assert "ddress already in use" in row_of(base).reason
        settle(fleet, state_is("ready", base))
    assert not row_of(base).url.endswith(f":{taken}")


def test_a_full_disk_leaves_the_heartbeat_beating(monkeypatch: pytest.MonkeyPatch) -> None:
    deployments.beat(servers=["kept"])
    old = time.time() - 60
    os.utime(deployments.heartbeat_path(), (old, old))
    assert deployments.heartbeat() is None

    def full(path: Path, text: str) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_text", full)
    deployments.beat(servers=[])
    assert deployments.heartbeat() == {"name": "serve", "servers": ["kept"]}


def test_the_heartbeat_is_fresh_only_for_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    deployments.beat(servers=[])
    assert deployments.heartbeat()
    later = time.time() + 60
    monkeypatch.setattr(time, "time", lambda: later)
    assert deployments.heartbeat() is None
