"""Validation errors in words, without a server."""

import json

import pytest
from django.test import RequestFactory
from pydantic import ValidationError

from accounts.errors import ApiError
from dashboard.schemas import CreateJob
from dashboard.wording import explain


def refused(**fields) -> ApiError:
    body = {"model": "m", "training_file": "file-1", **fields}
    request = RequestFactory().post("/v1/fine_tuning/jobs", json.dumps(body), content_type="application/json")
    with pytest.raises(ValidationError) as caught:
        CreateJob.model_validate(body)
    errors = [error | {"loc": ("body", "body", *error["loc"])} for error in caught.value.errors()]
    return explain(errors, request)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        (
            {"hyperparameters": {"n_epochs": 51}},
            "Invalid 'hyperparameters.n_epochs': it must be at most 50 or \"auto\". You sent 51.",
        ),
        (
            {"hyperparameters": {"n_epochs": True}},
            "Invalid 'hyperparameters.n_epochs': it must be a whole number or \"auto\". You sent true.",
        ),
        (
            {"hyperparameters": {"learning_rate_multiplier": "fast"}},
            'Invalid \'hyperparameters.learning_rate_multiplier\': it must be a number or "auto". You sent "fast".',
        ),
        (
            {"suffix": "x" * 65},
            f"Invalid 'suffix': it must be at most 64 characters long. You sent \"{'x' * 65}\".",
        ),
        (
            {"metadata": {"k" * 65: "v"}},
            f"Invalid 'metadata': each of its keys must be at most 64 characters long. You sent \"{'k' * 65}\".",
        ),
        ({"lora": 3}, "Invalid 'lora': it must be an object. You sent 3."),
        ({"training_file": 3}, "Invalid 'training_file': it must be a string. You sent 3."),
        ({"training": {"warmup": 1}}, "Unknown parameter: 'training.warmup'."),
        (
            {"pinned_prompts": ["fine", {"prompt": "a", "weight": 1}]},
            "Invalid 'pinned_prompts.1': a pinned prompt has no field weight; leave it out. Its fields are messages, "
            'tools, functions, prompt, expected. You sent {"prompt": "a", "weight": 1}.',
        ),
        ({"pinned_prompts": "Hello?"}, "Invalid 'pinned_prompts': it must be a list. You sent \"Hello?\"."),
        ({"pinned_prompts": [3]}, "Invalid 'pinned_prompts.0': it must be a string or an object. You sent 3."),
        (
            {"pinned_prompts": [{"prompt": "a" * 40_000}]},
            "Invalid 'pinned_prompts.0': it is longer than 32,000 characters; shorten it. "
            f'You sent {{"prompt": "{"a" * 68}….',
        ),
        (
            {"seed": -1, "suffix": "", "training": {"dtype": "float8", "warmup": 1}},
            "Invalid 'suffix': it must be at least 1 character long. You sent \"\". "
            "Also wrong: 'seed', 'training.dtype', 'training.warmup'.",
        ),
        ({"method": {}}, "Missing required parameter: 'method.type'."),
    ],
)
def test_a_refusal_says_what_is_allowed_and_what_came(fields, message):
    assert refused(**fields).message == message


def test_null_means_absent():
    body = CreateJob.model_validate({"model": "m", "training_file": "f", "suffix": None, "hyperparameters": None})
    assert body.suffix is None and body.hyperparameters is None


def test_null_is_absent_also_where_a_field_has_a_default_of_its_own():
    body = {
        "model": "m",
        "training_file": "f",
        "lora": {"dropout": None},
        "training": {"dtype": None, "max_length": 64},
    }
    asked = CreateJob.model_validate(body)
    assert (asked.lora.model_fields_set, asked.training.model_fields_set) == (set(), {"max_length"})
