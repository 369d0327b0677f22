"""The advanced fields of the job's form stand in groups that say what is set in them."""

import re

import pytest
from django.test import Client
from django.urls import reverse

from accounts.models import Project
from dashboard import forms
from dashboard.form_groups import GROUPS
from tests import makers
from tests.web.test_new_job import filled
from training.engine.spec import Recipe

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("present")]


def lines_of(page: str) -> dict[str, tuple[bool, str, str]]:
    """Of each group: is it open, what its line says, how many are wrong."""
    found = {}
    for key, is_open, inside in re.findall(
        r'<details class="job-group" id="group-(\w+)"( open)?>(.*?)</summary>', page, re.S
    ):
        said = re.search(r"job-group__said[^>]*>([^<]*)<", inside)
        wrong = re.search(r'job-group__wrong"( hidden)?>([^<]*)<', inside)
        assert said and wrong
        found[key] = (bool(is_open), said[1], "" if wrong[1] else wrong[2])
    return found


def test_every_field_of_the_recipe_stands_in_one_group_or_above_them() -> None:
    grouped = [name for group in GROUPS for name in group.names]
    assert len(grouped) == len(set(grouped))
    assert set(grouped) == {*forms.RECIPE_FIELDS, "seed"} - {"method", "beta", *forms.MAIN_FIELDS}


def test_untouched_groups_are_closed_and_say_what_they_are_about(owner_client: Client, project: Project) -> None:
    makers.make_base_model()
    found = lines_of(owner_client.get(reverse("new-job")).text)
    assert list(found) == [group.key for group in GROUPS]
    assert found == {group.key: (False, group.about, "") for group in GROUPS}


def test_a_group_with_values_of_ones_own_is_open_and_names_them(owner_client: Client, project: Project) -> None:
    parent = makers.make_job(project, recipe=Recipe(lora_r=8, lora_variant="rslora", on_spike="stop"))
    found = lines_of(owner_client.get(reverse("new-job") + f"?from={parent.id}").text)
    assert found["adapter"] == (True, "2 set: LoRA rank, Kind of adapter", "")
    assert found["stopping"] == (True, "1 set: When the loss jumps", "")
    assert [key for key, (is_open, _, _) in found.items() if is_open] == ["adapter", "stopping"]


def test_a_group_with_a_wrong_field_is_open_and_counts_it(owner_client: Client, project: Project) -> None:
    page = owner_client.post(reverse("new-job"), filled(project, warmup_ratio="2", weight_decay="nan", lora_r="8"))
    found = lines_of(page.text)
    assert page.status_code == 400
    assert found["schedule"] == (True, "1 set: Warm-up", "1 to correct")
    assert found["optimizer"] == (True, "1 set: Weight decay", "1 to correct")
    assert found["adapter"] == (True, "1 set: LoRA rank", "") and not found["memory"][0]


def test_an_adapter_that_full_weights_do_not_have_is_not_counted(owner_client: Client, project: Project) -> None:
    parent = makers.make_job(project, recipe=Recipe(adaptation="full"))
    found = lines_of(owner_client.get(reverse("new-job") + f"?from={parent.id}").text)
    assert found["adapter"] == (True, "1 set: Weights", "")
