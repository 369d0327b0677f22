"""A job's configuration as JSON and YAML, and the form filled from it."""

import json
from typing import Any

import pytest
import yaml
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client
from django.urls import reverse

from accounts.models import Project
from dashboard import configuration, configuration_file
from dashboard.routers.jobs import recipe_of
from tests import makers
from training.engine.spec import Recipe
from training.models import TrainingJob
from training.trackers import tending
from training.trackers.spec import WandbIntegration, WandbWish

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("present")]


@pytest.fixture
def job(project: Project) -> TrainingJob:
    recipe = Recipe(n_epochs=3, lora_r=8, target_modules=["q_proj"], packing="off", warmup_ratio=1e-4)
    made = makers.make_job(project, recipe=recipe, suffix="tickets", seed=7, label="Tickets", metadata={"team": "a"})
    tending.add(made, [WandbIntegration(type="wandb", wandb=WandbWish(project="p", tags=["x"], offline=True))])
    return made


def read(content: bytes) -> Any:
    """A file in which nothing is wrong."""
    reading = configuration_file.read(content)
    assert not reading.faults and not reading.absent, reading.faults
    return reading.body


def upload(client: Client, content: str | bytes, **typed: str) -> Any:
    data = content.encode() if isinstance(content, str) else content
    return client.post(reverse("job-from-file"), typed | {"configuration": SimpleUploadedFile("job.yaml", data)})


def test_it_is_what_the_api_takes_and_the_same_in_both_formats(owner_client: Client, job: TrainingJob) -> None:
    as_json = owner_client.get(reverse("job-configuration", args=[job.pk, "json"]))
    as_yaml = owner_client.get(reverse("job-configuration", args=[job.pk, "yaml"]))
    assert as_json.headers["Content-Disposition"] == f'attachment; filename="{job.pk}.json"'
    assert json.loads(as_json.content) == yaml.safe_load(as_yaml.content) == configuration.document(job)
    body = read(as_yaml.content)
    assert body == read(as_json.content)
    assert (body.model, body.seed, body.training.packing, body.training.warmup_ratio) == ("tiny", 7, "off", 1e-4)
    assert body.method.supervised.hyperparameters.n_epochs == 3 and body.lora.target_modules == ["q_proj"]
    assert body.integrations[0].wandb.tags == ["x"] and body.metadata == {"team": "a"}


@pytest.mark.parametrize(
    "recipe",
    [
        Recipe(),
        Recipe(method="dpo", beta=0.3, learning_rate_multiplier=0.5),
        Recipe(method="pretrain", n_epochs=1, packing="on"),
        Recipe(adaptation="full", optimizer="adamw", stop_metric="full_valid_loss", validate_every_steps=7),
    ],
    ids=lambda recipe: f"{recipe.method}, {recipe.adaptation}",
)
def test_every_method_comes_back_as_the_same_recipe(project: Project, recipe: Recipe) -> None:
    text = configuration.as_yaml(makers.make_job(project, recipe=recipe))
    assert recipe_of(read(text.encode())) == recipe


def test_a_form_filled_from_a_file_makes_the_same_job(owner_client: Client, job: TrainingJob) -> None:
    page = upload(owner_client, configuration.as_yaml(job))
    assert page.status_code == 200 and "Filled from" in page.text
    form = page.context["form"]
    values = {name: value for name in form.fields if (value := form[name].value()) is not None}
    values |= {name: value for name in form.trackers.fields if (value := form.trackers[name].value())}
    assert owner_client.post(reverse("new-job"), values).status_code == 302
    again = TrainingJob.objects.exclude(pk=job.pk).get()
    was, came = configuration.document(job), configuration.document(again)
    assert was.pop("metadata") and came == was


def test_what_is_not_in_this_project_is_named(stranger_client: Client, job: TrainingJob) -> None:
    page = upload(stranger_client, configuration.as_json(job))
    assert "things in" not in page.text, "nothing in the file is wrong"
    assert f"Its training file {job.training_file_id} is not in this project" in page.text
    assert "Its metadata has no place in the form." in page.text


