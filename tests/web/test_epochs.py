"""One prompt through the epochs of a job: the slider's stops, asking them all, and who may."""

import re

import pytest
from django.test import Client
from django.urls import reverse

from accounts.models import Project
from playground.film import prompts
from playground.film.models import Frame
from playground.models import Deployment, Verification
from tests import makers
from training.models import TrainingJob

pytestmark = pytest.mark.django_db


@pytest.fixture
def job(project: Project) -> TrainingJob:
    made = makers.make_job(project, steps=40, status="running")
    prompts.pin(made, prompts.read(made, ["What is late?", "Who pays?"]))
    return made


def answer(job: TrainingJob, texts: list[str], prompt: int = 0, stop: str = "stop") -> None:
    """Of the start and the first checkpoints."""
    key = prompts.of(job)[prompt].key
    for checkpoint, text in zip([None, *job.checkpoints.order_by("step")], texts, strict=False):
        Frame.objects.create(job=job, checkpoint=checkpoint, answers={key: {"text": text, "stop": stop}})


def stops(text: str) -> list[str]:
    return re.findall(r'data-words="([^"]+)"', text)


def test_each_checkpoint_that_has_answered_is_a_stop_with_epoch_and_loss_and_the_others_wait(
    owner_client: Client, job: TrainingJob
) -> None:
    answer(job, ["no idea", "the parcel"])
    first = job.checkpoints.order_by("step")[0]
    Verification.objects.create(checkpoint=first, proof=Deployment.Proof.VERIFIED)
    page = owner_client.get(reverse("epochs", args=[job.pk])).text
    found = stops(page)
    assert found[0] == "before training" and len(found) == 2
    assert found[1].startswith("epoch 1") and f"validation loss {first.full_valid_loss:.4g}" in found[1]
    assert 'type="range"' in page and 'max="1"' in page
    assert page.count("chip--verified") == 1 and "<ins>the parcel</ins>" in page
    assert "Not answered yet: epoch 2" in page and 'hx-trigger="every 2s"' in page


def test_a_checkpoint_joins_while_the_page_is_open(owner_client: Client, job: TrainingJob) -> None:
    address = reverse("epochs", args=[job.pk])
    assert "No answer yet" in owner_client.get(address).text
    answer(job, ["no idea"], stop="")
    part = owner_client.get(address, headers={"HX-Request": "true"}).text
    assert "<html" not in part and stops(part) == ["before training"] and "answering now" in part


def test_the_address_chooses_the_prompt(owner_client: Client, job: TrainingJob) -> None:
    answer(job, ["the sender"], prompt=1)
    key = prompts.of(job)[1].key
    page = owner_client.get(reverse("epochs", args=[job.pk]), {"prompt": key}).text
    assert "the sender" in page and stops(page) == ["before training"]
    assert "the sender" not in owner_client.get(reverse("epochs", args=[job.pk])).text


def test_asking_all_pins_the_prompt_and_wants_every_checkpoint_loaded(owner_client: Client, job: TrainingJob) -> None:
    asked = owner_client.post(reverse("ask-epochs", args=[job.pk]), {"text": "Why\r\nnot?"})
    pinned = prompts.of(job)
    assert [each.text for each in pinned] == ["What is late?", "Who pays?", "Why\nnot?"]
    assert asked.url.endswith(f"?prompt={pinned[-1].key}")
    assert Deployment.objects.filter(wanted=True).count() == 1 + job.checkpoints.count()
    refused = owner_client.post(reverse("ask-epochs", args=[job.pk]), {"text": " "}, follow=True)
    assert "1 to 8,000 characters" in refused.text and len(prompts.of(job)) == 3


def test_its_columns_are_the_start_and_the_checkpoints(owner_client: Client, job: TrainingJob) -> None:
    page = owner_client.get(reverse("epochs", args=[job.pk])).text
    names = [job.base_model.name, *(one.name for one in job.checkpoints.order_by("step"))]
    assert f'href="/playground/?models={",".join(names)}"' in page
    assert reverse("epochs", args=[job.pk]) in owner_client.get("/playground/", {"models": names[1]}).text
    assert reverse("epochs", args=[job.pk]) in owner_client.get(reverse("job", args=[job.pk])).text


def test_a_stranger_finds_no_such_job(stranger_client: Client, job: TrainingJob) -> None:
    assert stranger_client.get(reverse("epochs", args=[job.pk])).status_code == 404
    assert stranger_client.post(reverse("ask-epochs", args=[job.pk]), {"text": "hi"}).status_code == 404
