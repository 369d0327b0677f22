"""Recipes: stages that are started as one, the rows they make, and their pages."""

import re
from typing import Any

import pytest
from django.test import Client
from django.urls import reverse

from accounts.errors import ApiError
from accounts.models import Project, User
from tests import makers
from training import actions
from training.chains import following
from training.chains.models import Chain, Stage
from training.engine.spec import Recipe
from training.models import DatasetFile, TrainingJob

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def present(monkeypatch: pytest.MonkeyPatch) -> None:
    """The rows alone: weights and checkpoint folders need not be on disk."""
    monkeypatch.setattr("training.models.BaseModel.is_present", True)
    monkeypatch.setattr("training.actions._refuse_unusable_start", lambda *_: None)


@pytest.fixture
def file(project: Project) -> DatasetFile:
    return makers.make_file(project)


@pytest.fixture
def chain(project: Project, owner: User, file: DatasetFile) -> Chain:
    stages = [
        Stage(training_file=file.pk, validation_file=file.pk, recipe=Recipe(n_epochs=2), take="best"),
        Stage(training_file=file.pk, suffix="final", seed=3),
    ]
    return following.start_chain(
        project=project, user=owner, base_model=makers.make_base_model(), stages=stages, label="Two steps"
    )


def end(job: TrainingJob, status: str = "succeeded", losses: tuple[float, ...] = (0.5, 0.9)) -> None:
    """As a worker leaves it, with a checkpoint for each loss."""
    for epoch, loss in enumerate(losses, 1):
        makers.make_checkpoint(job, step=epoch, epoch=epoch, full_valid_loss=loss)
    values = {"status": status, "error_message": "The loss became NaN." if status == "failed" else ""}
    TrainingJob.objects.filter(pk=job.pk).update(finished_at=job.created_at, **values)


def test_each_stage_starts_from_the_checkpoint_that_the_one_before_hands_on(chain: Chain) -> None:
    first = chain.job_of(1)
    assert (first.recipe.n_epochs, first.start_checkpoint, chain.at, chain.job_of(2)) == (2, None, 1, None)
    following.advance()
    assert chain.jobs.count() == 1, "it has not ended"
    end(first)
    following.advance()
    following.advance()
    second = chain.job_of(2)
    assert chain.jobs.count() == 2 and second.start_checkpoint.full_valid_loss == 0.5, "the best, not the last"
    assert (second.suffix, second.seed, second.base_model) == ("final", 3, first.base_model)
    end(second)
    following.advance()
    chain.refresh_from_db()
    assert chain.status == "succeeded" and chain.finished_at


def test_a_stage_that_fails_stops_the_chain_and_is_tried_again_alone(chain: Chain) -> None:
    end(chain.job_of(1))
    following.advance()
    end(chain.job_of(2), "failed", losses=())
    following.advance()
    chain.refresh_from_db()
    assert (chain.status, chain.problem) == ("failed", "Stage 2 failed: The loss became NaN.")
    again = following.retry(chain)
    assert (again.stage, again.start_checkpoint.full_valid_loss) == (2, 0.5)
    assert chain.jobs.filter(stage=1).count() == 1 and chain.jobs.filter(stage=2).count() == 2
    end(again)
    following.advance()
    chain.refresh_from_db()
    assert chain.status == "succeeded"
    with pytest.raises(ApiError, match="did not stop"):
        following.retry(chain)


def test_two_workers_that_look_at_once_begin_one_job(chain: Chain) -> None:
    end(chain.job_of(1))
    stale = Chain.objects.get(pk=chain.pk)
    following.advance()
    following._advance(stale)
    assert chain.jobs.filter(stage=2).count() == 1


def test_a_file_that_is_deleted_meanwhile_stops_the_chain_and_says_so(chain: Chain, file: DatasetFile) -> None:
    end(chain.job_of(1))
    DatasetFile.objects.filter(pk=file.pk).delete()
    following.advance()
    chain.refresh_from_db()
    assert chain.problem == "Stage 2 cannot begin: A file of this stage was deleted."
    assert chain.at == 1 and chain.jobs.count() == 1


def test_a_deleted_job_or_a_stopped_one_ends_the_chain(chain: Chain) -> None:
    following.cancel(chain)
    chain.refresh_from_db()
    assert chain.job_of(1).status == "cancelled" and chain.problem == "Stopped by a person in stage 1."
    following.retry(chain)
    chain.jobs.all().delete()
    following.advance()
    chain.refresh_from_db()
    assert chain.problem == "The job of stage 1 was deleted."


def test_no_stage_that_cannot_be_is_begun(project: Project, owner: User, file: DatasetFile) -> None:
    base = makers.make_base_model()
    wrong_format = Stage(training_file=file.pk, recipe=Recipe(method="dpo"))
    with pytest.raises(ApiError, match=r"Stage 2: It has an invalid training file.*training method") as refused:
        following.start_chain(
            project=project, user=owner, base_model=base, stages=[Stage(training_file=file.pk), wrong_format]
        )
    assert refused.value.param == "stages.1.training_file"
    with pytest.raises(ApiError, match="Stage 1: No such File"):
        following.start_chain(project=project, user=owner, base_model=base, stages=[Stage(training_file="file-x")] * 2)
    assert not Chain.objects.exists() and not TrainingJob.objects.exists()


