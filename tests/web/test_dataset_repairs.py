"""The Problems tab: problems by kind, the difference before anything is done, and the version that is made then."""

import html
import json
import re
from typing import Any

import pytest
from django.test import Client
from django.urls import reverse

from accounts.models import Project, User
from tests import makers
from tests.factories import tiny_model
from training import files
from training.models import BaseModel, DatasetFile
from training.repairs import asking
from training.repairs.models import Repair
from training.tasks import repair_file

pytestmark = pytest.mark.django_db
USER = {"role": "user", "content": "2 and 2?"}
ANSWER = {"role": "assistant", "content": "4"}


def chat(*messages: Any) -> bytes:
    return json.dumps({"messages": list(messages)}).encode()


GOOD, HUMAN, SPACED = (
    chat(USER, ANSWER),
    chat({**USER, "role": "human"}, ANSWER),
    chat(USER, {**ANSWER, "content": "4 "}),
)
ROWS = [*[GOOD] * 9, *[HUMAN] * 3, SPACED, b"not json"]


@pytest.fixture
def file(project: Project) -> DatasetFile:
    return files.create_file(project, None, "sums.jsonl", "fine-tune", b"\n".join(ROWS) + b"\n")


def page(client: Client, file: DatasetFile, tab: str = "problems", more: str = "") -> str:
    found: str = client.get(f"{reverse('dataset', args=[file.pk])}?tab={tab}{more}").text
    return re.sub(r"\s+", " ", found)


def look(client: Client, file: DatasetFile, **values: Any) -> Any:
    return client.post(reverse("look-dataset-repairs", args=[file.pk]), values, follow=True)


def make(client: Client, file: DatasetFile, repair: Repair) -> Any:
    return client.post(reverse("make-dataset-repair", args=[file.pk, repair.pk]), follow=True)


def test_problems_stand_by_kind_with_count_lines_text_and_repair(owner_client: Client, file: DatasetFile) -> None:
    shown = page(owner_client, file)
    assert "Roles under another name" in shown and "3 rows" in shown and "&quot;human&quot;" in shown
    assert 'name="one" value="role_names"' in shown and 'name="one" value="drop_bad"' in shown
    assert 'href="?line=10#rows"' in shown
    assert "Answers that end with a space or line break" in shown and 'name="one" value="trailing_space"' in shown


def test_all_problems_are_counted_by_kind_however_many(project: Project, owner_client: Client) -> None:
    file = files.create_file(project, None, "many.jsonl", "fine-tune", (HUMAN + b"\n") * 700 + b"x\n" * 300)
    counts = {group["kind"]: (group["rows"], group["lines"][:2]) for group in file.problem_groups}
    assert counts["role_name"] == (700, [1, 2]) and counts["not_json"] == (300, [701, 702])
    shown = page(owner_client, file)
    assert "700 rows" in shown and "300 rows" in shown


def test_a_file_checked_before_groups_were_kept_shows_what_is_known(owner_client: Client, file: DatasetFile) -> None:
    DatasetFile.objects.filter(pk=file.pk).update(problem_groups=[])
    assert "Roles under another name" in page(owner_client, file)


def test_one_press_shows_the_difference_and_changes_nothing(owner_client: Client, file: DatasetFile) -> None:
    shown = re.sub(r"\s+", " ", look(owner_client, file, one="role_names").text)
    assert "Changes 3 of 14 rows" in shown and "Make version 2" in shown
    assert "<del>human</del>" in shown and "<ins>user</ins>" in shown
    assert DatasetFile.objects.count() == 1


def lines_of(shown: str) -> list[int]:
    return [int(line) for line in re.findall(r'aria-label="Line (\d+)"', shown)]


def test_rows_left_out_come_first_then_some_of_each_repair_and_all_can_be_paged_through(
    owner_client: Client, project: Project
) -> None:
    silent = chat(USER, {**ANSWER, "content": ""})
    rows = [GOOD, *[HUMAN] * 30, *[SPACED] * 3, *[silent] * 12, b"not json", HUMAN]  # lines 2, 32, 35, 47, 48
    file = files.create_file(project, None, "many.jsonl", "fine-tune", b"\n".join(rows) + b"\n")
    answer = look(owner_client, file, repair=["role_names", "empty_messages", "trailing_space", "drop_bad"])
    shown = re.sub(r"\s+", " ", answer.text)
    assert "leaves out 13" in shown and "12 rows are left out, as no answer is left in them" in shown
    assert lines_of(shown) == [*range(35, 44), 47, 2, 3, 32, 33]
    assert "14 of 47 rows that change: rows left out, then examples of each repair." in shown
    address = f"&repair={Repair.objects.get().pk}&changes="
    assert f"{address}1#repair".replace("&", "&amp;") in shown
    every = [line for number in range(1, 6) for line in lines_of(page(owner_client, file, more=f"{address}{number}"))]
    assert every == [*range(35, 48), *range(2, 35), 48]
    last = page(owner_client, file, more=f"{address}99")
    assert "41 to 47 of 47 rows that change, those left out first." in last and 'rel="next"' not in last


