"""The page of a new model from scratch, and what becomes of the wish."""

import pytest
from django.test import Client
from django.urls import reverse

from accounts.errors import ApiError
from accounts.models import Project
from tests import makers
from training import catalogue, downloads, files, home, scratch
from training.engine.scratch import Shape
from training.models import BaseModel, DatasetFile

TEXT = "\n<|endoftext|>\n".join(f"Story {n} is short." for n in range(30)).encode()
ASKED = {"name": "little", "layers": "2", "width": "64", "vocabulary": "320", "context": "128"}


def text_file(project: Project) -> DatasetFile:
    return files.create_file(project, None, "stories.txt", "fine-tune", TEXT)


def test_the_form_makes_a_model_that_the_job_form_trains_whole(
    owner_client: Client, project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(catalogue, "_enqueue", lambda model: downloads.download(model.pk))
    file = text_file(project)
    page = owner_client.get(f"/models/scratch?file={file.pk}").content.decode()
    assert f'<option value="{file.pk}" selected>' in page
    answer = owner_client.post("/models/scratch", ASKED | {"file": file.pk})
    assert (answer.status_code, answer["Location"]) == (302, "/models/")
    model = BaseModel.objects.get(name="little")
    assert model.status == "ready", model.status_text
    assert model.facts.untrained and model.facts.layers == 2 and model.facts.context_length == 128
    form = owner_client.get(reverse("new-job"), {"model": "little"}).content.decode()
    assert 'name="adaptation" value="full" checked' in form
    assert "Made here from stories.txt" in owner_client.get("/models/").content.decode()

    catalogue.remove_from_catalogue(model)
    assert not list(home.model_folder("").glob("little*"))


@pytest.mark.parametrize(
    ("field", "value"),
    [("layers", "0"), ("width", "100"), ("vocabulary", "x"), ("context", "1"), ("name", "a/b"), ("file", "none")],
)
def test_a_wrong_value_is_named_and_nothing_is_made(
    owner_client: Client, project: Project, field: str, value: str
) -> None:
    file = text_file(project)
    answer = owner_client.post("/models/scratch", ASKED | {"file": file.pk, field: value})
    assert answer.status_code == 400 and list(answer.context["form"].errors) == [field]
    assert not BaseModel.objects.exists()


def test_other_projects_text_and_files_of_chat_cannot_be_chosen(
    owner_client: Client, stranger_client: Client, project: Project
) -> None:
    file, chat = text_file(project), makers.make_file(project)
    page = stranger_client.get(f"/models/scratch?file={file.pk}").content.decode()
    assert file.pk not in page
    assert stranger_client.post("/models/scratch", ASKED | {"file": file.pk}).status_code == 400
    assert owner_client.post("/models/scratch", ASKED | {"file": chat.pk}).status_code == 400
    with pytest.raises(ApiError, match="no raw text"):
        scratch.make(project=project, file=chat, name="little", shape=Shape())
    assert not BaseModel.objects.filter(source="scratch").exists()


def test_a_model_too_large_to_be_made_here_says_how_large_it_is(project: Project) -> None:
    with pytest.raises(ApiError, match="billion parameters"):
        scratch.make(project=project, file=text_file(project), name="big", shape=Shape(layers=64, width=8192))


def test_a_model_whose_text_was_deleted_says_so(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(catalogue, "_enqueue", lambda model: None)
    file = text_file(project)
    model = scratch.make(project=project, file=file, name="little", shape=Shape())
    files.delete(file)
    downloads.download(model.pk)
    model.refresh_from_db()
    assert model.status == "failed" and "stories.txt" in model.status_text and "deleted" in model.status_text
