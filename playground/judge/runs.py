"""Every write of a judge run, and which questions it has to ask: start, cancel, go on, progress."""

from dataclasses import dataclass

from django.db import transaction
from django.utils import timezone

from accounts.errors import ApiError
from accounts.models import Project, User
from playground import asking, contenders
from playground.campaigns.models import Assignment, Campaign
from playground.judge.models import JudgeRun, JudgeVerdict
from playground.matrix.models import KeptAnswer, Matrix
from training.notify import project_changed
from training.tasks import wake


@dataclass(frozen=True)
class Question:
    """Two answers in the order in which they are read."""

    prompt: str
    left: str
    right: str


@transaction.atomic
def start(
    *, project: Project, user: User | None, model: str, rubric: str, matrix: Matrix, campaign: Campaign | None = None
) -> JudgeRun:
    """Raises ApiError for a model that is not there or that is itself judged."""
    asking.find(project, model)
    lasting = contenders.named(project, [model])[0].model
    if lasting in {column["model"] for column in matrix.columns}:
        raise ApiError("This model wrote some of the answers. Choose one that does not judge itself.", param="model")
    made = JudgeRun.objects.create(
        project=project, created_by=user, model=lasting, rubric=rubric.strip(), matrix=matrix, campaign=campaign
    )
    transaction.on_commit(lambda: wake_for(made))
    return made


def cancel(run: JudgeRun) -> None:
    """What was said stays; its worker stops within a second."""
    JudgeRun.objects.filter(pk=run.pk, state=JudgeRun.State.RUNNING).update(
        state=JudgeRun.State.CANCELLED, finished_at=timezone.now()
    )
    project_changed(run.project_id)


def go_on(run: JudgeRun) -> None:
    """Asks what is not answered yet, new votes' pairs too."""
    JudgeRun.objects.filter(pk=run.pk).update(state=JudgeRun.State.RUNNING, finished_at=None, trouble="", woken_at=None)
    transaction.on_commit(lambda: wake_for(run))
    project_changed(run.project_id)


def wake_for(run: JudgeRun) -> None:
    """Tells a worker; a message that is lost is sent again by `judging.tend`."""
    from playground import tasks

    JudgeRun.objects.filter(pk=run.pk).update(woken_at=timezone.now())
    wake(tasks.judge_pairs, run.pk)


def questions(run: JudgeRun) -> list[Question]:
    """Both orders of every pair that it judges."""
    if run.campaign:
        votes = Assignment.objects.votes(run.campaign)
        cells = sorted(set(votes.values_list("prompt", "first", "second")))
    else:
        reference, *others = run.matrix.contenders
        prompts = run.matrix.prompt_set.prompts.values_list("key", flat=True)
        cells = [(prompt, reference, other) for prompt in prompts for other in others]
    return [Question(prompt, *order) for prompt, one, other in cells for order in ((one, other), (other, one))]


def count_questions(campaign: Campaign) -> int:
    """How many a run on this campaign would ask."""
    return 2 * len(set(Assignment.objects.votes(campaign).values_list("prompt", "first", "second")))


def verdicts(run: JudgeRun) -> dict[Question, str]:
    """What its model said under its rubric, of any question."""
    found = JudgeVerdict.objects.filter(project=run.project_id, model=run.model, rubric=run.rubric_key)
    rows = found.values_list("prompt", "left", "right", "choice")
    return {Question(prompt, left, right): choice for prompt, left, right, choice in rows}


def missing(run: JudgeRun) -> list[Question]:
    """What it can be asked and has not said; a question about an answer that failed cannot be asked."""
    said = verdicts(run)
    kept = KeptAnswer.objects.filter(project=run.project_id, contender__in=run.matrix.contenders, error="")
    there = set(kept.values_list("prompt", "contender"))
    return [
        each
        for each in questions(run)
        if each not in said and (each.prompt, each.left) in there and (each.prompt, each.right) in there
    ]


def unreadable_replies(run: JudgeRun, most: int = 3) -> list[str]:
    """The first of those that were neither the JSON nor the letter asked for."""
    found = JudgeVerdict.objects.filter(project=run.project_id, model=run.model, rubric=run.rubric_key, choice="")
    return list(found.order_by("pk").values_list("reply", flat=True)[:most])
