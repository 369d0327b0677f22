"""Edited answers and exports: what a person keeps of a comparison, and what they may take away."""

import json
import re

import pytest
from django.test import Client
from django.urls import reverse

from accounts.errors import ApiError
from accounts.models import Project, User
from playground import comparisons, exporting
from playground.comparisons import Answer
from playground.edits import keeping
from playground.external.models import ExternalModel
from playground.forms import Setup
from playground.models import Comparison, EditedAnswer, Turn
from playground.preferences import Filters, gather
from tests.playground_cast import make_base, make_checkpoint
from training.datasets import MIN_JOB_ROWS
from training.models import DatasetFile

pytestmark = pytest.mark.django_db
HOSTILE = "```\n</pre><script>alert(1)</script>\n````\n# not a heading [x](javascript:alert(1))"


def made(project: Project, owner: User, texts: tuple[str, str] = ("dull", "good"), **more: bool) -> Turn:
    """One message that a base model and a checkpoint have answered."""
    base = make_base()
    models = [base.name, make_checkpoint(project, base, epoch=2).name]
    setup = Setup.model_validate({"columns": [{"model": model} for model in models], "system": "Be brief."})
    comparison = comparisons.start_comparison(project=project, user=owner, setup=setup, **more)
    turn = comparisons.add_turn(comparison=comparison, prompt="Why?")
    return _answered(turn, texts)


def _once_more(turn: Turn, owner: User) -> Turn:
    """Another comparison of the same models, with the same message."""
    before = turn.comparison
    setup = comparisons.setup_of(before)
    again = comparisons.start_comparison(project=before.project, user=owner, setup=setup)
    return _answered(comparisons.add_turn(comparison=again, prompt=turn.prompt), ("dull", "good"))


def _answered(turn: Turn, texts: tuple[str, str]) -> Turn:
    for column, text in enumerate(texts):
        answer = Answer(text=text, prompt_tokens=7, completion_tokens=3, first_token_seconds=0.2, stop_reason="stop")
        comparisons.record_response(turn=turn, column=column, answer=answer)
    return turn


def keep(client: Client, turn: Turn, column: int, text: str, **headers: str) -> str:
    response = turn.responses.get(column=column)
    address = reverse("keep-edit", args=[turn.comparison_id, response.pk])
    return client.post(address, {"text": text}, follow=True, headers=headers).text


def test_an_edit_stands_beside_the_original_with_who_and_when_and_can_be_taken_back(
    owner_client: Client, owner: User, project: Project
) -> None:
    turn = made(project, owner)
    assert "as it should have been" in owner_client.get(reverse("comparison", args=[turn.comparison_id])).text
    page = keep(owner_client, turn, 1, "better\r\nstill")
    (edit,) = EditedAnswer.objects.all()
    assert (edit.editor, edit.text, edit.response.column) == (owner, "better\nstill", 1)
    assert "preferred over the answer above" in page and "better\nstill" in page and ">good<" in page
    keep(owner_client, turn, 1, "best", **{"HX-Request": "true"})
    assert EditedAnswer.objects.get().text == "best"
    owner_client.post(reverse("remove-edit", args=[turn.comparison_id, edit.pk]))
    assert not EditedAnswer.objects.exists()


@pytest.mark.parametrize(("text", "said"), [("", "not empty"), (" good ", "Nothing is changed yet")])
def test_an_edit_that_is_none_is_refused_with_the_reason(
    owner_client: Client, owner: User, project: Project, text: str, said: str
) -> None:
    assert said in keep(owner_client, made(project, owner), 1, text)
    assert not EditedAnswer.objects.exists()


def test_an_edited_answer_is_not_asked_again(owner: User, project: Project) -> None:
    turn = made(project, owner)
    keeping.keep(response=turn.responses.get(column=0), editor=owner, text="better")
    comparisons.record_response(turn=turn, column=1, answer=Answer(text="another"))
    with pytest.raises(ApiError, match="Remove the edit"):
        comparisons.record_response(turn=turn, column=0, answer=Answer(text="another"))


def test_an_edited_or_judged_answer_offers_no_retry_and_says_why(
    owner_client: Client, owner: User, project: Project
) -> None:
    turn = made(project, owner)
    address = reverse("comparison", args=[turn.comparison_id])

    def retries() -> list[str]:
        page = owner_client.get(address).text
        shown = page[page.index('id="arena"') : page.index('id="turn-template"')]
        return re.findall(r'aria-label="Retry column (\w)"', shown)

    assert retries() == ["A", "B"]
    assert "remove the edit first" in keep(owner_client, turn, 1, "better")
    assert retries() == ["A"]
    owner_client.post(reverse("vote", args=[turn.comparison_id]), {"verdict": "tie", "turn": 0})
    assert retries() == [] and "remove the edit first" not in owner_client.get(address).text


