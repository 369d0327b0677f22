"""Prompt sets and matrices as pages: made, listed, filtered, opened side by side."""

import json

import pytest
from django.test import Client

from accounts.errors import ApiError
from accounts.models import Project, User
from playground import comparisons
from playground.campaigns.models import Campaign, Evaluator
from playground.comparisons import messages_for
from playground.forms import Setup
from playground.matrix import matrices, sets
from playground.matrix.models import KeptAnswer, Matrix, PromptSet
from playground.models import Comparison
from tests.matrix_cast import MATRICES, SETS, answer, matrix, models, prompts, shown
from tests.playground_cast import make_base, make_checkpoint

__all__ = ["matrix", "models", "prompts"]  # fixtures

pytestmark = pytest.mark.django_db


# ---- prompt sets ----


def test_a_pasted_line_that_is_a_row_brings_what_it_expects_and_its_tags(prompts: PromptSet) -> None:
    found = list(prompts.prompts.values_list("text", "expected", "tags"))
    assert found == [("Why?", "", []), ("Say hi", "Hi!", ["greeting"]), ("Sum?", "4", ["sums"])]


def test_a_row_that_asks_nothing_is_refused_with_its_place() -> None:
    with pytest.raises(ApiError, match="Prompt 2 is a row that asks nothing"):
        sets.typed('Why?\n{"messages": [{"role": "user"}]}')
    assert sets.typed("{ what is this?")[0].text == "{ what is this?"


def test_prompts_of_several_lines_are_divided_by_dashes() -> None:
    assert [each.text for each in sets.typed("a\r\nb\r\n---\r\nc")] == ["a\nb", "c"]


def test_a_set_is_made_of_pasted_lines_listed_searched_and_deleted(owner_client: Client) -> None:
    made = owner_client.post(f"{SETS}new/", {"kind": "typed", "prompts": "Why?\nWhen?\n", "name": "Mine"})
    page = owner_client.get(made.url).text
    assert "Mine" in page and "Why?" in page and "When?" in page
    assert "When?" not in owner_client.get(made.url, {"q": "why"}).text
    assert "Mine" in owner_client.get(SETS).text
    owner_client.post(f"{made.url}delete/")
    assert "No prompt set yet" in owner_client.get(SETS).text


def test_an_empty_set_is_refused_beside_its_box(owner_client: Client) -> None:
    page = owner_client.post(f"{SETS}new/", {"kind": "typed", "prompts": " \n \n", "name": "Mine"})
    assert page.status_code == 422 and "Give at least one prompt" in page.text and 'value="Mine"' in page.text


def test_a_set_that_a_matrix_asks_is_not_deleted(owner_client: Client, matrix: Matrix) -> None:
    address = f"{SETS}{matrix.prompt_set_id}/delete/"
    assert "is in use" in owner_client.post(address, follow=True).text
    assert PromptSet.objects.exists()


def test_earlier_comparisons_give_their_first_messages_once_under_their_system_prompt(
    owner_client: Client, project: Project, owner: User, models: list[str]
) -> None:
    for said in ("Again?", "Again?", "Other?"):
        setup = Setup.model_validate({"columns": [{"model": name} for name in models], "system": "Be brief."})
        made = comparisons.start_comparison(project=project, user=owner, setup=setup)
        comparisons.add_turn(comparison=made, prompt=said)
        comparisons.add_turn(comparison=made, prompt="a later message")
    made = owner_client.post(f"{SETS}new/", {"kind": "comparisons", "count": 10})
    prompts = PromptSet.objects.get(pk=made.url.split("/")[-2]).prompts.all()
    assert [prompt.text for prompt in prompts] == ["Other?", "Again?"]
    assert prompts[0].ask["messages"][0] == {"role": "system", "content": "Be brief."}
    none = owner_client.post(f"{SETS}new/", {"kind": "comparisons", "count": 10, "judged": "on"})
    assert none.status_code == 422 and "empty" in none.text


