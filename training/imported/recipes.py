"""The hyperparameters of OpenAI's jobs in Hone's terms, for a rerun."""

from typing import Any

from pydantic import ValidationError

from training.engine.spec import Recipe
from training.imported.mapping import base_of, family

# What OpenAI's "auto" became for these models: the multiplier that stands for 1 in our terms. Theirs scales a rate that
# they never told, so only what a job asked beside the usual can be carried over.
OPENAI_AUTO_MULTIPLIER = {"gpt-3.5-turbo": 2.0, "gpt-4o-mini": 1.8, "gpt-4.1-nano": 1.0, "davinci-002": 1.0}
METHODS = {"supervised": "sft", "dpo": "dpo"}


def recipe_of(model: str, method: str, hyperparameters: dict[str, Any]) -> tuple[Recipe, list[str]]:
    """Of a rerun on the local base, and what it does otherwise, in sentences."""
    asked: dict[str, Any] = {"method": METHODS.get(method, "sft")}
    notes = []
    for name in ("n_epochs", "batch_size", "learning_rate_multiplier", *(["beta"] if method == "dpo" else [])):
        value = hyperparameters.get(name)
        if not isinstance(value, int | float) or isinstance(value, bool):
            continue
        if name == "learning_rate_multiplier":
            value, said = _multiplier(model, value)
            notes.append(said)
            if value is None:
                continue
        try:
            Recipe.model_validate({**asked, name: value})
        except ValidationError as error:
            notes.append(f"{name} {value} is left to auto: {error.errors()[0]['msg'].lower()}.")
            continue
        asked[name] = value
    return Recipe.model_validate(asked), notes


def _multiplier(model: str, value: float) -> tuple[float | None, str]:
    usual = OPENAI_AUTO_MULTIPLIER.get(family(base_of(model)))
    if usual is None or value <= 0:
        return None, f"OpenAI's learning_rate_multiplier {value:g} is left to auto: what is usual for it is not known."
    ours = float(f"{value / usual:.3g}")
    return ours, f"OpenAI's learning_rate_multiplier {value:g} is {ours:g} here: {usual:g} was the usual one there."
