"""What a job would take, before it exists: the live card of the form."""

from dataclasses import dataclass, field

from accounts.errors import ApiError
from dashboard.forms import JobForm
from training.datasets import MIN_JOB_ROWS
from training.engine.errors import EngineError
from training.engine.spec import DataFacts, DeviceFacts, Estimate, Resolved
from training.models import BaseModel, DatasetFile
from training.rules import FORMAT_NAMES, METHOD_FORMATS


@dataclass
class Forecast:
    """Figures, or the reason why there are none. `problem_field` says which control is to blame."""

    resolved: Resolved | None = None
    estimate: Estimate | None = None
    device: DeviceFacts | None = None
    train: DataFacts | None = None
    valid: DataFacts | None = None
    problem: str = ""
    problem_field: str = ""
    refused: bool = False  # the pair cannot work; otherwise the figures are only not there yet
    missing: list[str] = field(default_factory=list)

    @property
    def memory_share(self) -> int:
        """Per cent of the device's memory, for a bar."""
        if not self.estimate or not self.device or not self.device.memory_bytes:
            return 0
        return min(100, round(100 * self.estimate.memory_bytes / self.device.memory_bytes))


def forecast(form: JobForm) -> Forecast:
    """For a form that was validated, whether it is complete or not."""
    model, file, recipe = form.base_model, form.cleaned_data.get("training_file"), form.recipe
    missing = [name for name, there in (("a base model", model), ("a training file", file)) if not there]
    if missing or model is None or recipe is None:
        problem = "" if missing else "Correct the marked fields to see what the job takes."
        return Forecast(missing=missing, problem=problem)
    try:
        if file.format not in METHOD_FORMATS[recipe.method]:
            return Forecast(problem=_wrong_format(file, recipe.method), problem_field="method", refused=True)
        _check(form, model)
        train, valid = _data(form, file, model)
        if train.rows < MIN_JOB_ROWS and recipe.method != "pretrain":
            return Forecast(problem=_too_few(form, file, train.rows), problem_field="training_file", refused=True)
        return _figures(form, model, train, valid)
    except EngineError as problem:
        return Forecast(problem=problem.message, problem_field=_last(problem.param), refused=True)
    except ApiError as problem:
        return Forecast(problem=problem.message, problem_field=_last(problem.param))
    except OSError as problem:
        return Forecast(problem=f"{problem.filename or 'A file'} cannot be read: {problem.strerror}.", refused=True)


def _wrong_format(file: DatasetFile, method: str) -> str:
    """Before anything is counted: the rows of another format have nothing that this method could learn."""
    wanted = " or ".join(FORMAT_NAMES[name] for name in METHOD_FORMATS[method])
    return f"{file.filename} is {FORMAT_NAMES[file.format]}; this method trains on {wanted}. Choose the other method."


def _too_few(form: JobForm, file: DatasetFile, left: int) -> str:
    split = form.cleaned_data.get("validation") == "split"
    rows = (
        f"{left} of {file.filename}'s {file.rows} rows are left to train on"
        if split
        else f"{file.filename} has {left} row{'' if left == 1 else 's'}"
    )
    return f"{rows}; a job needs at least {MIN_JOB_ROWS}. Add rows{' or keep fewer aside' if split else ''}."


def _last(param: str | None) -> str:
    """The control's name out of a full path such as method.supervised.hyperparameters.lora_r."""
    return (param or "").rsplit(".", 1)[-1]


def _check(form: JobForm, model: BaseModel) -> None:
    """Raises EngineError for what need not wait until the tokens are counted."""
    from training import devices
    from training.engine.facts import read_start_facts
    from training.engine.resolve import check_recipe

    assert form.recipe
    asked = form.cleaned_data
    validated = asked.get("validation") == "split" or bool(asked.get("validation_file"))
    start = read_start_facts(form.start_checkpoint.path) if form.start_checkpoint else None
    check_recipe(form.recipe, model.facts, devices.device_facts(), validated=validated, start=start)


def _figures(form: JobForm, model: BaseModel, train: DataFacts, valid: DataFacts | None) -> Forecast:
    from training import calibration, devices
    from training.engine.facts import read_start_facts
    from training.engine.resolve import resolve

    assert form.recipe
    device = devices.device_facts()
    start = read_start_facts(form.start_checkpoint.path) if form.start_checkpoint else None
    kind = form.cleaned_data["training_file"].format
    resolved = resolve(form.recipe, train, model.facts, device, valid=valid, start=start, data_format=kind)
    expected = calibration.expect(form.recipe.method, resolved, train, model.facts, device, valid, start)
    return Forecast(resolved, expected, device, train, valid)


def _data(form: JobForm, file: DatasetFile, model: BaseModel) -> tuple[DataFacts, DataFacts | None]:
    facts = counted(file, model)
    how, other = form.cleaned_data.get("validation"), form.cleaned_data.get("validation_file")
    if how == "file" and other:
        return facts, counted(other, model)
    share = form.cleaned_data.get("split_share")
    if how == "split" and share:
        return _share(facts, 1 - share / 100), _share(facts, share / 100)
    return facts, None


def counted(file: DatasetFile, model: BaseModel) -> DataFacts:
    from training import token_counts

    facts = token_counts.facts_or_start(file, model)
    if facts is None:
        raise ApiError(
            f"The tokens of {file.filename} are being counted by the worker; the figures come when that is done. "
            "The job can be started without them.",
            param="training_file",
        )
    return facts


def _share(facts: DataFacts, share: float) -> DataFacts:
    """The part of a file that a split leaves; which rows these are is not known yet."""
    return facts.model_copy(
        update={
            "rows": max(1, round(facts.rows * share)),
            "tokens": round(facts.tokens * share),
            "trained_tokens": round(facts.trained_tokens * share),
        }
    )