def test_edits_are_each_persons_own_and_a_strangers_address_is_404(
    stranger_client: Client, owner: User, teammate: User, project: Project
) -> None:
    turn = made(project, owner)
    response = turn.responses.get(column=0)
    edit = keeping.keep(response=response, editor=owner, text="better")
    member = Client()
    member.force_login(teammate)
    page = member.get(reverse("comparison", args=[turn.comparison_id])).text
    assert "better" in page and "Remove this edit" not in page
    assert member.post(reverse("remove-edit", args=[turn.comparison_id, edit.pk])).status_code == 404
    assert keeping.keep(response=response, editor=teammate, text="other") != edit
    for name, pk in (("keep-edit", response.pk), ("remove-edit", edit.pk)):
        assert stranger_client.post(reverse(name, args=[turn.comparison_id, pk]), {"text": "x"}).status_code == 404


def test_before_a_blind_vote_nothing_is_edited_exported_or_shown_of_anybodys_edit(
    owner_client: Client, owner: User, teammate: User, project: Project
) -> None:
    turn = made(project, owner, blind=True)
    comparisons.record_vote(turn=turn, voter=teammate, verdict="tie")
    keeping.keep(response=turn.responses.get(column=0), editor=teammate, text="telling")
    page = owner_client.get(reverse("blind-comparison", args=[turn.comparison_id])).text
    assert "telling" not in page and "Edit" not in page and "Export" not in page
    assert "Vote first" in keep(owner_client, turn, 1, "mine")
    assert EditedAnswer.objects.count() == 1
    for kind in ("json", "md"):
        refused = owner_client.get(reverse("export-comparison", args=[turn.comparison_id, kind]))
        assert refused.status_code == 403 and "Vote first" in refused.text
        assert "SmolLM2" not in refused.text and "ticket" not in refused.text and "telling" not in refused.text
    comparisons.record_vote(turn=turn, voter=owner, verdict="tie")
    assert "telling" in owner_client.get(reverse("export-comparison", args=[turn.comparison_id, "json"])).text


def exported(client: Client, comparison: Comparison, kind: str) -> str:
    answer = client.get(reverse("export-comparison", args=[comparison.pk, kind]))
    assert answer.status_code == 200
    assert answer["Content-Disposition"] == f'attachment; filename="{comparison.pk}.{kind}"'
    return answer.text


def test_json_holds_the_setup_the_answers_their_figures_edits_and_votes(
    owner_client: Client, owner: User, project: Project
) -> None:
    turn = made(project, owner)
    comparisons.record_vote(turn=turn, voter=owner, verdict="best", best_column=1)
    keeping.keep(response=turn.responses.get(column=0), editor=owner, text="better")
    found = json.loads(exported(owner_client, turn.comparison, "json"))
    assert found["system"] == "Be brief." and found["settings"]["temperature"] == 0.7
    assert [column["letter"] for column in found["columns"]] == ["A", "B"]
    assert found["columns"][1]["name"] == "ticket, epoch 2" and found["columns"][1]["validation_loss"] == 0.5
    (message,) = found["turns"]
    first, second = message["answers"]
    assert (message["message"], first["text"], second["text"]) == ("Why?", "dull", "good")
    assert (second["prompt_tokens"], second["first_token_seconds"], second["stop_reason"]) == (7, 0.2, "stop")
    assert [edit["text"] for edit in first["edits"]] == ["better"]
    assert [(vote["by"], vote["verdict"], vote["best"]) for vote in message["votes"]] == [(str(owner), "best", "B")]


def test_markdown_cannot_be_broken_out_of(owner_client: Client, owner: User, project: Project) -> None:
    turn = made(project, owner, (HOSTILE, "good"))
    turn.comparison.turns.update(prompt="~~~\n# me too\n```")
    comparisons.record_vote(turn=turn, voter=owner, verdict="best", best_column=1)
    text = exported(owner_client, turn.comparison, "md")
    outside = re.sub(r"^(`{3,})\w*\n.*?\n\1$", "", text, flags=re.M | re.S)
    assert "script" not in outside and "javascript" not in outside and "me too" not in outside
    assert "`````text\n" + HOSTILE + "\n`````" in text
    assert "B is better" in outside and "ticket, epoch 2" in outside and "7 prompt tokens" in outside


