"""The screens of jobs: the list, one job, what can be done with it, several side by side."""

import json
import re
from typing import Any

import pytest
from django.test import Client
from django.urls import reverse

from accounts.models import Project, User
from dashboard import job_marks
from dashboard.forms import JobForm
from dashboard.templatetags import figures
from playground import contenders
from playground.models import Verification
from tests import makers
from training.engine.spec import Recipe
from training.models import TrainingJob

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("present")]
HTMX = {"HX-Request": "true"}


# ---- the list ----


def test_a_project_without_jobs_is_told_how_to_make_the_first(owner_client: Client) -> None:
    page = owner_client.get(reverse("jobs"))
    assert "No job yet" in page.text
    assert reverse("new-job") in page.text


def test_the_list_shows_status_progress_and_best_loss(owner_client: Client, project: Project) -> None:
    makers.make_job(project, steps=20, total_steps=40, label="Tickets")
    page = owner_client.get(reverse("jobs"))
    assert "Tickets" in page.text
    assert "50 %" in page.text
    assert 'class="sparkline"' in page.text
    assert "chip--running" in page.text


def test_newest_jobs_stand_first(owner_client: Client, project: Project) -> None:
    old = makers.make_job(project, label="Older", status="succeeded", steps=4, total_steps=4)
    new = makers.make_job(project, label="Newer")
    TrainingJob.objects.filter(pk=new.pk).update(created_at=old.created_at.replace(year=2099))
    page = owner_client.get(reverse("jobs")).text
    assert page.index("Newer") < page.index("Older")


def test_status_and_words_in_the_address_choose(owner_client: Client, project: Project) -> None:
    makers.make_job(project, label="Alpha", status="failed")
    makers.make_job(project, label="Beta", status="running")
    assert "Beta" not in owner_client.get(reverse("jobs") + "?status=failed").text
    assert "Alpha" not in owner_client.get(reverse("jobs") + "?q=beta").text
    assert "No job fits" in owner_client.get(reverse("jobs") + "?q=nothing-like-this").text


def test_an_unknown_status_in_the_address_shows_all(owner_client: Client, project: Project) -> None:
    makers.make_job(project, label="Alpha")
    assert "Alpha" in owner_client.get(reverse("jobs") + "?status=%22%3E&page=x").text


def test_htmx_gets_only_the_rows(owner_client: Client, project: Project) -> None:
    makers.make_job(project)
    part = owner_client.get(reverse("jobs"), headers=HTMX).text
    assert "<html" not in part
    assert 'id="jobs"' in part


def test_strangers_see_none_of_it(stranger_client: Client, project: Project, owner: User) -> None:
    job = makers.make_job(project, steps=8, label="Secret")
    assert "Secret" not in stranger_client.get(reverse("jobs")).text
    for name in ("job", "job-metrics", "job-csv", "job-figures", "job-playground"):
        assert stranger_client.get(reverse(name, args=[job.id])).status_code == 404, name
    assert stranger_client.get(reverse("new-job") + f"?from={job.id}").status_code == 404
    assert stranger_client.get(reverse("compare-jobs") + f"?ids={job.id}").status_code == 404
    assert stranger_client.post(reverse("act-on-job", args=[job.id, "delete"])).status_code == 404
    assert TrainingJob.objects.filter(pk=job.pk).exists()


def test_nobody_sees_it_signed_out(client: Client, project: Project) -> None:
    job = makers.make_job(project)
    for address in (reverse("jobs"), reverse("job", args=[job.id]), reverse("job-metrics", args=[job.id])):
        assert client.get(address).status_code == 302, address


# ---- one job ----


def test_the_headline_answers_whether_it_learns(owner_client: Client, project: Project) -> None:
    job = makers.make_job(project, steps=25, total_steps=40)
    page = owner_client.get(reverse("job", args=[job.id])).text
    found = re.search(r'id="headline">([^<]+)<', page)
    assert found
    assert re.fullmatch(r"Learning: validation loss [\d.]+, best at epoch 2, still falling", found[1])


