"""The tab of validation rows on a job's page."""

import json

import pytest
from django.test import Client
from django.urls import reverse

from accounts.models import Project
from dashboard.row_losses import judged_rows
from tests import makers
from training.engine import row_losses
from training.models import TrainingJob

pytestmark = pytest.mark.django_db


def job_with_rows(project: Project) -> TrainingJob:
    """Ten rows: row n asks "question n"; after step 20 its loss is n / 10, before it was 1 for all."""
    file = makers.make_file(project, "valid.jsonl", rows=10)
    rows = [
        {"messages": [{"role": "user", "content": f"question {n}"}, {"role": "assistant", "content": f"answer {n}"}]}
        for n in range(1, 11)
    ]
    file.path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    job = makers.make_job(project, steps=20, validation_file=file)
    job.folder.mkdir(parents=True)
    row_losses.keep(job.folder, 9, range(1, 11), [1.0] * 10)
    row_losses.keep(job.folder, 20, range(1, 11), [n / 10 for n in range(1, 11)])
    return job


def test_worst_best_and_most_changed_rows_are_shown_with_their_texts(
    owner_client: Client, stranger_client: Client, project: Project
) -> None:
    job = job_with_rows(project)
    judged = judged_rows(job)
    lists = {title: [row.line for row in rows] for title, _, rows in judged.lists}
    assert (judged.first_step, judged.step, judged.rows) == (9, 20, 10)
    assert lists["Worst"] == [10, 9, 8, 7, 6]
    assert lists["Best"] == [1, 2, 3, 4, 5], "a row is never among both"
    assert lists["Most changed"] == [1, 2, 3, 4, 5, 6, 7, 8]  # row 10 did not change at all
    address = reverse("job", args=[job.id]) + "?tab=rows"
    page = owner_client.get(address).content.decode()
    assert "question 10" in page and "answer 1" in page and "since step 9" in page
    assert stranger_client.get(address).status_code == 404


@pytest.mark.parametrize(
    ("rows", "worst", "best"), [(1, [1], None), (3, [3, 2], [1]), (20, range(20, 12, -1), range(1, 9))]
)
def test_few_rows_are_shared_between_worst_and_best(
    project: Project, rows: int, worst: list, best: list | None
) -> None:
    job = makers.make_job(project, steps=20)
    job.folder.mkdir(parents=True)
    row_losses.keep(job.folder, 20, range(1, rows + 1), [n / 10 for n in range(1, rows + 1)])
    lists = {title: [row.line for row in shown] for title, _, shown in judged_rows(job).lists}
    assert lists["Worst"] == list(worst) and lists.get("Best") == (list(best) if best else None)


def test_without_kept_rows_or_without_the_file_the_tab_says_so(owner_client: Client, project: Project) -> None:
    plain = makers.make_job(project, steps=20)
    assert "no validation set" in owner_client.get(reverse("job", args=[plain.id]) + "?tab=rows").content.decode()
    job = job_with_rows(project)
    assert job.validation_file
    job.validation_file.delete()
    page = owner_client.get(reverse("job", args=[job.id]) + "?tab=rows").content.decode()
    assert "only its lines can be named" in page and "question 10" not in page
    (job.folder / "validation" / "step-20.json").write_text("half")
    assert judged_rows(TrainingJob.objects.get(pk=job.pk)).step == 0


@pytest.mark.parametrize(
    ("row", "sides"),
    [
        ({"prompt": "p", "completion": "c"}, ("p", "c")),
        ({"prompt": "p", "chosen": "good", "rejected": "bad"}, ("p", "good")),
        (
            {
                "input": {"messages": [{"role": "user", "content": "u"}]},
                "preferred_output": [{"role": "assistant", "content": "good"}],
            },
            ("u", "good"),
        ),
        ({"text": "some text"}, ("", "some text")),
    ],
)
def test_rows_of_every_format_have_a_short_text(project: Project, row: dict, sides: tuple[str, str]) -> None:
    job = job_with_rows(project)
    assert job.validation_file
    job.validation_file.path.write_text(json.dumps(row) + "\n")
    best = next(rows for title, _, rows in judged_rows(job).lists if title == "Best")
    assert (best[0].asked, best[0].answer) == sides
