"""The numbers behind "auto" where a job learns from preferences (DPO). No torch."""

from training.engine.errors import InvalidRecipe, InvalidTrainingFile
from training.engine.spec import Recipe

# Of the supervised base rate. Published recipes for 7 to 8B models: the alignment handbook takes 5e-6 for adapters and
# 5e-7 for full weights (supervised: 2e-4 and 2e-5), Tinker's cookbook 1e-5 for adapters; ours comes to 1e-5 and 1e-6.
RATE_SHARE = 0.05
BETA = 0.1
MOST_EPOCHS = 3


def auto_beta() -> tuple[float, str]:
    return BETA, "0.1, as in the DPO paper and its usual recipes; more keeps the model closer to where it started."


def auto_pair_epochs(rows: int) -> tuple[int, str]:
    """Fewer passes than supervised training makes over a small file."""
    if rows * MOST_EPOCHS > 25_000:
        epochs = max(1, 25_000 // rows)
        return epochs, f"{rows:,} pairs are many: 25,000 / pairs, at least 1."
    return MOST_EPOCHS, "3: over pairs, more passes soon make even the preferred answers less likely."


def check_method(recipe: Recipe, data_format: str) -> None:
    """Refuses what does not go with the method; the format "" is not known."""
    if recipe.method != "dpo" and recipe.beta != "auto":
        text = "beta belongs to DPO and has no meaning for another method. Leave it on auto or choose DPO."
        raise InvalidRecipe(text, param="beta")
    if (recipe.method == "dpo") != (data_format == "preference") and data_format:
        raise InvalidTrainingFile(
            "DPO, and only DPO, learns from preferences: rows with an input, a preferred and a non-preferred answer. "
            "Choose another file or another method."
        )
