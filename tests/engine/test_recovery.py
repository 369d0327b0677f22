"""Real workers, a real queue and a (verified) fake trainer: whatever is killed, every step is there exactly once."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from accounts.models import Project
from tests.jobs import make_job, make_resolved
from tests.workers import Workers, trainers_of, wait_for
from training import actions, launcher, tasks
from training.models import TrainingJob

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.servers]
STEPS = 60


@pytest.fixture
def start_workers(tmp_path: Path) -> Iterator[Callable[..., Workers]]:
    started: list[Workers] = []

    def start(*names: str, **environment: str) -> Workers:
        workers = Workers(tmp_path, **environment)
        started.append(workers)
        workers.start(*names)
        return workers

    yield start
    for workers in started:
        workers.end()
    if started:
        print(started[0].log()[-6000:])


@pytest.fixture
def job(project: Project) -> TrainingJob:
    return make_job(project)


def reach(job: TrainingJob, step: int, seconds: float = 90) -> None:
    def reached() -> bool:
        job.refresh_from_db()
        assert job.status not in ("failed", "succeeded", "cancelled"), (job.status, job.error_message)
        return job.step >= step

    wait_for(reached, seconds, f"step {step}")


def end(job: TrainingJob, status: str = "succeeded", seconds: float = 120) -> None:
    def ended() -> bool:
        job.refresh_from_db()
        return job.is_final

    wait_for(ended, seconds, f"the end of the job (it is {job.status}: {job.status_text})")
    assert (job.status, job.error_message) == (status, "") or status == "failed"
    wait_for(lambda: TrainingJob.objects.get(pk=job.pk).claim == "", what="the worker to let go")
    assert not launcher.processes_of(job.pk)
    job.refresh_from_db()


def weights(job: TrainingJob) -> int:
    """The fake trainer's final weights: another number if any step was left out or done twice."""
    last = job.checkpoints.order_by("-step").first()
    assert last
    return json.loads((last.path / "meta.json").read_text())["weights"]


def unbroken_weights(seed: int = 42, steps: int = STEPS) -> int:
    value = 0
    for step in range(1, steps + 1):
        value = (value * 31 + step * 7 + seed) % 1_000_003
    return value


def assert_every_step_once(job: TrainingJob) -> None:
    assert list(job.metrics.values_list("step", flat=True)) == list(range(1, STEPS + 1))
    assert list(job.events.filter(type="metrics").order_by("step").values_list("step", flat=True)) == list(
        range(1, STEPS + 1)
    )
    assert list(job.checkpoints.order_by("step").values_list("step", flat=True)) == [20, 40, 60]
    assert not job.metrics.filter(train_loss=None).exists()
    assert job.metrics.exclude(full_valid_loss=None).count() == 3
    assert weights(job) == unbroken_weights()


def test_a_job_runs_from_the_queue_to_its_end(job: TrainingJob, start_workers):
    start_workers()
    tasks.train.send()
    end(job)
    assert_every_step_once(job)
    assert (job.attempt, job.claim, job.trainer_pid) == (1, "", None)


def test_a_job_whose_message_was_lost_is_found_in_the_database(job: TrainingJob, start_workers):
    start_workers()
    end(job)
    assert_every_step_once(job)


def test_sigterm_of_the_worker_saves_and_the_next_worker_continues(job: TrainingJob, start_workers):
    first = start_workers(FAKE_STEP_SECONDS="0.15")
    reach(job, 25)
    first.stop()
    job.refresh_from_db()
    assert (job.status, job.claim) == ("queued", "")
    assert not launcher.processes_of(job.pk)
    stopped_at = job.step
    start_workers()
    end(job)
    assert_every_step_once(job)
    assert job.started_json["resumed_step"] == stopped_at >= 25  # nothing was trained twice


def test_kill_9_of_the_worker_ends_the_trainer_and_the_next_worker_continues(job: TrainingJob, start_workers):
    first = start_workers(FAKE_STEP_SECONDS="0.15")
    reach(job, 25)
    first.kill()
    wait_for(lambda: not launcher.processes_of(job.pk), 12, "the leash to end the trainer")
    start_workers()
    end(job)
    assert_every_step_once(job)
    assert job.attempt == 2


