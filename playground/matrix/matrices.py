"""Every write of a matrix: start, cancel, go on, ask again; and how far it is."""

from dataclasses import dataclass
from typing import Final

from django.db import transaction
from django.db.models import Q
from django.utils import timezone

from accounts.errors import ApiError
from accounts.models import Project, User
from playground import contenders
from playground.forms import MOST_COLUMNS, Setup, parse
from playground.matrix.models import KeptAnswer, Matrix, PromptSet
from playground.matrix.scores import Score, checked
from training.notify import project_changed
from training.tasks import wake

MOST_SCORES: Final = 6


@transaction.atomic
def start(*, project: Project, user: User | None, name: str, prompt_set: PromptSet, setup: Setup) -> Matrix:
    """Asks for every answer. Aliases and NAME:best become the name of what they mean now. Raises ApiError."""
    made = Matrix.objects.create(
        project=project,
        name=name.strip() or prompt_set.name,
        prompt_set=prompt_set,
        columns=lasting_columns(project, setup),
        system_prompt=setup.system,
        settings=setup.settings.model_dump(),
        created_by=user,
    )
    transaction.on_commit(lambda: wake_for(made))
    return made


def lasting_columns(project: Project, setup: Setup) -> list[dict[str, object]]:
    """The columns under names that will always mean the same weights. Raises ApiError for one that is not there."""
    columns = [column.model_dump(exclude_none=True) for column in setup.columns]
    columns = contenders.lasting_columns(project, columns, param="columns")
    if len({str(sorted(column.items())) for column in columns}) < len(columns):
        raise ApiError("Two columns are the same. Remove one, or give it its own system prompt.", param="columns")
    return columns


@transaction.atomic
def add_columns(matrix: Matrix, setup: Setup) -> Matrix:
    """The same prompts to more contenders; what is answered already stays. Raises ApiError."""
    new = [column for column in lasting_columns(matrix.project, setup) if column not in matrix.columns]
    matrix.columns = [*matrix.columns, *new]
    matrix.save(update_fields=["columns"])
    go_on(matrix)
    return matrix


def add_model(matrix: Matrix, model: str, own: str = "") -> Matrix:
    """One more contender, under the shared system prompt unless it has its `own`. Raises ApiError."""
    column = {"model": model} | ({"system": own} if own.strip() else {})
    if len(matrix.columns) >= MOST_COLUMNS:
        raise ApiError(f"A matrix has at most {MOST_COLUMNS} contenders. Make another one.", param="columns")
    shared = {"system": matrix.system_prompt, "settings": matrix.settings}
    return add_columns(matrix, parse(Setup, {"columns": [column], **shared}))


def cancel(matrix: Matrix) -> None:
    """What is answered stays; its worker stops within a second."""
    Matrix.objects.filter(pk=matrix.pk, state=Matrix.State.ANSWERING).update(
        state=Matrix.State.CANCELLED, finished_at=timezone.now()
    )
    project_changed(matrix.project_id)


def go_on(matrix: Matrix, *, again: bool = False) -> None:
    """Asks for what is missing; `again`: also for what failed."""
    if again:
        answers_of(matrix).exclude(error="").delete()
    Matrix.objects.filter(pk=matrix.pk).update(
        state=Matrix.State.ANSWERING, finished_at=None, troubles={}, woken_at=None
    )
    transaction.on_commit(lambda: wake_for(matrix))
    project_changed(matrix.project_id)


@transaction.atomic
def add_score(matrix: Matrix, score: Score) -> None:
    """Computed on what is answered: nobody is asked again. Raises ApiError."""
    kept = Matrix.objects.select_for_update().get(pk=matrix.pk)
    given = checked(score).model_dump()
    if len(kept.scores) >= MOST_SCORES:
        raise ApiError(f"A matrix has at most {MOST_SCORES} scores. Remove one first.", param="kind")
    if given not in kept.scores:
        kept.scores = [*kept.scores, given]
        kept.save(update_fields=["scores"])


@transaction.atomic
def remove_score(matrix: Matrix, key: str) -> None:
    kept = Matrix.objects.select_for_update().get(pk=matrix.pk)
    kept.scores = [each for each in kept.scores if Score.model_validate(each).key != key]
    kept.save(update_fields=["scores"])


def wake_for(matrix: Matrix) -> None:
    """Tells a worker; a message that is lost is sent again by `filling.tend`."""
    from playground import tasks

    Matrix.objects.filter(pk=matrix.pk).update(woken_at=timezone.now())
    wake(tasks.fill_matrix, matrix.pk)


def answers_of(matrix: Matrix):  # type: ignore[no-untyped-def]
    """The kept answers of its contenders to its prompts, failed ones too."""
    return KeptAnswer.objects.filter(
        project=matrix.project_id,
        contender__in=matrix.contenders,
        prompt__in=matrix.prompt_set.prompts.values("key"),
    )


@dataclass(frozen=True)
class Progress:
    """How many of its answers are there."""

    answered: int
    failed: int
    wanted: int

    @property
    def missing(self) -> int:
        return self.wanted - self.answered - self.failed

    @property
    def percent(self) -> int:
        return 100 * (self.answered + self.failed) // self.wanted if self.wanted else 100


def progress(matrix: Matrix) -> Progress:
    found = answers_of(matrix)
    failed = found.filter(~Q(error="")).count()
    return Progress(found.count() - failed, failed, matrix.prompt_set.prompts.count() * len(matrix.columns))
