"""What the forms say of a value that cannot be: the range, what empty means, what came."""

from typing import Any

import pytest
from pydantic import ValidationError

from accounts.models import Project
from dashboard import forms
from dashboard.form_words import accepted, recipe_errors
from tests.unit.test_job_form import form_of
from training.engine.scratch import Shape
from training.engine.spec import Recipe

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def base_models_are_on_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("training.models.BaseModel.is_present", True)


@pytest.mark.parametrize(
    ("field", "value", "said"),
    [
        ("n_epochs", "99", "Enter a whole number from 1 to 50, or leave it empty for auto. You entered 99."),
        ("n_epochs", "three", "Enter a whole number from 1 to 50, or leave it empty for auto. You entered three."),
        (
            "learning_rate_multiplier", "nan",
            "Enter a number above 0 and at most 1,000, or leave it empty for auto. You entered nan.",
        ),
        ("lora_dropout", "nan", "Enter a number from 0 to below 1. You entered nan."),
        ("max_length", "3", "Enter a whole number from 16 to 1,048,576, or leave it empty for auto. You entered 3."),
        ("validate_every_steps", "-1", "Enter a whole number of 0 or more. You entered -1."),
        ("lr_scheduler", "wavy", "Choose one from the list; “wavy” is not in it."),
        ("seed", "x", "Enter a whole number from 0 to 2,147,483,647, or leave it empty for a new seed."),
        (
            "seed", "-1",
            "Enter a whole number from 0 to 2,147,483,647, or leave it empty for a new seed. You entered -1.",
        ),
        ("split_share", "nan", "Enter a number from 1 to 50."),
        ("split_share", "80", "Enter a number from 1 to 50. You entered 80.0."),
        ("training_file", "", "Choose the file to train on."),
        ("model", "", "Choose the model to start from."),
        ("label", "x" * 201, "Enter at most 200 characters. You entered 201."),
        ("n_epochs", "9" * 100, f"You entered {'9' * 60}…."),
    ],
)  # fmt: skip
def test_a_field_says_what_to_enter_and_what_came(project: Project, field: str, value: str, said: str) -> None:
    form = form_of(project, validation="split", **({"split_share": "20"} | {field: value}))
    assert form.errors[field][0].endswith(said)


def test_no_number_of_the_form_takes_one_that_is_none_and_no_sentence_is_a_librarys(project: Project) -> None:
    numbers = [name for name in forms.RECIPE_FIELDS if accepted(Recipe, name)[0].startswith(("a number", "a whole"))]
    assert len(numbers) > 12
    for value in ("nan", "inf", "-inf", "1e999", "x"):
        form = form_of(project, beta="0.1", **dict.fromkeys([name for name in numbers if name != "beta"], value))
        assert set(form.errors) == set(numbers) - {"beta"}
        for said in form.errors.values():
            assert said[0].startswith("Enter a") and f"You entered {value}." in said[0], said


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"width": 100}, "Enter a whole number from 64 to 8,192 and a multiple of 64. You entered 100."),
        ({"layers": "many"}, "Enter a whole number from 1 to 64. You entered many."),
    ],
)
def test_a_new_models_shape_speaks_the_same_way(values: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError) as refused:
        Shape.model_validate(values)
    assert list(recipe_errors(refused.value, Shape).values()) == [said]
