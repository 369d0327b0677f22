"""The configuration of a job as a document: what POST /v1/fine_tuning/jobs takes, as JSON or YAML, and back in."""

import difflib
import json
import re
from typing import Any

import yaml
from pydantic import ValidationError

from accounts.errors import ApiError
from dashboard import schemas, wording
from training.models import TrainingJob
from training.rules import OPENAI_METHODS
from training.trackers.tending import wishes_of

LARGEST_BYTES = 1 << 20


def document(job: TrainingJob) -> dict[str, Any]:
    """Everything that was asked for, also what is auto; made again from it, the job is the same."""
    asked = job.recipe.model_dump(mode="json")
    method = OPENAI_METHODS[asked["method"]]
    numbers = _part(asked, schemas.DPO_FIELDS if method == "dpo" else schemas.SUPERVISED_FIELDS)
    found = {
        "model": job.start_checkpoint.name if job.start_checkpoint else job.base_model.name,
        "training_file": job.training_file_id or job.training_file_name,
        "validation_file": job.validation_file_id or job.validation_file_name,
        "method": {"type": method, method: {"hyperparameters": numbers}},
        "lora": _part(asked, schemas.LORA_FIELDS) if asked["adaptation"] == "lora" else None,
        "training": _part(asked, schemas.TRAINING_FIELDS),
        "seed": job.seed,
        "suffix": job.suffix,
        "label": job.label,
        "metadata": job.metadata,
        "integrations": [wish.model_dump(exclude_defaults=True) for wish in wishes_of(job)],
    }
    return {name: value for name, value in found.items() if value not in (None, "", [], {})}


def _part(asked: dict[str, Any], fields: dict[str, str]) -> dict[str, Any]:
    return {ours: asked[theirs] for ours, theirs in fields.items() if asked[theirs] is not None}


def as_json(job: TrainingJob) -> str:
    return json.dumps(document(job), indent=2, ensure_ascii=False) + "\n"


def as_yaml(job: TrainingJob) -> str:
    head = f"# Job {job.pk}, as POST /v1/fine_tuning/jobs takes it (as JSON), and the form under Jobs, New job.\n"
    return head + yaml.safe_dump(document(job), sort_keys=False, allow_unicode=True)


WRITERS = {"json": (as_json, "application/json"), "yaml": (as_yaml, "application/yaml")}


def read(content: bytes) -> schemas.CreateJob:
    """Raises ApiError that names the field."""
    if len(content) > LARGEST_BYTES:
        raise ApiError("This is no job's configuration: it is larger than 1 MiB.")
    try:
        values = yaml.load(content.decode("utf-8-sig"), Loader=PlainLoader)  # JSON is YAML too
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError) as problem:
        raise ApiError(f"This can be read neither as JSON nor as YAML: {' '.join(str(problem).split())}") from problem
    if not isinstance(values, dict):
        raise ApiError("A configuration is an object with `model` and `training_file` in it; this is not one.")
    try:
        return schemas.CreateJob.model_validate(values)
    except ValidationError as problem:
        raise _fault(problem, values) from problem


NAMES = {*schemas.CreateJob.model_fields, *schemas.DPO_FIELDS, *schemas.LORA_FIELDS, *schemas.TRAINING_FIELDS}


def _fault(problem: ValidationError, values: dict[Any, Any]) -> ApiError:
    """The first thing that is wrong, under the path that the file gives it."""
    errors = [{**error, "loc": ("body", "", *error["loc"])} for error in problem.errors()]
    place = wording.locate(errors[0], values)
    if errors[0]["type"] == "missing":
        return ApiError(f"`{place}` is missing.", param=place)
    if errors[0]["type"] in ("extra_forbidden", "invalid_key"):
        near = difflib.get_close_matches(place.rpartition(".")[2], sorted(NAMES), 1)
        meant = f" Did you mean `{near[0]}`?" if near else ""
        return ApiError(f"`{place}` is nothing that can be set.{meant}", param=place)
    said = wording.sentence([error for error in errors if wording.locate(error, values) == place])
    value = wording.dig(values, place)
    came = f" It is {str(value)[:80]}." if isinstance(value, str | int | float) else ""
    return ApiError(f"`{place}` {said}{came}", param=place)


class PlainLoader(yaml.SafeLoader):
    """`on`, `off`, `yes` and `no` are words, and 1e-4 is a number, as in YAML 1.2."""

    yaml_implicit_resolvers = {
        first: [
            (tag, pattern)
            for tag, pattern in found
            if tag not in ("tag:yaml.org,2002:bool", "tag:yaml.org,2002:timestamp")
        ]
        for first, found in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }


PlainLoader.add_implicit_resolver("tag:yaml.org,2002:bool", re.compile(r"^(?:true|True|false|False)$"), list("tTfF"))
PlainLoader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"^[-+]?[0-9]+(?:\.[0-9]*)?[eE][-+]?[0-9]+$"), list("-+0123456789")
)
