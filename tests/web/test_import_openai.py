"""`manage.py import_openai` against a stand-in of OpenAI's platform: what comes, what cannot, and how often."""

from io import StringIO

import pytest
from django.core.management import CommandError, call_command

from accounts.models import Project
from tests import makers
from tests.fakes import openai_data
from tests.fakes.openai_data import BASE, MODEL
from tests.fakes.openai_platform import Platform
from training import files
from training.aliases import pointing
from training.aliases.models import Alias
from training.imported import reading
from training.metadata_pair import MetadataPair
from training.models import DatasetFile, ImportedCheckpoint, ImportedJob, JobEvent, Metric, TrainingJob

SFT, MORE, DPO, RFT, FAILED, RUNS = (f"ftjob-{name:0<23}1" for name in ("Sft", "More", "Dpo", "Rft", "Fail", "Runs"))


@pytest.fixture(autouse=True)
def local(project: Project) -> None:
    makers.make_base_model("tiny")


def run(platform: Platform, *arguments: str) -> str:
    said = StringIO()
    maps = ("--map", "gpt-4o-mini=tiny", "--map", "*=tiny")
    call_command("import_openai", "--base-url", platform.url, *(arguments or maps), stdout=said)
    return said.getvalue()


def test_files_jobs_events_curves_and_checkpoints_come_with_their_real_ids_times_and_figures(
    platform: Platform, project: Project
) -> None:
    said = run(platform)
    file = DatasetFile.objects.get(pk="file-Train000000000000000001")
    assert (file.status, file.format, file.rows, file.filename) == ("processed", "chat", 12, "tickets.jsonl")
    assert file.path.read_bytes() == platform.contents[file.pk] and len(file.sha256) == 64
    job = TrainingJob.objects.get(pk=SFT)
    assert (job.project, job.status, job.suffix, job.seed) == (project, "succeeded", "bot", 683058546)
    assert (job.training_file, job.metadata, job.trained_tokens) == (file, {"team": "support"}, 1700)
    assert (job.created_at.timestamp(), job.finished_at.timestamp()) == (openai_data.BORN, openai_data.BORN + 1100)
    assert job.validation_file_name == "tickets-valid.jsonl" and job.result_file_id == "file-Res00000000000000000001"
    assert (job.step, job.total_steps, job.metrics.count()) == (12, 12, 12)
    row = job.metrics.get(step=8)
    assert (row.train_loss, row.full_valid_loss, row.epoch, row.train_accuracy) == (0.25, 0.225, 2.0, 0.5)
    events = list(job.events.all())
    assert len(events) == len(platform.events[SFT]) and events[0].message == "The job has successfully completed"
    assert job.events.get(message="Fine-tuning job started").data is None
    names = list(job.imported_checkpoints.values_list("name", flat=True))
    assert names[0] == MODEL and names[-1] == openai_data.EARLY and not job.checkpoints.exists()
    assert "files                  6" in said and "jobs                   5" in said


def test_a_result_file_is_kept_as_plain_text_and_draws_the_curve_where_events_are_gone(platform: Platform) -> None:
    run(platform)
    result = DatasetFile.objects.get(pk="file-Res00000000000000000001")
    assert result.path.read_bytes() == platform.contents["file-Res00000000000000000002"]
    job = TrainingJob.objects.get(pk=MORE)
    assert not job.events.exists() and job.metrics.get(step=4).train_loss == 0.5 and job.total_steps == 12


def test_a_job_that_continued_another_is_linked_to_it_by_its_model_or_a_checkpoint(platform: Platform) -> None:
    run(platform)
    assert {each.pk: each.start_job_id for each in ImportedJob.objects.exclude(start_job=None)} == {MORE: SFT, DPO: SFT}


def test_hyperparameters_are_told_in_our_terms(platform: Platform) -> None:
    run(platform)
    recipe = TrainingJob.objects.get(pk=SFT).recipe
    assert (recipe.n_epochs, recipe.batch_size, recipe.learning_rate_multiplier) == (3, 3, 1.0)
    assert TrainingJob.objects.get(pk=MORE).recipe.learning_rate_multiplier == 2.0
    preferred = TrainingJob.objects.get(pk=DPO).recipe
    assert (preferred.method, preferred.beta, preferred.batch_size) == ("dpo", 0.2, "auto")
    assert "batch_size 512 is left to auto" in " ".join(TrainingJob.objects.get(pk=DPO).imported.notes)
    rft = TrainingJob.objects.get(pk=RFT)
    assert not rft.imported.can_rerun and not rft.imported.notes
    assert rft.metrics.get(step=2).more == {"train_mean_reward": 0.8}


