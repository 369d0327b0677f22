"""Overview, first steps, search, the device strip and the error pages."""

import re
from pathlib import Path

import pytest
from django.urls import reverse
from django.utils import timezone

from playground.models import Deployment
from tests import makers
from tests.factories import chat_rows, tiny_model, write_jsonl
from training import catalogue, checks, devices, files
from training.models import BaseModel, DatasetFile, Metric, TrainingJob
from training.starter import STARTER_NAME


@pytest.fixture(scope="session")
def tiny(tmp_path_factory) -> Path:
    return tiny_model(tmp_path_factory.mktemp("overview") / "tiny")


@pytest.fixture
def model(db, tiny) -> BaseModel:
    return catalogue.add_from_folder(tiny)


@pytest.fixture
def job(project, model) -> TrainingJob:
    made = TrainingJob.objects.create(
        project=project, base_model=model, status="running", label="Nightly", step=20, total_steps=80, revision=20
    )
    for step in range(1, 21):
        Metric.objects.create(job=made, step=step, revision=step, time=0, train_loss=2 / step)
    return made


def ticket_file(project, part: str, tmp_path) -> DatasetFile:
    content = write_jsonl(tmp_path / f"{part}.jsonl", chat_rows(30)).read_bytes()
    file = files.create_file(project, None, f"ticket-{part}.jsonl", "fine-tune", content)
    DatasetFile.objects.filter(pk=file.pk).update(sample_task="ticket")
    return checks.ensure_checked(file)


def text(client, address: str = "/", **more) -> str:
    return client.get(address, **more).content.decode()


def test_a_dataset_can_be_dropped_on_the_overview(owner_client):
    page = text(owner_client)
    assert f'data-begin="{reverse("begin-upload")}"' in page and "js/upload.js" in page and 'id="drop"' in page
    assert "js/upload.js" not in text(owner_client, HTTP_HX_REQUEST="true")


# ---- the page ----


def test_a_running_job_shows_its_curve_progress_and_name(owner_client, job):
    shown = text(owner_client)
    assert "Nightly" in shown and "<polyline" in shown and "Step 20 of 80" in shown and 'value="25"' in shown


def test_a_refresh_gets_only_the_live_part(owner_client, job):
    part = text(owner_client, headers={"HX-Request": "true"})
    assert "Nightly" in part and "<html" not in part


def test_nothing_of_another_project_is_on_the_page(stranger_client, job):
    assert "Nightly" not in text(stranger_client)


def test_what_failed_waits_for_a_person_with_its_reason(owner_client, job, project, model):
    job.status, job.finished_at, job.error_message = "failed", timezone.now(), "The loss became infinite at step 20."
    job.save()
    DatasetFile.objects.create(
        project=project, filename="bad.jsonl", status="error", status_details="Line 7 is not JSON."
    )
    Deployment.objects.create(base_model=model, state="failed", reason="vLLM ran out of memory.")
    BaseModel.objects.create(name="gone", source="folder", source_id="/gone", folder="/gone", status="ready")
    shown = text(owner_client)
    for words in ("infinite at step 20", "Line 7 is not JSON", "ran out of memory", "Its folder is gone: /gone"):
        assert words in shown, words


def test_what_waits_is_counted_whole_and_the_rest_is_a_link_away(owner_client, project, model):
    for number in range(7):
        makers.make_job(project, status="failed", label=f"Failed {number}", base_model=model)
    shown = text(owner_client)
    assert shown.count("Look at the job") == 5
    assert '<span class="muted small tabular">7</span>' in shown
    assert f'<a href="{reverse("jobs")}?status=failed">2 more failed jobs</a>' in shown


def test_a_machine_without_a_gpu_says_so_and_one_with_a_gpu_does_not(owner_client, monkeypatch):
    monkeypatch.setattr(devices, "all_gpus", lambda: [])
    assert "No GPU here" in text(owner_client)
    gpu = devices.parse_gpus("0, GPU-a, NVIDIA H200, 143771, 1024, 37, 9.0")
    monkeypatch.setattr(devices, "all_gpus", lambda: gpu)
    shown = text(owner_client)
    assert "No GPU here" not in shown and "NVIDIA H200" in shown and "37.0 %" in shown


# ---- first steps ----