def test_a_row_with_a_bare_prompt_is_a_chat_message_unless_somebody_says_it_is_raw_text(owner_client: Client) -> None:
    row = json.dumps({"prompt": "Where is my parcel?", "completion": "On its way."})
    asked = []
    for raw in ({}, {"raw": "on"}):
        made = owner_client.post(f"{SETS}new/", {"kind": "typed", "prompts": row} | raw)
        prompt = PromptSet.objects.get(pk=made.url.split("/")[-2]).prompts.get()
        asked.append((prompt.ask, prompt.expected, owner_client.get(made.url).text))
    (chat, expected, chat_page), (raw_ask, _, raw_page) = asked
    assert chat == {"messages": [{"role": "user", "content": "Where is my parcel?"}]} and expected == "On its way."
    assert raw_ask == {"prompt": "Where is my parcel?"}
    assert "asked as chat messages" in chat_page and "raw text to be continued" in raw_page


def test_a_broken_row_is_refused_with_its_place_and_a_question_about_json_is_asked(owner_client: Client) -> None:
    broken = 'Why?\n{"prompt": "Where is it?", "completion": '
    refused = owner_client.post(f"{SETS}new/", {"kind": "typed", "prompts": broken})
    assert (
        refused.status_code == 422 and "Prompt 2 begins as a row of a JSONL file, but is not whole JSON" in refused.text
    )
    for asked in ('{"colour": "red" what is wrong here?', '{"prompt": 1} is which type?'):
        (pinned,) = sets.typed(asked)
        assert pinned.text == asked
    made = owner_client.post(f"{SETS}new/", {"kind": "typed", "prompts": "Why?", "name": "One"}, follow=True)
    assert "1 prompt stands in One." in made.text


def test_a_document_of_raw_text_is_continued_whatever_is_said() -> None:
    (pinned,) = sets.typed(json.dumps({"text": "Once upon a time there was a mill by the river."}))
    assert set(pinned.ask) == {"prompt"}


# ---- a new matrix ----


def test_contenders_come_and_go_while_what_was_typed_stays_and_the_answers_are_counted(
    owner_client: Client, prompts: PromptSet, models: list[str]
) -> None:
    base, tuned = models
    form = {"set": prompts.pk, "name": "Mine", "system": "Be brief.", "temperature": "0", "top_p": "1"}
    form |= {"max_tokens": "8", "seed": ""}
    page = owner_client.post(f"{MATRICES}new/", form | {"add": base}).text
    assert "Be brief." in page and 'value="Mine"' in page and "<b>3</b> answers" in page
    page = owner_client.post(f"{MATRICES}new/", form | {"model": [base], "own": [""], "add": tuned}).text
    assert "<b>6</b> answers" in page
    page = owner_client.post(f"{MATRICES}new/", form | {"model": models, "own": ["", "x"], "remove": "0"}).text
    assert "<b>3</b> answers" in page and ">x</textarea>" in page
    made = owner_client.post(f"{MATRICES}new/", form | {"model": models, "own": ["", "Long."], "start": "1"})
    matrix = Matrix.objects.get()
    assert made.url == f"{MATRICES}{matrix.pk}/"
    assert matrix.columns == [{"model": base}, {"model": tuned, "system": "Long."}]
    assert matrix.settings["seed"] is None and matrix.system_prompt == "Be brief."


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"model": []}, "Choose at least one contender"),
        ({"model": ["nobody"]}, "does not exist"),
        ({"temperature": ""}, "Give a value for temperature"),
        ({"temperature": "9"}, "Temperature: "),
        ({"set": "pset_nothing"}, "Choose a prompt set"),
    ],
)
def test_what_is_wrong_is_said_and_nothing_is_asked(
    owner_client: Client, prompts: PromptSet, models: list[str], wrong: dict[str, object], said: str
) -> None:
    form = {"set": prompts.pk, "temperature": "0", "top_p": "1", "max_tokens": "8", "seed": "", "start": "1"}
    page = owner_client.post(f"{MATRICES}new/", form | {"model": models} | wrong)
    assert page.status_code == 422 and said in page.text
    assert not Matrix.objects.exists()


def test_an_address_fills_the_form_and_kept_answers_are_not_counted_as_asked(
    owner_client: Client, matrix: Matrix, models: list[str]
) -> None:
    answer(matrix, 0, 0, "Because.")
    page = owner_client.get(f"{MATRICES}new/", {"set": matrix.prompt_set_id, "models": ",".join(models)}).text
    assert "<b>6</b> answers" in page and "<b>6</b>" in page
    form = {"set": matrix.prompt_set_id, "model": models, **matrix.settings}
    assert "5 will be asked" in owner_client.post(f"{MATRICES}new/", form).text


