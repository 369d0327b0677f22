"""`manage.py rebuild_run JOB`: metrics, checkpoints and events anew from the run folder."""

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from accounts import audit
from training import recording
from training.models import TrainingJob


class Command(BaseCommand):
    help = "Make a job's metrics, checkpoints and metrics events anew from its run folder."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("job", help="ftjob-...")

    def handle(self, *args: Any, job: str, **options: Any) -> None:
        row = TrainingJob.objects.filter(pk=job).first()
        if row is None:
            raise CommandError(f"There is no job {job}.")
        if row.status == TrainingJob.Status.RUNNING:
            raise CommandError(f"{job} is running; its worker writes these rows. Pause or cancel it first.")
        if not (row.folder / "events.jsonl").exists():
            raise CommandError(f"{row.folder} holds no events.jsonl: there is nothing to rebuild from.")
        steps = recording.rebuild(row)
        words = f"Made the figures of job {job} anew from its run folder"
        audit.by_hone(words, project=row.project, kind="job", object_id=job, action="manage.py rebuild_run")
        self.stdout.write(f"{job}: {steps} steps, {row.checkpoints.count()} checkpoints")