def test_a_line_that_is_no_json_is_shown_as_it_stands_with_what_becomes_of_it(
    owner_client: Client, project: Project
) -> None:
    wrong = b'{"messages": [{"role": "us\xff<er' + b"y" * 4000
    mute = chat({**USER, "role": "human"})
    lines = [*[GOOD] * 1200, wrong, b"[1]", mute, GOOD]
    file = files.create_file(project, None, "x.jsonl", "fine-tune", b"\n".join(lines))
    shown = html.unescape(look(owner_client, file, one="drop_bad").text)
    assert lines_of(shown) == [1201, 1202]
    assert '<del>{"messages": [{"role": "us\ufffd<eryyy' in shown and "yyy …</del>" in shown and "y" * 3100 not in shown
    assert "Left out. Byte 27 of this line (0xff) is not UTF-8." in shown
    assert "<del>[1]</del>" in shown and "Left out. This line holds a list, not a JSON object." in shown
    both = html.unescape(look(owner_client, file, repair=["role_names", "drop_bad"]).text)
    row = both[both.index('aria-label="Line 1203"') :]
    assert (
        "Left out. There is no assistant message, so there is nothing to train on." in row
        and "Roles" not in row[: row.index("</article>")]
    )


def test_spaces_at_an_end_can_be_seen_to_go(owner_client: Client, file: DatasetFile) -> None:
    DatasetFile.objects.filter(pk=file.pk).update(problem_groups=[])
    assert "<del> </del>" in look(owner_client, file, one="trailing_space").text


@pytest.mark.servers
def test_several_repairs_make_one_version_and_the_old_one_stays(
    owner_client: Client, owner: User, file: DatasetFile
) -> None:
    before = file.path.read_bytes()
    answer = look(owner_client, file, repair=["role_names", "trailing_space", "drop_bad"])
    assert "Changes 4 of 14 rows, leaves out 1" in re.sub(r"\s+", " ", answer.text)
    answer = make(owner_client, file, Repair.objects.get())
    made = DatasetFile.objects.get(version=2)
    assert answer.redirect_chain[-1][0] == f"{reverse('dataset', args=[made.pk])}#verdict"
    assert 'id="verdict" tabindex="-1"' in answer.text
    assert made.path.read_bytes() == b"".join(line + b"\n" for line in [GOOD] * 13)
    assert (made.status, made.rows, made.parent, made.created_by) == ("processed", 13, file, owner)
    assert made.origin["words"] == (
        "Roles renamed in 3 rows; spaces at the end of answers removed in 1 row; "
        "rows that cannot be mended left out: 1 row."
    )
    assert (made.origin["changed"], made.origin["dropped"], made.origin["rows"]) == (4, 1, 14)
    assert file.path.read_bytes() == before
    versions = page(owner_client, made, tab="versions")
    assert "Roles renamed in 3 rows" in versions and "From <a" in versions and made.sha256[:12] in versions
    content = owner_client.get(reverse("dataset-content", args=[made.pk]))
    assert b"".join(content.streaming_content) == made.path.read_bytes()


def test_a_version_is_made_once_however_often_it_is_asked_for(owner_client: Client, file: DatasetFile) -> None:
    look(owner_client, file, one="role_names")
    repair = Repair.objects.get()
    make(owner_client, file, repair)
    make(owner_client, file, repair)
    look(owner_client, file, one="role_names")
    make(owner_client, file, Repair.objects.exclude(pk=repair.pk).get())
    assert DatasetFile.objects.count() == 2
    assert "Open version 2" in page(owner_client, file, more=f"&repair={repair.pk}")


def test_a_repair_that_finds_nothing_says_so_and_offers_no_version(owner_client: Client, file: DatasetFile) -> None:
    shown = look(owner_client, file, one="text_parts").text
    assert "Nothing would change" in shown and "Make version" not in shown


def test_no_repair_chosen_is_said(owner_client: Client, file: DatasetFile) -> None:
    assert "Choose at least one repair." in look(owner_client, file).text
    assert not Repair.objects.exists()


