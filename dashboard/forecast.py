"""What a job would take, before it exists: the live card of the form."""

from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple, Protocol

from accounts.errors import ApiError
from training.datasets import MIN_JOB_ROWS
from training.engine.errors import EngineError
from training.engine.facts import StartFacts
from training.engine.spec import DataFacts, DeviceFacts, Estimate, Recipe, Resolved
from training.models import BaseModel, Checkpoint, DatasetFile, FileTask
from training.rules import FORMAT_NAMES, METHOD_FORMATS
from training.token_sample import Sample

WRONG: Final = "Correct the marked fields to see what the job takes."


class Fault(NamedTuple):
    """Why the job cannot be; `field` is the control to blame, or empty."""

    field: str
    text: str


@dataclass
class Forecast:
    """Figures, or the reason why there are none: `faults` when the job cannot be, else `waits` when it is only not
    known yet. With a `sample` the figures are an estimate from some rows, and `waits` says what the exact ones wait
    for."""

    resolved: Resolved | None = None
    estimate: Estimate | None = None
    device: DeviceFacts | None = None
    train: DataFacts | None = None
    valid: DataFacts | None = None
    faults: list[Fault] = field(default_factory=list)
    waits: str = ""
    missing: list[str] = field(default_factory=list)
    sample: Sample | None = None

    @property
    def problems(self) -> list[str]:
        return [fault.text for fault in self.faults] or ([self.waits] if self.waits else [])

    def fault_of(self, name: str) -> str:
        return next((fault.text for fault in self.faults if fault.field == name), "")

    @property
    def memory_share(self) -> int:
        """Per cent of the device's memory, for a bar."""
        if not self.estimate or not self.device or not self.device.memory_bytes:
            return 0
        return min(100, round(100 * self.estimate.memory_bytes / self.device.memory_bytes))


class Asked(Protocol):
    """What a job, or a stage of a recipe, is asked to be: a form that was validated, complete or not."""

    base_model: BaseModel | None
    start_checkpoint: Checkpoint | None
    recipe: Recipe | None
    readable_recipe: Recipe | None  # without the fields that are wrong
    cleaned_data: dict[str, Any]


def forecast(form: Asked, start: StartFacts | None = None, by_sample: bool = False) -> Forecast:
    """`start`: the weights it begins with, where these are not there yet. `by_sample`: while tokens are counted, or
    where that failed, figures come from a sample of the rows."""
    model, file, recipe = form.base_model, form.cleaned_data.get("training_file"), form.readable_recipe
    missing = [name for name, there in (("a base model", model), ("a training file", file)) if not there]
    if missing or model is None or file is None or recipe is None:
        return Forecast(missing=missing, waits="" if missing else WRONG)
    faults: list[Fault] = []
    try:
        start = start or start_of(form)
        faults += _faults_of_recipe(form, model, recipe, start)
        if file.format not in METHOD_FORMATS[recipe.method]:  # its rows have nothing that could be counted
            return Forecast(faults=[Fault("method", _wrong_format(file, recipe.method)), *faults])
        known = _Known(model, by_sample)
        train, valid = _data(form, file, known)
        faults += _faults_of_rows(form, file, recipe, train)
        faults += _faults_of_length(recipe, model, train, valid)
        if faults or form.recipe is None:
            return Forecast(faults=faults, waits=WRONG)
        figures = _figures(form, model, train, valid, start)
        figures.sample, figures.waits = known.sample, known.waits
        return figures
    except EngineError as problem:
        return Forecast(faults=[*faults, _as_fault(problem)])
    except ApiError as problem:
        return Forecast(faults=faults, waits=problem.message)
    except OSError as problem:
        return Forecast(
            faults=[*faults, Fault("", f"{problem.filename or 'A file'} cannot be read: {problem.strerror}.")]
        )


def _wrong_format(file: DatasetFile, method: str) -> str:
    """Before anything is counted: the rows of another format have nothing that this method could learn."""
    wanted = " or ".join(FORMAT_NAMES[name] for name in METHOD_FORMATS[method])
    return f"{file.filename} is {FORMAT_NAMES[file.format]}; this method trains on {wanted}. Choose the other method."


def _too_few(form: Asked, file: DatasetFile, left: int) -> str:
    split = form.cleaned_data.get("validation") == "split"
    rows = (
        f"{left} of {file.filename}'s {file.rows} rows are left to train on"
        if split
        else f"{file.filename} has {left} row{'' if left == 1 else 's'}"
    )
    return f"{rows}; a job needs at least {MIN_JOB_ROWS}. Add rows{' or keep fewer aside' if split else ''}."


