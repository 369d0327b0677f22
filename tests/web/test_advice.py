"""What to try next, read off a job's curves."""

import pytest
from django.test import Client
from django.urls import reverse

from accounts.models import Project
from dashboard.advice import advice, spikes
from tests import makers
from training.models import JobEvent, Metric, TrainingJob

pytestmark = pytest.mark.django_db
FALLING = [2.0, 1.8, 1.6, 1.4, 1.2, 1.0, 0.9, 0.8, 0.7, 0.6, 0.5, 0.4]


def job_with(
    project: Project, losses: list[float], judged: list[float], status: str = "succeeded", epochs: int = 4
) -> TrainingJob:
    job = makers.make_job(project, steps=0, total_steps=len(losses), status=status)
    job.resolved_json |= {"n_epochs": epochs}
    job.step = len(losses)
    job.save()
    for step, loss in enumerate(losses, 1):
        Metric.objects.create(job=job, step=step, revision=step, time=float(step), epoch=step / 3, train_loss=loss)
    for epoch, loss in enumerate(judged, 1):
        makers.make_checkpoint(job, step=epoch * 3, epoch=epoch, full_valid_loss=loss)
    return job


@pytest.mark.parametrize(
    ("losses", "judged", "seen", "changes"),
    [
        (FALLING, [1.2, 0.9, 1.0, 1.3], "overfits since epoch 2", {"n_epochs": "2"}),
        (FALLING, [1.2, 1.3], "overfits since epoch 1", {"learning_rate_multiplier": "0.5"}),
        (FALLING, [1.2, 1.0, 0.8, 0.6], "still falling: the last epoch took 25 % off", {"n_epochs": "8"}),
        (FALLING, [1.2, 1.0, 0.8, 0.795], "levelled off at 0.795", {}),
        (FALLING, [1.2], "stopped in or after the first of 4 epochs", {}),
        (FALLING, [], "Nothing was validated", {"validation": "split"}),
        ([2.0, 2.01] * 6, [2.0, 2.0], "is flat", {"learning_rate_multiplier": "3"}),
        (FALLING[::-1], [0.5, 2.0], "rose from 0.4 at the first step to 2", {"learning_rate_multiplier": "0.1"}),
        ([1.0 + 0.02 * n for n in range(12)], [1.0, 2.0], "rose from", {"learning_rate_multiplier": "0.33"}),
    ],
)
def test_each_shape_of_the_curves_has_its_hint(project, losses, judged, seen, changes) -> None:
    found = advice(job_with(project, losses, judged))
    assert found and seen in found.seen, found
    assert found.changes == changes


@pytest.mark.parametrize(
    ("rate", "try_next", "changes"),
    [
        (400.0, "The usual learning rate", {"learning_rate_multiplier": "1"}),
        (3.0, "A tenth of the learning rate", {"learning_rate_multiplier": "0.3"}),
    ],
)
def test_a_ruined_run_is_called_one_however_short_it_is(project: Project, rate, try_next, changes) -> None:
    job = job_with(project, [2.27, 4.97, 27.7, 32.0, 35.0], [])
    job.resolved_json |= {"learning_rate_multiplier": rate}
    job.metrics.filter(step=5).update(full_valid_loss=48.86)
    found = advice(job)
    assert found and (found.try_next, found.changes) == (try_next, changes)
    assert "from 2.27 at the first step to 35, and the validation loss is 48.86" in found.seen
    assert f"multiplier of {rate:g} is too high" in found.seen and found.warns


def test_a_run_that_has_learned_everything_is_not_sent_on(owner_client: Client, project: Project) -> None:
    job = job_with(project, [loss / 5 for loss in FALLING], [0.02, 0.005, 0.0004, 0.00028])
    for checkpoint in job.checkpoints.all():
        judged = {"full_valid_loss": checkpoint.full_valid_loss, "full_valid_accuracy": 1.0}
        job.metrics.filter(step=checkpoint.step).update(**judged)
    found = advice(job)
    assert found and "It is learned: the validation loss is 0.00028, and 100.0 % of the" in found.seen
    assert "n_epochs" not in found.address and found.address.startswith(reverse("playground"))
    assert owner_client.get(found.address).status_code == 200
    job.resolved_json |= {"method": "dpo", "beta": 0.1}  # there so low a loss is no proof of better answers
    found = advice(job)
    assert found and "learned" not in found.seen


LEVEL = [2.0, 1.6, 1.3, 1.1, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0]
SLOW = [2.0, 1.9, 1.8, 1.75, 1.72, 1.7, 1.68, 1.66, 1.63, 1.6, 1.57, 1.55]
NOISY = [2.0, 1.4, 1.6, 1.2, 0.7, 1.3, 0.8, 1.2, 1.2, 0.7, 1.2, 0.7]  # the last third 5 % lower by chance
BETTER, WORSE = [1.5, 1.4, 1.3, 1.2, 1.1, 1.0], [1.0, 1.0, 0.9, 1.0, 1.2, 1.4]