def test_the_system_prompt_of_most_rows_is_offered_whole(owner_client: Client, project: Project) -> None:
    long = "Answer as a house of few words.\n" * 40
    system = {"role": "system", "content": long}
    rows = [chat(system, USER, ANSWER)] * 9 + [chat(USER, ANSWER)] * 2
    file = files.create_file(project, None, "house.jsonl", "fine-tune", b"\n".join(rows))
    assert long in owner_client.get(f"{reverse('dataset', args=[file.pk])}?tab=problems").text
    look(owner_client, file, one="system_prompt", system=long.replace("\n", "\r\n"))
    make(owner_client, file, Repair.objects.get())
    made = DatasetFile.objects.get(version=2)
    assert {json.loads(line)["messages"][0]["content"] for line in made.path.read_bytes().splitlines()} == {long}
    assert "some_without_system" not in {group["kind"] for group in made.problem_groups}


def test_a_system_prompt_is_offered_wherever_a_row_may_have_none(owner_client: Client, project: Project) -> None:
    answers = {"preferred_output": [ANSWER], "non_preferred_output": [{**ANSWER, "content": "5"}]}
    system = {"role": "system", "content": "Be short."}
    without = json.dumps({"input": {"messages": [USER]}, **answers}).encode()
    having = json.dumps({"input": {"messages": [system, USER]}, **answers}).encode()
    to_all, to_some = "Add a system prompt to all rows", "Add the system prompt where there is none"
    for rows, offered in (
        ([without] * 12, to_all),
        ([without] * 11 + [having], to_some),
        ([GOOD] * 12, to_all),
        ([chat(system, USER, ANSWER)] * 12, ""),
    ):
        file = files.create_file(project, None, "rows.jsonl", "fine-tune", b"\n".join(rows))
        shown = page(owner_client, file)
        assert [words for words in (to_all, to_some) if words in shown] == ([offered] if offered else [])
        assert ("Be short.</textarea>" in shown) == (offered == to_some)


def test_rows_without_any_system_prompt_are_given_one(owner_client: Client, project: Project) -> None:
    file = files.create_file(project, None, "rows.jsonl", "fine-tune", b"\n".join([GOOD] * 12))
    looked = look(owner_client, file, repair=["system_prompt"], system="Be short.").text
    assert "the system prompt added to 12 rows" in looked.lower() and "<ins>" in looked
    make(owner_client, file, Repair.objects.get())
    made = DatasetFile.objects.get(version=2)
    firsts = [json.loads(line)["messages"][0] for line in made.path.read_bytes().splitlines()]
    assert firsts == [{"role": "system", "content": "Be short."}] * 12


def test_a_form_that_is_refused_comes_back_as_it_was_filled_in(owner_client: Client, file: DatasetFile) -> None:
    asked = {
        "repair": ["trailing_space", "too_long"],
        "how": "split",
        "max_length": 77,
        "model": "",
        "system": "Be it.",
    }
    shown = look(owner_client, file, **asked).text
    assert "Choose a base model that is on disk" in shown
    ticked = re.findall(r'name="repair" value="(\w+)" checked', shown)
    assert ticked == ["trailing_space", "too_long"]
    assert 'value="77"' in shown and 'value="split" selected' in shown
    again = page(owner_client, file)
    assert "Choose a base model" not in again and 'value="role_names" checked' in again
    assert "a whole number" in look(owner_client, file, repair=["trailing_space"], max_length="many").text


def test_the_first_differences_are_shown_and_the_others_unfold(owner_client: Client, project: Project) -> None:
    file = files.create_file(project, None, "many.jsonl", "fine-tune", b"\n".join([HUMAN] * 12))
    shown = look(owner_client, file, one="role_names").text
    assert "Show 7 more" in shown and shown.index("Line 3") < shown.index("Show 7 more") < shown.index("Line 4")


def test_fields_that_split_uses_are_named_before_they_are_removed(owner_client: Client, project: Project) -> None:
    row = json.loads(GOOD)
    tagged = json.dumps({**row, "tag": "sums", "metadata": {"source": "book"}}).encode()
    strange = json.dumps({"messages": [{**USER, "mood": "good"}, ANSWER]}).encode()
    for line, said in ((tagged, True), (strange, False)):
        file = files.create_file(project, None, "sums.jsonl", "fine-tune", b"\n".join([line] * 12))
        shown = page(owner_client, file)
        assert "Remove fields that are not known" in shown
        assert ("Also removes &quot;source&quot;, &quot;tag&quot;, over which Split can spread rows" in shown) == said