def test_kill_9_of_the_trainer_is_survived_by_the_same_worker(job: TrainingJob, start_workers):
    start_workers(FAKE_STEP_SECONDS="0.15")
    reach(job, 25)
    for trainer in trainers_of(job):
        trainer.kill()
    end(job)
    assert_every_step_once(job)
    assert job.attempt == 2
    assert job.started_json["resumed_step"] == 20  # the checkpoint of epoch 1
    assert job.events.filter(level="warn", message__contains="killed (signal 9)").exists()


def test_kill_9_of_the_leash_ends_the_trainer_with_a_resume_point(job: TrainingJob, start_workers):
    start_workers(FAKE_STEP_SECONDS="0.15")
    reach(job, 25)
    for process in launcher.processes_of(job.pk):
        if "training.leash" in process.cmdline():
            process.kill()
    end(job)
    assert_every_step_once(job)
    assert job.started_json["resumed_step"] >= 25


def test_kill_9_of_everything_is_continued_after_a_restart(job: TrainingJob, start_workers):
    first = start_workers(FAKE_STEP_SECONDS="0.15")
    reach(job, 25)
    first.kill_everything()
    assert not launcher.processes_of(job.pk)
    start_workers()
    end(job)
    assert_every_step_once(job)


def test_two_deliveries_and_two_workers_give_one_run(job: TrainingJob, start_workers):
    for _ in range(5):
        tasks.train.send()
    start_workers()
    start_workers()
    reach(job, 10)
    assert len(trainers_of(job)) == 1
    end(job)
    assert_every_step_once(job)
    assert job.attempt == 1


def test_cancel_of_a_running_job_ends_its_trainer(job: TrainingJob, start_workers):
    start_workers(FAKE_STEP_SECONDS="0.1")
    reach(job, 5)
    actions.cancel_job(job)
    assert job.status == "cancelled"  # at once
    wait_for(lambda: not launcher.processes_of(job.pk), 20, "the trainer to leave")
    wait_for(lambda: TrainingJob.objects.get(pk=job.pk).claim == "", what="the worker to let go")
    assert TrainingJob.objects.get(pk=job.pk).status == "cancelled"


def test_cancel_that_drops_leaves_no_checkpoint_of_a_running_job(job: TrainingJob, start_workers):
    start_workers(FAKE_STEP_SECONDS="0.1")
    reach(job, 22)  # the checkpoint of epoch 1 is at step 20
    assert job.checkpoints.exists()
    actions.cancel_job(job, drop=True)
    wait_for(lambda: TrainingJob.objects.get(pk=job.pk).claim == "", 20, "the worker to let go")
    assert not job.checkpoints.exists() and not launcher.processes_of(job.pk)
    assert not list((job.folder / "checkpoints").iterdir())


def test_cancel_of_a_trainer_that_does_not_listen_kills_it(job: TrainingJob, start_workers):
    start_workers(FAKE_STEP_SECONDS="0.5", FAKE_DEAF="1")
    reach(job, 1)
    actions.cancel_job(job)
    wait_for(lambda: not launcher.processes_of(job.pk), 25, "the trainer to be killed")


def test_a_cancelled_job_in_the_queue_never_starts_and_the_next_one_does(project: Project, start_workers):
    first, second = make_job(project), make_job(project)
    actions.cancel_job(first)
    start_workers()
    end(second)
    first.refresh_from_db()
    assert (first.status, first.attempt, first.folder.exists()) == ("cancelled", 0, False)


def test_jobs_run_one_at_a_time_in_the_order_of_the_queue(project: Project, start_workers):
    small = make_resolved(n_epochs=1)
    jobs = [make_job(project, rows=12, valid_rows=0, resolved=small) for _ in range(3)]
    start_workers()
    for job in jobs:
        end(job)
    starts = [TrainingJob.objects.get(pk=job.pk).started_at for job in jobs]
    ends = [TrainingJob.objects.get(pk=job.pk).finished_at for job in jobs]
    assert starts == sorted(starts) and all(starts[i + 1] >= ends[i] for i in range(2))


