"""Jobs that came from OpenAI: their page, the API, the form of a rerun, and the old names."""

from pathlib import Path

import pytest
from django.core.management import call_command
from django.test import Client

from accounts.errors import ApiError
from accounts.models import Project
from dashboard import lineage
from dashboard.views.job_page import TAB_NAMES
from playground.deployments import find_target
from tests import makers
from tests.factories import tiny_model
from tests.fakes.openai_data import BASE, CONTINUED, EARLY, MODEL
from tests.fakes.openai_platform import Platform
from training.aliases.models import Alias
from training.models import BaseModel, Checkpoint, TrainingJob

SFT, MORE, DPO, RFT, FAILED = (f"ftjob-{name:0<23}1" for name in ("Sft", "More", "Dpo", "Rft", "Fail"))
pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def imported(project: Project, platform: Platform) -> None:
    makers.make_base_model("tiny")
    call_command("import_openai", "--base-url", platform.url, "--map", "*=tiny", verbosity=0)


@pytest.fixture
def rerun(project: Project) -> Checkpoint:
    """The model of a finished rerun of the first job."""
    job = makers.make_job(project, status="succeeded", parent_id=SFT)
    return makers.make_checkpoint(job, step=12, epoch=3, final_name="ft:tiny:hone:bot:NewModel")


def test_the_page_tells_where_a_job_came_from_and_draws_its_curve(owner_client: Client) -> None:
    page = owner_client.get(f"/jobs/{SFT}/").text
    for words in (
        "Imported from OpenAI",
        MODEL,
        "weights stayed at OpenAI",
        "org-acme",
        f"{BASE} at OpenAI",
        "Rerun</a>",
    ):
        assert words in page
    assert "Finished: validation loss 0.1833" in page and "not kept" not in page
    columns = owner_client.get(f"/jobs/{SFT}/metrics.json").json()["columns"]
    assert columns["step"] == list(range(1, 13)) and columns["train_loss"][3] == 0.5
    assert f"{BASE} at OpenAI" in owner_client.get("/jobs/").text


def test_checkpoints_are_shown_with_their_figures_and_without_anything_that_asks_them(owner_client: Client) -> None:
    page = owner_client.get(f"/jobs/{SFT}/", {"part": "checkpoints"}, headers={"HX-Request": "true"}).text
    assert EARLY in page and "0.35" in page and "can be looked at, not asked" in page
    assert "/playground/?models" not in page


def test_every_tab_of_every_kind_of_job_is_there(owner_client: Client) -> None:
    for job_id in (SFT, MORE, DPO, RFT, FAILED):
        for tab, _ in TAB_NAMES:
            assert owner_client.get(f"/jobs/{job_id}/", {"tab": tab}).status_code == 200, (job_id, tab)


def test_a_reinforcement_job_is_history_without_a_rerun(owner_client: Client) -> None:
    page = owner_client.get(f"/jobs/{RFT}/").text
    assert "reinforcement fine-tuning came as history" in page and "Rerun</a>" not in page
    assert "Watch it learn" not in page, "there is nobody to ask"


def test_the_form_of_a_rerun_has_the_local_base_the_dataset_and_the_figures_in_our_terms(owner_client: Client) -> None:
    form = owner_client.get("/jobs/new/", {"from": MORE}).context["form"].initial
    assert (form["model"], form["training_file"], form["parent"]) == ("base:tiny", "file-Train000000000000000001", MORE)
    assert (form["n_epochs"], form["batch_size"], form["learning_rate_multiplier"]) == ("3", "3", "2")
    assert form["seed"] == 683058546


def test_a_rerun_is_made_by_sending_the_form_as_it_is(owner_client: Client, tmp_path: Path) -> None:
    BaseModel.objects.filter(name="tiny").update(folder=str(tiny_model(tmp_path / "tiny")))
    form = owner_client.get("/jobs/new/", {"from": SFT}).context["form"].initial
    sent = {name: value for name, value in form.items() if value not in (None, "")}
    answer = owner_client.post("/jobs/new/", sent)
    assert answer.status_code == 302, answer.context["form"].errors
    made = TrainingJob.objects.exclude(parent=None).get()
    assert (made.parent_id, made.base_model.name) == (SFT, "tiny")


def test_a_job_that_continued_another_is_rerun_from_the_others_rerun(owner_client: Client, rerun: Checkpoint) -> None:
    assert owner_client.get("/jobs/new/", {"from": MORE}).context["form"].initial["model"] == f"checkpoint:{rerun.pk}"
    assert rerun.name in owner_client.get(f"/jobs/{MORE}/").text


def test_one_press_lets_the_old_name_mean_the_rerun(owner_client: Client, project: Project, rerun: Checkpoint) -> None:
    with pytest.raises(ApiError, match=r"its weights stayed there.*Its rerun here is ft:tiny:hone:bot:NewModel"):
        find_target(project, MODEL)
    assert "Let the old name mean its rerun" in owner_client.get(f"/jobs/{SFT}/").text
    owner_client.post(f"/jobs/{SFT}/answer-by", {"checkpoint": rerun.pk})
    assert find_target(project, MODEL) == rerun
    page = owner_client.get(f"/jobs/{SFT}/").text
    assert "answered here by" in page and "Let the old name mean its rerun" not in page
    assert MODEL in owner_client.get("/models/names/").text


