from datetime import timedelta

import pytest
from django.core.management import CommandError, call_command
from django.utils import timezone

from accounts.errors import ApiError
from accounts.models import Project, User
from tests import makers
from tests.jobs import make_base_model, make_file, make_job
from training import actions, preparing
from training.engine.spec import Recipe
from training.models import BaseModel, Checkpoint, DatasetFile, TrainingJob
from training.quotas import turns

pytestmark = pytest.mark.django_db


@pytest.fixture
def base_model(db: None) -> BaseModel:
    return make_base_model()


@pytest.fixture
def training_file(project: Project) -> DatasetFile:
    return make_file(project)


def kept_checkpoint(job: TrainingJob, step: int = 20) -> Checkpoint:
    checkpoint = makers.make_checkpoint(job, step=step)
    checkpoint.path.mkdir(parents=True, exist_ok=True)
    (checkpoint.path / "adapter_model.safetensors").write_bytes(b"x" * 1000)
    return checkpoint


def finished(job: TrainingJob, status: str = "succeeded") -> TrainingJob:
    TrainingJob.objects.filter(pk=job.pk).update(status=status, finished_at=timezone.now())
    job.refresh_from_db()
    return job


class TestCreate:
    def test_a_job_begins_by_validating_its_files(self, project: Project, owner: User, base_model, training_file):
        job = actions.create_job(
            project=project, user=owner, base_model=base_model, training_file=training_file, recipe=Recipe(n_epochs=2)
        )
        assert (job.status, job.training_file_name, job.recipe.n_epochs) == ("validating_files", "train.jsonl", 2)
        assert 0 <= job.seed < 2**31
        assert [event.message for event in job.events.all()] == [f"Created fine-tuning job: {job.pk}"]

    def test_a_given_seed_is_kept_also_when_it_is_zero(self, project, base_model, training_file):
        job = actions.create_job(project=project, user=None, base_model=base_model, training_file=training_file, seed=0)
        assert job.seed == 0

    def test_neighbouring_jobs_have_different_colours(self, project, base_model, training_file):
        colours = []
        for number in range(12):
            job = actions.create_job(project=project, user=None, base_model=base_model, training_file=training_file)
            TrainingJob.objects.filter(pk=job.pk).update(created_at=timezone.now() + timedelta(seconds=number))
            colours.append(job.colour)
        assert colours == [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 0, 1]

    @pytest.mark.parametrize("suffix", ["a:b", "a/b", "a b", "x" * 65])
    def test_a_suffix_that_would_break_model_names_is_refused(self, project, base_model, training_file, suffix):
        with pytest.raises(ApiError) as refused:
            actions.create_job(
                project=project, user=None, base_model=base_model, training_file=training_file, suffix=suffix
            )
        assert (refused.value.param, refused.value.status) == ("suffix", 400)

    def test_a_file_of_another_project_does_not_exist(self, base_model, training_file, stranger: User):
        with pytest.raises(ApiError) as refused:
            actions.create_job(
                project=stranger.memberships.get().project,
                user=stranger,
                base_model=base_model,
                training_file=training_file,
            )
        assert (refused.value.status, refused.value.param) == (404, "training_file")

    def test_a_result_file_is_no_training_file(self, project, base_model):
        from training import files

        results = files.create_file(project, None, "step_metrics.csv", "fine-tune-results", b"step\n1\n")
        with pytest.raises(ApiError, match="purpose") as refused:
            actions.create_job(project=project, user=None, base_model=base_model, training_file=results)
        assert refused.value.code == "invalid_training_file"

    def test_a_model_whose_folder_is_gone_is_refused(self, project, base_model, training_file):
        BaseModel.objects.update(folder="/nowhere")
        base_model.refresh_from_db()
        with pytest.raises(ApiError, match="not on this server's disk") as refused:
            actions.create_job(project=project, user=None, base_model=base_model, training_file=training_file)
        assert refused.value.param == "model"

    def test_a_checkpoint_continues_only_on_its_own_base_model(self, project, base_model, training_file):
        checkpoint = kept_checkpoint(make_job(project))
        other = make_base_model("other")
        with pytest.raises(ApiError, match="cannot be continued on other"):
            actions.create_job(
                project=project,
                user=None,
                base_model=other,
                training_file=training_file,
                start_checkpoint=checkpoint,
            )


