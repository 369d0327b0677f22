"""`manage.py import_openai --map gpt-4o-mini=Qwen3-0.6B`: an organisation's history at OpenAI into a project."""

import os
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from openai import APIConnectionError, APIStatusError

from accounts import audit
from accounts.errors import ApiError
from accounts.models import Project
from training.imported import importing, mapping, reading
from training.imported.importing import Report


class Command(BaseCommand):
    help = (
        "Read an organisation's files, fine-tuning jobs, events and checkpoints from OpenAI into Hone, as history. The"
        " key is taken from OPENAI_API_KEY. Run it again at any time: what is here stays, what is new comes."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--project", default="", help="of Hone, by id or name; may be left out where there is one")
        parser.add_argument(
            "--map",
            action="append",
            default=[],
            metavar="THEIRS=OURS",
            help="which local base stands for a model of OpenAI, such as gpt-4o-mini=Qwen3-0.6B; '*=…' for all others."
            " Repeat it, or name a YAML file of such pairs",
        )
        parser.add_argument("--base-url", default=reading.OPENAI, help="another address than OpenAI's")
        parser.add_argument("--dry-run", action="store_true", help="say what would come and store nothing")

    def handle(self, *args: Any, **options: Any) -> None:
        key = os.environ.get("OPENAI_API_KEY", "")
        if not key:
            raise CommandError("Set OPENAI_API_KEY to a key of the organisation at OpenAI. Nothing is changed there.")
        try:
            project, models = _project(options["project"]), mapping.read(options["map"])
            source = reading.Source(key, options["base_url"])
            jobs = source.jobs()
            self._refuse_unmapped(importing.unmapped(jobs, models), options["dry_run"])
            report = importing.run(source, project, models, jobs, self.stdout.write, options["dry_run"])
        except ApiError as error:
            raise CommandError(error.message) from error
        except APIStatusError as error:
            raise CommandError(f"OpenAI answered {reading.why(error)}. What came stays; run this again.") from error
        except APIConnectionError as error:
            raise CommandError(
                f"OpenAI cannot be reached ({error.__cause__ or error}). What came stays; run this again."
            ) from error
        if not options["dry_run"]:
            came = ", ".join(f"{counts['new']} new {kind}" for kind, counts in report.counts.items())
            audit.by_hone(f"Imported from OpenAI: {came}", project=project, action="manage.py import_openai")
        self._tell(report, project, options["dry_run"])

    def _refuse_unmapped(self, missing: dict[str, int], dry: bool) -> None:
        if not missing:
            return
        lines = [f"  --map {base}=…   ({count} job{'s' if count > 1 else ''})" for base, count in missing.items()]
        text = "\n".join(["Say which local base stands for each of these models, or '*=…' for all of them:", *lines])
        if not dry:
            raise CommandError(text)
        self.stdout.write(text)

    def _tell(self, report: Report, project: Project, dry: bool) -> None:
        came = "would come" if dry else "came"
        self.stdout.write(f"\n{'':12}{came:>12}{'changed':>12}{'here before':>14}")
        for kind, counts in report.counts.items():
            self.stdout.write(f"{kind:12}{counts['new']:12,}{counts['changed']:12,}{counts['there']:14,}")
        for kind, count in report.figures.items():
            self.stdout.write(f"{kind:12}{count:12,}")
        if report.names:
            self.stdout.write("\nThese names are answered by local models now:")
            self.stdout.write("\n".join(f"  {name}" for name in report.names))
        if report.left_out:
            self.stdout.write("\nCould not come:")
            self.stdout.write("\n".join(f"  {line}" for line in report.left_out))
        if not dry:
            self.stdout.write(f"\nThe jobs stand in {project.name} under Jobs; “Rerun” trains one of them here.")


def _project(wanted: str) -> Project:
    projects = Project.objects.all()
    found = list(projects.filter(pk=wanted) or projects.filter(name=wanted)) if wanted else list(projects)
    if len(found) == 1:
        return found[0]
    known = ", ".join(f"{each.name} ({each.pk})" for each in projects) or "none: start Hone once"
    raise CommandError(f"Name the project of Hone with --project, by its id. There are: {known}")