def test_a_failed_job_says_why_and_what_to_do(owner_client: Client, project: Project) -> None:
    job = makers.make_job(project, status="failed", error_message="Out of memory. Choose a smaller batch.")
    page = owner_client.get(reverse("job", args=[job.id])).text
    assert "Choose a smaller batch." in page
    assert f"{reverse('new-job')}?from={job.id}" in page


@pytest.mark.parametrize("tab", ["events", "data", "configuration", "estimate", "log", "lineage", "nonsense"])
@pytest.mark.parametrize("status", ["validating_files", "queued", "running", "paused", "succeeded", "failed"])
def test_every_tab_stands_in_every_state(owner_client: Client, project: Project, tab: str, status: str) -> None:
    steps = 30 if status in ("running", "paused", "succeeded") else 0
    job = makers.make_job(project, status=status, steps=steps)
    address = reverse("job", args=[job.id])
    assert owner_client.get(f"{address}?tab={tab}").status_code == 200
    part = owner_client.get(f"{address}?tab={tab}&part=tab", headers=HTMX)
    assert part.status_code == 200
    assert "<html" not in part.text


@pytest.mark.parametrize("part", ["header", "checkpoints"])
def test_a_part_of_the_page_can_be_fetched_again(owner_client: Client, project: Project, part: str) -> None:
    job = makers.make_job(project, steps=30)
    text = owner_client.get(reverse("job", args=[job.id]) + f"?part={part}", headers=HTMX).text
    assert "<html" not in text
    assert {"header": 'id="headline"', "checkpoints": "Full validation loss"}[part] in text


def test_a_job_that_was_never_prepared_has_a_page(owner_client: Client, project: Project) -> None:
    job = makers.make_job(project, status="validating_files", steps=0)
    TrainingJob.objects.filter(pk=job.pk).update(
        resolved_json=None, estimate_json=None, started_json=None, started_at=None, total_steps=0, training_file=None
    )
    for tab in ("events", "data", "configuration", "estimate", "log", "lineage"):
        assert owner_client.get(reverse("job", args=[job.id]) + f"?tab={tab}").status_code == 200


def test_the_log_tab_shows_the_end_of_the_trainers_log(owner_client: Client, project: Project) -> None:
    job = makers.make_job(project, steps=4)
    job.folder.mkdir(parents=True)
    (job.folder / "trainer.log").write_text("x" * 70_000 + "\nthe <last> line\n")
    page = owner_client.get(reverse("job", args=[job.id]) + "?tab=log").text
    assert "the &lt;last&gt; line" in page
    assert "xxxx" not in page


def test_hostile_names_are_only_text(owner_client: Client, project: Project) -> None:
    job = makers.make_job(project, label="<script>alert(1)</script>" + "ä" * 150, steps=12)
    for address in (reverse("job", args=[job.id]), reverse("jobs"), reverse("new-job") + f"?from={job.id}"):
        assert "<script>alert" not in owner_client.get(address).text


def test_a_checkpoint_says_how_near_the_served_weights_came(owner_client: Client, project: Project) -> None:
    job = makers.make_job(project, steps=20, total_steps=40)
    checkpoint = job.checkpoints.order_by("step")[0]
    Verification.objects.create(
        checkpoint=checkpoint,
        proof="verified",
        mean_to_trained=0.0312,
        max_to_trained=0.2,
        mean_to_base=0.41,
        tokens=60,
    )
    page = owner_client.get(reverse("job", args=[job.pk])).text
    assert "verified: 0.031 nats from the trained weights, 0.41 from the base" in page