# ---- the table ----


def test_the_table_shows_answers_errors_and_what_is_still_to_come(owner_client: Client, matrix: Matrix) -> None:
    answer(matrix, 0, 0, "Because.", completion_tokens=3, seconds=1.5, stop_reason="length")
    answer(matrix, 1, 0, error="It broke off.")
    answer(matrix, 0, 1, "<script>alert(1)</script>" + "long " * 100)
    page = owner_client.get(f"{MATRICES}{matrix.pk}/").text
    assert "Because." in page and "3 tokens · 1.5 s · cut at the limit" in page and "It broke off." in page
    assert "2 of 6 answers, 1 failed" in page and "show all" in page and "Not answered yet" in page
    assert "<script>alert" not in page
    part = owner_client.get(f"{MATRICES}{matrix.pk}/", headers={"HX-Request": "true"}).text
    assert part.lstrip().startswith('<div class="stack" id="matrix"') and "<html" not in part
    assert "First" in owner_client.get(MATRICES).text


def test_a_contender_with_all_its_answers_is_in_no_trouble_and_an_end_with_gaps_is_called_that(
    owner_client: Client, matrix: Matrix
) -> None:
    troubles = dict.fromkeys(matrix.contenders, "Its server is away.")
    Matrix.objects.filter(pk=matrix.pk).update(state=Matrix.State.DONE, troubles=troubles)
    for prompt in range(3):
        answer(matrix, 0, prompt, "Yes.")
    answer(matrix, 1, 0, error="It broke off.")
    page = owner_client.get(f"{MATRICES}{matrix.pk}/")
    assert [column.index for column in page.context["troubles"]] == [1]
    assert ">Ended with 3 of 6 answers<" in page.text and ">2 missing, 1 failed<" in page.text
    assert "Ended incomplete" in owner_client.get(MATRICES).text
    KeptAnswer.objects.exclude(error="").delete()
    for prompt in range(3):
        answer(matrix, 1, prompt, "No.")
    page = owner_client.get(f"{MATRICES}{matrix.pk}/")
    assert not page.context["troubles"] and ">Answered<" in page.text and "6 of 6 answers" in page.text


def test_filters_choose_rows_by_difference_failure_words_and_tag(owner_client: Client, matrix: Matrix) -> None:
    answer(matrix, 0, 0, "Because.")
    answer(matrix, 1, 0, "Because. ")
    answer(matrix, 0, 1, "Hi!")
    answer(matrix, 1, 1, "Good day.")
    answer(matrix, 0, 2, error="It broke off.")
    assert shown(owner_client, matrix) == ["Why?", "Say hi", "Sum?"]
    assert shown(owner_client, matrix, show="answers") == ["Say hi"]
    assert shown(owner_client, matrix, show="failed") == ["Sum?"]
    assert shown(owner_client, matrix, q="good DAY") == ["Say hi"]
    assert shown(owner_client, matrix, q="why") == ["Why?"]
    assert shown(owner_client, matrix, tag="sums") == ["Sum?"]
    assert shown(owner_client, matrix, tag="sums", q="why") == []


def test_a_matrix_is_cancelled_gone_on_with_and_deleted(owner_client: Client, matrix: Matrix) -> None:
    answer(matrix, 0, 0, error="It broke off.")
    address = f"{MATRICES}{matrix.pk}/"
    assert "Go on: 5 missing" in owner_client.post(f"{address}cancel/", follow=True).text
    owner_client.post(f"{address}again/")
    matrix.refresh_from_db()
    assert matrix.state == "answering" and not KeptAnswer.objects.exists()
    owner_client.post(f"{address}delete/")
    assert not Matrix.objects.exists()


