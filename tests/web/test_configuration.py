"""A job's configuration as JSON and YAML, and the form filled from it."""

import json
from typing import Any

import pytest
import yaml
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client
from django.urls import reverse

from accounts.errors import ApiError
from accounts.models import Project
from dashboard import configuration
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


def upload(client: Client, content: str | bytes) -> Any:
    data = content.encode() if isinstance(content, str) else content
    return client.post(reverse("job-from-file"), {"configuration": SimpleUploadedFile("job.yaml", data)})


def test_it_is_what_the_api_takes_and_the_same_in_both_formats(owner_client: Client, job: TrainingJob) -> None:
    as_json = owner_client.get(reverse("job-configuration", args=[job.pk, "json"]))
    as_yaml = owner_client.get(reverse("job-configuration", args=[job.pk, "yaml"]))
    assert as_json.headers["Content-Disposition"] == f'attachment; filename="{job.pk}.json"'
    assert json.loads(as_json.content) == yaml.safe_load(as_yaml.content) == configuration.document(job)
    body = configuration.read(as_yaml.content)
    assert body == configuration.read(as_json.content)
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
    assert recipe_of(configuration.read(text.encode())) == recipe


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
    assert f"Its training file {job.training_file_id} is not in this project" in page.text
    assert "Its metadata has no place in the form." in page.text


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("{", "neither as JSON nor as YAML"),
        ("- a\n- b", "is an object with `model`"),
        ("model: tiny", "`training_file` is missing."),
        ("model: tiny\ntraining_file: f\nepochs: 3", "`epochs` is nothing that can be set. Did you mean `n_epochs`?"),
        ("model: tiny\ntraining_file: f\nlora: {r: wide}", '`lora.r` must be a whole number or "auto". It is wide.'),
        ("model: tiny\ntraining_file: f\n1: x", "`1` is nothing that can be set."),
        ("model: &a [*a]\ntraining_file: f", "`model` must be a string."),
        ("model: tiny\ntraining_file: f\ntraining: {packing: true}", "`training.packing"),
        (b"\xff\xfe\x00", "neither as JSON nor as YAML"),
        ("a: &a [*a]", "`model` is missing."),
        ("!!python/object/apply:os.system [x]", "neither as JSON nor as YAML"),
    ],
)
def test_a_file_that_is_none_is_refused_by_its_field(content: str | bytes, said: str) -> None:
    data = content.encode() if isinstance(content, str) else content
    with pytest.raises(ApiError) as refused:
        configuration.read(data)
    assert said in refused.value.message


def test_a_refusal_is_told_on_the_page(owner_client: Client, job: TrainingJob) -> None:
    page = upload(owner_client, "model: tiny")
    assert page.status_code == 400 and "<code>training_file</code> is missing." in page.text
    hostile = upload(owner_client, "model: tiny\ntraining_file: f\n<b>bold</b>: 1").text
    assert "<code>&lt;b&gt;bold&lt;/b&gt;</code>" in hostile and "<b>bold" not in hostile
    assert owner_client.post(reverse("job-from-file")).status_code == 400
    assert owner_client.get(reverse("job-from-file"))["Location"] == reverse("new-job"), "the page is loaded again"


def test_words_and_small_numbers_are_read_as_yaml_1_2_does() -> None:
    text = "model: tiny\ntraining_file: f\ntraining: {packing: off, warmup_ratio: 1e-3, weight_decay: 0.5}"
    training = configuration.read(text.encode()).training
    assert (training.packing, training.warmup_ratio, training.weight_decay) == ("off", 1e-3, 0.5)


def test_strangers_see_no_configuration(stranger_client: Client, owner_client: Client, job: TrainingJob) -> None:
    assert stranger_client.get(reverse("job-configuration", args=[job.pk, "json"])).status_code == 404
    assert owner_client.get(reverse("job-configuration", args=[job.pk, "toml"])).status_code == 404
