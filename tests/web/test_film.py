"""The film strip on a job's page: its prompts, its states, and who may see and change it."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from accounts.models import Project
from playground import deployments
from playground.film import prompts, strip, tending
from playground.film.models import Film, Frame
from playground.film.prompts import Pinned
from playground.models import Deployment
from tests import makers
from training import devices
from training.models import TrainingJob
from training.workers import new_claim

pytestmark = pytest.mark.django_db


@pytest.fixture
def job(project: Project) -> TrainingJob:
    """Finished, with four checkpoints and ten rows to validate on."""
    return filmed(project, status="succeeded")


def filmed(project: Project, **columns: Any) -> TrainingJob:
    file = makers.make_file(project, "valid.jsonl", rows=10)
    rows = [
        {"messages": [{"role": "user", "content": f"question {n}"}, {"role": "assistant", "content": f"answer {n}"}]}
        for n in range(1, 11)
    ]
    file.path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return makers.make_job(project, steps=40, validation_file=file, seed=7, **columns)


@pytest.fixture(autouse=True)
def nobody_serves() -> None:
    """Whatever another test has left."""
    deployments.heartbeat_path().unlink(missing_ok=True)


@pytest.fixture
def served(job: TrainingJob) -> Iterator[None]:
    """The serving process beats and holds the base model."""
    deployments.beat(servers=[])
    Deployment.objects.create(base_model=job.base_model, state="ready", url="http://127.0.0.1:1")
    yield
    deployments.heartbeat_path().unlink(missing_ok=True)


def page(client: Client, job: TrainingJob) -> str:
    """The part of the page that is fetched again."""
    response = client.get(reverse("job", args=[job.id]) + "?part=film", headers={"HX-Request": "true"})
    assert response.status_code == 200
    return response.content.decode()


def film_frame(job: TrainingJob, epoch: int | None, *texts: str, **columns: Any) -> Frame:
    """What that epoch answered to the job's prompts, in their order."""
    film = prompts.begin(job)
    keys = [Pinned(**each).key for each in film.prompts]
    answers = {key: {"text": text, "stop": "stop"} for key, text in zip(keys, texts, strict=False)}
    checkpoint = job.checkpoints.get(epoch=epoch) if epoch else None
    return Frame.objects.create(job=job, checkpoint=checkpoint, answers=answers, **columns)


def test_four_validation_rows_are_pinned_with_what_they_expect_and_stay_when_the_file_goes(
    owner_client: Client, job: TrainingJob
) -> None:
    drawn = prompts.of(job)
    assert len(drawn) == 4 == len({each.key for each in drawn})
    assert [each.expected for each in drawn] == [each.text.replace("question", "answer") for each in drawn]
    assert prompts.of(TrainingJob.objects.get(pk=job.pk)) == drawn, "the seed draws the same rows again"
    assert drawn[0].text in page(owner_client, job) and drawn[3].expected in page(owner_client, job)
    prompts.begin(job)
    assert job.validation_file
    job.validation_file.delete()
    assert prompts.of(TrainingJob.objects.get(pk=job.pk)) == drawn


def test_without_a_validation_file_the_page_asks_for_prompts(owner_client: Client, project: Project) -> None:
    said = page(owner_client, makers.make_job(project, steps=40))
    assert "No prompts are pinned" in said and "no validation file" in said and "edit-prompts" in said


def test_while_nothing_is_served_the_strip_says_so(owner_client: Client, job: TrainingJob) -> None:
    said = page(owner_client, job)
    assert "Nothing is served now" in said and "Answer now" not in said
    assert said.count("chip--queued") == 5, "the weights before, and four epochs"


def test_a_frame_of_weights_saved_on_the_way_is_headed_by_its_step(owner_client: Client, job: TrainingJob) -> None:
    makers.make_checkpoint(job, step=15, epoch=2)
    said = page(owner_client, job)
    assert "Step 15" in said and "in epoch 2" in said and said.count("Epoch 2") == 1


