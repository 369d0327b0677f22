"""The page of a job that learns from preferences: its own curves, live and after a reload, and its checkpoints."""

import csv
import io

import pytest
from django.test import Client
from django.urls import reverse

from accounts.models import Project
from dashboard import curves
from tests import makers
from training.engine.spec import Recipe
from training.models import TrainingJob

pytestmark = pytest.mark.django_db


@pytest.fixture
def preferred(project: Project) -> TrainingJob:
    """Forty steps, four epochs; the margin grows with the step."""
    job = makers.make_job(project, steps=40, recipe=Recipe(method="dpo", beta=0.1), status="succeeded")
    for metric in job.metrics.all():
        own = {"rewards/chosen": metric.step / 100, "rewards/rejected": -metric.step / 100}
        own |= {"rewards/margins": metric.step / 50, "rewards/accuracies": 0.75}
        if metric.full_valid_loss is not None:
            own |= {"full_valid_rewards/margins": metric.step / 60, "full_valid_rewards/accuracies": 0.5}
        metric.more = own
        metric.save()
    job.checkpoints.update(more={"rewards/accuracies": 0.875, "rewards/margins": 1.25})
    return job


def test_rewards_are_columns_of_the_curves_whole_and_reduced(preferred: TrainingJob) -> None:
    for points in (2000, 20):
        columns = curves.series(preferred, points=points)["columns"]
        steps = columns["step"]
        assert columns["rewards/margins"] == [pytest.approx(step / 50) for step in steps]
        judged = [value for value in columns["full_valid_rewards/accuracies"] if value is not None]
        assert judged == [0.5] * 4
        assert {len(values) for values in columns.values()} == {len(steps)}


def test_a_supervised_job_has_no_columns_of_rewards(project: Project) -> None:
    columns = curves.series(makers.make_job(project, steps=8))["columns"]
    assert not [name for name in columns if "rewards" in name]


def test_live_rows_carry_the_methods_own_figures(preferred: TrainingJob) -> None:
    rows = curves.rows_after(preferred.pk, 0, 100)
    last = dict(zip(curves.ROW_FIELDS, rows[-1], strict=True))
    assert last["more"]["rewards/margins"] == pytest.approx(last["step"] / 50)


def test_the_page_has_charts_of_rewards_and_checkpoints_say_how_many_pairs_are_told_apart(
    owner_client: Client, project: Project, preferred: TrainingJob
) -> None:
    page = owner_client.get(reverse("job", args=[preferred.pk])).text
    for chart in ("margins", "preference", "rewards"):
        assert f'data-chart="{chart}"' in page and f'data-readout="{chart}"' in page
    assert "Pairs told apart" in page and "87.5" in page and "1.25" in page
    other = owner_client.get(reverse("job", args=[makers.make_job(project, steps=40).pk])).text
    assert "Reward margin" not in other
    assert "Full validation accuracy" in other


def test_the_csv_has_the_methods_own_figures_after_the_others(owner_client: Client, preferred: TrainingJob) -> None:
    answer = owner_client.get(reverse("job-csv", args=[preferred.pk]))
    rows = list(csv.DictReader(io.StringIO(answer.getvalue().decode())))
    assert float(rows[-1]["rewards/margins"]) == pytest.approx(0.8) and rows[0]["full_valid_rewards/margins"] == ""
