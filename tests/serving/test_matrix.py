"""A matrix is answered by what is served: once, kept, cancelled, gone on with. On the fake vLLM."""

from typing import Any

import pytest
from django.utils import timezone

from accounts.errors import ApiError
from accounts.models import Project, User
from playground import asking, deployments, gateway
from playground.external.models import ExternalModel
from playground.fleet import Fleet
from playground.forms import Setup
from playground.matrix import filling, matrices, sets
from playground.matrix.models import KeptAnswer, Matrix, PromptSet
from tests.serving.conftest import Shelf, settle, state_is
from tests.stand_in import KEY, standing
from training.models import BaseModel, Checkpoint
from training.workers import new_claim


@pytest.fixture
def checkpoint(shelf: Shelf, base: BaseModel) -> Checkpoint:
    return shelf.checkpoint(base)


@pytest.fixture
def prompts(project: Project) -> PromptSet:
    return sets.make(
        project=project, user=None, name="Orders", pinned=sets.typed("Order 1?\nOrder 2?\n\nOrder 1?"), source={}
    )


def start(project: Project, prompts: PromptSet, *columns: dict[str, Any], **given: Any) -> Matrix:
    setup = Setup.model_validate({"columns": columns, "settings": {"temperature": 0, "max_tokens": 8}, **given})
    return matrices.start(project=project, user=None, name="", prompt_set=prompts, setup=setup)


@pytest.fixture
def served(fleet: Fleet, base: BaseModel, checkpoint: Checkpoint) -> Fleet:
    deployments.want(base_model=base)
    deployments.want(checkpoint=checkpoint)
    settle(fleet, state_is("ready", base, checkpoint))
    deployments.beat(servers=[])
    return fleet


def fill(matrix: Matrix) -> Matrix:
    """What the worker does with its message."""
    filling.fill(matrix.pk)
    matrix.refresh_from_db()
    return matrix


def test_a_set_holds_each_question_once(prompts: PromptSet) -> None:
    assert [prompt.text for prompt in prompts.prompts.all()] == ["Order 1?", "Order 2?"]


def test_every_contender_answers_every_prompt_once_and_the_answers_are_kept(
    served: Fleet, project: Project, base: BaseModel, checkpoint: Checkpoint, prompts: PromptSet
) -> None:
    matrix = fill(start(project, prompts, {"model": base.name}, {"model": checkpoint.step_name}))
    assert matrix.state == "done" and not matrix.claim
    found = matrices.progress(matrix)
    assert (found.answered, found.failed, found.wanted, found.percent) == (4, 0, 4, 100)
    said = {(answer.model, answer.text.strip()) for answer in KeptAnswer.objects.all()}
    assert said == {(name, f"{name} heard Order {n}?") for name in (base.name, checkpoint.step_name) for n in (1, 2)}
    assert {answer.checkpoint for answer in KeptAnswer.objects.exclude(checkpoint=None)} == {checkpoint}
    kept = set(KeptAnswer.objects.values_list("pk", flat=True))
    other = start(project, prompts, {"model": checkpoint.step_name}, {"model": base.name, "system": "Be brief."})
    assert matrices.progress(other).answered == 2, "the checkpoint was asked the same before"
    fill(other)
    assert kept < set(KeptAnswer.objects.values_list("pk", flat=True)) and KeptAnswer.objects.count() == 6


def test_a_contender_that_comes_later_is_asked_alone(
    served: Fleet, project: Project, base: BaseModel, checkpoint: Checkpoint, prompts: PromptSet
) -> None:
    matrix = fill(start(project, prompts, {"model": base.name}))
    before = set(KeptAnswer.objects.values_list("pk", flat=True))
    setup = Setup.model_validate({"columns": [{"model": base.name}, {"model": checkpoint.step_name}]})
    matrix = fill(matrices.add_columns(matrix, setup))
    assert [column["model"] for column in matrix.columns] == [base.name, checkpoint.step_name]
    assert matrices.progress(matrix).percent == 100
    assert set(KeptAnswer.objects.filter(model=base.name).values_list("pk", flat=True)) == before


