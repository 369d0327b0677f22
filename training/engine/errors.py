"""What can go wrong in the engine. A message says what, where and what to do; `code` and `param` are OpenAI's words."""


class EngineError(Exception):
    """Root of the engine's errors. Everything under it is the user's or the machine's trouble, not a bug."""

    code = "engine_error"
    param: str | None = None

    def __init__(self, message: str, *, param: str | None = None, code: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.param = param or self.param
        self.code = code or self.code


class InvalidTrainingFile(EngineError):
    """A dataset, or a row of it, that cannot be trained on."""

    code = "invalid_training_file"
    param = "training_file"


class InvalidRecipe(EngineError):
    """Hyperparameters that do not fit each other, the model, the data or the device. `param` names the field."""

    code = "invalid_hyperparameters"
    param = "hyperparameters"


class ModelProblem(EngineError):
    """A base model, tokenizer or starting checkpoint that is missing or cannot be read."""

    code = "model_not_available"
    param = "model"


class NonFiniteLoss(EngineError):
    """Loss or gradient became NaN or infinite; the weights were not touched by that step."""

    code = "non_finite_loss"


class LossSpike(EngineError):
    """The loss rose far above the last ones and the job asked to stop then; that step was not done."""

    code = "loss_spike"


class DiskFull(EngineError):
    """No room for a checkpoint."""

    code = "disk_full"


class OutOfMemory(EngineError):
    """The device had no room for a forward and backward pass."""

    code = "out_of_memory"