# ---- pages ----


def asked(file: DatasetFile, **values: str) -> dict[str, Any]:
    stages = {f"stage-{n}-{name}": value for n in (1, 2) for name, value in (("adaptation", "lora"), ("take", "last"))}
    files = {"stage-1-training_file": file.pk, "stage-2-training_file": file.pk}
    return {"model": "base:tiny", "label": "Mine", **stages, **files, **values}


def test_the_form_starts_a_recipe_and_its_page_shows_the_line(owner_client: Client, file: DatasetFile) -> None:
    makers.make_base_model()
    assert owner_client.get(reverse("new-recipe")).status_code == 200
    values = {"stage-2-n_epochs": "5", "stage-2-take": "best", "stage-2-validation_file": file.pk}
    answer = owner_client.post(reverse("new-recipe"), asked(file, **values))
    chain = Chain.objects.get()
    assert answer.status_code == 302 and answer.url == reverse("recipe", args=[chain.pk])
    assert [stage.recipe.n_epochs for stage in chain.stages] == ["auto", 5]
    page = owner_client.get(answer.url).text
    assert "1. sft" in page and "2. sft" in page and "Waits" in page and "Mine, stage 1" in page
    assert reverse("dataset", args=[file.pk]) in page and reverse("models") in page
    assert "Mine" in owner_client.get(reverse("recipes")).text
    job = owner_client.get(reverse("job", args=[chain.job_of(1).pk])).text
    assert "Stage 1 of the recipe" in job


def test_stages_come_and_go_and_keep_what_was_typed(owner_client: Client, file: DatasetFile) -> None:
    makers.make_base_model()
    typed = asked(file, **{"stage-1-n_epochs": "one", "stage-2-suffix": "second", "label": "Mine"})
    more = owner_client.post(reverse("recipe-stages"), typed | {"add": "1"}, headers={"HX-Request": "true"})
    assert more["HX-Trigger-After-Swap"] == "hone:stages" and "<html" not in more.text
    assert more.text.count("recipe-stage") == 3 and 'value="one"' in more.text and "Enter a" not in more.text
    assert re.search(r'name="stage-3-training_file"[^>]*autofocus', more.text), "one goes on typing there"
    whole = owner_client.post(reverse("recipe-stages"), typed | {"remove": "1"})
    assert "<html" in whole.text and 'value="Mine"' in whole.text, "and without scripts"
    assert 'name="stage-1-n_epochs"' not in whole.text and 'value="second"' in whole.text
    five = {f"stage-{key}-training_file": file.pk for key in (1, 2, 4, 7, 9)}
    assert "Add a stage" not in owner_client.post(reverse("recipe-stages"), asked(file) | five).text


def test_a_recipe_of_stages_with_gaps_between_their_keys_is_started_in_their_order(
    owner_client: Client, file: DatasetFile
) -> None:
    makers.make_base_model()
    third = {"stage-4-training_file": file.pk, "stage-4-adaptation": "full", "stage-4-seed": "9"}
    pinned = {"stage-4-pinned_prompts": "Hello?", "stage-1-lora_r": "8"}
    assert owner_client.post(reverse("new-recipe"), asked(file) | third | pinned).status_code == 302
    stages = Chain.objects.get().stages
    assert [stage.recipe.adaptation for stage in stages] == ["lora", "lora", "full"]
    assert (stages[0].recipe.lora_r, stages[2].seed, stages[2].pinned_prompts) == (8, 9, ["Hello?"])


def test_beta_goes_with_preferences_alone(owner_client: Client, project: Project, file: DatasetFile) -> None:
    makers.make_base_model()
    pairs = makers.make_file(project, "pairs.jsonl", format="preference")
    values = {"stage-2-training_file": pairs.pk, "stage-1-beta": "0.4", "stage-2-beta": "0.3"}
    assert owner_client.post(reverse("new-recipe"), asked(file, **values)).status_code == 302
    assert [stage.recipe.beta for stage in Chain.objects.get().stages] == ["auto", 0.3]


def test_the_card_says_what_each_stage_takes_and_all_of_them(owner_client: Client, file: DatasetFile) -> None:
    makers.make_base_model()
    values = {"stage-1-lora_r": "8", "stage-2-n_epochs": "2"}
    card = owner_client.post(reverse("estimate-recipe"), asked(file, **values)).text
    assert card.count("steps over 120 rows") == 2 and "In all" in card
    assert "The checkpoint&#x27;s own adapter is trained on." in card, "the second goes on with the first's"
    assert re.search(r'id="auto-stage-2-lora_r"[^>]*>auto is <b>8</b>: The rank of the checkpoint', card)
    assert 'id="auto-stage-2-n_epochs" hx-swap-oob="true"></span>' in card
    other = owner_client.post(reverse("estimate-recipe"), asked(file, **values, **{"stage-2-lora_r": "4"})).text
    assert "both are saved as one adapter of rank 12" in other
    wrong = owner_client.post(reverse("estimate-recipe"), asked(file, **{"stage-1-n_epochs": "0"})).text
    assert "In all" not in wrong and "Its figures come when those of the stage before are there." in wrong
    assert "Enter a whole number from 1 to 50" in wrong