@pytest.mark.parametrize(
    ("content", "where", "said"),
    [
        ("{", "line 1, column 2", "A name in double quotes must stand here"),
        ('{"model": "tiny",\n "training_file" "f"}', "line 2, column 18", "A colon is missing before this place."),
        ('{"model": "tiny"\n "training_file": "f"}', "line 2, column 2", "A comma or a closing bracket is missing"),
        ("model: tiny\n  training_file: f", "line 2, column 16", "There is a second colon here, or the line is ind"),
        ("model: tiny\n\ttraining_file: f", "line 2, column 1", "This character cannot begin a value; indent with"),
        ("model: tiny\nlora: [a, b", "line 2, column 12", "A comma or a closing bracket is missing"),
        ("model: tiny\nsuffix: 'a", "line 2, column 11", "A quote was opened and never closed"),
        ("model: tiny\ntraining_file: *f", "line 2, column 16", "This name after * is not defined"),
        ("model: tiny\n---\nmodel: tiny", "line 2, column 1", "A second document begins here"),
        ("!!python/object/apply:os.system [x]", "line 1, column 1", "This is a tag of a programming language"),
        (b"model: tiny\nsuffix: \xff\xfe", "line 2, column 9", "This is not a text in UTF-8."),
        ("model: a\x01", "line 1, column 9", "A character that no text has."),
        ("- a\n- b", "", "is an object with `model`"),
        ("", "", "is an object with `model`"),
        ("[" * 5000, "", "nested too deeply"),
    ],
)
def test_a_file_that_cannot_be_read_is_told_in_plain_words_with_its_place(
    content: str | bytes, where: str, said: str
) -> None:
    reading = configuration_file.read(content.encode() if isinstance(content, str) else content)
    [fault] = reading.faults
    assert reading.body is None and fault.where == where and said in fault.text
    assert "expected" not in fault.text and "block" not in fault.text, "not in the words of a parser"


@pytest.mark.parametrize(
    ("content", "label", "where", "said"),
    [
        ("model: tiny", "Training file", "", "`training_file` is missing. Choose it here."),
        ("model: tiny\ntraining_file: f\nepochs: 3", "", "line 3, column 9", "Did you mean `n_epochs`?"),
        (
            "model: tiny\ntraining_file: f\nlora: {r: wide}", "LoRA rank", "line 3, column 11",
            '`lora.r` must be a whole number from 1 to 256 or "auto". It is wide.',
        ),
        (
            '{"model": "tiny",\t"training_file": "f",\n\t"training": {"weight_decay": NaN}}', "Weight decay",
            "line 2, column 31", "`training.weight_decay` must be a number from 0 to 1. It is nan.",
        ),
        (
            "model: tiny\ntraining_file: f\nintegrations:\n- type: wandb\n  wandb: {}", "Trackers", "line 5, column 3",
            "`integrations.0.wandb.project` is missing.",
        ),
        ("model: tiny\ntraining_file: f\na.b: 3", "", "", "`a.b` is nothing that can be set. Leave it out."),
        ("model: tiny\ntraining_file: f\ntraining: {1.5: 2}", "", "line 3, column 1", "`training.1.5` is nothing"),
        ("model: tiny\ntraining_file: f\n1: x", "", "line 3, column 4", "`1` is nothing that can be set."),
        ("model: &a [*a]\ntraining_file: f", "Base model", "line 1, column 1", "`model` must be a string."),
        (
            "model: tiny\ntraining_file: f\ntraining:\n  packing: true", "Packing", "line 4, column 12",
            "`training.packing` must be",
        ),
        (
            "model: tiny\ntraining_file: f\npinned_prompts:\n- fine\n- {prompt: 3}", "Pinned prompts",
            "line 5, column 3", "prompt must be a text",
        ),
    ],
)  # fmt: skip
def test_a_wrong_value_is_told_under_its_name_in_the_form_with_its_place(
    content: str, label: str, where: str, said: str
) -> None:
    [fault] = configuration_file.read(content.encode()).faults
    assert (fault.label, fault.where) == (label, where) and said in fault.text


def test_of_a_list_only_the_wrong_entries_are_left_out() -> None:
    text = "model: tiny\ntraining_file: f\npinned_prompts: [first, {prompt: 3}, '', {x: 1}, last]"
    reading = configuration_file.read(text.encode())
    assert [fault.where for fault in reading.faults] == [f"line 3, column {at}" for at in (25, 38, 42)]
    assert reading.body and reading.body.pinned_prompts == ["first", "last"]


WRONG = """\
model: tiny
training_file: {file}
label: Kept
seed: -1
method:
  type: supervised
  supervised:
    hyperparameters:
      n_epochs: 900
      batch_size: 4
lora: {{r: wide, alpha: 32}}
training: {{warmup: 1, dtype: float32}}
"""


