"""The form of a new job: filled in, refused, rerun, continued."""

import re
from typing import Any

import pytest
from django.test import Client
from django.urls import reverse

from accounts.models import Project, User
from dashboard.form_faults import ORDER
from dashboard.forms import JobForm
from tests import makers
from training import actions
from training.engine.spec import DeviceFacts, Recipe
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
    assert "Enter a whole number from 1 to 50, or leave it empty for auto. You entered 99." in answer.text
    assert 'value="99"' in answer.text
    assert not TrainingJob.objects.exists()


def test_every_group_of_faults_is_shown_at_once(
    owner_client: Client, project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    cpu = DeviceFacts(kind="cpu", name="a CPU", memory_bytes=16 << 30, free_bytes=12 << 30)
    monkeypatch.setattr("training.devices.device_facts", lambda: cpu)
    few = makers.make_file(project, rows=7)
    wrong = {"n_epochs": "99", "suffix": "a:b", "quantization": "4bit", "target_modules": "nope", "max_length": "9999"}
    tracked = {"track_wandb": "on", "stop_metric": "full_valid_loss", "pinned_prompts": '{"messages": []}'}
    answer = owner_client.post(reverse("new-job"), filled(project, training_file=few.pk, **wrong, **tracked))
    assert answer.status_code == 400
    for said in (
        "You entered 99.", "1 to 64 characters without colons", "needs an NVIDIA GPU", "has no linear layer named nope",
        "over the context of tiny", "Stopping early looks at the validation set", "has 7 rows", "Prompt 1: ",
        'href="#id_wandb_project">Trackers, Project</a>: ',
    ):  # fmt: skip
        assert said in answer.text, said
    sent = filled(project, training_file=few.pk, **wrong, **tracked)
    card = owner_client.post(reverse("estimate-job"), sent, headers=HTMX).text
    assert faults_of(card) == faults_of(answer.text), "the card says the same, with the same links"
    assert [place for place, _ in faults_of(card)] == [
        "id_training_file", "id_pinned_prompts", "id_suffix", "id_n_epochs", "id_max_length", "id_target_modules",
        "id_quantization", "id_stop_metric", "id_wandb_project",
    ], "in the order of the page"  # fmt: skip
    assert "9 things to correct before the figures come" in card
    assert not TrainingJob.objects.exists()


def faults_of(page: str) -> list[tuple[str, str]]:
    """Of the first list of what is wrong: the id each line leads to, and its words."""
    found = re.search(r'<ul class="faults">(.*?)</ul>', page, re.S)
    return re.findall(r'<li>(?:<a href="#(\w+)">[^<]*</a>: )?([^<]*)</li>', found[1]) if found else []


def test_the_card_names_the_fields_that_block_it_and_links_to_them(owner_client: Client, project: Project) -> None:
    sent = filled(project, n_epochs="99", seed="x", wandb_project="", track_wandb="on")
    card = owner_client.post(reverse("estimate-job"), sent, headers=HTMX).text
    assert [place for place, _ in faults_of(card)] == ["id_n_epochs", "id_seed", "id_wandb_project"]
    assert "3 things to correct before the figures come" in card
    for name in ("seed", "n_epochs"):
        assert re.search(rf'id="error-{name}" hx-swap-oob="true">Enter a whole number', card), "and at the field"
    assert 'id="error-suffix" hx-swap-oob="true"></span>' in card


def test_figures_stay_beside_what_is_wrong_without_changing_them(owner_client: Client, project: Project) -> None:
    card = owner_client.post(reverse("estimate-job"), filled(project, suffix="a:b"), headers=HTMX).text
    assert "The job cannot start like this:" in card and faults_of(card)[0][0] == "id_suffix"
    assert "Memory for" in card


def test_what_is_merely_missing_is_no_fault_before_the_form_is_sent(owner_client: Client, project: Project) -> None:
    empty = {"model": "", "training_file": "", "validation": "file", "adaptation": "lora"}
    card = owner_client.post(reverse("estimate-job"), empty, headers=HTMX).text
    assert faults_of(card) == [] and "Choose a base model and a training file" in card
    refused = owner_client.post(reverse("new-job"), empty)
    assert [place for place, _ in faults_of(refused.text)] == ["id_training_file", "id_validation_file", "id_model"]


def test_a_tracker_without_a_key_is_told_with_all_else_and_leads_to_the_trackers(
    owner_client: Client, project: Project
) -> None:
    asked = {"track_wandb": "on", "wandb_project": "p", "n_epochs": "99"}
    for address in ("new-job", "estimate-job"):
        found = faults_of(owner_client.post(reverse(address), filled(project, **asked)).text)
        assert [place for place, _ in found] == ["id_n_epochs", "trackers"]


def test_every_field_of_the_form_has_its_place_in_the_list_of_faults(project: Project) -> None:
    assert set(ORDER) == set(JobForm(project=project).fields) - {"parent"}


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


def test_the_card_warns_of_rows_that_stand_in_both_files(owner_client: Client, project: Project) -> None:
    train = makers.make_file(project, "a.jsonl")
    valid = makers.make_file(project, "b.jsonl", rows=30)
    data = filled(project, training_file=train.pk, validation="file", validation_file=valid.pk)
    page = owner_client.post(reverse("estimate-job"), data, headers=HTMX).text
    assert "120 rows of a.jsonl also stand in b.jsonl (120 exactly). Validation would look better" in page
    assert f"/datasets/{train.pk}/?tab=repeats&amp;of={valid.pk}#found" in page
    other = makers.make_file(project, "c.jsonl", rows=30)
    other.path.write_text(other.path.read_text().replace("Order 1?", "Where is the spade?").replace("Done", "There"))
    page = owner_client.post(reverse("estimate-job"), data | {"validation_file": other.pk}, headers=HTMX).text
    assert "also stand" not in page