def test_what_a_later_stage_cannot_do_is_said_before_the_first_begins(
    owner_client: Client, file: DatasetFile, project: Project
) -> None:
    makers.make_base_model()
    few = makers.make_file(project, "few.jsonl", rows=4)
    page = owner_client.post(reverse("new-recipe"), asked(file, **{"stage-2-training_file": few.pk}))
    assert page.status_code == 400 and "Stage 2: few.jsonl has 4 rows; a job needs at least 10." in page.text
    assert not Chain.objects.exists()


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"stage-2-training_file": ""}, "Stage 2, Training file: Choose the file of this stage."),
        ({"stage-1-n_epochs": "0", "stage-2-seed": "-1"}, "Stage 1, Epochs: Enter a whole number from 1 to 50"),
        (
            {"stage-1-n_epochs": "0", "stage-2-seed": "-1"},
            "Stage 2, Seed: Enter a whole number from 0 to 2,147,483,647",
        ),
        ({"stage-2-pinned_prompts": '{"messages": []}'}, "Stage 2, Pinned prompts: Prompt 1:"),
        ({"stage-1-suffix": "a b"}, "Invalid suffix"),
        ({"stage-1-take": "best"}, "Stage 1: The best checkpoint is the one with the lowest validation loss"),
        ({"model": "base:none"}, "This model is not on disk any more. Choose another."),
    ],
)
def test_a_recipe_that_cannot_be_is_refused_with_the_reason(owner_client, file, values, said) -> None:
    makers.make_base_model()
    page = owner_client.post(reverse("new-recipe"), asked(file, **values))
    assert page.status_code == 400 and said in page.text
    assert not TrainingJob.objects.exists() and not Chain.objects.exists()


def test_a_model_whose_files_are_gone_is_refused(
    owner_client: Client, file: DatasetFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    makers.make_base_model()
    monkeypatch.setattr("training.models.BaseModel.is_present", False)
    page = owner_client.post(reverse("new-recipe"), asked(file))
    assert page.status_code == 400 and "Put them back, or choose another model." in page.text
    assert not Chain.objects.exists()


def test_a_recipe_is_stopped_and_tried_again_from_its_page(owner_client: Client, chain: Chain) -> None:
    owner_client.post(reverse("act-on-recipe", args=[chain.pk, "cancel"]))
    page = owner_client.get(reverse("recipe", args=[chain.pk])).text
    assert "Stopped by a person in stage 1." in page and "Try stage 1 again" in page
    owner_client.post(reverse("act-on-recipe", args=[chain.pk, "retry"]))
    chain.refresh_from_db()
    assert chain.status == "running" and chain.jobs.count() == 2
    assert owner_client.post(reverse("act-on-recipe", args=[chain.pk, "burn"])).status_code == 404


def test_a_stopped_recipe_keeps_what_its_stage_made_and_did_not_fail(owner_client: Client, chain: Chain) -> None:
    first = chain.job_of(1)
    end(first, "cancelled", losses=(0.5,))
    following.advance()
    chain.refresh_from_db()
    assert chain.status == "cancelled" and chain.problem == "Stage 1 was stopped."
    page = owner_client.get(reverse("recipe", args=[chain.pk])).text
    assert (
        re.search(rf"kept <a [^>]*#row-{first.checkpoints.get().pk}", page)
        and "handed on" not in page
        and "notice--bad" not in page
    )
    end(following.retry(chain))
    following.advance()
    assert "handed on" in owner_client.get(reverse("recipe", args=[chain.pk])).text
    chain.refresh_from_db()
    following.cancel(chain)
    chain.refresh_from_db()
    assert chain.status == "cancelled" and chain.problem == "Stopped by a person in stage 2."


def test_strangers_see_no_recipe(stranger_client: Client, chain: Chain) -> None:
    assert stranger_client.get(reverse("recipe", args=[chain.pk])).status_code == 404
    assert stranger_client.post(reverse("act-on-recipe", args=[chain.pk, "cancel"])).status_code == 404
    assert "Two steps" not in stranger_client.get(reverse("recipes")).text


def test_a_recipe_keeps_its_line_when_a_job_is_deleted(owner_client: Client, chain: Chain) -> None:
    end(chain.job_of(1), "cancelled")
    actions.delete_job(TrainingJob.objects.get(pk=chain.job_of(1).pk))
    assert owner_client.get(reverse("recipe", args=[chain.pk])).status_code == 200
