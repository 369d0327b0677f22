"""The numbers behind "auto" where a job learns from preferences (DPO). No torch."""

from training.engine.errors import InvalidRecipe, InvalidTrainingFile
from training.engine.spec import Recipe

# Of the supervised base rate. Measured on the starter model with the sample pairs, one pass after supervised training
# (held-out prompts, docs/preferences.md): at 0.05, 0.02 and 0.01 of it the share of pairs told apart was 0.83, 0.88 and
# 0.90, and the voice that had been taught before was kept in 67, 77 and 90 % of the answers (93 % before). Published
# recipes for 7 to 8B models take 0.025 (the alignment handbook: 5e-6 for adapters, supervised 2e-4).
RATE_SHARE = 0.01
BETA = 0.1
MOST_EPOCHS = 3
PAIRS_OF_ONE_PASS = 100


def auto_beta() -> tuple[float, str]:
    return BETA, "As in the DPO paper and its usual recipes; more keeps the model closer to where it started."


def auto_pair_epochs(rows: int) -> tuple[int, str]:
    """Fewer passes than supervised training makes over a small file."""
    epochs = min(MOST_EPOCHS, max(1, -(-PAIRS_OF_ONE_PASS // max(rows, 1))))
    if epochs > 1:
        return epochs, f"{rows:,} pairs are few: {epochs} passes, so that there are steps enough to learn from."
    return 1, "Over pairs, more passes soon make even the preferred answers less likely."


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