def test_a_checkpoint_that_was_refused_is_told_of_on_top_of_the_page_and_in_the_api(
    owner_client: Client, project: Project, api: Client
) -> None:
    job = makers.make_job(project, steps=20, total_steps=40)
    mark = job_marks.digests(job_marks.marks_of(job))["header"]
    first, last = job.checkpoints.order_by("step")
    why = "vLLM's answers differ from the trained weights' by 0.500 per token; at most 0.1 is allowed."
    figures = {"mean_to_trained": 0.5, "mean_to_base": 3.0, "tokens": 60}
    Verification.objects.create(checkpoint=last, proof="refused", reason=why, **figures)
    assert job_marks.digests(job_marks.marks_of(job))["header"] != mark, "an open page hears of it"
    head = owner_client.get(reverse("job", args=[job.pk]), {"part": "header"}, headers={"HX-Request": "true"}).text
    assert f"{last.when.capitalize()} cannot be asked: vLLM&#x27;s answers differ" in head
    told = api.get(f"/v1/fine_tuning/jobs/{job.pk}/checkpoints").json()["data"][0]["parity"]
    assert (told["outcome"], told["mean_to_trained"], told["reason"]) == ("refused", 0.5, why)
    Verification.objects.create(checkpoint=first, proof="refused", reason="The adapter is empty.")
    assert "cannot be asked, nor can 1 other checkpoint:" in owner_client.get(reverse("job", args=[job.pk])).text


def test_the_checkpoints_lead_to_the_playground(owner_client: Client, project: Project) -> None:
    job = makers.make_job(project, steps=40, total_steps=40, status="succeeded")
    names = list(job.checkpoints.order_by("step").values_list("step_name", flat=True))
    answer = owner_client.get(reverse("job-playground", args=[job.id]), {"models": ["tiny", *names[:2]]})
    assert answer.status_code == 302
    assert answer["Location"].endswith("?models=tiny," + ",".join(names[:2]))


def test_figures_come_as_csv_with_empty_cells(owner_client: Client, project: Project) -> None:
    job = makers.make_job(project, steps=12, total_steps=40)
    lines = owner_client.get(reverse("job-csv", args=[job.id])).getvalue().decode().splitlines()
    assert lines[0].startswith("step,time,epoch,train_loss")
    assert len(lines) == 13
    assert lines[1].endswith(",,")


# ---- what can be done ----


def test_pause_rename_archive_and_delete(owner_client: Client, project: Project) -> None:
    job = makers.make_job(project, steps=8)

    def do(action: str, **data: str) -> int:
        return owner_client.post(reverse("act-on-job", args=[job.id, action]), data).status_code

    assert do("pause") == 302
    job.refresh_from_db()
    assert job.wanted == "pause"
    do("rename", label="A better name")
    do("archive")
    job.refresh_from_db()
    assert job.label == "A better name"
    assert job.archived_at
    do("archive")
    job.refresh_from_db()
    assert job.archived_at is None
    do("delete")
    assert TrainingJob.objects.filter(pk=job.pk).exists(), "a job that trains is not deleted"
    do("stop")
    do("delete")
    assert not TrainingJob.objects.filter(pk=job.pk).exists()


def test_save_now_leaves_the_control_file(owner_client: Client, project: Project) -> None:
    job = makers.make_job(project, steps=8)
    job.folder.mkdir(parents=True)
    owner_client.post(reverse("act-on-job", args=[job.id, "save"]))
    assert (job.folder / "save").exists()
    paused = makers.make_job(project, steps=8, status="paused")
    answer = owner_client.post(reverse("act-on-job", args=[paused.id, "save"]), follow=True)
    assert "not training now" in answer.content.decode()


def test_stop_and_delete_its_checkpoints(owner_client: Client, stranger_client: Client, project: Project) -> None:
    job = makers.make_job(project, steps=20, status="paused")
    assert job.checkpoints.exists()
    address = reverse("act-on-job", args=[job.id, "drop"])
    assert address in owner_client.get(reverse("job", args=[job.id])).content.decode()
    assert stranger_client.post(address).status_code == 404
    owner_client.post(address)
    job.refresh_from_db()
    assert job.status == "cancelled" and not job.checkpoints.exists()