def test_what_a_lost_worker_left_is_asked_for_again_and_what_is_cancelled_is_not(
    project: Project, base: BaseModel, prompts: PromptSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[str] = []
    monkeypatch.setattr(matrices, "wake_for", lambda matrix: told.append(matrix.pk))
    matrix = start(project, prompts, {"model": base.name})
    long_ago = timezone.now() - timezone.timedelta(seconds=60)
    Matrix.objects.update(woken_at=long_ago, claim=new_claim(), heartbeat_at=timezone.now())
    filling.tend()
    assert not told, "a living worker answers"
    Matrix.objects.update(heartbeat_at=long_ago - timezone.timedelta(hours=1))
    filling.tend()
    assert told == [matrix.pk]
    matrices.cancel(matrix)
    filling.tend()
    assert told == [matrix.pk]
    assert fill(matrix).state == "cancelled"


def test_a_model_that_is_not_there_is_refused_before_anything_is_asked(project: Project, prompts: PromptSet) -> None:
    with pytest.raises(ApiError, match="does not exist"):
        start(project, prompts, {"model": "nobody"})
    assert not Matrix.objects.exists()


def test_the_system_prompt_of_a_column_stands_in_place_of_the_shared_one(
    project: Project, base: BaseModel, prompts: PromptSet
) -> None:
    own = {"model": base.name, "system": "Own."}
    matrix = start(project, prompts, {"model": base.name}, own, system="Shared.")
    first = prompts.prompts.first()
    assert first
    said = [filling.body_for(matrix, column, first)["messages"][0]["content"] for column in matrix.columns]
    assert said == ["Shared.", "Own."]
    assert len(set(matrix.contenders)) == 2


def test_a_failed_answer_is_asked_again_only_when_somebody_says_so(
    served: Fleet, project: Project, base: BaseModel, prompts: PromptSet, owner: User
) -> None:
    matrix = start(project, prompts, {"model": base.name})
    first = prompts.prompts.first()
    assert first
    KeptAnswer.objects.create(
        project=project, contender=matrix.contenders[0], prompt=first.key, model=base.name, error="It broke off."
    )
    fill(matrix)
    assert (matrices.progress(matrix).answered, matrices.progress(matrix).failed) == (1, 1)
    matrices.go_on(matrix, again=True)
    assert matrices.progress(fill(matrix)).answered == 2


def test_somebody_elses_server_answers_like_the_others(project: Project, prompts: PromptSet) -> None:
    with standing() as server:
        external, broken = (
            ExternalModel(project=project, base_url=server.base_url, model=model, name=model)
            for model in ("parrot", "ill")
        )
        for each in (external, broken):
            each.keep_key(KEY)
            each.save()
        matrix = fill(start(project, prompts, {"model": external.pk}, {"model": broken.pk}))
    found = matrices.progress(matrix)
    assert (found.answered, found.failed, found.missing) == (2, 2, 0)
    kept = KeptAnswer.objects.filter(model=external.pk)
    assert all(answer.text and answer.prompt_tokens == 7 and answer.proof is None for answer in kept)
    assert not any(KEY in answer.error for answer in KeptAnswer.objects.all())


def test_a_contender_whose_turn_has_not_come_is_waited_for_with_the_reason_on_the_page(
    served: Fleet, project: Project, base: BaseModel, prompts: PromptSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    matrix = start(project, prompts, {"model": base.name})
    told: list[dict[str, str]] = []
    real = asking.ready

    async def late(*given: Any, **named: Any) -> Any:
        told.append((await Matrix.objects.aget(pk=matrix.pk)).troubles)
        if len(told) < 3:
            raise gateway.still_loading("Waiting until the job that trains now has finished")
        return await real(*given, **named)

    monkeypatch.setattr(asking, "ready", late)
    monkeypatch.setattr(filling, "PAUSE_SECONDS", 0)
    fill(matrix)
    assert [bool(each) for each in told] == [False, True, True]
    assert "Waiting until the job that trains now has finished" in next(iter(told[1].values()))
    assert (matrix.state, matrix.troubles) == ("done", {}) and matrices.progress(matrix).percent == 100
