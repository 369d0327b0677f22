"""The served OpenAPI says exactly what is served: schemathesis tries every operation of a running Hone.

    python -m proofs.openapi [--examples 50] [--seed 1] [--only "POST /v1/files"] [--no-models]

schemathesis comes from the package registry into an environment of its own, so that the project's pins stay as they
are. Hone runs for real (daphne, workers, trainer, vLLM) with a tiny model, files and a finished job, whose ids
schemathesis is told; the rest it makes up from the served description: good and bad bodies, parameters and headers,
methods that are not there, chains of calls. All its checks are on, and one of ours (proofs/openapi_hooks.py): every
error is OpenAI's object, every answer has a request id. Ends with 1 when a check failed.
"""

import argparse
import json
import logging
import os
import subprocess
import sys
import tempfile
import time
import venv
from pathlib import Path
from typing import Any

import django
from openai import OpenAI

from proofs.server import ROOT, home
from tests.api.conftest import FINAL, Server, jsonl, running
from tests.factories import chat_rows

SCHEMATHESIS = "schemathesis==4.32.5"
JOB_SECONDS = 600
LOAD_SECONDS = 600
EVENT_TYPES = ["fine_tuning.job.succeeded"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--examples", type=int, default=50, help="most of the cases made up for each operation")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", default="", help="one operation, such as 'POST /v1/files'")
    parser.add_argument("--phases", default="examples,coverage,fuzzing,stateful")
    parser.add_argument("--no-models", action="store_true", help="without vLLM: no chat is answered")
    options = parser.parse_args()
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "dashboard.settings")
    django.setup()  # the workers' command lines are asked for
    logging.getLogger("httpx2").setLevel(logging.WARNING)
    command = schemathesis()
    with tempfile.TemporaryDirectory(prefix="hone-openapi-") as folder:
        (Path(folder) / "hone").mkdir()
        with running(Path(folder) / "hone") as server:
            things = things_of(server)
            if not options.no_models:
                begin_serving(server)
            passed = attack(server, command, Path(folder), things, options)
    sys.exit(0 if passed else 1)


def schemathesis() -> Path:
    """Its command, installed on the first run."""
    place = home() / "proofs" / SCHEMATHESIS.replace("==", "-")
    command = place / "bin" / "schemathesis"
    if not command.exists():
        venv.create(place, with_pip=True)
        subprocess.run([place / "bin" / "python", "-m", "pip", "install", "--quiet", SCHEMATHESIS], check=True)
    return command


def things_of(server: Server) -> dict[str, list[str]]:
    """Real names for what the description only knows as a text: several of each, since some will be deleted."""
    client = server.client()

    def made(path: str, **body: Any) -> str:
        return client.post(path, body=body, cast_to=dict[str, Any])["id"]

    def file(number: int) -> str:
        rows = jsonl(chat_rows(12, start=20 * number))
        return client.files.create(file=("train.jsonl", rows), purpose="fine-tune").id

    files = [file(number) for number in range(6)]
    job = trained(client, files[0])
    checkpoints = [each.fine_tuned_model_checkpoint for each in client.fine_tuning.jobs.checkpoints.list(job)]
    upload = made("/uploads", filename="x.jsonl", purpose="fine-tune", bytes=5, mime_type="text/jsonl")
    return {
        "file": files,
        "job": [job, made("/fine_tuning/jobs", model="tiny", training_file=files[1])],
        "model": ["tiny", *checkpoints],
        "upload": [upload],
        "part": [client.uploads.parts.create(upload, data=b"{}\n{}").id],
        "webhook": [made("/webhook_endpoints", name="x", url="http://127.0.0.1:9/", event_types=EVENT_TYPES)],
        "export": [made("/exports", model=checkpoints[0])],
        "recipe": [made("/fine_tuning/recipes", model="tiny", stages=[{"training_file": files[1]}])],
    }


def trained(client: OpenAI, file: str) -> str:
    """The id of a job that ended well, with three checkpoints."""
    recipe: Any = {"type": "supervised", "supervised": {"hyperparameters": {"n_epochs": 3, "batch_size": 4}}}
    job = client.fine_tuning.jobs.create(model="tiny", training_file=file, validation_file=file, method=recipe)
    deadline = time.monotonic() + JOB_SECONDS
    while job.status not in FINAL and time.monotonic() < deadline:
        time.sleep(2)
        job = client.fine_tuning.jobs.retrieve(job.id)
    assert job.status == "succeeded", job
    return job.id