def test_another_contender_joins_the_table_once(
    owner_client: Client, project: Project, matrix: Matrix, models: list[str]
) -> None:
    third = make_checkpoint(project, make_base("other"), epoch=2, suffix="tone").name
    address = f"{MATRICES}{matrix.pk}/contenders/"
    assert "tone" in owner_client.get(address, {"q": "tone"}).text
    for _ in range(2):
        owner_client.post(address, {"model": third, "own": ""})
    matrix.refresh_from_db()
    assert [column["model"] for column in matrix.columns] == [*models, third]
    assert "does not exist" in owner_client.post(address, {"model": "nobody"}, follow=True).text


# ---- side by side ----


def test_a_row_opens_as_one_comparison_that_takes_later_answers(
    owner_client: Client, matrix: Matrix, models: list[str]
) -> None:
    prompt = matrix.prompt_set.prompts.first()
    assert prompt
    answer(matrix, 0, 0, "Because.", completion_tokens=3, first_token_seconds=0.5, seconds=1.5)
    address = f"{MATRICES}{matrix.pk}/rows/{prompt.pk}/"
    failed = answer(matrix, 1, 0, error="It broke off.")
    first = owner_client.post(address)
    failed.delete()
    answer(matrix, 1, 0, "Therefore.")
    assert owner_client.post(address).url == first.url
    comparison = Comparison.objects.get()
    turn = comparison.turns.get()
    assert [(each.model, each.text) for each in turn.responses.all()] == list(
        zip(models, ("Because.", "Therefore."), strict=True)
    )
    assert turn.responses.first().tokens_per_second == 2.0
    page = owner_client.get(first.url).text
    assert "Why?" in page and "Therefore." in page and "is better" in page


def test_a_prompt_with_a_history_opens_as_that_conversation(
    owner: User, project: Project, models: list[str], owner_client: Client
) -> None:
    asked = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "Hello"},
        {"role": "assistant", "content": "Hi"},
        {"role": "user", "content": "Sum?"},
    ]
    pinned = sets.typed(json.dumps({"messages": [*asked, {"role": "assistant", "content": "4"}]}))
    prompts = sets.make(project=project, user=None, name="", pinned=pinned, source={})
    setup = Setup.model_validate({"columns": [{"model": name} for name in models]})
    matrix = matrices.start(project=project, user=None, name="", prompt_set=prompts, setup=setup)
    answer(matrix, 0, 0, "4")
    owner_client.post(f"{MATRICES}{matrix.pk}/rows/{prompts.prompts.get().pk}/")
    last = Comparison.objects.get().turns.last()
    assert last and last.prompt == "Sum?"
    assert messages_for(last, 0) == asked, "asked again, it is asked the same"


def test_who_judges_the_answers_blind_sees_no_names_beside_them(
    owner_client: Client, owner: User, project: Project, matrix: Matrix
) -> None:
    answer(matrix, 0, 0, "Because.")
    campaign = Campaign.objects.create(project=project, name="Blind", matrix=matrix, state="open")
    Evaluator.objects.create(campaign=campaign, user=owner, name="Owner")
    address, prompt = f"{MATRICES}{matrix.pk}/", matrix.prompt_set.prompts.all()[0]
    page = owner_client.get(address).text
    assert "You judge these answers blind" in page and "Because." not in page
    assert (
        owner_client.get(f"{address}export.csv").url == owner_client.post(f"{address}rows/{prompt.pk}/").url == address
    )
    Campaign.objects.update(state="closed")
    assert "Because." in owner_client.get(address).text


def test_strangers_see_none_of_it(stranger_client: Client, matrix: Matrix, prompts: PromptSet) -> None:
    address = f"{MATRICES}{matrix.pk}/"
    row = f"rows/{prompts.prompts.all()[0].pk}/"
    assert stranger_client.get(address).status_code == 404
    assert stranger_client.get(f"{SETS}{prompts.pk}/").status_code == 404
    for path in ("cancel/", "delete/", "contenders/", row):
        assert stranger_client.post(address + path).status_code == 404
    assert "First" not in stranger_client.get(MATRICES).text and "Three" not in stranger_client.get(SETS).text


def test_an_action_that_there_is_not_deletes_nothing(owner_client: Client, matrix: Matrix) -> None:
    assert owner_client.post(f"{MATRICES}{matrix.pk}/archive/").status_code == 404
    assert Matrix.objects.filter(pk=matrix.pk).exists()
