"""The page of external models: who may change them, what is refused, and that a key never comes back."""

import logging
from collections.abc import Iterator
from typing import Any

import pytest
from django.test import Client
from django.urls import reverse

from accounts.models import Project, User
from playground import comparisons, contenders
from playground.external import trouble
from playground.external.models import ExternalModel
from playground.forms import Setup
from playground.judge.views import JudgeForm
from playground.matrix import sets
from playground.models import Response
from tests.playground_cast import make_base
from tests.stand_in import KEY, StandIn, standing

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("present")]


@pytest.fixture(scope="module")
def server() -> Iterator[StandIn]:
    with standing() as server:
        yield server


def given(server: StandIn, **values: Any) -> dict[str, Any]:
    return {"name": "Vendor", "base_url": server.base_url, "model": "parrot", "key": KEY} | values


@pytest.fixture
def vendor(project: Project, server: StandIn) -> ExternalModel:
    made = ExternalModel(project=project, name="Vendor", base_url=server.base_url, model="parrot")
    made.keep_key(KEY)
    made.save()
    return made


def test_one_is_added_and_asked_one_short_question_at_once(
    owner_client: Client, project: Project, server: StandIn, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    assert "No external model yet" in owner_client.get(reverse("external-models")).text
    page = owner_client.post(reverse("add-external"), given(server, input_price="2.5", output_price="10"), follow=True)
    made = ExternalModel.objects.get(project=project)
    assert made.key == KEY and KEY not in made.sealed and made.hint == f"…{KEY[-4:]}"
    assert "Answers" in page.text and "First token after" in page.text and "$2.50 in, $10 out" in page.text
    assert server.seen()["asked"][-1]["messages"][0]["content"] == "Answer with one word: ready"
    assert KEY not in page.text and KEY not in owner_client.get(reverse("edit-external", args=[made.pk])).text
    assert KEY not in caplog.text and KEY not in str(made.__dict__)


def test_one_that_does_not_answer_is_added_with_a_warning_and_the_reason(
    owner_client: Client, project: Project, server: StandIn
) -> None:
    page = owner_client.post(reverse("add-external"), given(server, model="busy"), follow=True)
    (message,) = page.context["messages"]
    assert message.level_tag == "warning" and "can stand in a column" not in page.text
    assert "Vendor is added, but it did not answer: " in str(message) and "asked too often (429)" in str(message)
    assert ExternalModel.objects.filter(project=project).count() == 1


def test_a_test_says_the_exact_problem(owner_client: Client, vendor: ExternalModel) -> None:
    ExternalModel.objects.update(model="busy")
    said = owner_client.post(reverse("test-external", args=[vendor.pk]), headers={"HX-Request": "true"}).text
    assert "<html" not in said and "Failed" in said and "asked too often (429). Retry in 20 s." in said


def test_every_picker_says_which_model_it_is_and_that_its_last_test_failed(
    owner_client: Client, vendor: ExternalModel, project: Project
) -> None:
    tested = {"at": "2026-01-02T03:04:05+00:00", "ok": False, "words": "Nobody answers at that address."}
    ExternalModel.objects.update(tested=tested)
    sets.make(project=project, user=None, name="Tone", pinned=sets.typed("One?"), source={"kind": "typed"})
    for address in (reverse("playground"), reverse("new-matrix"), reverse("new-campaign")):
        page = owner_client.get(address).text
        assert "last test failed" in page and tested["words"] in page, address
        assert f'choice__id mono tiny">{vendor.model}<' in page, address
    form = JudgeForm(project=project, judged=set())
    assert (vendor.pk, f"Vendor ({vendor.model}) · last test failed") in form.fields["model"].choices  # type: ignore[attr-defined]


def test_a_short_key_is_masked_as_a_word_and_not_inside_others(vendor: ExternalModel) -> None:
    content = b'{"error": {"message": "API key k is no key; make another"}}'
    told = trouble.answered(vendor, 401, {}, content, "k").message
    assert "“API key [the key] is no key; make another”" in told


def test_a_refused_key_on_their_own_page_is_not_sent_to_that_page(owner_client: Client, vendor: ExternalModel) -> None:
    vendor.keep_key("sk-wrong-key-that-nobody-knows")
    vendor.save()
    said = owner_client.post(reverse("test-external", args=[vendor.pk]), headers={"HX-Request": "true"}).text
    assert "Enter another one." in said and "on the page of external models" not in said


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"base_url": "http://169.254.169.254/v1"}, "link-local"),
        ({"base_url": "https://me:pw@example.com/v1"}, "Leave user and password out"),
        ({"key": "two words"}, "no spaces"),
        ({"name": "VENDOR"}, "has this name"),
        ({"input_price": "-1"}, "greater than or equal to 0"),
    ],
)
def test_what_cannot_be_is_refused_with_the_reason(
    owner_client: Client, vendor: ExternalModel, server: StandIn, values: dict[str, str], said: str
) -> None:
    answer = owner_client.post(reverse("add-external"), given(server, **values))
    assert answer.status_code == 422 and said in answer.text and KEY not in answer.text
    assert ExternalModel.objects.count() == 1


