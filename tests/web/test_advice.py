"""What to try next, read off a job's curves."""

import pytest
from django.test import Client
from django.urls import reverse

from accounts.models import Project
from dashboard.advice import advice
from tests import makers
from training.models import Metric, TrainingJob

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
        (FALLING, [1.2], "One epoch shows no trend", {"n_epochs": "8"}),
        (FALLING, [], "Nothing was validated", {"validation": "split"}),
        ([2.0, 2.01] * 6, [2.0, 2.0], "is flat", {"learning_rate_multiplier": "3"}),
        (FALLING[::-1], [0.5, 2.0], "rose from", {"learning_rate_multiplier": "0.33"}),
    ],
)
def test_each_shape_of_the_curves_has_its_hint(project, losses, judged, seen, changes) -> None:
    found = advice(job_with(project, losses, judged))
    assert found and seen in found.seen, found
    assert found.changes == changes


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