def test_the_question_before_a_stop_names_the_way_to_delete_the_checkpoints_too(
    owner_client: Client, project: Project
) -> None:
    page = owner_client.get(reverse("job", args=[makers.make_job(project, steps=20).id])).text
    asked = page.split('data-confirm-title="Stop this job?"')[0].rsplit('data-confirm="', 1)[1]
    assert "its checkpoints stay" in asked and "“Stop and delete its checkpoints” in the menu beside" in asked
    assert ">Stop and delete its checkpoints</button>" in page.replace("</svg>", ">")
    fresh = owner_client.get(reverse("job", args=[makers.make_job(project, steps=0).id])).text
    assert "menu beside this button" not in fresh


def test_a_job_that_stopped_early_says_so(owner_client: Client, project: Project) -> None:
    job = makers.make_job(project, steps=20, status="succeeded", status_text="Stopped early after step 20: ...")
    assert "Stopped early at step 20 of 40" in owner_client.get(reverse("job", args=[job.id])).content.decode()


def test_the_best_validation_is_named_truly_when_its_weights_were_not_kept(
    owner_client: Client, project: Project
) -> None:
    job = makers.make_job(project, total_steps=5, status="succeeded", status_text="Stopped early after step 5: ...")
    job.metrics.all().delete()
    for step, judged in ((2, 27.61), (4, 33.1), (5, 48.86)):
        job.metrics.create(step=step, revision=step, time=float(step), train_loss=30.0, full_valid_loss=judged)
    TrainingJob.objects.filter(pk=job.pk).update(step=5, started_json=job.started_json | {"steps_per_epoch": 5})
    makers.make_checkpoint(job, step=5, full_valid_loss=48.86)
    page = owner_client.get(reverse("job", args=[job.id])).text
    words = "best validation loss 27.61 at step 2, its weights not kept; 48.86 at the end"
    assert f"Stopped early at step 5 of 5: {words}<" in page
    assert 'title="27.61">27.61<span class="muted figure__of"> step 2</span>' in page
    assert "best kept</span>" in page and "Step 2 was better (27.61); its weights were not kept" in page
    assert 'title="27.61"' in owner_client.get(reverse("jobs")).text
    makers.make_checkpoint(job, step=2, full_valid_loss=27.61)
    page = owner_client.get(reverse("job", args=[job.id])).text
    assert "at step 2; 48.86 at the end<" in page and "not kept" not in page and "best kept" not in page


def test_a_validation_on_the_way_counts_at_once(owner_client: Client, project: Project) -> None:
    job = makers.make_job(project, steps=6, total_steps=40)
    job.metrics.filter(step=4).update(full_valid_loss=0.25)
    page = owner_client.get(reverse("job", args=[job.id])).text
    assert "Learning: validation loss 0.25 after step 4<" in page
    assert 'title="0.25">0.25<span class="muted figure__of"> step 4</span></span></div>' in page


def test_actions_need_a_post_and_a_known_name(owner_client: Client, project: Project) -> None:
    job = makers.make_job(project)
    assert owner_client.get(reverse("act-on-job", args=[job.id, "delete"])).status_code == 405
    assert owner_client.post(reverse("act-on-job", args=[job.id, "explode"])).status_code == 404


def test_marked_jobs_are_compared_or_deleted(owner_client: Client, project: Project) -> None:
    one, two = (makers.make_job(project, status="succeeded", steps=8) for _ in "ab")
    answer = owner_client.post(reverse("act-on-jobs"), {"ids": [one.id, two.id], "action": "compare"})
    assert answer["Location"] == f"{reverse('compare-jobs')}?ids={one.id},{two.id}"
    owner_client.post(reverse("act-on-jobs"), {"ids": [one.id], "action": "delete"})
    assert list(TrainingJob.objects.all()) == [two]


def test_a_checkpoint_is_renamed_and_archived(owner_client: Client, project: Project) -> None:
    job = makers.make_job(project, steps=40, total_steps=40, status="succeeded")
    first = job.checkpoints.order_by("step")[0]
    owner_client.post(reverse("act-on-checkpoint", args=[job.id, first.id, "rename"]), {"label": "The good one"})
    assert "The good one" in owner_client.get(reverse("job", args=[job.id])).text
    owner_client.post(reverse("act-on-checkpoint", args=[job.id, first.id, "archive"]))
    assert "The good one" not in owner_client.get(reverse("job", args=[job.id])).text