def _as_fault(problem: EngineError) -> Fault:
    """Its control out of a full path such as method.supervised.hyperparameters.lora_r."""
    return Fault((problem.param or "").rsplit(".", 1)[-1], problem.message)


def _faults_of_rows(form: Asked, file: DatasetFile, recipe: Recipe, train: DataFacts) -> list[Fault]:
    few = train.rows < MIN_JOB_ROWS and recipe.method != "pretrain"
    return [Fault("training_file", _too_few(form, file, train.rows))] if few else []


def _faults_of_length(recipe: Recipe, model: BaseModel, train: DataFacts, valid: DataFacts | None) -> list[Fault]:
    from training.engine.resolve import check_length

    try:
        check_length(recipe, train, model.facts)
        if valid:
            check_length(recipe, valid, model.facts, "validation")
    except EngineError as problem:
        return [_as_fault(problem)]
    return []


def start_of(form: Asked) -> StartFacts | None:
    from training.engine.facts import read_start_facts

    return read_start_facts(form.start_checkpoint.path) if form.start_checkpoint else None


def _faults_of_recipe(form: Asked, model: BaseModel, recipe: Recipe, start: StartFacts | None) -> list[Fault]:
    """What need not wait until the tokens are counted."""
    from training import devices
    from training.engine.resolve import recipe_faults

    asked = form.cleaned_data
    validated = asked.get("validation") == "split" or bool(asked.get("validation_file"))
    found = recipe_faults(recipe, model.facts, devices.device_facts(), validated=validated, start=start)
    return [_as_fault(fault) for fault in found]


def _figures(
    form: Asked, model: BaseModel, train: DataFacts, valid: DataFacts | None, start: StartFacts | None
) -> Forecast:
    from training import calibration, devices
    from training.engine.resolve import resolve
    from training.usage import terms

    assert form.recipe
    device = devices.device_facts()
    file: DatasetFile = form.cleaned_data["training_file"]
    resolved = resolve(form.recipe, train, model.facts, device, valid=valid, start=start, data_format=file.format)
    price = terms.training_price(file.project_id, model.name)
    expected = calibration.expect(form.recipe.method, resolved, train, model.facts, device, valid, start, price)
    return Forecast(resolved, expected, device, train, valid)


class _Known:
    """What is known of files under a model's tokenizer; notes what only a sample tells."""

    def __init__(self, model: BaseModel, by_sample: bool) -> None:
        self.model, self.by_sample = model, by_sample
        self.sample: Sample | None = None
        self.waits = ""

    def facts(self, file: DatasetFile) -> DataFacts:
        """Raises as `counted` does, where no sample helps."""
        from training import token_sample

        try:
            return counted(file, self.model)
        except (ApiError, EngineError) as problem:
            found = token_sample.sample(file, self.model) if self.by_sample else None
            if found is None:
                raise
            self.sample = self.sample or found
            self.waits = self.waits or (problem.message if isinstance(problem, ApiError) else "")
            return found.as_facts(file.rows)


def _data(form: Asked, file: DatasetFile, known: _Known) -> tuple[DataFacts, DataFacts | None]:
    facts = known.facts(file)
    how, other = form.cleaned_data.get("validation"), form.cleaned_data.get("validation_file")
    if how == "file" and other:
        return facts, known.facts(other)
    share = form.cleaned_data.get("split_share")
    if how == "split" and share:
        return _share(facts, 1 - share / 100), _share(facts, share / 100)
    return facts, None


def counted(file: DatasetFile, model: BaseModel) -> DataFacts:
    """Raises ApiError while they are not, with how far that is, and EngineError where that failed."""
    from training import token_counts

    facts = token_counts.facts_or_start(file, model)
    if facts is not None:
        return facts
    task = token_counts.task_of(file, model)
    if task and task.status == FileTask.Status.FAILED:
        text = f"The tokens of {file.filename} could not be counted: {task.message} On its tab Insight, count again."
        raise EngineError(text, param="training_file")
    far = f" ({100 * task.share:.0f} %)" if task and task.status == FileTask.Status.RUNNING else ""
    raise ApiError(
        f"The tokens of {file.filename} are being counted by the worker{far}; the figures come when that is done. "
        "The job can be started without them.",
        param="training_file",
    )


def _share(facts: DataFacts, share: float) -> DataFacts:
    """The part of a file that a split leaves; which rows these are is not known yet."""
    return facts.model_copy(
        update={
            "rows": max(1, round(facts.rows * share)),
            "tokens": round(facts.tokens * share),
            "trained_tokens": round(facts.trained_tokens * share),
        }
    )
