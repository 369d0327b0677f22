"""How vLLM is started, what its log is read for, and how its processes are ended."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from playground import needs, processes, vllm
from tests.factories import tiny_model


def plan(folder: Path, **fields: object) -> vllm.Plan:
    return vllm.Plan("SmolLM2", folder, folder / "vllm.log", **fields)  # type: ignore[arg-type]


def option(command: list[str], name: str) -> str:
    return command[command.index(name) + 1]


def test_the_command_line_of_a_base_with_adapters(tmp_path: Path) -> None:
    server = vllm.VllmServer(plan(tmp_path, lora_rank=16, context_tokens=8192), "/opt/python", port=4000)
    command = server.command()
    assert command[:3] == ["/opt/python", "-m", "vllm.entrypoints.openai.api_server"]
    assert option(command, "--served-model-name") == "SmolLM2"
    assert option(command, "--host") == "127.0.0.1"
    assert option(command, "--port") == "4000"
    assert option(command, "--max-model-len") == "8192"
    assert int(option(command, "--max-loras")) >= 6
    assert int(option(command, "--max-cpu-loras")) >= int(option(command, "--max-loras"))
    assert option(command, "--max-lora-rank") == "16"
    assert "--enable-lora" in command
    assert "--gpu-memory-utilization" not in command


def test_adapters_change_the_linear_layers_only(tmp_path: Path) -> None:
    server = vllm.VllmServer(plan(tmp_path, lora_rank=16, lora_modules=("q_proj", "up_proj")), port=4000)
    at = server.command().index("--lora-target-modules")
    assert server.command()[at + 1 : at + 3] == ["q_proj", "up_proj"]


def test_the_command_line_of_full_weights_knows_no_adapters(tmp_path: Path) -> None:
    command = vllm.VllmServer(plan(tmp_path), port=4000).command()
    assert not [word for word in command if "lora" in word]


def test_a_gpu_gets_its_share_and_no_cpu_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    server = vllm.VllmServer(plan(tmp_path, gpu="1", gpu_fraction=0.4), port=4000)
    assert option(server.command(), "--gpu-memory-utilization") == "0.400"
    assert "--enforce-eager" not in server.command()
    environment = server.environment()
    assert environment["CUDA_VISIBLE_DEVICES"] == "1"
    assert "VLLM_CPU_KVCACHE_SPACE" not in environment


def test_vllm_gets_none_of_our_secrets_and_stays_quiet_and_offline(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HONE_SECRET_KEY", "secret")
    environment = vllm.VllmServer(plan(tmp_path, cache_gib=2), port=4000).environment()
    assert "secret" not in environment.values()
    assert environment["VLLM_ALLOW_RUNTIME_LORA_UPDATING"] == "1"
    assert environment["HF_HUB_OFFLINE"] == "1"
    assert environment["DO_NOT_TRACK"] == "1"
    assert environment["VLLM_NO_USAGE_STATS"] == "1"
    assert environment["VLLM_CPU_KVCACHE_SPACE"] == "2"


@pytest.mark.parametrize(("rank", "room"), [(1, 8), (8, 8), (9, 16), (16, 16), (33, 64), (512, 512)])
def test_room_for_a_rank_is_the_next_size_vllm_has(rank: int, room: int) -> None:
    assert vllm.room_for_rank(rank) == room


def test_a_rank_above_all_sizes_is_refused() -> None:
    with pytest.raises(vllm.VllmError, match="at most 512"):
        vllm.room_for_rank(513)


def test_the_context_is_the_models_own_up_to_ours(tmp_path: Path) -> None:
    folder = tiny_model(tmp_path / "model")
    assert needs.context_of(folder) == 8192
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"max_position_embeddings": 2048}))
    assert needs.context_of(folder) == 2048
    (folder / "config.json").write_text(json.dumps(config | {"max_position_embeddings": 131072}))
    assert needs.context_of(folder) == 8192
    assert vllm.CONTEXT_TOKENS >= 4096


def test_a_folder_without_config_is_named(tmp_path: Path) -> None:
    with pytest.raises(vllm.VllmError, match=r"config\.json"):
        needs.context_of(tmp_path)


def test_an_interpreter_without_vllm_is_seen(tmp_path: Path) -> None:
    assert vllm.find_build(str(tmp_path / "no-such-python")) is None
    bare = tmp_path / "bare"
    bare.write_text('#!/bin/sh\necho "[false, [], \\"\\"]"\n')
    bare.chmod(0o755)
    assert vllm.find_build(str(bare)) is None


def test_the_cause_is_found_before_what_wraps_it(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_text(
        "(EngineCore pid=7) INFO 11-22 starting\n"
        "(EngineCore pid=7) ERROR 11-22 01:00:00 [core.py:1] torch.OutOfMemoryError: CUDA out of memory. Tried 2 GiB\n"
        "(EngineCore pid=7) RuntimeError: WorkerProc initialization failed\n"
        "(APIServer pid=3) RuntimeError: Engine core initialization failed. See root cause above.\n"
    )
    assert vllm.last_error(log) == "torch.OutOfMemoryError: CUDA out of memory. Tried 2 GiB"


def test_without_an_error_the_last_lines_tell(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_text("one\ntwo\nusage: api_server.py\n")
    assert vllm.last_error(log) == "one / two / usage: api_server.py"
    assert vllm.last_error(tmp_path / "none") == "it left no log"


def test_error_answers_of_every_shape_give_their_message() -> None:
    assert vllm.error_text('{"error": {"message": "too long", "code": 400}}') == "too long"
    assert vllm.error_text('{"message": "gone"}') == "gone"
    assert vllm.error_text("Internal Server Error") == "Internal Server Error"


def test_waiting_fails_fast_when_the_process_is_gone(tmp_path: Path) -> None:
    dying = tmp_path / "dying"
    dying.write_text("#!/bin/sh\necho 'ValueError: no such model'\nexit 3\n")
    dying.chmod(0o755)
    server = vllm.VllmServer(plan(tmp_path), str(dying))
    server.start()
    started = time.monotonic()
    with pytest.raises(vllm.VllmError, match="code 3: ValueError: no such model"):
        server.wait_until_ready(60)
    assert time.monotonic() - started < 10


def sleeper(tmp_path: Path) -> str:
    """An "interpreter" with a child and a grandchild that take no hint."""
    script = tmp_path / "sleeper"
    script.write_text("#!/bin/sh\n(trap '' TERM; sleep 300 & sleep 300) &\nsleep 300\n")
    script.chmod(0o755)
    return str(script)


def tree_of(server: vllm.VllmServer, count: int) -> list[psutil.Process]:
    for _ in range(100):
        if len(server.tree()) >= count:
            break
        time.sleep(0.05)
    return server.tree()


def test_stopping_ends_the_whole_tree(tmp_path: Path) -> None:
    server = vllm.VllmServer(plan(tmp_path), sleeper(tmp_path))
    server.start()
    tree = tree_of(server, 4)
    server.stop(grace_seconds=1)
    assert not [process for process in tree if process.is_running() and process.status() != psutil.STATUS_ZOMBIE]


def test_what_was_remembered_is_ended_and_a_reused_pid_is_not(tmp_path: Path) -> None:
    server = vllm.VllmServer(plan(tmp_path), sleeper(tmp_path))
    server.start()
    tree = tree_of(server, 4)
    notes = tmp_path / "notes.json"
    processes.remember(server.tree(), notes)
    entries = json.loads(notes.read_text())
    me = os.getpid()
    notes.write_text(json.dumps([*entries, [me, psutil.Process(me).create_time() - 1000]]))
    assert processes.end_left_over(notes, grace_seconds=1) == len(tree)
    assert server.process
    server.process.wait(5)
    assert not notes.exists()
    assert processes.end_left_over(notes) == 0


def test_a_server_does_not_outlive_a_killed_parent(tmp_path: Path) -> None:
    script = (
        "import sys, time; from pathlib import Path; from playground import vllm\n"
        f"server = vllm.VllmServer(vllm.Plan('m', Path({str(tmp_path)!r}), Path({str(tmp_path / 'log')!r})), "
        f"{sleeper(tmp_path)!r})\n"
        "server.start(); print(server.pid, flush=True); time.sleep(300)\n"
    )
    parent = subprocess.Popen(
        [sys.executable, "-c", script], stdout=subprocess.PIPE, text=True, cwd=Path(vllm.__file__).parent.parent
    )
    assert parent.stdout
    child = psutil.Process(int(parent.stdout.readline()))
    for _ in range(100):  # until the tether has made its request and become the server
        if "tether.py" not in " ".join(child.cmdline()):
            break
        time.sleep(0.05)
    left = child.children(recursive=True)
    parent.kill()
    parent.wait()
    try:
        child.wait(5)
    finally:
        processes.end_processes(left, 0.1)
