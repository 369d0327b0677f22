"""The choice of a base model while the first one is still being brought."""

import re

import pytest
from django.test import Client
from django.urls import reverse

from accounts.models import Project
from tests import makers
from training.models import BaseModel

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("present")]
PAGES = ("new-job", "new-recipe")


@pytest.fixture
def starter() -> BaseModel:
    text = "Downloading the starter model"
    return makers.make_base_model(
        status="downloading", status_text=text, bytes_total=200_000_000, bytes_done=64_000_000
    )


@pytest.mark.parametrize("page", PAGES)
def test_a_model_on_its_way_is_named_with_its_progress_and_what_to_do_meanwhile(
    owner_client: Client, project: Project, starter: BaseModel, page: str
) -> None:
    shown = owner_client.get(reverse(page)).text
    assert '<b class="anywhere">tiny</b> is on its way: 32 %, 64 MB of 200 MB.' in shown
    assert 'value="32"' in shown and "Downloading the starter model" in shown
    assert "until then choose your data" in shown and f'href="{reverse("datasets")}"' in shown
    assert f'hx-get="{reverse("model-choice")}"' in shown, "it asks again by itself"


def test_it_is_chosen_by_itself_when_it_is_there_and_the_card_is_counted(
    owner_client: Client, project: Project, starter: BaseModel
) -> None:
    waiting = owner_client.get(reverse("model-choice"), {"model": ""})
    assert "is on its way" in waiting.text and "HX-Trigger-After-Settle" not in waiting
    BaseModel.objects.update(status="ready")
    there = owner_client.get(reverse("model-choice"), {"model": ""})
    assert '<option value="base:tiny" selected>' in there.text and "is on its way" not in there.text
    assert "hx-get" not in there.text, "and asks no more"
    assert there["HX-Trigger-After-Settle"] == "hone:model"


def test_what_was_chosen_stays_chosen_while_another_comes(owner_client: Client, project: Project) -> None:
    makers.make_base_model()
    makers.make_base_model("other")
    makers.make_base_model("late", status="downloading")
    shown = owner_client.get(reverse("model-choice"), {"model": "base:other"})
    assert '<option value="base:other" selected>' in shown.text and "HX-Trigger-After-Settle" not in shown
    assert re.search(r"late</b> is on its way\.", shown.text) and "It can be chosen here as soon as" in shown.text


@pytest.mark.parametrize("page", PAGES)
def test_where_no_model_could_be_brought_the_reason_and_the_way_on_are_told(
    owner_client: Client, project: Project, page: str
) -> None:
    assert "There is no model on this machine yet." in owner_client.get(reverse(page)).text
    makers.make_base_model(status="failed", status_text="The hub does not answer.")
    shown = owner_client.get(reverse(page)).text
    assert "tiny could not be brought.</b> The hub does not answer." in shown
    assert f'<a href="{reverse("models")}">Try again, or add another model</a>' in shown


def test_the_choice_of_a_rerun_still_knows_its_parent_and_only_its_projects(
    owner_client: Client, stranger_client: Client, project: Project
) -> None:
    job = makers.make_job(project)
    makers.make_base_model("late", status="downloading")
    asked = {"model": "base:tiny", "parent": job.id}
    assert 'data-parent="base:tiny"' in owner_client.get(reverse("model-choice"), asked).text
    assert "data-parent" not in stranger_client.get(reverse("model-choice"), asked).text