def test_an_empty_key_keeps_the_stored_one_but_never_for_another_server(
    owner_client: Client, vendor: ExternalModel, server: StandIn
) -> None:
    edit = reverse("edit-external", args=[vendor.pk])
    owner_client.post(edit, given(server, name="Renamed", key=""))
    vendor.refresh_from_db()
    assert vendor.name == "Renamed" and vendor.key == KEY
    elsewhere = given(server, base_url="http://127.0.0.1:1/v1", key="")
    refused = owner_client.post(edit, elsewhere)
    assert refused.status_code == 422 and "was entered for 127.0.0.1:" in refused.text
    owner_client.post(edit, elsewhere | {"forget_key": "on"})
    vendor.refresh_from_db()
    assert vendor.key == "" and vendor.base_url == "http://127.0.0.1:1/v1"


def test_once_it_has_answered_it_stays_the_same_model(
    owner_client: Client, owner: User, vendor: ExternalModel, server: StandIn, project: Project
) -> None:
    edit = reverse("edit-external", args=[vendor.pk])
    assert owner_client.post(edit, given(server, model="old")).status_code == 302
    setup = Setup.model_validate({"columns": [{"model": vendor.pk}]})
    turn = comparisons.add_turn(
        comparison=comparisons.start_comparison(project=project, user=owner, setup=setup), prompt="hi"
    )
    Response.objects.create(turn=turn, column=0, model=vendor.pk, text="hello")
    refused = owner_client.post(edit, given(server, model="new"))
    assert refused.status_code == 422 and "Add new as a model of its own" in refused.text


def test_a_removed_one_keeps_its_name_in_old_comparisons_and_nothing_else(
    owner_client: Client, owner: User, vendor: ExternalModel, project: Project
) -> None:
    base = make_base()
    setup = Setup.model_validate({"columns": [{"model": base.name}, {"model": vendor.pk}]})
    made = comparisons.start_comparison(project=project, user=owner, setup=setup)
    assert vendor.pk in {one.model for one in contenders.search(project, "vend")}
    assert owner_client.post(f"/models/external/{vendor.pk}/polish").status_code == 404
    assert ExternalModel.objects.get(pk=vendor.pk).removed_at is None
    owner_client.post(reverse("remove-external", args=[vendor.pk]))
    vendor.refresh_from_db()
    assert (vendor.key, vendor.hint) == ("", "")
    page = owner_client.get(reverse("comparison", args=[made.pk])).text
    assert "Vendor" in page and "It was removed from the external models." in page
    assert comparisons.labels(project, {vendor.pk}) == {vendor.pk: "Vendor"}
    assert not contenders.search(project, "vendor")
    assert "It has no column" in owner_client.get(reverse("playground"), {"models": vendor.pk}).text


def test_a_member_uses_it_but_changes_nothing_and_a_stranger_does_not_see_it(
    stranger_client: Client, teammate: User, vendor: ExternalModel, server: StandIn
) -> None:
    member = Client()
    member.force_login(teammate)
    assert "Vendor" in member.get(reverse("external-models")).text
    assert member.post(reverse("test-external", args=[vendor.pk])).status_code == 302
    for address in (reverse("add-external"), reverse("edit-external", args=[vendor.pk])):
        assert member.post(address, given(server, name="Mine")).status_code == 403
    assert member.post(reverse("remove-external", args=[vendor.pk])).status_code == 403
    assert "Vendor" not in stranger_client.get(reverse("external-models")).text
    for action in ("test", "remove", "edit"):
        address = reverse("edit-external", args=[vendor.pk]) if action == "edit" else ""
        assert stranger_client.post(address or f"/models/external/{vendor.pk}/{action}").status_code == 404
    vendor.refresh_from_db()
    assert vendor.removed_at is None and vendor.name == "Vendor"


def test_the_column_of_an_external_model_says_that_nothing_is_proven(
    owner_client: Client, vendor: ExternalModel, project: Project
) -> None:
    page = owner_client.get(reverse("playground"), {"models": vendor.pk}).text
    assert "External, not verified" in page and "Not verified: it runs on somebody else" in page
    assert vendor.pk in {choice.model for choice in contenders.search(project)}


def test_the_api_answers_to_no_external_model(client: Client, api_key: str, vendor: ExternalModel) -> None:
    body = {"model": vendor.pk, "messages": [{"role": "user", "content": "hi"}]}
    headers = {"Authorization": f"Bearer {api_key}"}
    asked = client.post("/v1/chat/completions", body, content_type="application/json", headers=headers)
    assert asked.status_code == 404 and "does not exist" in asked.json()["error"]["message"]