def test_only_a_rerun_of_that_job_may_take_its_name(
    owner_client: Client, stranger_client: Client, project: Project, rerun: Checkpoint
) -> None:
    other = makers.make_checkpoint(makers.make_job(project, status="succeeded"), step=1, epoch=1)
    owner_client.post(f"/jobs/{SFT}/answer-by", {"checkpoint": other.pk})
    assert stranger_client.post(f"/jobs/{SFT}/answer-by", {"checkpoint": rerun.pk}).status_code == 404
    assert owner_client.post(f"/jobs/{rerun.job_id}/answer-by", {"checkpoint": rerun.pk}).status_code == 404
    assert not Alias.objects.filter(name=MODEL).exists()


def test_the_api_lists_them_under_their_own_ids_as_openai_told_them(api: Client, platform: Platform) -> None:
    listed = {job["id"]: job for job in api.get("/v1/fine_tuning/jobs").json()["data"]}
    assert list(listed) == [FAILED, RFT, DPO, MORE, SFT]
    told = platform.job(SFT)
    same = set(told) - {"object"}
    assert {name: listed[SFT][name] for name in same - {"method"}} == {name: told[name] for name in same - {"method"}}
    assert listed[SFT]["method"]["supervised"] == told["method"]["supervised"]
    assert listed[MORE]["error"] == listed[DPO]["error"] == {"code": None, "message": None, "param": None}
    assert listed[DPO]["hyperparameters"] == {"n_epochs": 3, "batch_size": 512, "learning_rate_multiplier": 1.8}
    assert listed[DPO]["method"]["dpo"]["hyperparameters"]["beta"] == 0.2
    assert listed[RFT]["method"]["reinforcement"]["grader"]["type"] == "string_check"
    assert listed[FAILED]["error"]["code"] == "invalid_n_examples"
    origin = listed[MORE]["hone"]["imported"]
    assert (origin["from"], origin["continues"], origin["local_base"]) == ("OpenAI", SFT, "tiny")


def test_events_and_checkpoints_are_told_as_they_were(api: Client, platform: Platform) -> None:
    events = api.get(f"/v1/fine_tuning/jobs/{SFT}/events", {"limit": 100}).json()["data"]
    assert events == platform.events[SFT][::-1]
    first = api.get(f"/v1/fine_tuning/jobs/{SFT}/checkpoints", {"limit": 2}).json()
    assert first["has_more"] and first["data"][0]["fine_tuned_model_checkpoint"] == MODEL
    rest = api.get(f"/v1/fine_tuning/jobs/{SFT}/checkpoints", {"after": first["last_id"]}).json()["data"]
    told = platform.checkpoints[SFT][0]
    assert {name: rest[0][name] for name in told} == told and rest[0]["not_servable"] == "The weights stayed at OpenAI."


def test_old_scripts_name_old_models(api: Client, project: Project) -> None:
    for name in ("gpt-4o-mini", BASE):
        assert find_target(project, name) == BaseModel.objects.get(name="tiny")
        body = {"model": name, "training_file": "file-Train000000000000000001"}
        job = api.post("/v1/fine_tuning/jobs", body, content_type="application/json").json()
        assert job["model"] == "tiny", "aliases are resolved in the answer"
    assert api.get(f"/v1/models/{BASE}").json()["parent"] == "tiny"
    body = {"model": CONTINUED, "training_file": "file-Train000000000000000001"}
    refused = api.post("/v1/fine_tuning/jobs", body, content_type="application/json").json()["error"]
    assert refused["code"] == "model_not_available" and "weights stayed there" in refused["message"]
    missing = api.get(f"/v1/models/{MODEL}")
    assert missing.status_code == 404 and "Rerun that job on its page" in missing.json()["error"]["message"]


def test_an_imported_job_leads_from_its_data_to_what_continued_it(project: Project) -> None:
    graph = lineage.lineage(project)
    linked = {(edge.source.key, edge.target.key) for edge in graph.edges}
    assert (f"job:{SFT}", f"job:{MORE}") in linked and ("file:file-Train000000000000000001", f"job:{SFT}") in linked


def test_an_imported_job_is_deleted_like_any_other_and_comes_again(owner_client: Client, platform: Platform) -> None:
    owner_client.post(f"/jobs/{SFT}/do/delete")
    assert not TrainingJob.objects.filter(pk=SFT).exists()
    call_command("import_openai", "--base-url", platform.url, "--map", "*=tiny", verbosity=0)
    assert TrainingJob.objects.get(pk=SFT).metrics.count() == 12


def test_a_job_is_trained_again_by_its_configuration_as_the_docs_say(api: Client) -> None:
    asked = api.get(f"/v1/fine_tuning/jobs/{MORE}/configuration").json()
    assert (asked["model"], asked["training_file"]) == ("tiny", "file-Train000000000000000001")
    made = api.post("/v1/fine_tuning/jobs", asked | {"rerun_of": MORE}, content_type="application/json").json()
    assert TrainingJob.objects.get(pk=made["id"]).parent_id == MORE
    assert made["method"]["supervised"]["hyperparameters"]["learning_rate_multiplier"] == 2.0
    wrong = api.post("/v1/fine_tuning/jobs", asked | {"rerun_of": "ftjob-no"}, content_type="application/json")
    assert wrong.status_code == 404
