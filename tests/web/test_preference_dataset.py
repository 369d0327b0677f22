"""The page of a preference file: both answers side by side, its figures, and the way to a job."""

import json
import re

from django.test import Client

from accounts.models import Project
from tests.factories import preference_row
from training import checks, files
from training.models import DatasetFile


def pairs(project: Project, rows: list[dict]) -> DatasetFile:
    return files.create_file(project, None, "pairs.jsonl", "fine-tune", "\n".join(map(json.dumps, rows)).encode())


def test_both_answers_stand_side_by_side_after_what_they_answer(owner_client: Client, project: Project) -> None:
    file = pairs(project, [preference_row(f"Is {n} even?", f"Yes, {n} is.", f"I guess {n}.") for n in range(0, 24, 2)])
    page = owner_client.get(f"/datasets/{file.pk}/").content.decode()
    assert "12 rows, ready" in page and "preference format" in page and "Train with this" in page
    first = page[page.index('id="line-1"') : page.index('id="line-2"')]
    sides = re.findall(
        r'<section class="pair__side[^"]*" aria-label="([^"]+)">.*?turn__text">([^<]*)<', first, re.DOTALL
    )
    assert sides == [("preferred", "Yes, 0 is."), ("not preferred", "I guess 0.")]
    assert first.index("Is 0 even?") < first.index("Yes, 0 is.")
    assert "Preferred is longer" in page


def test_a_broken_pair_is_drawn_as_far_as_it_can_be(owner_client: Client, project: Project) -> None:
    broken = [
        {"input": 3, "preferred_output": "yes", "non_preferred_output": [{"content": "<b>"}]},
        {"preferred_output": [], "non_preferred_output": None},
        {"prompt": "2+2=", "chosen": "4", "rejected": "5"},
    ]
    file = pairs(project, broken)
    page = owner_client.get(f"/datasets/{file.pk}/?tab=rows").content.decode()
    assert page.count("pair__side--preferred") == 3 and "&lt;b&gt;" in page and "2+2=" in page
    assert "not ready" in page


def test_a_file_of_raw_text_has_no_job_by_preferences(project: Project) -> None:
    file = pairs(project, [{"text": "Once upon a time."}] * 12)
    assert checks.refusal(file, method="dpo") is not None


def test_shares_and_means_are_over_the_rows_without_problems(owner_client: Client, project: Project) -> None:
    rows = [preference_row(f"Is {n} even?", "Yes.", "I guess so.") for n in range(11)]
    file = pairs(project, [*rows, preference_row("Is 22 even?", "Yes, it is even.", "No."), *[{"prompt": "2+2="}] * 8])
    page = re.sub(r"\s+", " ", owner_client.get(f"/datasets/{file.pk}/?tab=problems").content.decode())
    assert "counted over the 12 of 20 rows without problems" in page and "of the 12 sound rows" in page
    assert '<span class="figure__value">8.3 %</span>' in page
    assert "The preferred answer is the shorter one in 11 of 12 rows without problems" in page


def test_of_an_older_check_no_share_is_guessed(owner_client: Client, project: Project) -> None:
    file = pairs(project, [preference_row("Is 2 even?", "Yes.", "I guess so."), {"prompt": "2+2="}])
    file.statistics.pop("sound_rows")
    file.save(update_fields=["statistics"])
    page = owner_client.get(f"/datasets/{file.pk}/").content.decode()
    assert "Preferred is longer" not in page and "counted over the rows without problems" in page