def test_rows_with_problems_may_make_it_more_rows_than_were_counted(owner_client: Client, project: Project) -> None:
    system = {"role": "system", "content": "Be short."}
    rows = [chat(system, USER, ANSWER)] * 9 + [GOOD] * 4 + [HUMAN] * 5
    file = files.create_file(project, None, "sums.jsonl", "fine-tune", b"\n".join(rows))
    shown = page(owner_client, file)
    assert 'where there is none <span class="muted small">at least 4 rows' in shown
    assert 'that are known <span class="muted small">5 rows' in shown and "It counts exactly" in shown
    looked = look(owner_client, file, repair=["role_names", "system_prompt"], system="Be short.").text
    assert "the system prompt added to 9 rows" in looked
    sound = files.create_file(project, None, "sound.jsonl", "fine-tune", b"\n".join(rows[:-5]))
    assert "at least" not in page(owner_client, sound)


def test_rows_that_are_too_long_for_a_base_model_are_shortened(
    owner_client: Client, project: Project, tmp_path: Any
) -> None:
    model = tiny_model(tmp_path / "tiny")
    BaseModel.objects.create(name="tiny", folder=str(model), status="ready", source="folder")
    turns = [each for number in range(8) for each in (USER, {**ANSWER, "content": f"{number} " + "word " * 20})]
    file = files.create_file(project, None, "long.jsonl", "fine-tune", b"\n".join([*[GOOD] * 10, chat(*turns)]))
    answer = look(owner_client, file, repair="too_long", how="split", model="tiny", max_length="200")
    shown = re.sub(r"\s+", " ", answer.text)
    assert "Changes 1 of 11 rows, adds" in shown and "above 200 tokens of tiny split between turns" in shown
    for wrong, said in (({"model": "none"}, "Choose a base model"), ({"max_length": ""}, "Give the most tokens")):
        values = {"repair": "too_long", "how": "split", "model": "tiny", "max_length": "200"} | wrong
        assert said in look(owner_client, file, **values).text


def test_a_base_model_that_cannot_read_the_longest_row_is_named(owner_client: Client, project: Project) -> None:
    makers.make_base_model()
    context = makers.FACTS.context_length
    facts = {"rows": 3, "tokens": 9, "trained_tokens": 3, "longest_tokens": context + 1, "lengths": [9, context + 1, 4]}
    file = makers.make_file(project, "long.jsonl", token_facts={"tiny": facts})
    shown = page(owner_client, file)
    assert f"The longest row has {context + 1:,} tokens of tiny, which reads {context:,} at most" in shown
    assert 'name="one" value="too_long"' in shown and "Rows that are too long" in shown
    DatasetFile.objects.filter(pk=file.pk).update(token_facts={"tiny": facts | {"longest_tokens": context}})
    assert "Rows that are too long" not in page(owner_client, file)


def test_rows_that_are_too_long_are_told_beside_other_problems_before_tokens_are_counted(
    owner_client: Client, project: Project, tmp_path: Any
) -> None:
    model = BaseModel(name="tiny", folder=str(tiny_model(tmp_path / "tiny")), status="ready", source="folder")
    model.facts_json = makers.FACTS.model_copy(update={"context_length": 100}).model_dump()
    model.save()
    long = chat(USER, {**ANSWER, "content": "word " * 200})
    rows = [b"not json", GOOD, long, HUMAN, *[chat(USER, {**ANSWER, "content": "x" * 9}) for _ in range(30)], long]
    file = files.create_file(project, None, "long.jsonl", "fine-tune", b"\n".join(rows))
    shown = page(owner_client, file)
    told = shown[shown.index("Rows that are too long") :]
    assert "2 rows" in told[:200] and "tokens of tiny, which reads 100 at most" in told
    assert '?line=3#rows"' in told and '?line=35#rows"' in told and "Lines that are not JSON" in shown
    shorter = files.create_file(project, None, "short.jsonl", "fine-tune", b"\n".join([b"not json", *[GOOD] * 12]))
    assert "Rows that are too long" not in page(owner_client, shorter)


def test_a_file_of_raw_text_has_no_rows_to_mend(owner_client: Client, project: Project) -> None:
    text = files.create_file(project, None, "story.txt", "fine-tune", b"Once upon a time.\n")
    assert "Repair several at once" not in page(owner_client, text)
    assert "raw text, which has no rows to mend" in look(owner_client, text, one="blank_lines").text


def test_a_file_that_is_gone_says_so(owner_client: Client, file: DatasetFile) -> None:
    look(owner_client, file, one="role_names")
    file.path.unlink()
    assert "is gone from the disk" in make(owner_client, file, Repair.objects.get()).text
    assert "is gone from the disk" in look(owner_client, file, one="role_names").text


