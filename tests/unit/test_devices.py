"""What the machine is, without torch."""

import pytest

from training import devices

TWO_GPUS = """0, GPU-aaaa, NVIDIA H200, 143771, 1024, 37, 9.0
1, GPU-bbbb, Tesla T4, 15360, 0, [N/A], 7.5
"""


def test_nvidia_smi_lines_become_gpus_with_bytes_and_shares() -> None:
    first, second = devices.parse_gpus(TWO_GPUS)
    assert (first.name, first.memory_bytes, first.used_bytes) == ("NVIDIA H200", 143771 << 20, 1 << 30)
    assert first.busy == pytest.approx(0.37)
    assert second.busy is None


def test_a_driver_that_complains_gives_no_gpu() -> None:
    assert devices.parse_gpus("NVIDIA-SMI has failed because it couldn't communicate with the NVIDIA driver.") == []


def test_training_uses_only_the_gpus_it_was_given(settings, monkeypatch) -> None:
    monkeypatch.setattr(devices, "all_gpus", lambda: devices.parse_gpus(TWO_GPUS))
    settings.HONE_TRAIN_GPUS = ["1"]
    facts = devices.device_facts()
    assert (facts.kind, facts.name, facts.count, facts.bfloat16) == ("cuda", "Tesla T4", 1, False)
    settings.HONE_TRAIN_GPUS = []
    assert devices.device_facts().name == "NVIDIA H200"


def test_without_a_gpu_training_uses_the_cpu_and_its_memory(monkeypatch) -> None:
    monkeypatch.setattr(devices, "all_gpus", lambda: [])
    facts = devices.device_facts()
    assert facts.kind == "cpu"
    assert facts.name
    assert 0 < facts.free_bytes <= facts.memory_bytes


def test_a_container_with_less_memory_than_its_machine_says_its_own_limit(monkeypatch, tmp_path) -> None:
    limit, used = tmp_path / "max", tmp_path / "current"
    limit.write_text(str(1 << 29))
    used.write_text(str(1 << 28))
    monkeypatch.setattr(devices, "CGROUP_LIMITS", (str(limit),))
    monkeypatch.setattr(devices, "CGROUP_USED", (str(used),))
    assert devices.memory() == (1 << 29, 1 << 28)


def test_usage_has_a_share_for_everything_the_strip_shows() -> None:
    now = devices.usage()
    for share in ("cpu_share", "memory_share", "disk_share"):
        assert 0 <= now[share] <= 1.01


def test_the_busy_share_is_the_same_from_every_thread() -> None:
    from concurrent.futures import ThreadPoolExecutor

    first = devices.usage()["cpu_share"]
    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(lambda: devices.usage()["cpu_share"]).result() == pytest.approx(first)
