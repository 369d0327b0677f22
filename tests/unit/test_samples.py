"""The sample tasks: sound, without leaks, made as they are, and scored rightly."""

import json
from pathlib import Path

import pytest

from training import datasets, jsonl
from training.samples import make, pieces_tone, score

FOLDER = Path(make.__file__).parent


def rows(task: str, part: str) -> list[dict]:
    return [row for _, row in jsonl.iterate(FOLDER / task / f"{part}.jsonl")]


@pytest.mark.parametrize("task", make.TASKS)
@pytest.mark.parametrize(("part", "count"), [("train", 120), ("valid", 40)])
def test_the_files_are_ready_to_train_on_without_a_warning(task: str, part: str, count: int) -> None:
    report = datasets.check(FOLDER / task / f"{part}.jsonl")
    assert (report.rows, report.format, report.problems, report.warnings) == (count, "chat", [], [])


@pytest.mark.parametrize("task", make.TASKS)
def test_the_files_are_what_make_writes(task: str) -> None:
    for part, made in zip(("train", "valid", "heldout"), make.TASKS[task](), strict=True):
        assert (FOLDER / task / f"{part}.jsonl").read_text() == make.text_of(made)


@pytest.mark.parametrize("task", make.TASKS)
def test_no_message_stands_in_two_files(task: str) -> None:
    asked = [row["messages"][1]["content"] for part in ("train", "valid", "heldout") for row in rows(task, part)]
    assert len(asked) == 190 == len(set(asked))


def test_the_pairs_are_ready_to_train_on_and_are_what_make_writes() -> None:
    for part, made, count in zip(("train", "valid"), make.pairs(), (120, 40), strict=True):
        path = FOLDER / "pairs" / f"{part}.jsonl"
        report = datasets.check(path)
        assert (report.rows, report.format, report.problems, report.warnings) == (count, "preference", [], [])
        assert path.read_text() == make.text_of(made)


def test_the_preferred_answer_scores_better_than_the_other_and_no_question_is_met_twice() -> None:
    facts = {question: topic["facts"] for topic in pieces_tone.TOPICS for question in topic["questions"]}
    rows_ = rows("pairs", "train") + rows("pairs", "valid")
    asked = [row["input"]["messages"][1]["content"] for row in rows_]
    assert len(set(asked)) == 160
    for question, row in zip(asked, rows_, strict=True):
        better, worse = (
            score.score("tone", row[key][0]["content"], {"facts": facts[question]}).score
            for key in ("preferred_output", "non_preferred_output")
        )
        assert better == 1 > worse, question


@pytest.mark.parametrize("task", ["ticket", "steer"])
def test_every_answer_that_is_taught_scores_full_marks(task: str) -> None:
    for row in rows(task, "train"):
        answer = row["messages"][-1]["content"]
        expected = json.loads(answer) if task == "ticket" else note_fields(answer)
        result = score.score(task, answer, expected)
        assert result.valid and result.score == 1, result.why


def note_fields(answer: str) -> dict[str, str]:
    return {line.split(": ")[0].lower(): line.split(": ")[1] for line in answer.split("\n")}


def test_every_answer_of_the_voice_scores_full_marks() -> None:
    for topic in pieces_tone.TOPICS:
        for answer in topic["answers"]:
            result = score.score("tone", answer, {"facts": topic["facts"]})
            assert result.valid and result.score == 1, (answer, result.why)


EXPECTED = {"category": "defect", "product": "kettle", "order": None, "priority": "high", "mood": "calm"}


@pytest.mark.parametrize(
    ("answer", "valid", "right"),
    [
        (json.dumps(EXPECTED), True, 1.0),
        (json.dumps({**EXPECTED, "mood": "happy"}), True, 0.8),
        (json.dumps({**EXPECTED, "mood": "furious"}), False, 0.8),
        (json.dumps({**EXPECTED, "extra": 1}), False, 1.0),
        (json.dumps({**EXPECTED, "product": 3}), False, 0.8),
        ("Here is the ticket: " + json.dumps(EXPECTED), False, 0.0),
        ("[]", False, 0.0),
        ("", False, 0.0),
        ("[" * 100_000, False, 0.0),
    ],
)
def test_a_ticket_is_valid_by_its_schema_and_right_by_its_fields(answer: str, valid: bool, right: float) -> None:
    result = score.score("ticket", answer, EXPECTED)
    assert (result.valid, result.score) == (valid, pytest.approx(right))


@pytest.mark.parametrize(
    ("answer", "valid"),
    [
        ("Aye, open the Trash. Fair winds.", True),
        ("Sorry! Open the Trash.", False),
        ("Aye, open the Trash!! Fair winds.", False),
        ("Aye, " + "row " * 60 + "Fair winds.", False),
        ("Ayes. Fair winds.", False),
        ("", False),
    ],
)
def test_the_voice_is_told_by_its_marks(answer: str, valid: bool) -> None:
    assert score.score("tone", answer, {"facts": ["trash"]}).valid is valid


@pytest.mark.parametrize(
    ("answer", "valid", "right"),
    [
        ("Done: stock count\nOpen: freezer alarm\nNext: order oat milk, Friday", True, 1.0),
        ("Done: stock count\nOpen: table\nNext: order oat milk, Friday", True, 2 / 3),
        ("Done: stock count\nOpen: freezer alarm\nNext: order oat milk, Friday.", False, 1.0),
        ("Note:\nDone: stock count\nOpen: freezer alarm\nNext: order oat milk, Friday", False, 1.0),
        ("I see that you had a long day.", False, 0.0),
    ],
)
def test_a_note_is_valid_by_its_form_and_right_by_its_words(answer: str, valid: bool, right: float) -> None:
    expected = {"done": "stock count", "open": "freezer alarm", "next": "order oat milk, Friday"}
    result = score.score("steer", answer, expected)
    assert (result.valid, result.score) == (valid, pytest.approx(right))


def test_a_summary_needs_an_answer_for_every_prompt() -> None:
    with pytest.raises(ValueError, match="30 held-out prompts"):
        score.score_task("ticket", ["x"])
    assert score.score_task("ticket", ["x"] * 30).valid_share == 0