def test_plain_words_escape_what_markdown_and_html_know() -> None:
    assert exporting.plain("a\n# <b>*x*</b> [y](z) `q`") == r"a \# \<b\>\*x\*\</b\> \[y\]\(z\) \`q\`"


def test_no_key_and_no_address_of_an_external_model_leaves(owner: User, project: Project) -> None:
    vendor = ExternalModel(project=project, name="Vendor", base_url="http://10.0.0.5/v1", model="big-one")
    vendor.keep_key("sk-very-secret-key-0123")
    vendor.save()
    setup = Setup.model_validate({"columns": [{"model": vendor.pk}]})
    comparison = comparisons.start_comparison(project=project, user=owner, setup=setup)
    texts = exporting.as_json(comparison, owner), exporting.as_markdown(comparison, owner, "http://here/")
    for text in texts:
        assert "Vendor" in text and "10.0.0.5" not in text and "0123" not in text and vendor.sealed not in text
    assert "external, not verified" in texts[1] and "big-one" in texts[0]


# ---- what edits teach ----


def test_an_edit_is_a_pair_over_its_original_under_the_prompt_of_its_own_column(owner: User, project: Project) -> None:
    turn = made(project, owner)
    turn.comparison.columns[1]["system"] = "Be kind."
    turn.comparison.save()
    keeping.keep(response=turn.responses.get(column=1), editor=owner, text="better")
    found = gather(project, Filters())
    (row,) = [json.loads(line) for line in found.content().splitlines()]
    assert row["input"]["messages"] == [{"role": "system", "content": "Be kind."}, {"role": "user", "content": "Why?"}]
    assert row["preferred_output"] == [{"role": "assistant", "content": "better"}]
    assert row["non_preferred_output"] == [{"role": "assistant", "content": "good"}]
    assert (found.votes, found.edits, found.pairs[0].edited_by) == (0, 1, str(owner))
    assert found.pairs[0].checkpoint_id, "training goes on from the model whose answer was edited"


def test_edits_are_left_out_on_request_and_where_only_blind_votes_or_another_person_count(
    owner: User, teammate: User, project: Project
) -> None:
    turn = made(project, owner)
    comparisons.record_vote(turn=turn, voter=owner, verdict="best", best_column=1)
    keeping.keep(response=turn.responses.get(column=1), editor=owner, text="better")
    assert [pair.preferred for pair in gather(project, Filters()).pairs] == ["good", "better"]
    assert [pair.preferred for pair in gather(project, Filters(edits=False)).pairs] == ["good"]
    for others in (Filters(blind_only=True), Filters(voter=teammate.pk)):
        assert gather(project, others).pairs == []


def test_the_page_of_lessons_tells_edits_and_the_dataset_remembers_who_made_them(
    owner_client: Client, owner: User, project: Project
) -> None:
    turn = made(project, owner)
    keeping.keep(response=turn.responses.get(column=1), editor=owner, text="better")
    page = owner_client.get(reverse("vote-preferences")).text
    assert "1 preference pair from 0 votes and 1 edited answer" in page
    assert f"ticket, epoch 2, edited by {owner}" in page
    assert "0 preference pairs" in owner_client.get(reverse("vote-preferences"), {"edits": "no"}).text
    for number in range(MIN_JOB_ROWS - 1):
        keeping.keep(response=_once_more(turn, owner).responses.get(column=1), editor=owner, text=f"better {number}")
    owner_client.post(reverse("vote-preferences"), {"name": "edits.jsonl", "agreement": "0.5"})
    origin = DatasetFile.objects.get(project=project).origin
    assert (origin["edits"], origin["edited_by"]) == (MIN_JOB_ROWS, [str(owner)])


def test_edits_of_a_blind_comparison_that_one_has_yet_to_judge_are_not_shown(
    owner_client: Client, owner: User, teammate: User, project: Project
) -> None:
    turn = made(project, owner, blind=True)
    comparisons.record_vote(turn=turn, voter=teammate, verdict="tie")
    keeping.keep(response=turn.responses.get(column=0), editor=teammate, text="telling")
    page = owner_client.get(reverse("vote-preferences")).text
    assert "telling" not in page and "hidden until you have" in page