@pytest.mark.parametrize(
    ("losses", "looked", "seen", "changes"),
    [
        (FALLING, [], "training loss was still falling: the last third of the epoch took 44 % off", {"n_epochs": "3"}),
        (SLOW, [], "training loss was still falling: the last third of the epoch took 6 % off", {"n_epochs": "2"}),
        (NOISY, [], "levelled off before the epoch's end", {}),
        (LEVEL, [], "levelled off before the epoch's end, training at 1.", {}),
        (LEVEL, [1.0] * 6, "levelled off before the epoch's end", {}),
        (LEVEL, BETTER, "validation loss was still falling", {"n_epochs": "3"}),
        (FALLING, WORSE, "validation loss rose from 0.95 to 1.3: it overfits", {"learning_rate_multiplier": "0.5"}),
    ],
)
def test_after_one_epoch_the_hint_reads_what_happened_within_it(project, losses, looked, seen, changes) -> None:
    job = job_with(project, losses, [1.2], epochs=1)
    for step, value in enumerate(looked, 1):
        job.metrics.filter(step=2 * step).update(valid_loss=value)
    found = advice(job)
    assert found and seen in found.seen, found
    assert found.changes == changes


@pytest.mark.parametrize(
    ("loss", "seen", "changes"),
    [
        (0.5, "from 0.6931, where nothing is told apart, to 0.5", {}),
        (0.69, "to 0.69", {"learning_rate_multiplier": "2"}),
    ],
)
def test_one_pass_over_pairs_is_held_against_untaught_weights(project, loss, seen, changes) -> None:
    job = job_with(project, FALLING, [loss], epochs=1)
    job.resolved_json |= {"method": "dpo", "beta": 0.1}
    found = advice(job)
    assert found and seen in found.seen and found.changes == changes, found


def test_spikes_that_happened_are_told_with_links_to_their_rows(owner_client: Client, project: Project) -> None:
    job = job_with(project, FALLING, [1.2, 0.9])
    text = "The training loss rose to 5.2 from about 1.3; this batch had lines 3, 18 of the training file"
    for message in (text, "The training loss rose to 4 from about 1", text, text, "Something else rose"):
        JobEvent.objects.create(job=job, message=message, level="warn")
    shown, more = spikes(job)
    assert [spike.lines for spike in shown] == [[3, 18], [], [3, 18]] and more == 1
    page = owner_client.get(reverse("job", args=[job.pk])).text
    assert "The training loss rose to 5.2 from about 1.3." in page and "1 more under Events" in page
    assert f"{reverse('dataset', args=[job.training_file_id])}?line=18#rows" in page
    job.status = "running"
    assert spikes(job) == ([], 0)


@pytest.mark.parametrize(
    ("spikes_told", "clipping", "seen", "changes"),
    [
        (3, 1.0, "jumped 3 times to more than twice what was usual", {"learning_rate_multiplier": "0.5"}),
        (2, 5.0, "jumped 2 times", {"max_grad_norm": "1"}),
        (1, 1.0, "overfits since epoch 2", {"n_epochs": "2"}),
    ],
)
def test_spikes_that_come_again_ask_for_smaller_steps(project, spikes_told, clipping, seen, changes) -> None:
    job = job_with(project, FALLING, [1.2, 0.9, 1.0, 1.3])
    job.resolved_json |= {"max_grad_norm": clipping}
    for n in range(spikes_told):
        JobEvent.objects.create(job=job, message=f"The training loss rose to {n + 4} from about 1.3", level="warn")
    found = advice(job)
    assert found and seen in found.seen and found.changes == changes, found


def test_two_spikes_in_a_thousand_steps_are_odd_rows_and_not_the_rate(project: Project) -> None:
    job = job_with(project, FALLING, [1.2, 1.0, 0.8, 0.6])
    job.step = 1000
    for n in range(2):
        JobEvent.objects.create(job=job, message=f"The training loss rose to {n + 4} from about 1.3", level="warn")
    found = advice(job)
    assert found and "still falling" in found.seen


def test_more_than_fifty_epochs_are_never_advised(project: Project) -> None:
    found = advice(job_with(project, FALLING, [1.2, 0.6], epochs=50))
    assert found and found.changes == {}
    found = advice(job_with(project, FALLING, [1.2, 0.6], epochs=30))
    assert found and found.changes == {"n_epochs": "50"}


@pytest.mark.parametrize("status", ["running", "failed"])
def test_a_job_that_has_not_ended_well_gets_none(project: Project, status: str) -> None:
    assert advice(job_with(project, FALLING, [1.2], status)) is None


def test_a_handful_of_steps_says_nothing(project: Project) -> None:
    assert advice(job_with(project, FALLING[:5], [1.2])) is None


def test_the_page_leads_to_the_form_with_the_change_made(owner_client: Client, project: Project) -> None:
    job = job_with(project, FALLING, [1.2, 0.9, 1.0, 1.3])
    page = owner_client.get(reverse("job", args=[job.pk])).text
    assert "It overfits since epoch 2" in page
    assert f"?from={job.pk}&amp;n_epochs=2" in page
    form = owner_client.get(reverse("new-job"), {"from": job.pk, "n_epochs": "2"}).text
    assert 'name="n_epochs" value="2"' in form