def test_models_are_an_owners_to_delete_and_with_them_their_job(
    owner_client: Client, teammate: User, client: Client, project: Project
) -> None:
    job = makers.make_job(project, steps=40, total_steps=40, status="succeeded", label="Tickets")
    empty = makers.make_job(project, status="failed")
    first = job.checkpoints.order_by("step")[0]
    address = reverse("delete-checkpoint", args=[job.id, first.id])
    client.force_login(teammate)
    refused = client.post(address)
    assert refused.status_code == 403 and "This is for an owner of Support" in refused.text
    assert "Tickets has models" in client.post(reverse("act-on-job", args=[job.id, "delete"]), follow=True).text
    client.post(reverse("act-on-jobs"), {"ids": [job.id, empty.id], "action": "delete"})
    assert list(TrainingJob.objects.all()) == [job] and job.checkpoints.filter(pk=first.pk).exists()
    owner_client.post(address)
    assert job.checkpoints.exists() and not job.checkpoints.filter(pk=first.pk).exists()
    owner_client.post(reverse("act-on-job", args=[job.id, "delete"]))
    assert not TrainingJob.objects.exists()


# ---- comparison and figures ----


def test_the_comparison_shows_only_what_differs(owner_client: Client, project: Project) -> None:
    one = makers.make_job(project, steps=40, total_steps=40, status="succeeded", label="One")
    two = makers.make_job(project, steps=8, recipe=Recipe(lora_r=32), label="Two")
    address = reverse("compare-jobs") + f"?ids={one.id},{two.id}"
    page = owner_client.get(address).text
    assert "LoRA rank" in page and "Batch size" not in page
    assert "Batch size" in owner_client.get(address + "&all=1").text
    assert "Choose at least two" in owner_client.get(reverse("compare-jobs")).text


def test_a_comparison_shows_the_rate_that_came_and_of_preferences_their_own_figures(
    owner_client: Client, project: Project
) -> None:
    one, two = (
        makers.make_job(project, status="succeeded", recipe=Recipe(method="dpo", learning_rate_multiplier=times))
        for times in (0.2, 0.4)
    )
    for job, rate in ((one, 6e-5), (two, 1.2e-4)):
        job.resolved_json |= {"learning_rate": rate}
        job.save()
        more = {"rewards/accuracies": 0.875, "rewards/margins": 0.3125}
        makers.make_checkpoint(job, step=40, epoch=4, full_valid_loss=0.5, full_valid_accuracy=0.9, more=more)
    page = owner_client.get(reverse("compare-jobs") + f"?ids={one.id},{two.id}").text
    assert "6e-05" in page and "0.00012" in page
    assert "87.5 %" in page and "0.3125" in page and "Full validation accuracy there" not in page
    plain = makers.make_job(project, steps=40, status="succeeded")
    page = owner_client.get(reverse("compare-jobs") + f"?ids={one.id},{plain.id}").text
    assert "Full validation accuracy there" in page and "90.0 %" not in page


def test_a_comparison_marks_the_lowest_validation_loss_only_where_losses_can_be_compared(
    owner_client: Client, project: Project
) -> None:
    valid = makers.make_file(project, "valid.jsonl")
    other = makers.make_file(project, "other.jsonl")

    def judged(label: str, loss: float, **columns: Any) -> TrainingJob:
        job = makers.make_job(project, status="succeeded", label=label, **columns)
        makers.make_checkpoint(job, step=40, epoch=4, full_valid_loss=loss)
        return job

    one, two = judged("One", 0.5, validation_file=valid), judged("Two", 0.25, validation_file=valid)
    answer = owner_client.get(reverse("compare-jobs") + f"?ids={one.id},{two.id}")
    assert answer.context["winner"] == two and answer.text.count("lowest validation loss") == 1
    elsewhere = judged("Elsewhere", 0.1, validation_file=other)
    pairs = judged("Pairs", 0.1, validation_file=valid, recipe=Recipe(method="dpo"))
    for another, why in ((elsewhere, "different validation files"), (pairs, "different methods")):
        answer = owner_client.get(reverse("compare-jobs") + f"?ids={one.id},{another.id}")
        assert answer.context["winner"] is None and why in answer.text
    tie = judged("Tie", 0.25, validation_file=valid)
    assert owner_client.get(reverse("compare-jobs") + f"?ids={two.id},{tie.id}").context["winner"] is None