def begin_serving(server: Server) -> None:
    """Returns when the tiny model has answered once."""
    server.start("serve", [sys.executable, "manage.py", "serve"])
    deadline = time.monotonic() + LOAD_SECONDS
    while True:
        try:
            server.client().completions.create(model="tiny", prompt="x", max_tokens=1)
            return
        except Exception as error:  # nobody serves yet, or the model is being loaded
            assert time.monotonic() < deadline, f"{error}\n{server.logs()}"
            time.sleep(1)


NAMES = {
    "path.file_id": "file",
    "path.job_id": "job",
    "path.model": "model",
    "path.upload_id": "upload",
    "path.endpoint_id": "webhook",
    "path.export_id": "export",
    "path.recipe_id": "recipe",
    "body.model": "model",
    "body.training_file": "file",
    "body.validation_file": "file",
    "body.stages.[*].training_file": "file",
}


# What a description cannot say: whether a job still runs, whether `after` is in the list, what is in a file, which
# fields go together, what fits into a model. Of these operations a 400 (or 413) to well-formed data is no failure.
BY_STATE = (
    *(
        "list_files",
        "list_jobs",
        "list_events",
        "list_checkpoints",
        "list_recipes",
        "list_endpoints",
        "list_permissions",
    ),
    *("create_file", "create_upload", "add_part", "complete_upload", "cancel_upload"),
    *("create_job", "cancel_job", "save_checkpoint", "pause_job", "resume_job", "create_recipe", "retry_recipe"),
    *("delete_model", "share_checkpoint", "create_export", "create_endpoint", "change_endpoint", "try_endpoint"),
    "completions",
)
TAKEN = ["2xx", "3xx", "400", "401", "403", "404", "409", "413", "429", "5xx"]  # 5xx is what another check is for


def configuration(server: Server, things: dict[str, list[str]]) -> str:
    lines = [
        "hooks = 'openapi_hooks.py'",
        "continue-on-failure = true",
        "[checks]",
        "enabled = true",  # all of them; named on the command line none could be left out below
        "[auth.openapi.BearerKey]",
        f"bearer = '{server.key}'",
        "[phases.stateful]",
        "max-steps = 6",
        # the first that fits holds; at the address of chats OpenAI lists stored ones: 404 with the code not_served
        "[[operations]]",
        "include-operation-id = 'chat_completions'",
        "[operations.checks.unsupported_method]",
        "enabled = false",
        "[operations.checks.positive_data_acceptance]",
        f"expected-statuses = {json.dumps(TAKEN)}",
        "[[operations]]",
        f"include-operation-id = {json.dumps(BY_STATE)}",
        "[operations.checks.positive_data_acceptance]",
        f"expected-statuses = {json.dumps(TAKEN)}",
    ]
    for name, values in things.items():
        lines += [f"[dictionaries.{name}]", f"values = {json.dumps(values)}"]
    lines += ["[parameters]"]
    lines += [f'"{place}" = {{ dictionary = "{name}", probability = 0.6 }}' for place, name in NAMES.items()]
    return "\n".join(lines) + "\n"


def attack(
    server: Server, command: Path, folder: Path, things: dict[str, list[str]], options: argparse.Namespace
) -> bool:
    (folder / "schemathesis.toml").write_text(configuration(server, things))
    (folder / "openapi_hooks.py").write_text((ROOT / "proofs" / "openapi_hooks.py").read_text())
    tally = folder / "tally.json"
    only = ["--include-name", options.only] if options.only else []
    run = [
        str(command), "run", f"{server.url}/v1/openapi.json",
        "--max-response-time", "120", "--mode", "all", "--phases", options.phases,
        "--max-examples", str(options.examples), "--seed", str(options.seed), "--request-timeout", "120",
        "--generation-database", "none", "--suppress-health-check", "all",
        "--report", "ndjson", "--report-ndjson-path", str(home() / "proofs" / "openapi.ndjson"),
        *only,
    ]  # fmt: skip
    environment = os.environ | {"HONE_PROOF_TALLY": str(tally)}
    done = subprocess.run(run, cwd=folder, env=environment, check=False)
    if not tally.exists():
        return False  # it says why it did not begin
    counts = json.loads(tally.read_text())
    operations = {label.rsplit(" ", 1)[0] for label in counts if label.count(" ") == 2}
    verdict = "FAILED" if done.returncode else "none failed"
    print(
        f"{len(operations)} operations, {counts['requests']:,} requests tried: {counts.get('2xx', 0):,} answered 2xx, "
        f"{counts.get('4xx', 0):,} refused 4xx, {counts.get('5xx', 0):,} failed 5xx; "
        f"{counts['errors in shape']:,} error bodies looked at. Checks: {verdict}"
    )
    return done.returncode == 0 and not counts.get("5xx")


if __name__ == "__main__":
    main()
