"""The form of a new job: filled in, refused, rerun, continued."""

import re
from typing import Any

import pytest
from django.test import Client
from django.urls import reverse

from accounts.models import Project, User
from tests import makers
from training import actions
from training.engine.spec import Recipe
from training.models import DatasetFile, TrainingJob

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("present")]
HTMX = {"HX-Request": "true"}


def filled(project: Project, **values: Any) -> dict[str, Any]:
    """What the browser posts for the smallest job."""
    file = DatasetFile.objects.of(project).usable().first() or makers.make_file(project)
    if not TrainingJob.objects.exists():
        makers.BaseModel.objects.filter(name="tiny").exists() or makers.make_base_model()
    usual = {"model": "base:tiny", "training_file": file.pk, "validation": "none", "adaptation": "lora"}
    return usual | values


def test_a_filled_form_makes_the_job(owner_client: Client, project: Project) -> None:
    data = filled(project, n_epochs="2", lora_r="8", suffix="ticket", seed="7", label="First")
    answer = owner_client.post(reverse("new-job"), data)
    job = TrainingJob.objects.get()
    assert answer["Location"] == reverse("job", args=[job.id])
    assert job.recipe == Recipe(n_epochs=2, lora_r=8)
    assert (job.suffix, job.seed, job.label) == ("ticket", 7, "First")


def test_a_split_makes_two_files(owner_client: Client, project: Project) -> None:
    data = filled(project, validation="split", split_share="25", split_seed="3")
    owner_client.post(reverse("new-job"), data)
    job = TrainingJob.objects.get()
    assert job.training_file and job.validation_file
    rows = [sum(1 for _ in file.path.open()) for file in (job.training_file, job.validation_file)]
    assert rows == [90, 30]


def test_a_refused_job_leaves_no_split_files(owner_client: Client, project: Project, monkeypatch: Any) -> None:
    def refuse(**_: Any) -> None:
        raise actions.ApiError("Not today.", param="suffix")

    monkeypatch.setattr(actions, "create_job", refuse)
    data = filled(project, validation="split", split_share="25")
    answer = owner_client.post(reverse("new-job"), data)
    assert answer.status_code == 400
    assert "Not today." in answer.text
    assert DatasetFile.objects.count() == 1


def test_wrong_input_is_shown_again_with_its_reason(owner_client: Client, project: Project) -> None:
    answer = owner_client.post(reverse("new-job"), filled(project, n_epochs="99", suffix="a:b"))
    assert answer.status_code == 400
    assert "Must be less than or equal to 50; it is 99" in answer.text
    assert 'value="99"' in answer.text
    assert not TrainingJob.objects.exists()


def test_another_projects_file_cannot_be_used(stranger_client: Client, project: Project) -> None:
    answer = stranger_client.post(reverse("new-job"), filled(project))
    assert answer.status_code == 400
    assert not TrainingJob.objects.exists()


def test_the_card_tells_steps_memory_and_every_auto(owner_client: Client, project: Project) -> None:
    answer = owner_client.post(reverse("estimate-job"), filled(project, n_epochs="4"), headers=HTMX).text
    assert "What it takes" in answer
    assert "4 epochs" in answer
    assert re.search(r'id="auto-batch_size" hx-swap-oob="true">auto is <b>\d+</b>', answer)
    assert 'id="auto-n_epochs" hx-swap-oob="true"></span>' in answer
    assert "fine_tuning.jobs.create" in answer and "curl" in answer


def test_the_card_says_what_is_missing(owner_client: Client, project: Project) -> None:
    assert "Choose a base model and a training file" in owner_client.post(reverse("estimate-job"), {}).text


def test_an_impossible_pair_is_refused_before_anything_starts(owner_client: Client, project: Project) -> None:
    data = filled(project, target_modules="no_such_layer")
    DatasetFile.objects.update(token_facts={})  # nor does it wait until the tokens are counted
    assert "no_such_layer" in owner_client.post(reverse("estimate-job"), data).text
    assert owner_client.post(reverse("new-job"), data).status_code == 400
    assert not TrainingJob.objects.exists()


