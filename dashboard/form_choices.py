"""What the form of a job offers to choose from, and whether a choice is really on disk."""

from collections.abc import Callable, Iterator
from typing import Any, Final

from django import forms
from django.forms.models import ModelChoiceIterator

from accounts import telling_apart
from accounts.models import Project
from accounts.telling_apart import tell_apart
from training.datasets import MIN_JOB_ROWS
from training.models import BaseModel, Checkpoint, DatasetFile, DatasetFileQuerySet

NO_FILE = "This file is not ready to train on: it has problems, is still being checked, or was deleted. Choose another."
MOST_OLDER: Final = 100  # versions that are no longer the newest, the last made first
NO_MODEL = "This model is not on disk any more. Choose another."


def offer(form: forms.Form, name: str, files: DatasetFileQuerySet, label: Callable[[DatasetFile], str]) -> None:
    """The files of a select, with their rows; equal names are told apart. Of each dataset its newest usable version;
    below them the older ones, and the version that is chosen: a rerun takes the data of its parent."""
    field = form.fields[name]
    # not form[name].value(): what is drawn of a field is kept from the first look at it
    given = form.data.get(form.add_prefix(name)) if form.is_bound else form.get_initial_for_field(field, name)
    chosen = getattr(given, "pk", given) or ""

    def labelled(found: DatasetFileQuerySet) -> list[tuple[str, str]]:
        listed = tell_apart(
            found.only("pk", "filename", "version", "last_version", "rows", "format", "created_at"), "filename"
        )
        return [(file.pk, telling_apart.label(label(file), file)) for file in listed]

    class Shown(ModelChoiceIterator):
        def __iter__(self) -> Iterator[tuple[Any, Any]]:
            if field.empty_label is not None:  # type: ignore[attr-defined]
                yield "", field.empty_label  # type: ignore[attr-defined]
            newest, older = files.newest(DatasetFile.Status.PROCESSED), files.older(DatasetFile.Status.PROCESSED)
            yield from labelled(newest)
            some = list(older.values_list("pk", flat=True)[:MOST_OLDER])
            if listed := labelled(older.filter(pk__in=[*some, chosen])):
                yield "Older versions", listed

    field.iterator = Shown  # type: ignore[attr-defined]
    field.queryset = files  # type: ignore[attr-defined]
    field.label_from_instance = label  # type: ignore[attr-defined]
    field.error_messages["invalid_choice"] = NO_FILE


def file_label(file: DatasetFile) -> str:
    word = "pair" if file.format == "preference" else "row"
    return f"{file.filename}{version_label(file)} · {file.rows:,} {word}{'' if file.rows == 1 else 's'}"


def version_label(file: DatasetFile) -> str:
    """Nothing of a dataset that never had another."""
    return f" · version {file.version}" if max(file.version, file.last_version) > 1 else ""


def training_label(file: DatasetFile) -> str:
    few = file.format != "text" and file.rows < MIN_JOB_ROWS
    return file_label(file) + (f" · too few, {MIN_JOB_ROWS} are needed" if few else "")


def model_choices(project: Project) -> list[tuple[str, Any]]:
    """Nothing yet, base models on disk, then this project's fine-tuned ones, newest first."""
    bases = [(f"base:{model.name}", _base_label(model)) for model in BaseModel.objects.ready()]
    tuned = Checkpoint.objects.of(project).filter(archived_at=None).select_related("job")
    choices: list[tuple[str, Any]] = [
        ("", "Choose a model" if bases or tuned else "No model yet"),
        ("Base models", bases),
    ]
    if tuned:
        choices.append(("Continue from", [(f"checkpoint:{c.pk}", _checkpoint_label(c)) for c in tuned]))
    return choices


def only_model() -> str:
    """Where there is one base model to choose, it is chosen; else empty."""
    bases = list(BaseModel.objects.ready()[:2])
    return f"base:{bases[0].name}" if len(bases) == 1 else ""


def _base_label(model: BaseModel) -> str:
    return (model.title or model.name) + ("" if model.is_present else " · its folder is gone")


def _checkpoint_label(checkpoint: Checkpoint) -> str:
    return f"{checkpoint.label or checkpoint.job.display_name} · {checkpoint.when} · {checkpoint.name}"


def chosen_model(project: Project, value: str) -> tuple[BaseModel, Checkpoint | None]:
    """Of one of `model_choices`: the base model, and the checkpoint to continue. Refused when its files are gone."""
    kind, _, key = value.partition(":")
    checkpoint = None
    if kind == "checkpoint":
        checkpoint = Checkpoint.objects.of(project).select_related("base_model").get(pk=key)
    model = checkpoint.base_model if checkpoint else BaseModel.objects.get(name=key)
    if not model.is_present:
        raise forms.ValidationError(
            f"The files of {model.name} are not at {model.path} any more. Put them back, or choose another model."
        )
    return model, checkpoint


def gone_file(file: DatasetFile) -> str:
    """What to say of a file that is not on disk any more; empty when it is there."""
    there = file.path.exists()
    return "" if there else f"{file.filename} is gone from the disk. Upload it again, or choose another file."
