"""The models page: what is there, what is wrong with it, adding and removing."""

from pathlib import Path

import pytest
from django.urls import reverse
from django.utils import timezone

from playground.models import Deployment
from tests import makers
from tests.factories import tiny_model
from training import catalogue
from training.models import BaseModel, TrainingJob


@pytest.fixture(scope="session")
def tiny(tmp_path_factory) -> Path:
    return tiny_model(tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture
def model(db, tiny) -> BaseModel:
    return catalogue.add_from_folder(tiny)


def page(client, **more) -> str:
    return client.get(reverse("models"), **more).content.decode()


def act(client, model: BaseModel, action: str):
    return client.post(reverse("act-on-model", args=[model.name, action]), follow=True)


def trained(project, model: BaseModel, label: str) -> TrainingJob:
    job = TrainingJob.objects.create(
        project=project, base_model=model, status="succeeded", finished_at=timezone.now(), label=label
    )
    makers.make_checkpoint(job, step=30, full_valid_loss=0.4123)
    return job


def test_the_empty_page_offers_a_small_model_to_begin_with(owner_client):
    assert "No base model yet" in page(owner_client)


def test_a_model_shows_its_facts_and_whether_it_fits(owner_client, model):
    shown = page(owner_client)
    for words in ("tiny", "8,192", "Chat template", "On disk", "Fits", "From the folder"):
        assert words in shown, words


def test_a_refresh_gets_only_the_part_that_changes(owner_client, model):
    part = page(owner_client, headers={"HX-Request": "true"})
    assert "<html" not in part and "tiny" in part


def test_fine_tuned_models_stand_under_their_base_and_only_in_their_project(
    owner_client, stranger_client, model, project
):
    trained(project, model, "tickets")
    assert "Fine-tuned from it" in page(owner_client) and "0.4123" in page(owner_client)
    shown = page(stranger_client)
    assert "tiny" in shown and "tickets" not in shown


def test_a_model_whose_folder_is_gone_says_so_and_what_to_do(owner_client, model):
    BaseModel.objects.update(folder="/gone/away", source_id="/gone/away")
    shown = page(owner_client)
    assert "Folder is gone" in shown and "/gone/away" in shown and "Look again" in shown
    answer = act(owner_client, model, "download")
    assert "There is no folder /gone/away" in answer.content.decode()


def test_a_failed_download_shows_its_reason_and_can_be_tried_again(owner_client, model):
    BaseModel.objects.update(status="failed", status_text="The connection broke.")
    shown = page(owner_client)
    assert "The connection broke." in shown and "Try again" in shown
    act(owner_client, model, "download")
    assert BaseModel.objects.get().status == "ready"


def test_a_download_shows_how_far_it_is(owner_client, model):
    BaseModel.objects.update(status="downloading", bytes_done=250, bytes_total=1000, status_text="Downloading")
    shown = page(owner_client)
    assert 'value="25"' in shown and shown.count(">Downloading<") == 1, "its state says it already"


def test_a_folder_is_added_in_the_page(owner_client, tiny):
    answer = owner_client.post(reverse("add-model"), {"source": str(tiny)}, follow=True)
    assert "is in the catalogue" in answer.content.decode()
    assert BaseModel.objects.get().status == "ready"


@pytest.mark.parametrize(
    ("source", "reason"),
    [("", "Write a hub id"), ("/nowhere", "There is no folder"), ("one-word", "not a hub id"), ("a/b", "HONE_OFFLINE")],
)
def test_what_cannot_be_added_is_refused_beside_the_field_with_what_was_typed(owner_client, settings, source, reason):
    settings.HONE_OFFLINE = True
    answer = owner_client.post(reverse("add-model"), {"source": source})
    shown = answer.content.decode()
    assert answer.status_code == 422 and reason in shown and f'value="{source}"' in shown
    assert not BaseModel.objects.exists()


def test_a_folder_of_the_server_is_not_opened_by_who_does_not_look_after_it(owner_client, stranger_client, tiny):
    for folder in (str(tiny), "/nowhere", "~/models"):
        answer = stranger_client.post(reverse("add-model"), {"source": folder})
        assert answer.status_code == 422 and "Only whoever looks after this server" in answer.text
    assert not BaseModel.objects.exists()


def test_a_loaded_model_is_put_away_before_its_files_go(owner_client, model):
    Deployment.objects.create(base_model=model, state="ready")
    answer = act(owner_client, model, "remove")
    assert "loaded in vLLM" in answer.content.decode()
    assert BaseModel.objects.exists() and not Deployment.objects.get().wanted
    Deployment.objects.update(state="off")
    act(owner_client, model, "remove")
    assert not BaseModel.objects.exists()


def test_a_model_with_fine_tuned_ones_stays_in_the_catalogue(owner_client, model, project):
    trained(project, model, "tickets")
    assert "has fine-tuned models" in act(owner_client, model, "remove").content.decode()
    assert BaseModel.objects.exists()


def test_loading_asks_the_serving_process_for_it(owner_client, model):
    act(owner_client, model, "load")
    assert Deployment.objects.get().wanted
    act(owner_client, model, "unload")
    assert not Deployment.objects.get().wanted


def test_only_who_looks_after_the_server_takes_a_base_model_away(owner_client, stranger_client, model):
    for action in ("remove", "remove-files"):
        answer = act(stranger_client, model, action)
        assert answer.status_code == 403 and "Every project of this server uses tiny" in answer.text
    assert BaseModel.objects.exists()
    assert "whoever looks after the server takes it away" in page(stranger_client)
    assert "whoever looks after the server takes it away" not in page(owner_client)


def test_unknown_models_and_actions_are_not_found(owner_client, model):
    assert owner_client.post(reverse("act-on-model", args=["nope", "load"])).status_code == 404
    assert owner_client.post(reverse("act-on-model", args=[model.name, "explode"])).status_code == 404
    assert owner_client.get(reverse("add-model")).status_code == 405