def test_the_guide_goes_from_data_to_training_to_comparing(owner_client, project, model, tmp_path):
    assert "Load the sample data" in text(owner_client)
    ticket_file(project, "valid", tmp_path)
    ticket_file(project, "train", tmp_path)
    shown = text(owner_client)
    assert "Read 30 examples" in shown and "Start training" in shown and "on this machine" in shown
    assert "Step 1 of 3" in shown, "nobody has looked at the data yet"
    train = DatasetFile.objects.get(filename="ticket-train.jsonl")
    assert owner_client.get(reverse("dataset", args=[train.pk])).status_code == 200
    assert "Step 2 of 3" in text(owner_client)
    answer = owner_client.post(reverse("train-sample"))
    job = TrainingJob.objects.get()
    assert answer["Location"] == reverse("job", args=[job.pk])
    assert job.training_file.filename == "ticket-train.jsonl" and job.validation_file.filename == "ticket-valid.jsonl"
    assert "Watch it learn" in text(owner_client)
    makers.make_checkpoint(job, step=8)
    shown = text(owner_client)
    assert "Open side by side" in shown and "models=tiny%2Cft%3Atiny" in shown


def test_a_job_on_other_data_is_no_step_of_the_guide(owner_client, project, model, tmp_path):
    other = makers.make_job(project, steps=40, status="succeeded", label="Pairs")
    ticket_file(project, "train", tmp_path)
    shown = text(owner_client)
    assert "Step 1 of 3" in shown and "Start training" in shown and "Open side by side" not in shown
    guide = re.search(r'<ol class="guide">.*?</ol>', shown, re.DOTALL)
    assert guide and other.pk not in guide[0]
    makers.make_job(project, steps=40, status="succeeded", label="Again", training_file=other.training_file)
    assert "of 3</span>" not in text(owner_client), "who trains their own data needs no first steps"


def test_while_the_starter_model_is_brought_the_guide_shows_how_far_it_is(owner_client, project, model, tmp_path):
    ticket_file(project, "train", tmp_path)
    columns = {
        "status": "downloading",
        "status_text": "Downloading",
        "bytes_done": 25_000_000,
        "bytes_total": 100_000_000,
    }
    BaseModel.objects.create(name=STARTER_NAME, source="hub", source_id="org/small", **columns)
    shown = text(owner_client)
    assert 'value="25"' in shown and "25 MB of 100 MB" in shown and "Start training" not in shown


def test_training_the_sample_without_data_says_what_is_missing(owner_client, model):
    answer = owner_client.post(reverse("train-sample"), follow=True)
    assert "sample dataset is not there yet" in answer.content.decode()
    assert not TrainingJob.objects.exists()


# ---- search ----


def test_search_finds_pages_jobs_datasets_models_and_checkpoints_of_this_project_only(
    owner_client, stranger_client, job, project, model
):
    DatasetFile.objects.create(project=project, filename="nightly-tickets.jsonl", status="processed")
    makers.make_checkpoint(job, step=8, step_name="ft:tiny:hone:nightly:aaaaaaaa:ckpt-step-8")
    found = text(owner_client, reverse("search") + "?q=nightly")
    assert all(words in found for words in ("Nightly", "nightly-tickets.jsonl", "ft:tiny:hone:nightly"))
    assert "<html" not in found
    assert "Nightly" not in text(stranger_client, reverse("search") + "?q=nightly")
    assert "Settings" in text(owner_client, reverse("search") + "?q=key")
    assert "Nothing here is called" in text(owner_client, reverse("search") + "?q=xyzzy")


def test_what_was_typed_is_escaped(owner_client):
    assert "<script>" not in text(owner_client, reverse("search") + "?q=<script>alert(1)</script>")


# ---- the device strip ----


def test_the_strip_shows_use_and_what_trains_without_names_of_other_projects(owner_client, stranger_client, job):
    strip = text(owner_client, reverse("device"))
    assert "CPU" in strip or "GPU" in strip
    assert "25 %" in strip
    detail = text(owner_client, reverse("device") + "?detail=1")
    assert "Nightly" in detail and "Trains on" in detail
    others = text(stranger_client, reverse("device") + "?detail=1")
    assert "Nightly" not in others and "A job of another project" in others


# ---- error pages ----


def test_an_unknown_address_gets_a_page_that_leads_back(owner_client):
    answer = owner_client.get("/no/such/page/")
    assert answer.status_code == 404 and b"There is nothing here" in answer.content


def test_a_broken_view_gets_a_page_without_its_insides(owner_client, monkeypatch):
    def broken():
        raise RuntimeError("the secret inside")

    monkeypatch.setattr(devices, "usage", broken)
    owner_client.raise_request_exception = False
    answer = owner_client.get("/")
    assert answer.status_code == 500
    assert b"Something broke on the server" in answer.content and b"secret inside" not in answer.content