@pytest.mark.parametrize(
    ("label", "inside"),
    [("LoRA rank", "LoRA rank"), ("Batch size", "batch size"), ("Beta", "beta"), ("DPO beta", "DPO beta"), ("", "")],
)
def test_a_label_inside_a_sentence_keeps_its_own_capitals(label: str, inside: str) -> None:
    assert figures.within(label) == inside


def test_a_comparison_with_an_unknown_job_is_not_found(owner_client: Client, project: Project) -> None:
    assert owner_client.get(reverse("compare-jobs") + "?ids=ftjob-none").status_code == 404


def test_a_short_run_is_sent_whole(owner_client: Client, project: Project) -> None:
    job = makers.make_job(project, steps=30, total_steps=40)
    payload = json.loads(owner_client.get(reverse("job-metrics", args=[job.id])).content)
    assert payload["whole"] is True
    assert payload["columns"]["step"] == list(range(1, 31))
    assert payload["revision"] == 30


def test_a_long_run_is_reduced_and_keeps_its_spikes(owner_client: Client, project: Project) -> None:
    job = makers.make_job(project, steps=5000, total_steps=5000, status="succeeded")
    job.metrics.filter(step=3333).update(train_loss=99.5)
    address = reverse("job-metrics", args=[job.id])
    answer = owner_client.get(address + "?points=500")
    payload = json.loads(answer.content)
    columns = payload["columns"]
    assert not payload["whole"]
    assert len(columns["step"]) < 1200
    assert max(value for value in columns["train_loss"] if value is not None) == 99.5
    assert columns["step"][0] == 1 and columns["step"][-1] == 5000
    assert columns["step"] == sorted(set(columns["step"]))
    full = {step: loss for step, loss in zip(columns["step"], columns["full_valid_loss"], strict=True) if loss}
    assert sorted(full) == [1250, 2500, 3750, 5000]
    near = json.loads(owner_client.get(address + "?from=3300&to=3400").content)
    assert near["whole"]
    assert near["columns"]["train_loss"][near["columns"]["step"].index(3333)] == 99.5


def test_a_finished_run_is_reduced_once(
    owner_client: Client, project: Project, django_assert_max_num_queries: Any
) -> None:
    job = makers.make_job(project, steps=2500, total_steps=2500, status="succeeded")
    address = reverse("job-metrics", args=[job.id])
    first = owner_client.get(address).content
    with django_assert_max_num_queries(6):
        assert owner_client.get(address).content == first
    assert len(first) < 300_000


def test_nonsense_in_the_figures_address_is_ignored(owner_client: Client, project: Project) -> None:
    job = makers.make_job(project, steps=8)
    for query in ("points=x", "points=-5", "from=9&to=1", "points=99999999999999999999"):
        assert owner_client.get(reverse("job-metrics", args=[job.id]) + "?" + query).status_code == 200


def test_a_checkpoint_saved_on_the_way_says_its_step_wherever_it_is_shown(
    owner_client: Client, project: Project
) -> None:
    job = makers.make_job(project, steps=12, status="succeeded", total_steps=48)
    early = makers.make_checkpoint(job, step=3, epoch=1)
    names = [contenders.of_checkpoint(each).label for each in job.checkpoints.order_by("step")]
    assert names == [f"{job.display_name}, step 3", f"{job.display_name}, epoch 1"]
    page = owner_client.get(reverse("job", args=[job.id])).text
    assert "Choose step 3" in page and "Choose epoch 1" in page
    assert "step 3" in owner_client.get(reverse("playground-models")).text
    assert f"step 3 · {early.name}" in str(JobForm(project=project)["model"])