def test_what_cannot_come_is_named_and_the_job_stays_with_it(platform: Platform) -> None:
    said = run(platform)
    failed = TrainingJob.objects.get(pk=FAILED)
    assert (failed.status, failed.error_code, failed.training_file) == ("failed", "invalid_n_examples", None)
    assert failed.training_file_name == "old.jsonl" and failed.validation_file_name == "file-Lost0000000000000000001"
    assert len(failed.imported.notes) == 2 and failed.finished_at is not None
    for words in (
        "file-Gone0000000000000000001 (old.jsonl): 404: No such File object",
        "file-Lost0000000000000000001: gone at OpenAI",
        "1 file of the purpose assistants",
        f"{RUNS}: it is running at OpenAI; run this again when it has ended",
    ):
        assert words in said
    assert not TrainingJob.objects.filter(pk=RUNS).exists(), "a row that runs would be trained here"


def test_run_again_nothing_comes_twice_new_ones_come_and_changed_ones_change(platform: Platform) -> None:
    run(platform)
    counts = [
        model.objects.count() for model in (DatasetFile, TrainingJob, JobEvent, Metric, ImportedCheckpoint, Alias)
    ]
    TrainingJob.objects.filter(pk=SFT).update(label="Ours")
    again = run(platform)
    assert "jobs                   0           0             5" in again
    assert counts == [
        model.objects.count() for model in (DatasetFile, TrainingJob, JobEvent, Metric, ImportedCheckpoint, Alias)
    ]
    platform.job(RUNS).update(status="cancelled")
    platform.job(SFT)["metadata"] = {"team": "sales"}
    openai_data.add_file(platform, "file-Late0000000000000000001", "late.jsonl", b'{"prompt":"a","completion":"b"}\n')
    third = run(platform)
    assert "files                  1" in third and "jobs                   1           1" in third
    job = TrainingJob.objects.get(pk=SFT)
    assert (job.metadata, job.label, job.events.count()) == ({"team": "sales"}, "Ours", len(platform.events[SFT]))
    found = [MetadataPair.objects.listed(job.project, {"team": team}).count() for team in ("support", "sales")]
    assert found == [0, 1]


def test_a_run_that_was_broken_off_goes_on_where_it_stopped(platform: Platform) -> None:
    platform.revoked_after = 9
    with pytest.raises(CommandError, match="401: Incorrect API key"):
        run(platform)
    came = DatasetFile.objects.count()
    assert 0 < came < 6 and not TrainingJob.objects.exists()
    platform.revoked_after = 10**9
    run(platform)
    assert DatasetFile.objects.count() == 6 and TrainingJob.objects.count() == 5
    contents = [path for path in platform.asked if path.endswith("/content") and "Gone" not in path]
    assert len(contents) <= 7, "what had come was not fetched again"


def test_a_download_that_breaks_off_ends_in_words_and_leaves_no_half_of_a_file(platform: Platform) -> None:
    platform.breaks_off = "file-Valid000000000000000001"
    with pytest.raises(CommandError, match=r"cannot be reached .*What came stays; run this again"):
        run(platform)
    assert list(DatasetFile.objects.values_list("pk", flat=True)) == ["file-Train000000000000000001"]
    platform.breaks_off = ""
    run(platform)
    assert DatasetFile.objects.count() == 6


def test_deleted_files_come_again_and_their_jobs_name_them_again(platform: Platform) -> None:
    run(platform)
    before = TrainingJob.objects.get(pk=SFT)
    for file in (before.training_file, before.validation_file, before.result_file):
        files.delete(file)
    assert TrainingJob.objects.get(pk=SFT).training_file is None
    assert "files                  3" in run(platform)
    after = TrainingJob.objects.get(pk=SFT)
    names = ("training_file_id", "validation_file_id", "result_file_id")
    assert [getattr(after, name) for name in names] == [getattr(before, name) for name in names]


