"""`hone train FILE --model M`: upload a dataset (or name one that is there by its id) and make a job of it."""

from argparse import Namespace
from contextlib import suppress
from pathlib import Path
from typing import Any

import openai
from openai.types.fine_tuning import FineTuningJob

from terminal import upload, watch

METHODS = ("supervised", "dpo")
NUMBERS = {"epochs": "n_epochs", "batch": "batch_size", "lr": "learning_rate_multiplier"}


def add_to(commands: Any) -> None:
    parser = commands.add_parser("train", help="make a job", description=__doc__)
    parser.add_argument("file", help="a JSONL file, or the id of a dataset (file-...)")
    parser.add_argument("--model", required=True, help="a base model, or a fine-tuned one to go on from")
    parser.add_argument("--validation", metavar="FILE", help="a JSONL file, or the id of a dataset")
    parser.add_argument("--epochs", type=int)
    parser.add_argument("--batch", type=int, help="rows a step")
    parser.add_argument("--lr", type=float, metavar="FACTOR", help="times the learning rate that Hone would choose")
    parser.add_argument("--method", choices=METHODS, default="supervised")
    parser.add_argument("--suffix", help="stands in the name of the new model")
    parser.add_argument("--seed", type=int)
    parser.add_argument("--follow", action="store_true", help="watch it until it ends")
    parser.add_argument("--json", action="store_true", help="print the job object as JSON")
    parser.set_defaults(run=run)


def run(client: openai.OpenAI, asked: Namespace) -> int:
    uploaded: list[str] = []
    try:
        job = create(client, asked, uploaded)
    except openai.APIStatusError as error:
        if error.status_code < 500:  # after another error the job may have been made all the same
            take_back(client, uploaded)
        raise
    except FileNotFoundError:  # of the validation, when the training file is uploaded
        take_back(client, uploaded)
        raise
    print(job.to_json(indent=None) if asked.json else f"{job.id}  {job.status}")
    return watch.follow(client, job.id, plain=asked.json) if asked.follow else 0


def create(client: openai.OpenAI, asked: Namespace, uploaded: list[str]) -> FineTuningJob:
    """Adds the ids of the files that it uploads to `uploaded`."""
    training = file_id(client, asked.file, asked.json, uploaded)
    given: dict[str, Any] = (
        {"validation_file": file_id(client, asked.validation, asked.json, uploaded)} if asked.validation else {}
    )
    given |= {name: getattr(asked, name) for name in ("suffix", "seed") if getattr(asked, name) is not None}
    numbers = {theirs: getattr(asked, ours) for ours, theirs in NUMBERS.items() if getattr(asked, ours) is not None}
    method: Any = {"type": asked.method, asked.method: {"hyperparameters": numbers}}
    return client.fine_tuning.jobs.create(model=asked.model, training_file=training, method=method, **given)


def file_id(client: openai.OpenAI, named: str, quiet: bool, uploaded: list[str]) -> str:
    """Of a dataset that is there, or of the file that is uploaded for it."""
    if named.startswith("file-") and not Path(named).exists():
        return named
    uploaded.append(upload.upload(client, Path(named), quiet=quiet).id)
    return uploaded[-1]


def take_back(client: openai.OpenAI, uploaded: list[str]) -> None:
    """Deletes what was uploaded for a job that is refused; silent where it cannot: the refusal is what matters."""
    for each in uploaded:
        with suppress(openai.APIError):
            client.files.delete(each)