# ---- a large file ----


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What is sent to the worker, for whom every file is large here."""
    found: list[str] = []
    monkeypatch.setattr(asking, "CHECKED_AT_ONCE_BYTES", 0)
    monkeypatch.setattr(repair_file, "send", lambda repair_id: found.append(repair_id))
    return found


def test_a_large_file_is_looked_at_and_made_by_the_worker(
    owner_client: Client, file: DatasetFile, sent: list[str], django_capture_on_commit_callbacks: Any
) -> None:
    with django_capture_on_commit_callbacks(execute=True):
        shown = look(owner_client, file, one="role_names").text
    repair = Repair.objects.get()
    follow = reverse("dataset-repair", args=[file.pk, repair.pk])
    assert sent == [repair.pk] and "Looking what would change" in shown and follow in shown
    polled = owner_client.get(follow, headers={"HX-Request": "true"})
    assert "<progress" in polled.text and "HX-Refresh" not in polled.headers
    repair_file(repair.pk)
    assert owner_client.get(follow, headers={"HX-Request": "true"}).headers["HX-Refresh"] == "true"
    assert "Changes 3 of 14 rows" in re.sub(r"\s+", " ", page(owner_client, file, more=f"&repair={repair.pk}"))
    with django_capture_on_commit_callbacks(execute=True):
        assert "Version 2 is being made" in make(owner_client, file, repair).text
    assert sent == [repair.pk] * 2
    repair_file(repair.pk)
    repair_file(repair.pk)
    repair.refresh_from_db()
    assert repair.state == "done" and repair.made and repair.made.rows == 14 and DatasetFile.objects.count() == 2
    assert "Download the repaired file" in page(owner_client, file, more=f"&repair={repair.pk}")


def test_a_repair_that_the_queue_forgot_is_found_by_a_worker(
    owner_client: Client, file: DatasetFile, sent: list[str]
) -> None:
    look(owner_client, file, one="role_names")
    assert [repair.pk for repair in asking.waiting()] == [Repair.objects.get().pk]


def test_a_full_disk_ends_a_repair_with_words(
    owner_client: Client, file: DatasetFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    look(owner_client, file, one="role_names")
    monkeypatch.setattr("training.versions.free_bytes", lambda: 1000)
    assert "The disk of this server is full" in make(owner_client, file, Repair.objects.get()).text
    assert DatasetFile.objects.count() == 1


# ---- who may ----


def test_a_stranger_finds_nothing(stranger_client: Client, owner_client: Client, file: DatasetFile) -> None:
    look(owner_client, file, one="role_names")
    repair = Repair.objects.get()
    assert stranger_client.get(f"{reverse('dataset', args=[file.pk])}?tab=versions").status_code == 404
    assert look(stranger_client, file, one="role_names").status_code == 404
    assert stranger_client.get(reverse("dataset-repair", args=[file.pk, repair.pk])).status_code == 404
    assert make(stranger_client, file, repair).status_code == 404
    assert DatasetFile.objects.count() == 1 and Repair.objects.get().state == "shown"


def test_a_repair_of_another_file_is_not_shown_here(owner_client: Client, project: Project, file: DatasetFile) -> None:
    look(owner_client, file, one="role_names")
    other = files.create_file(project, None, "other.jsonl", "fine-tune", GOOD)
    address = f"{reverse('dataset', args=[other.pk])}?tab=problems&repair={Repair.objects.get().pk}"
    assert owner_client.get(address).status_code == 404


TEXTS = json.dumps({"prompt": "2 and 2?", "chosen": "4", "rejected": "5"}).encode()
TURNS = json.dumps({"prompt": [USER], "chosen": [ANSWER], "rejected": [{**ANSWER, "content": "5"}]}).encode()


def test_a_system_prompt_is_offered_only_where_some_row_has_messages_and_rows_without_are_counted(
    owner_client: Client, project: Project
) -> None:
    texts = files.create_file(project, None, "texts.jsonl", "fine-tune", b"\n".join([TEXTS] * 12) + b"\n")
    assert texts.format == "preference" and "Add a system prompt to all rows" not in page(owner_client, texts)
    shown = re.sub(r"\s+", " ", look(owner_client, texts, one="system_prompt", system="Sum up.").text)
    assert "Nothing would change" in shown and "could not be added to 12 of them, which have no messages" in shown
    both = files.create_file(project, None, "both.jsonl", "fine-tune", b"\n".join([TURNS] * 9 + [TEXTS] * 3) + b"\n")
    assert "Add a system prompt to all rows" in page(owner_client, both)
    shown = re.sub(r"\s+", " ", look(owner_client, both, one="system_prompt", system="Sum up.").text)
    assert "Changes 9 of 12 rows" in shown and "could not be added to 3 rows without messages" in shown