def test_everything_that_is_wrong_is_told_at_once_and_the_rest_fills_the_form(
    owner_client: Client, project: Project, job: TrainingJob
) -> None:
    page = upload(owner_client, WRONG.format(file=job.training_file_id), suffix="typed", label="typed too")
    assert page.status_code == 400 and "4 things in" in page.text and "The rest fills the form." in page.text
    for said in (
        '<a href="#id_seed">Seed</a> (line 4, column 7): <code>seed</code> must be at least 0. It is -1.',
        '<a href="#id_n_epochs">Epochs</a> (line 9, column 17)',
        '<a href="#id_lora_r">LoRA rank</a> (line 11, column 11)',
        "Line 12, column 20: <code>training.warmup</code> is nothing that can be set. Did you mean",
    ):
        assert said in page.text, said
    form = page.context["form"]
    held = {name: form[name].value() for name in ("batch_size", "lora_alpha", "dtype", "label", "suffix", "n_epochs")}
    assert held == {
        "batch_size": "4", "lora_alpha": "32", "dtype": "float32", "label": "Kept", "suffix": "typed", "n_epochs": "",
    }  # fmt: skip
    assert form["training_file"].value() == job.training_file_id


def test_the_heading_counts_every_line_below_it(stranger_client: Client, job: TrainingJob) -> None:
    page = upload(stranger_client, WRONG.format(file=job.training_file_id)).text
    faults = page[page.index('id="file-faults"') :].partition("</ul>")[0]
    assert "is not in this project" in faults and faults.count("<li>") == 5 and "5 things in" in faults


def test_a_file_that_cannot_be_read_takes_nothing_away_that_was_typed(owner_client: Client, job: TrainingJob) -> None:
    typed = {
        "model": "base:tiny", "training_file": str(job.training_file_id), "validation": "split", "split_share": "35",
        "n_epochs": "1; 2", "lora_r": "many", "suffix": "mine", "pinned_prompts": "Hello?", "adaptation": "lora",
        "track_wandb": "on", "wandb_project": "p",
    }  # fmt: skip
    page = upload(owner_client, "model: [", **typed)
    assert page.status_code == 400 and "could not be read; the form is as it was." in page.text
    form = page.context["form"]
    fields = {**form.fields, **form.trackers.fields}
    assert {
        name: (form if name in form.fields else form.trackers)[name].value() for name in fields if name in typed
    } == (typed)
    none = owner_client.post(reverse("job-from-file"), typed)
    assert none.status_code == 400 and "No file was chosen." in none.text and 'value="1; 2"' in none.text


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ("method: {type: reinforcement}", "is not served yet by Hone"),
        ("method: {type: dpo, supervised: {}}", "does not go with method.type"),
        ("lora: {r: 8}\ntraining: {adaptation: full}", "cannot be combined with training.adaptation"),
    ],
)
def test_parts_that_do_not_go_together_are_told_and_left_out(
    owner_client: Client, job: TrainingJob, more: str, said: str
) -> None:
    page = upload(owner_client, f"model: tiny\ntraining_file: {job.training_file_id}\n{more}\nsuffix: kept")
    assert page.status_code == 400 and said in page.text and "(line 3, column" in page.text
    assert page.context["form"]["suffix"].value() == "kept"


def test_a_refusal_is_told_on_the_page(owner_client: Client, job: TrainingJob) -> None:
    page = upload(owner_client, "model: tiny")
    assert page.status_code == 400 and "<code>training_file</code> is missing." in page.text
    hostile = upload(owner_client, "model: tiny\ntraining_file: f\n<b>bold</b>: 1").text
    assert "<code>&lt;b&gt;bold&lt;/b&gt;</code>" in hostile and "<b>bold" not in hostile
    assert owner_client.get(reverse("job-from-file"))["Location"] == reverse("new-job"), "the page is loaded again"


def test_words_and_small_numbers_are_read_as_yaml_1_2_does() -> None:
    text = "model: tiny\ntraining_file: f\ntraining: {packing: off, warmup_ratio: 1e-3, weight_decay: 0.5}"
    training = read(text.encode()).training
    assert (training.packing, training.warmup_ratio, training.weight_decay) == ("off", 1e-3, 0.5)


def test_strangers_see_no_configuration(stranger_client: Client, owner_client: Client, job: TrainingJob) -> None:
    assert stranger_client.get(reverse("job-configuration", args=[job.pk, "json"])).status_code == 404
    assert owner_client.get(reverse("job-configuration", args=[job.pk, "toml"])).status_code == 404


def test_the_tab_says_what_was_asked_and_of_the_rest_only_that_it_is_usual(
    owner_client: Client, job: TrainingJob
) -> None:
    rows = owner_client.get(reverse("job", args=[job.pk]), {"tab": "configuration"}).context["configuration"]
    found = {row["label"]: row["asked"] or row["usual"] for row in rows}
    asked = {"Epochs": "3", "LoRA rank": "8", "Target modules": "q_proj", "Packing": "off", "Warm-up": "0.0001"}
    assert {label: found.pop(label) for label in asked} == asked
    assert found["Batch size"] == "auto" and found["Weight decay"] == "default"
    assert set(found.values()) == {"auto", "default"}
