"""Trackers on the screens: the key in Settings, wishes in the form, their state on the job's page."""

import importlib.util
from typing import Any

import pytest
from django.test import Client
from django.urls import reverse

from accounts.models import Project, User
from accounts.sealed import Unreadable, seal, unseal
from tests import makers
from training.models import TrackerKey, TrainingJob
from training.trackers import tending
from training.trackers.spec import (
    TITLES,
    TensorboardIntegration,
    TrackerState,
    WandbIntegration,
    WandbWish,
    write_state,
)

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("present")]
KEY = "0123456789abcdef" * 3
OFFLINE = {"track_wandb": "on", "wandb_project": "tickets", "wandb_offline": "on", "wandb_tags": "a, b"}


def filled(project: Project, **values: Any) -> dict[str, Any]:
    makers.make_base_model()
    file = makers.make_file(project)
    return {"model": "base:tiny", "training_file": file.pk, "validation": "none", "adaptation": "lora"} | values


def test_a_secret_is_encrypted_and_unreadable_with_another_key(settings) -> None:
    sealed = seal(KEY)
    assert KEY not in sealed and unseal(sealed) == KEY and sealed != seal(KEY)
    settings.SECRET_KEY = "another"
    with pytest.raises(Unreadable, match="Enter it again"):
        unseal(sealed)


def test_an_owner_stores_a_key_that_is_never_shown_again(owner_client: Client, project: Project) -> None:
    page = owner_client.post(reverse("store-tracker-key"), {"wandb_key": f" {KEY} "}, follow=True)
    stored = TrackerKey.objects.get(project=project)
    assert stored.secret == KEY and KEY not in stored.sealed
    assert KEY not in page.text and f"…{KEY[-4:]}" in page.text
    owner_client.post(reverse("remove-tracker-key"))
    assert not TrackerKey.objects.exists()


def test_what_is_no_key_is_not_stored_and_a_member_stores_none(
    owner_client: Client, project: Project, teammate: User
) -> None:
    assert owner_client.post(reverse("store-tracker-key"), {"wandb_key": "short"}).status_code == 422
    member = Client()
    member.force_login(teammate)
    assert member.post(reverse("store-tracker-key"), {"wandb_key": KEY}).status_code == 403
    assert member.post(reverse("remove-tracker-key")).status_code == 403
    assert not TrackerKey.objects.exists()


def test_the_form_makes_trackers_and_a_rerun_has_them_again(owner_client: Client, project: Project) -> None:
    owner_client.post(reverse("new-job"), filled(project, track_tensorboard="on", **OFFLINE))
    job = TrainingJob.objects.get()
    wishes = {row.kind: row.wish for row in job.trackers.all()}
    assert wishes["tensorboard"] == {}
    assert (wishes["wandb"]["project"], wishes["wandb"]["tags"], wishes["wandb"]["offline"]) == (
        "tickets",
        ["a", "b"],
        True,
    )
    again = owner_client.get(reverse("new-job"), {"from": job.pk}).text
    assert 'value="tickets"' in again and 'value="a, b"' in again and 'id="trackers" open' in again


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"track_wandb": "on"}, "Say in which project the run goes."),
        ({"track_wandb": "on", "wandb_project": "a/b"}, "cannot hold any of the characters"),
        ({"track_wandb": "on", "wandb_project": "tickets"}, "This project has no key for Weights &amp; Biases."),
    ],
)
def test_a_tracker_that_cannot_be_is_refused_with_the_reason(
    owner_client: Client, project: Project, values: dict[str, str], said: str
) -> None:
    page = owner_client.post(reverse("new-job"), filled(project, **values))
    assert page.status_code == 400 and said in page.text
    assert not TrainingJob.objects.exists()


def test_a_tracker_that_is_not_installed_cannot_be_switched_on_and_says_what_to_install(
    owner_client: Client, project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = filled(project, track_tensorboard="on")
    owner_client.post(reverse("new-job"), asked)
    job = TrainingJob.objects.get()
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *rest: None if name in TITLES else find(name, *rest))
    for address in (reverse("new-job"), f"{reverse('new-job')}?from={job.pk}"):
        page = owner_client.get(address)
        trackers = page.context["form"].trackers
        assert "disabled" in str(trackers["track_tensorboard"]) and "checked" not in str(trackers["track_tensorboard"])
        assert "TensorBoard is not installed here" in page.text and "--extra trackers" in page.text
        assert trackers.is_open is ("from=" in address), "what the parent had and is lost must not hide"
    card = owner_client.post(reverse("estimate-job"), asked).text
    assert "TensorBoard is not installed here" in card


def test_without_the_switch_nothing_of_it_is_looked_at(owner_client: Client, project: Project) -> None:
    owner_client.post(reverse("new-job"), filled(project, wandb_project="a/b"))
    assert not TrainingJob.objects.get().trackers.exists()


def test_the_same_as_code_names_the_integrations(owner_client: Client, project: Project) -> None:
    card = owner_client.post(reverse("estimate-job"), filled(project, **OFFLINE)).text
    assert "integrations=" in card and "tickets" in card


def test_the_job_says_how_far_each_tracker_is(owner_client: Client, project: Project) -> None:
    job = makers.make_job(project, steps=4)
    wandb = WandbIntegration(type="wandb", wandb=WandbWish(project="tickets"))
    tending.add(job, [wandb, TensorboardIntegration(type="tensorboard")])
    page = owner_client.get(reverse("job", args=[job.pk])).text
    assert page.count("begins with the training") == 2
    tensorboard, online = tending.states(job)
    for place in (tensorboard.place, online.place):
        place.mkdir(parents=True)
    write_state(tensorboard.place, TrackerState(state="following", step=3))
    write_state(online.place, TrackerState(state="waiting", text="W&B is <away>.", url="javascript:alert(1)"))
    page = owner_client.get(reverse("job", args=[job.pk])).text
    assert "was handed step 3" in page and "W&amp;B is &lt;away&gt;." in page and "javascript:" not in page
    assert f"tensorboard --logdir {job.folder}/tensorboard" in page
