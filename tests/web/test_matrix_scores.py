"""Scores beside the answers of a matrix, each contender set against one, and what is taken away."""

import csv
import io
import json

import pytest
from django.test import Client

from playground.matrix import scoring
from playground.matrix.models import KeptAnswer, Matrix
from tests.matrix_cast import MATRICES, answer, matrix, models, prompts, shown

__all__ = ["matrix", "models", "prompts"]  # fixtures
pytestmark = pytest.mark.django_db


def add(client: Client, matrix: Matrix, **given: str) -> str:
    """The page after a score was added."""
    return client.post(f"{MATRICES}{matrix.pk}/scores/", given, follow=True).text


def test_a_score_is_added_later_shown_beside_the_answers_and_removed(owner_client: Client, matrix: Matrix) -> None:
    answer(matrix, 0, 1, "Hi!")
    answer(matrix, 1, 1, "Hello.")
    before = set(KeptAnswer.objects.values_list("pk", flat=True))
    page = add(owner_client, matrix, kind="exact")
    assert "Is the expected answer" in page and ">yes</li>" in page and ">no</li>" in page
    assert "1 worse" in page and "not decided" in page
    assert set(KeptAnswer.objects.values_list("pk", flat=True)) == before, "nobody is asked again"
    add(owner_client, matrix, kind="exact")
    matrix.refresh_from_db()
    assert len(matrix.scores) == 1, "the same score once"
    key = scoring.scores_of(matrix)[0].key
    page = owner_client.post(f"{MATRICES}{matrix.pk}/scores/{key}/remove/", follow=True).text
    assert "No score yet" in page


def test_a_wrong_pattern_is_said_and_not_kept(owner_client: Client, matrix: Matrix) -> None:
    assert "not a regular expression" in add(owner_client, matrix, kind="regex", value="(")
    matrix.refresh_from_db()
    assert matrix.scores == []


def test_a_pattern_that_never_ends_is_given_up_for_the_whole_matrix(owner_client: Client, matrix: Matrix) -> None:
    for column in (0, 1):
        for prompt in (0, 1, 2):
            answer(matrix, column, prompt, "a" * 3000 + "!")
    assert "too slow" in add(owner_client, matrix, kind="regex", value="(a|aa)+$")


def test_prompts_are_filtered_by_scores_that_differ(owner_client: Client, matrix: Matrix) -> None:
    answer(matrix, 0, 0, "Because.")
    answer(matrix, 1, 0, "Therefore.")
    answer(matrix, 0, 1, "Hi!")
    answer(matrix, 1, 1, "Hello.")
    answer(matrix, 0, 2, "4")
    answer(matrix, 1, 2, " 4")
    assert shown(owner_client, matrix, show="scores") == []
    add(owner_client, matrix, kind="exact")
    assert shown(owner_client, matrix, show="scores") == ["Say hi"]


def test_the_reference_can_be_chosen_and_figures_are_those_of_a_tag(owner_client: Client, matrix: Matrix) -> None:
    for column, seconds in ((0, 1.0), (1, 3.0)):
        for prompt, text in enumerate(("x", "Hi!", "4" if column else "5")):
            answer(matrix, column, prompt, text, prompt_tokens=10 + column, seconds=seconds)
    add(owner_client, matrix, kind="exact")

    def lines(**filters: object) -> list[scoring.Line]:
        return owner_client.get(f"{MATRICES}{matrix.pk}/", filters).context["lines"]

    base, tuned = lines()
    assert base.is_base and base.against[0].difference is None
    found = tuned.against[0].difference
    assert found and (found.wins, found.losses, found.same) == (1, 0, 1), "the prompt that expects nothing has no score"
    assert (base.prompt_tokens, tuned.prompt_tokens, tuned.seconds) == (10, 11, 3.0)
    turned, base = lines(base="1")
    assert base.is_base and turned.against[0].difference and turned.against[0].difference.losses == 1
    assert lines(tag="sums")[1].answered == 1


def test_a_matrix_is_taken_away_as_json_and_csv(owner_client: Client, stranger_client: Client, matrix: Matrix) -> None:
    answer(matrix, 0, 1, "Hi!", prompt_tokens=4)
    answer(matrix, 1, 1, '=HYPERLINK("http://x")')
    add(owner_client, matrix, kind="contains", value="Hi")
    address = f"{MATRICES}{matrix.pk}/export"
    whole = json.loads(owner_client.get(f"{address}.json").text)
    answers = whole["prompts"][1]["answers"]
    assert [each["scores"] for each in answers] == [[1.0], [0.0]] and answers[1]["text"].startswith("=")
    assert whole["prompts"][0]["answers"] == [None, None] and whole["scores"][0]["kind"] == "contains"
    rows = list(csv.DictReader(io.StringIO(owner_client.get(f"{address}.csv").text)))
    assert [(row["prompt"], row["prompt_tokens"]) for row in rows] == [("Say hi", "4"), ("Say hi", "")]
    assert rows[0]["Contains “Hi”"] == "1.0" and rows[1]["answer"].startswith("'=")
    assert stranger_client.get(f"{address}.json").status_code == 404


def test_a_stranger_adds_and_removes_no_score(stranger_client: Client, matrix: Matrix) -> None:
    address = f"{MATRICES}{matrix.pk}/scores/"
    assert stranger_client.post(address, {"kind": "exact"}).status_code == 404
    assert stranger_client.post(f"{address}x/remove/").status_code == 404
