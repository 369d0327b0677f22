"""`manage.py add_model Qwen/Qwen3-0.6B` or `manage.py add_model /models/my-model`."""

import threading
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from accounts import audit
from accounts.errors import ApiError
from training import catalogue
from training.models import BaseModel


class Command(BaseCommand):
    help = "Add a base model to the catalogue: by hub id (downloaded now) or by a folder on this machine."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("source", help="a hub id such as Qwen/Qwen3-0.6B, or a folder")

    def handle(self, *args: Any, source: str, **options: Any) -> None:
        done = threading.Event()
        watcher = threading.Thread(target=self._watch, args=(source, done), daemon=True)
        watcher.start()
        try:
            if source.startswith(("/", ".", "~")) or Path(source).is_dir():
                model = catalogue.add_from_folder(Path(source).expanduser().resolve())
            else:
                model = catalogue.add_from_hub(source, in_background=False)
        except ApiError as error:
            raise CommandError(error.message) from error
        finally:
            done.set()
            watcher.join()
        if model.status != BaseModel.Status.READY:
            raise CommandError(f"{model.name}: {model.status_text}")
        audit.by_hone(f"Added base model {model.name}", kind="base", action="manage.py add_model")
        facts = model.facts
        self.stdout.write(
            f"{model.name} is ready: {facts.parameters / 1e6:,.0f} M parameters, context {facts.context_length:,}, "
            f"{model.bytes_total / 1e6:,.0f} MB in {model.path}"
        )

    def _watch(self, source: str, done: threading.Event) -> None:
        """Says how far the download is, every two seconds."""
        while not done.wait(2):
            model = BaseModel.objects.filter(source_id__iexact=source, status=BaseModel.Status.DOWNLOADING).first()
            if model and model.bytes_total:
                self.stdout.write(f"  {model.bytes_done / 1e6:,.0f} of {model.bytes_total / 1e6:,.0f} MB")