class TestPrepare:
    def prepared(self, project, file, **more) -> TrainingJob:
        model = BaseModel.objects.filter(name="tiny").first() or make_base_model()
        job = actions.create_job(project=project, user=None, base_model=model, training_file=file, **more)
        preparing.prepare(job.pk)
        job.refresh_from_db()
        return job

    def test_every_auto_becomes_a_number_and_the_job_is_queued(self, project):
        job = self.prepared(project, make_file(project, 30), validation_file=make_file(project, 5, "valid.jsonl", 100))
        assert (job.status, job.claim, job.error_message) == ("queued", "", "")
        assert job.resolved and job.resolved.n_epochs == 3 and job.estimate and job.estimate.steps == job.total_steps
        messages = list(job.events.order_by("created_at", "id").values_list("message", flat=True))
        assert messages[:3] == [
            f"Created fine-tuning job: {job.pk}",
            f"Validating training file: {job.training_file_id} and validation file: {job.validation_file_id}",
            "Files validated, moving job to queued state",
        ]
        spec = actions.spec_for(job)
        assert spec.training_file.exists() and spec.base_path.exists() and spec.seed == job.seed

    def test_packing_is_what_was_asked_for_and_off_by_itself(self, project):
        asked = {"auto": False, "off": False, "on": True}
        for packing, packs in asked.items():
            job = self.prepared(project, make_file(project, 20), recipe=Recipe(packing=packing))
            assert actions.spec_for(job).packing is packs
            assert ("packing" in job.resolved.reasons) == (packing == "auto")

    def test_fewer_than_ten_examples_fail_the_job_in_openais_words(self, project):
        job = self.prepared(project, make_file(project, 7))
        assert (job.status, job.error_code, job.error_param) == ("failed", "invalid_n_examples", "training_file")
        assert job.error_message == "Training file has 7 example(s), but must have at least 10 examples"
        assert job.resolved is None and job.finished_at

    def test_a_broken_line_fails_the_job_with_its_place(self, project):
        from training import files

        good = b'{"messages":[{"role":"user","content":"a"},{"role":"assistant","content":"b"}]}\n'
        bad = b'{"messages":[{"role":"user","content":"a"},{"role":"asistant","content":"b"}]}\n'
        job = self.prepared(project, files.create_file(project, None, "bad.jsonl", "fine-tune", good * 11 + bad))
        assert (job.status, job.error_code) == ("failed", "invalid_training_file")
        assert job.error_message.startswith("The job failed due to an invalid training file.")
        assert "12" in job.error_message

    def test_a_file_that_was_deleted_meanwhile_fails_the_job(self, project):
        model, file = make_base_model(), make_file(project)
        job = actions.create_job(project=project, user=None, base_model=model, training_file=file)
        DatasetFile.objects.filter(pk=file.pk).delete()
        preparing.prepare(job.pk)
        job.refresh_from_db()
        assert job.status == "failed" and "train.jsonl was deleted" in job.error_message

    def test_an_impossible_pair_is_refused_with_the_engines_reason(self, project):
        job = self.prepared(project, make_file(project), recipe=Recipe(target_modules=["no_such_layer"]))
        assert job.status == "failed" and "no_such_layer" in job.error_message

    def test_a_base_model_whose_folder_vanished_fails_the_job(self, project):
        model = make_base_model()
        job = actions.create_job(project=project, user=None, base_model=model, training_file=make_file(project))
        BaseModel.objects.update(folder="/nowhere")
        preparing.prepare(job.pk)
        job.refresh_from_db()
        assert (job.status, job.error_param) == ("failed", "model")

    def test_a_second_delivery_does_nothing(self, project):
        job = self.prepared(project, make_file(project))
        events = job.events.count()
        preparing.prepare(job.pk)
        assert job.events.count() == events

    def test_a_job_paused_while_it_is_validated_does_not_enter_the_queue(self, project):
        model = make_base_model()
        job = actions.create_job(project=project, user=None, base_model=model, training_file=make_file(project))
        actions.pause_job(job)
        preparing.prepare(job.pk)
        job.refresh_from_db()
        assert job.status == "paused"
        assert actions.resume_job(job).status == "queued"

    def test_a_job_cancelled_while_it_is_validated_stays_cancelled(self, project):
        model = make_base_model()
        job = actions.create_job(project=project, user=None, base_model=model, training_file=make_file(project))
        actions.cancel_job(job)
        preparing.prepare(job.pk)
        job.refresh_from_db()
        assert job.status == "cancelled"