def test_a_file_or_model_that_is_gone_is_refused_in_words(
    owner_client: Client, project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = filled(project)
    monkeypatch.setattr("training.models.BaseModel.is_present", False)
    makers.BaseModel.objects.update(folder="/nowhere/tiny")
    DatasetFile.objects.get().path.unlink()
    answer = owner_client.post(reverse("new-job"), data)
    assert answer.status_code == 400
    assert "tickets.jsonl is gone from the disk. Upload it again" in answer.text
    assert "The files of tiny are not at /nowhere/tiny any more. Put them back" in answer.text
    assert not TrainingJob.objects.exists()


def test_a_file_from_the_address_is_chosen(owner_client: Client, project: Project) -> None:
    file = makers.make_file(project)
    page = owner_client.get(reverse("new-job") + f"?file={file.id}").text
    assert f'<option value="{file.id}" selected>' in page
    assert owner_client.get(reverse("new-job") + "?file=file-none").status_code == 404


def test_the_validation_half_of_a_split_comes_with_its_training_half(owner_client: Client, project: Project) -> None:
    whole = makers.make_file(project)
    train = makers.make_file(project, "tickets-train.jsonl", parent=whole)
    valid = makers.make_file(project, "tickets-valid.jsonl", parent=whole)
    page = owner_client.get(reverse("new-job") + f"?file={train.id}").text
    assert f'<option value="{valid.id}" selected>' in page
    assert 'value="file" checked' in page


RECIPE = Recipe(
    n_epochs=7,
    batch_size=3,
    learning_rate_multiplier=0.5,
    lora_r=8,
    lora_alpha=16,
    lora_dropout=0.05,
    target_modules=["q_proj", "v_proj"],
    max_length=256,
    lr_scheduler="cosine",
    warmup_ratio=0.1,
    weight_decay=0.01,
    max_grad_norm=0.5,
    dtype="float32",
)


def posted_by(page: str) -> dict[str, Any]:
    """What the form would post if nobody touched it."""
    form = re.search(r'<form class="split job-form".*?</form>', page, re.S)
    assert form
    values: dict[str, Any] = {}
    for tag in re.findall(r"<input[^>]*>", form[0]):
        name = re.search(r'name="(\w+)"', tag)
        kind = re.search(r'type="(\w+)"', tag)
        if not name or name[1] == "csrfmiddlewaretoken" or (kind and kind[1] == "radio" and " checked" not in tag):
            continue
        value = re.search(r'value="([^"]*)"', tag)
        values[name[1]] = value[1] if value else ""
    for name, options in re.findall(r'<select name="(\w+)"[^>]*>(.*?)</select>', form[0], re.S):
        chosen = re.search(r'<option value="([^"]*)" selected', options)
        values[name] = chosen[1] if chosen else ""
    return values


@pytest.mark.parametrize("recipe", [Recipe(), RECIPE, Recipe(adaptation="full", n_epochs=1)])
@pytest.mark.parametrize("status", ["queued", "running", "succeeded", "failed", "cancelled"])
def test_a_rerun_left_alone_is_exactly_its_parent(
    owner_client: Client, project: Project, recipe: Recipe, status: str
) -> None:
    files = {"training_file": makers.make_file(project), "validation_file": makers.make_file(project, "valid.jsonl")}
    parent = makers.make_job(project, status=status, recipe=recipe, suffix="tone", seed=42, label="Try", **files)
    page = owner_client.get(reverse("new-job") + f"?from={parent.id}").text
    answer = owner_client.post(reverse("new-job"), posted_by(page))
    assert answer.status_code == 302, re.findall(r'field__error"[^>]*>([^<]+)', answer.text)
    child = TrainingJob.objects.exclude(pk=parent.pk).get()
    same = ("recipe_json", "base_model", "training_file", "validation_file", "suffix", "seed", "start_checkpoint")
    assert {name: getattr(child, name) for name in same} == {name: getattr(parent, name) for name in same}
    assert child.parent == parent


def test_both_pages_of_a_rerun_show_the_difference(owner_client: Client, project: Project) -> None:
    parent = makers.make_job(project, status="succeeded", steps=8, label="Parent")
    child = makers.make_job(project, status="running", steps=8, parent=parent, recipe=Recipe(n_epochs=9), label="Child")
    for job, other in ((parent, child), (child, parent)):
        page = owner_client.get(reverse("job", args=[job.id]) + "?tab=lineage").text
        assert other.display_name in page
        assert re.search(r'Epochs</th><td class="mono muted">auto</td>.*?<td class="mono">9</td>', page, re.S)


def test_somebody_elses_parent_is_not_stored(owner_client: Client, project: Project, stranger: User) -> None:
    foreign = makers.make_job(Project.objects.get(name="Elsewhere"))
    owner_client.post(reverse("new-job"), filled(project, parent=foreign.id))
    assert TrainingJob.objects.of(project).get().parent is None


def test_continuing_prefills_the_checkpoint(owner_client: Client, project: Project) -> None:
    job = makers.make_job(project, steps=40, total_steps=40, status="succeeded")
    checkpoint = job.checkpoints.order_by("step").last()
    assert checkpoint
    page = owner_client.get(reverse("new-job") + f"?checkpoint={checkpoint.id}").text
    assert f'<option value="checkpoint:{checkpoint.id}" selected>' in page