def test_a_job_of_hones_own_is_never_written_over(platform: Platform, project: Project) -> None:
    """As it would be where the address is Hone's, which lists its jobs as OpenAI does."""
    makers.make_job(project, id=SFT, steps=3, status="succeeded")
    own = TrainingJob.objects.filter(pk=SFT).values().get()
    assert f"{SFT}: {SFT} is a job of Hone's own" in run(platform)
    assert TrainingJob.objects.filter(pk=SFT).values().get() == own
    assert Metric.objects.filter(job=SFT).count() == 3 and not ImportedJob.objects.filter(pk=SFT).exists()


def test_the_address_is_openais_whatever_the_sdk_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_BASE_URL", "http://127.0.0.1:8000/v1")
    assert str(reading.Source("sk-any").client.base_url) == "https://api.openai.com/v1/"


def test_a_platform_that_is_busy_is_asked_again(platform: Platform) -> None:
    platform.busy = 2
    run(platform)
    assert TrainingJob.objects.count() == 5


def test_a_dry_run_says_what_would_come_and_stores_nothing(platform: Platform) -> None:
    said = run(platform, "--dry-run", "--map", "*=tiny")
    assert "would come" in said and SFT in said
    assert not DatasetFile.objects.exists() and not TrainingJob.objects.exists() and not Alias.objects.exists()
    assert not any(path.endswith(("/content", "/events", "/checkpoints")) for path in platform.asked)


def test_models_without_a_local_one_are_named_before_anything_comes(platform: Platform) -> None:
    with pytest.raises(CommandError, match=rf"--map {BASE}=…   \(5 jobs\)\n  --map o4-mini-2025-04-16=…   \(1 job\)"):
        run(platform, "--map", "gpt-3.5-turbo=tiny")
    with pytest.raises(CommandError, match="nothing-like-it is not in Hone's catalogue"):
        run(platform, "--map", "*=nothing-like-it")
    assert not DatasetFile.objects.exists()


def test_a_map_may_be_a_file_and_sets_up_names_that_it_never_takes_from_people(
    platform: Platform, project: Project, tmp_path
) -> None:
    other = makers.make_base_model("other")
    pointing.promote(project, None, "gpt-4o-mini", other, "ours")
    file = tmp_path / "models.yaml"
    file.write_text("gpt-4o-mini: tiny\n'*': other\n")
    said = run(platform, "--map", str(file))
    assert {alias.name: alias.current.model_name for alias in Alias.objects.all()} == {
        "gpt-4o-mini": "other", BASE: "tiny", "o4-mini": "other", "o4-mini-2025-04-16": "other",
    }  # fmt: skip
    assert f"{BASE} → tiny" in said and "gpt-4o-mini: the name points elsewhere" in said
    run(platform, "--map", "*=other")
    assert Alias.objects.get(name=BASE).current.model_name == "other", "a new map moves what the import made"
    assert TrainingJob.objects.get(pk=SFT).base_model == other


def test_a_name_that_hone_cannot_give_is_told_and_the_others_are_set_up(platform: Platform) -> None:
    platform.job(FAILED)["model"] = "acme/odd"
    said = run(platform)
    assert "acme/odd: A name has 1 to 64 letters" in said and f"{BASE} → tiny" in said
    assert not Alias.objects.filter(name="acme/odd").exists() and Alias.objects.filter(name="o4-mini").exists()


def test_what_came_into_one_project_does_not_come_into_another(platform: Platform, project: Project) -> None:
    run(platform)
    second = Project.objects.create(name="Second")
    with pytest.raises(CommandError, match="Name the project of Hone with --project"):
        run(platform)
    said = run(platform, "--map", "*=tiny", "--project", second.pk)
    assert f"has come into the project Support ({project.pk}) before" in said and not second.jobs.exists()


def test_an_id_that_would_leave_its_folder_is_refused(platform: Platform) -> None:
    platform.files[0]["id"] = "../../escaped"
    platform.contents["../../escaped"] = b"{}"
    assert "is no id that Hone can keep" in run(platform)
    assert not DatasetFile.objects.filter(pk__contains="escaped").exists()