def test_a_base_model_that_is_not_loaded_is_loaded_on_request(
    owner_client: Client, job: TrainingJob, served: None
) -> None:
    Deployment.objects.update(wanted=False, state="off")
    said = page(owner_client, job)
    assert "tiny is not loaded" in said and "Answer now" in said
    answer = owner_client.post(reverse("ask-film", args=[job.id]))
    assert answer.url == reverse("job", args=[job.id]) + "#film"
    assert Deployment.objects.wanted().count() == 5
    assert job.frames.exclude(asked_at=None).count() == 5
    assert "Waiting for the model server" in page(owner_client, job)


def test_answers_wait_while_a_job_trains_on_the_same_device(
    owner_client: Client, project: Project, job: TrainingJob, served: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(devices, "all_gpus", list)
    makers.make_job(project, steps=3)
    said = page(owner_client, job)
    assert "A job trains on the device that would answer" in said and "Answer now" in said
    assert said.count("after the training") == 20, "four prompts to five weights"
    owner_client.post(reverse("ask-film", args=[job.id]))
    assert "after the training" not in page(owner_client, job), "somebody asked for them now"


def test_answers_also_wait_for_a_job_whose_turn_comes_next(
    owner_client: Client, project: Project, job: TrainingJob, served: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(devices, "all_gpus", list)
    makers.make_job(project, status="queued")
    said = page(owner_client, job)
    assert "A job is about to train on the device" in said and "after the training" in said
    job.checkpoints.all().delete()
    TrainingJob.objects.filter(pk=job.pk).update(status="failed", finished_at=timezone.now())
    said = owner_client.get(reverse("job", args=[job.id])).text
    assert "there is no checkpoint of it to answer" in said and "It ended before one was saved" in said
    assert not any(words in said for words in ("A job is about to train", "after the training", "makes one in between"))


def test_every_job_with_two_checkpoints_leads_to_the_comparison_of_its_epochs(
    owner_client: Client, project: Project
) -> None:
    job = makers.make_job(project)
    makers.make_checkpoint(job, step=10)
    assert "Compare its epochs" not in page(owner_client, job)
    makers.make_checkpoint(job, step=20, epoch=2)
    said = page(owner_client, job)
    assert "No prompts are pinned" in said and reverse("epochs", args=[job.id]) in said
    assert "Ask all checkpoints" in owner_client.get(reverse("epochs", args=[job.id])).text


def test_answers_that_grow_are_shown_as_far_as_they_are(owner_client: Client, job: TrainingJob, served: None) -> None:
    frame = film_frame(job, None, claim=new_claim(), heartbeat_at=timezone.now())
    frame.answers = {prompts.of(job)[0].key: {"text": "Half of an ans", "stop": ""}}
    frame.save()
    said = page(owner_client, job)
    assert "Half of an ans" in said and "film__caret" in said and "chip--loading" in said


def test_each_frame_marks_the_words_that_are_new(owner_client: Client, job: TrainingJob, served: None) -> None:
    expected = prompts.of(job)[0].expected
    film_frame(job, None, "I do not know", *["same"] * 3)
    for epoch in (1, 2, 3, 4):
        film_frame(job, epoch, "I do know" if epoch < 4 else expected, *["same"] * 3)
    said = page(owner_client, job)
    assert said.count("chip--ready") == 5
    assert said.count("as expected") == 1
    assert f"<ins>{expected}</ins>" in said
    assert strip.changes("I do not know", "I do know it, now") == (
        strip.Piece("I do "),
        strip.Piece("know "),
        strip.Piece("it, now", True),
    )
    assert strip.of(job).state == "answered"


def test_an_answer_without_words_is_told_from_one_that_is_not_there(
    owner_client: Client, job: TrainingJob, served: None
) -> None:
    film_frame(job, None, "", *["same"] * 3)
    film_frame(job, 1, " ", *["same"] * 3)
    said = page(owner_client, job)
    assert said.count("An empty answer") == 2 and said.count("not answered yet") == 3 * 4, "three epochs have yet to"


def test_a_frame_that_failed_says_why_and_is_tried_again(owner_client: Client, job: TrainingJob, served: None) -> None:
    checkpoint = job.checkpoints.get(epoch=2)
    Frame.objects.create(job=job, checkpoint=checkpoint, failure="Its folder is gone.")
    said = page(owner_client, job)
    assert "Epoch 2: Its folder is gone." in said and "Try again" in said and "chip--failed" in said
    owner_client.post(reverse("ask-film", args=[job.id]))
    assert job.frames.get(checkpoint=checkpoint).failure == ""
    assert Deployment.objects.wanted().filter(checkpoint=checkpoint).exists()


def test_prompts_are_changed_on_the_page_and_what_was_answered_stays(owner_client: Client, job: TrainingJob) -> None:
    film_frame(job, None, "one", "two", "three", "four")
    kept, changed, cleared, _ = prompts.of(job)
    sent = {
        "key": [kept.key, changed.key, cleared.key, ""],
        "prompt": [kept.text, "another question", "", "a new one\r\nof two lines"],
        "expected": [kept.expected, "another answer", cleared.expected, ""],
    }
    owner_client.post(reverse("pin-prompts", args=[job.id]), sent)
    pinned = prompts.of(job)
    assert [each.text for each in pinned] == [kept.text, "another question", "a new one\nof two lines"]
    assert pinned[1].expected == "another answer"
    frame = job.frames.get()
    assert [frame.has_answered(each.key) for each in pinned] == [True, False, False]
    assert Film.objects.get(job=job).open
    owner_client.post(reverse("pin-prompts", args=[job.id]), {"key": [""], "prompt": [""], "expected": [""]})
    assert prompts.of(job) == [] and "No prompts are pinned" in page(owner_client, job)


def test_too_many_prompts_are_refused_with_the_limit(owner_client: Client, job: TrainingJob) -> None:
    many = [f"question {n}" for n in range(13)]
    answer = owner_client.post(
        reverse("pin-prompts", args=[job.id]), {"key": [""] * 13, "prompt": many, "expected": [""] * 13}, follow=True
    )
    assert "at most 12" in answer.content.decode()
    assert not Film.objects.exists()


def test_a_stranger_neither_sees_nor_changes_a_film(stranger_client: Client, job: TrainingJob) -> None:
    address = reverse("job", args=[job.id]) + "?part=film"
    assert stranger_client.get(address, headers={"HX-Request": "true"}).status_code == 404
    for name in ("ask-film", "pin-prompts"):
        assert stranger_client.post(reverse(name, args=[job.id]), {"prompt": ["mine"]}).status_code == 404
    assert not Film.objects.exists() and not Deployment.objects.exists()


def test_the_form_pins_prompts_and_a_rerun_keeps_them(owner_client: Client, project: Project) -> None:
    base, file = makers.make_base_model(), makers.make_file(project)
    sent = {"model": f"base:{base.name}", "training_file": file.id, "validation": "none", "adaptation": "lora"}
    owner_client.post(reverse("new-job"), sent | {"pinned_prompts": "Where is my parcel?\n\nWho are you?\n"})
    first = TrainingJob.objects.get()
    assert [each.text for each in prompts.of(first)] == ["Where is my parcel?", "Who are you?"]
    assert (
        f"Those of {first.display_name}" in owner_client.get(f"{reverse('new-job')}?from={first.id}").content.decode()
    )
    owner_client.post(reverse("new-job"), sent | {"parent": first.id, "seed": 5})
    again = TrainingJob.objects.get(parent=first)
    assert prompts.of(again) == prompts.of(first)


def test_the_form_turns_the_film_strip_off_and_a_rerun_keeps_it_off(owner_client: Client, project: Project) -> None:
    base, file, valid = makers.make_base_model(), makers.make_file(project), makers.make_file(project, "valid.jsonl")
    sent = {
        "model": f"base:{base.name}", "training_file": file.id, "validation": "file", "validation_file": valid.id,
        "adaptation": "lora", "film": "off", "pinned_prompts": "typed before it was turned off",
    }  # fmt: skip
    card = owner_client.post(reverse("estimate-job"), sent).text
    assert "&quot;pinned_prompts&quot;: []" in card, "the same as code says so too"
    owner_client.post(reverse("new-job"), sent)
    job = TrainingJob.objects.get()
    assert prompts.of(job) == [] and prompts.drawn(job), "its rows would have been asked"
    tending.tend()
    assert not job.frames.exists() and "None were chosen for this job" in page(owner_client, job)
    again = owner_client.get(f"{reverse('new-job')}?from={job.id}").text
    assert 'name="film" value="off" checked' in again
    owner_client.post(reverse("new-job"), sent | {"parent": job.id})
    assert prompts.of(TrainingJob.objects.get(parent=job)) == []


def test_the_form_says_what_the_film_strip_costs(
    owner_client: Client, project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    shown = owner_client.get(reverse("new-job")).text
    assert 'name="film" value="drawn" checked' in shown and "up to 160 tokens to each prompt" in shown
    assert "Serving uses the device that trains." in shown
    monkeypatch.setattr("playground.sharing.shares_device", lambda: False)
    assert "training is not slowed down" in owner_client.get(reverse("new-job")).text


@pytest.mark.parametrize(("written", "refused"), [("", True), ("Hello?", False)])
def test_prompts_of_ones_own_must_be_written(
    owner_client: Client, project: Project, written: str, refused: bool
) -> None:
    base, file = makers.make_base_model(), makers.make_file(project)
    sent = {"model": f"base:{base.name}", "training_file": file.id, "validation": "none", "adaptation": "lora"}
    answer = owner_client.post(reverse("new-job"), sent | {"film": "own", "pinned_prompts": written})
    assert (answer.status_code == 400) is refused
    assert ("Write at least one prompt, or choose" in answer.text) is refused


CALL = {"type": "function", "function": {"name": "track", "arguments": '{"order": 5}'}}


@pytest.mark.parametrize(
    ("row", "ask", "expected"),
    [
        ({"prompt": "p", "completion": "c"}, {"prompt": "p"}, "c"),
        ({"prompt": "p", "chosen": "good", "rejected": "bad"}, {"prompt": "p"}, "good"),
        (
            {"input": {"messages": [{"role": "user", "content": "u"}]}, "preferred_output": [{"content": "good"}]},
            {"messages": [{"role": "user", "content": "u"}]},
            "good",
        ),
        (
            {
                "messages": [
                    {"role": "user", "content": "u"},
                    {"role": "assistant", "content": "first", "weight": 0},
                    {"role": "user", "content": "v"},
                    {"role": "assistant", "tool_calls": [CALL]},
                ],
                "tools": [{"type": "function"}],
            },
            {
                "messages": [
                    {"role": "user", "content": "u"},
                    {"role": "assistant", "content": "first"},
                    {"role": "user", "content": "v"},
                ],
                "tools": [{"type": "function"}],
            },
            'track({"order": 5})',
        ),
        ({"text": "one two"}, {"prompt": "one"}, " two"),
    ],
)
def test_rows_of_every_format_can_be_pinned(row: dict[str, Any], ask: dict[str, Any], expected: str) -> None:
    pinned = prompts.of_row(row)
    assert pinned
    assert (pinned.ask, pinned.expected) == (ask, expected)


def test_a_row_that_asks_nothing_or_too_much_is_not_pinned() -> None:
    assert prompts.of_row({"messages": [{"role": "user", "content": "no answer"}]}) is None
    assert prompts.of_row({"prompt": " ", "completion": "c"}) is None
    assert prompts.of_row({"prompt": "x" * 9_000, "completion": "c"}) is None