def test_pause_saves_and_resume_continues(job: TrainingJob, start_workers):
    start_workers(FAKE_STEP_SECONDS="0.15")
    reach(job, 25)
    actions.pause_job(job)

    def paused() -> bool:
        job.refresh_from_db()
        return job.status == "paused" and not launcher.processes_of(job.pk)

    wait_for(paused, 10, "the job to pause")
    stopped_at = job.step
    actions.resume_job(job)
    assert job.status == "queued"
    end(job)
    assert_every_step_once(job)
    assert job.started_json["resumed_step"] == stopped_at


def test_a_trainer_that_crashes_at_the_same_step_again_and_again_fails_with_its_last_words(
    job: TrainingJob, start_workers
):
    start_workers(FAKE_CRASH_AT="25", FAKE_STEP_SECONDS="0.005")
    end(job, "failed")
    assert job.error_code == "server_error"
    assert "a bug at this very step" in job.error_message and "exit code 1" in job.error_message
    assert job.attempt == 4  # the first brought new steps, three in a row did not
    assert list(job.metrics.values_list("step", flat=True)) == list(range(1, 25))


def test_a_trainer_that_gives_up_is_not_started_again(job: TrainingJob, start_workers):
    start_workers(FAKE_FAIL_AT="5")
    end(job, "failed")
    assert (job.attempt, job.error_code) == (1, "non_finite_loss")
    assert job.error_message == "The loss became NaN. Lower the learning rate."


def test_a_job_that_is_deleted_while_its_trainer_stops_leaves_nothing(job: TrainingJob, start_workers):
    start_workers(FAKE_STEP_SECONDS="0.2")
    reach(job, 3)
    actions.cancel_job(job)
    folder, key = job.folder, job.pk
    actions.delete_job(job)
    wait_for(lambda: not launcher.processes_of(key), 20, "the trainer to leave")
    wait_for(lambda: not folder.exists(), 10, "the folder to go")


def test_no_worker_process_outlives_its_master(start_workers):
    workers = start_workers("train", "worker")
    wait_for(lambda: len(workers.workers()) >= 4, what="masters and workers")
    everyone = workers.workers()
    for process in workers.processes.values():
        process.kill()
        process.wait()
    _gone, alive = psutil.wait_procs(everyone, timeout=10)
    assert not alive


def test_a_job_on_two_devices_survives_kill_9_of_one_process_and_pauses_in_both(project: Project, start_workers):
    """The real trainer: two processes that share out the weights."""
    resolved = make_resolved(n_epochs=50, batch_size=4, sharding="fsdp")
    job = make_job(project, rows=20, resolved=resolved)  # 5 steps an epoch
    start_workers(HONE_DEVICES_PER_JOB="2", HONE_TRAINER_MODULE="", HONE_TRAIN_THREADS="1")
    reach(job, 7, seconds=120)
    assert job.started_json["world_size"] == 2 and len(trainers_of(job)) == 2
    (second,) = [process for process in trainers_of(job) if process.environ()["RANK"] == "1"]
    second.kill()
    wait_for(lambda: TrainingJob.objects.get(pk=job.pk).attempt == 2, 60, "the next start")
    text = "one of its 2 processes was killed (signal 9)"
    assert job.events.filter(level="warn", message__contains=text).exists()
    reached = TrainingJob.objects.get(pk=job.pk).step
    reach(job, reached + 3, seconds=120)
    assert job.started_json["resumed_step"] >= 5  # the checkpoint of the first epoch
    actions.pause_job(job)
    wait_for(lambda: TrainingJob.objects.get(pk=job.pk).status == "paused", 60, "the job to pause")
    wait_for(lambda: not launcher.processes_of(job.pk), 20, "both processes to leave")
    job.refresh_from_db()
    assert list(job.metrics.values_list("step", flat=True)) == list(range(1, job.step + 1))
    saved = job.checkpoints.get(step=job.step)
    assert (saved.path / "trainer_state" / "state.safetensors").exists()