class TestVerbs:
    def test_the_place_in_the_queue_is_told_and_kept_fresh(self, project):
        first, second, third = (make_job(project, queued_at=timezone.now() + timedelta(seconds=i)) for i in range(3))
        actions.refresh_queue()
        texts = [TrainingJob.objects.get(pk=job.pk).status_text for job in (first, second, third)]
        assert texts == ["Next in the queue", "Number 2 in the queue", "Number 3 in the queue"]
        actions.cancel_job(first)
        assert TrainingJob.objects.get(pk=third.pk).status_text == "Number 2 in the queue"

    @pytest.mark.parametrize("status", ["succeeded", "failed", "cancelled"])
    def test_a_job_that_has_ended_cannot_be_cancelled_paused_or_resumed(self, project, status):
        job = finished(make_job(project), status)
        for verb in (actions.cancel_job, actions.pause_job, actions.resume_job):
            with pytest.raises(ApiError) as refused:
                verb(job)
            assert refused.value.status == 400
        assert TrainingJob.objects.get(pk=job.pk).status == status

    def test_pause_takes_a_job_out_of_the_queue_and_resume_puts_it_at_its_end(self, project):
        job, other = make_job(project), make_job(project)
        assert actions.pause_job(job).status == "paused"
        assert actions.resume_job(job).status == "queued"
        assert turns.ahead_of(job, turns.queue()) == [other]

    def test_a_pause_of_a_running_job_can_be_taken_back(self, project):
        job = make_job(project, status="running", claim="mine")
        assert actions.pause_job(job).wanted == "pause"
        assert actions.resume_job(job).wanted == ""

    def test_a_checkpoint_can_be_asked_for_only_while_it_trains(self, project):
        job = make_job(project, status="running", claim="mine", step=3)
        job.folder.mkdir(parents=True, exist_ok=True)
        actions.save_checkpoint(job)
        assert (job.folder / "save").exists()
        for fields in ({"wanted": "pause"}, {"wanted": "", "step": 0}, {"status": "paused", "step": 3}):
            TrainingJob.objects.filter(pk=job.pk).update(**fields)
            with pytest.raises(ApiError) as refused:
                actions.save_checkpoint(job)
            assert refused.value.code == "job_not_training"

    @pytest.mark.django_db(transaction=True)
    def test_a_cancel_keeps_or_drops_what_was_saved(self, project):
        kept, dropped = (make_job(project, status="paused") for _ in range(2))
        saved = [kept_checkpoint(kept, 20), kept_checkpoint(dropped, 40)]
        actions.cancel_job(kept)
        actions.cancel_job(dropped, drop=True)
        assert [checkpoint.path.exists() for checkpoint in saved] == [True, False]
        assert list(Checkpoint.objects.all()) == saved[:1]
        assert dropped.status == "cancelled" and dropped.folder.exists()

    def test_a_cancel_does_not_drop_what_another_job_starts_from(self, project):
        job = make_job(project, status="paused")
        make_job(project, start_checkpoint=kept_checkpoint(job, 20))
        with pytest.raises(ApiError, match="starts from"):
            actions.cancel_job(job, drop=True)
        assert TrainingJob.objects.get(pk=job.pk).status == "paused"
        assert actions.cancel_job(job).status == "cancelled"

    def test_rename_and_archive_change_what_people_see_only(self, project):
        job = make_job(project)
        assert actions.rename_job(job, " The good one ").display_name == "The good one"
        assert actions.archive_job(job).archived_at
        assert not TrainingJob.objects.visible().exists()
        assert actions.archive_job(job, False).archived_at is None

    @pytest.mark.django_db(transaction=True)
    def test_delete_frees_the_disk_and_the_result_file(self, project):
        from training import files

        job = make_job(project)
        checkpoint = kept_checkpoint(job)
        result = files.create_file(project, None, "step_metrics.csv", "fine-tune-results", b"step\n")
        TrainingJob.objects.filter(pk=job.pk).update(result_file=result)
        folder, content = job.folder, result.path
        with pytest.raises(ApiError, match="Cancel it first"):
            actions.delete_job(job)
        assert checkpoint.path.exists()
        actions.delete_job(finished(job))
        assert not folder.exists() and not content.exists()
        assert not list(folder.parent.glob(f"{folder.name}*"))
        assert not TrainingJob.objects.exists() and not Checkpoint.objects.exists()

    @pytest.mark.django_db(transaction=True)
    def test_delete_of_a_checkpoint_frees_its_folder_and_keeps_the_curves(self, project):
        job = finished(make_job(project))
        first, second = kept_checkpoint(job, 20), kept_checkpoint(job, 40)
        actions.delete_checkpoint(first)
        assert not first.path.exists() and second.path.exists()
        assert list(job.checkpoints.all()) == [second]

    def test_the_newest_checkpoint_of_an_unfinished_job_is_kept(self, project):
        job = make_job(project, status="paused")
        kept_checkpoint(job, 20)
        newest = kept_checkpoint(job, 40)
        with pytest.raises(ApiError, match="may have to continue from it"):
            actions.delete_checkpoint(newest)

    def test_a_checkpoint_that_a_waiting_job_starts_from_is_kept_until_that_job_ends(self, project):
        job = finished(make_job(project))
        checkpoint = kept_checkpoint(job)
        child = make_job(project, start_checkpoint=checkpoint)
        for delete in (lambda: actions.delete_checkpoint(checkpoint), lambda: actions.delete_job(job)):
            with pytest.raises(ApiError, match="starts from"):
                delete()
        finished(child)
        actions.delete_checkpoint(checkpoint)
        assert not Checkpoint.objects.exists()


def test_a_run_without_a_folder_is_not_rebuilt(project):
    with pytest.raises(CommandError, match="no job"):
        call_command("rebuild_run", "ftjob-nothing")
    with pytest.raises(CommandError, match="nothing to rebuild from"):
        call_command("rebuild_run", make_job(project).pk)
