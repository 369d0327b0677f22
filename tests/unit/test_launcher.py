import os
import subprocess
import sys

import psutil
import pytest

from training import launcher, workers
from training.launcher import Slot


def test_training_has_workers_of_its_own_one_process_a_gpu_and_one_job_each(settings):
    settings.HONE_TRAIN_GPUS = ["0", "1"]
    processes = launcher.worker_processes()
    train, other = " ".join(processes["train"].command), " ".join(processes["worker"].command)
    assert "-p 2 -t 1 --queues train" in train and "training.tasks" in train
    assert "-p 1 -t 4 --queues default" in other
    assert [each.environment["dramatiq_queue_prefetch"] for each in processes.values()] == ["1", "4"]


def test_a_slot_is_held_by_one_and_free_again_when_its_holder_lets_go(settings, tmp_path):
    settings.HONE_HOME, settings.HONE_TRAIN_GPUS = tmp_path, ["3", "5"]
    first, second = Slot.take(), Slot.take()
    assert first and second and (first.gpu, second.gpu) == ("3", "5")
    assert Slot.take() is None
    first.free()
    again = Slot.take()
    assert again and again.gpu == "3"


def test_a_job_can_hold_several_gpus_and_trains_in_as_many_processes(settings, tmp_path):
    settings.HONE_HOME, settings.HONE_TRAIN_GPUS, settings.HONE_DEVICES_PER_JOB = tmp_path, ["0", "1", "2"], 2
    assert launcher.slots() == ["0,1"]  # the third stays idle
    settings.HONE_TRAIN_GPUS = ["0", "1", "2", "3"]
    first, second = Slot.take(), Slot.take()
    assert first and second and (first.gpu, second.gpu) == ("0,1", "2,3") and Slot.take() is None
    command = launcher.trainer_command(tmp_path, "sft", 2)
    assert command[4:6] == ["--processes", "2"] and command[-3:] == ["-m", "training.engine.sft", str(tmp_path)]
    assert "--processes" not in launcher.trainer_command(tmp_path, "sft")


def test_a_slot_of_a_killed_process_is_free(settings, tmp_path):
    settings.HONE_HOME, settings.HONE_TRAIN_GPUS = tmp_path, []
    (tmp_path / "slots").mkdir()
    code = "import fcntl, sys; f = open(sys.argv[1], 'a'); fcntl.flock(f, 2); print(1, flush=True); input()"
    command = [sys.executable, "-c", code, str(tmp_path / "slots" / "device.lock")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:
        assert holder.stdout and holder.stdout.readline()
        assert Slot.take() is None
        holder.kill()
        holder.wait()
    assert Slot.take()


def test_the_trainer_gets_its_gpu_and_none_of_the_sites_secrets(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("HONE_SECRET_KEY", "secret")
    monkeypatch.setenv("HONE_DATABASE_URL", "postgres://user:password@host/name")
    monkeypatch.setenv("HONE_TRAIN_THREADS", "3")
    environment = launcher.trainer_environment("ftjob-1", "abc", "5")
    assert environment["CUDA_VISIBLE_DEVICES"] == "5" and environment["HF_HUB_OFFLINE"] == "1"
    assert environment["HONE_TRAIN_THREADS"] == "3" and environment[launcher.JOB_MARK] == "ftjob-1"
    assert not {"HONE_SECRET_KEY", "HONE_DATABASE_URL", "DJANGO_SETTINGS_MODULE"} & environment.keys()
    assert "CUDA_VISIBLE_DEVICES" not in {
        key for key in launcher.trainer_environment("ftjob-1", "abc", "") if key not in os.environ
    }


@pytest.mark.parametrize(
    ("name", "own"), [("OMP_WAIT_POLICY", "PASSIVE"), ("GLIBC_TUNABLES", "glibc.malloc.hugetlb=1:")]
)
def test_threads_and_memory_of_the_trainer_are_set_for_speed_unless_told_otherwise(
    name: str, own: str, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.delenv(name, raising=False)
    assert launcher.trainer_environment("ftjob-1", "abc", "")[name].startswith(own)
    monkeypatch.setenv(name, "another")
    assert launcher.trainer_environment("ftjob-1", "abc", "")[name] == "another"


def test_only_the_processes_of_one_start_are_ended():
    def sleeper(start: str) -> subprocess.Popen:
        environment = {**os.environ, launcher.JOB_MARK: "ftjob-marks", launcher.START_MARK: start}
        return subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"], env=environment)

    with sleeper("one") as one, sleeper("two") as two:
        assert launcher.end_processes("ftjob-marks", start_id="one", grace_seconds=5)
        assert not psutil.pid_exists(one.pid) and two.poll() is None
        assert launcher.end_processes("ftjob-marks", grace_seconds=0)
        assert not psutil.pid_exists(two.pid)
    assert not launcher.end_processes("ftjob-marks", grace_seconds=0)


def test_the_log_tail_shows_the_last_lines_only(tmp_path):
    assert launcher.log_tail(tmp_path) == ""
    (tmp_path / "trainer.log").write_text("".join(f"line {number}\n" for number in range(10_000)))
    assert launcher.log_tail(tmp_path, lines=2) == "line 9998\nline 9999"


def test_a_claim_of_a_dead_process_of_this_machine_is_known_to_be_abandoned():
    code = "from training.workers import new_claim; print(new_claim())"
    claim = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip()
    assert len(claim) <= 40
    assert workers.holder_is_gone(claim)
    assert not workers.holder_is_gone(workers.new_claim())
    assert not workers.holder_is_gone("00000000.1.1.abcd")  # another machine: only its lease can tell
    assert not workers.holder_is_gone("nonsense")
