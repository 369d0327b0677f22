"""Rows of what a job can be besides fine-tuning on chats: preferences, raw text, a sweep, a recipe; and of what comes
after it: exports, validation rows, film strips."""

import json
from typing import Any

from django.urls import reverse
from django.utils import timezone

from accounts.models import Project, User
from playground.film import prompts
from playground.film.models import Frame
from playground.film.prompts import Pinned
from tests import factories, makers
from training import files
from training.chains.models import Chain, Stage
from training.engine import row_losses
from training.engine.spec import Recipe
from training.models import BaseModel, Checkpoint, DatasetFile, Export, TrainingJob

DOCUMENTS = (
    "A parcel that is late has usually been scanned at the last hub but not loaded. Ask for the number on its label, "
    "look it up, and tell the customer the day, not the hour.\n<|endoftext|>\n"
)
SEATS = '{"category": "billing", "product": "team plan", "priority": "%s", "summary": "Billed for %s too many"}'
FIRST_WORDS = "I am sorry to hear that. Please contact our support team, they will be happy to help you."


def seed(project: Project, owner: User, base: BaseModel, jobs: dict[str, TrainingJob]) -> dict[str, str]:
    """Adds everything and returns the addresses to look at."""
    data = _datasets(project, owner)
    dpo, text = _preferences(project, base, data["pairs.jsonl"]), _raw_text(project, base, data["handbook.txt"])
    sweep, chain = _sweep(project, jobs["done"]), _recipe(project, base, jobs, data, dpo)
    _exports(project, jobs["done"])
    _validation_rows(jobs["done"])
    _films(jobs)
    done = reverse("job", args=[jobs["done"].pk])
    return {
        **{f"dataset-{name}": reverse("dataset", args=[file.pk]) for name, file in data.items()},
        "job-dpo": reverse("job", args=[dpo.pk]),
        "job-text": reverse("job", args=[text.pk]),
        "job-unnamed": reverse("job", args=[sweep[0].pk]),
        "sweep": reverse("compare-jobs") + "?ids=" + ",".join(job.pk for job in sweep),
        "recipes": reverse("recipes"),
        "recipe": reverse("recipe", args=[chain.pk]),
        "recipe-new": reverse("new-recipe"),
        "model-new": reverse("new-model"),
        "tab-rows": f"{done}?tab=rows",
        "job-rerun-film": reverse("job", args=[jobs["rerun"].pk]),
    }


def _datasets(project: Project, owner: User) -> dict[str, DatasetFile]:
    good, bad = "Your order left us today.", "No idea, ask somebody else."
    pairs = [factories.preference_row(f"Where is order {n}?", good + " " * (n % 3), bad) for n in range(60)]
    contents = {
        "pairs.jsonl": "".join(json.dumps(row) + "\n" for row in pairs).encode(),
        "handbook.txt": (DOCUMENTS * 40).encode(),
    }
    return {name: files.create_file(project, owner, name, "fine-tune", content) for name, content in contents.items()}


def _preferences(project: Project, base: BaseModel, file: DatasetFile) -> TrainingJob:
    columns = {"training_file": file, "validation_file": file, "label": "Kinder answers", "colour": 4, "suffix": "kind"}
    recipe = Recipe(method="dpo", beta=0.1)
    job = makers.make_job(
        project, steps=120, total_steps=120, status="succeeded", recipe=recipe, base_model=base, **columns
    )
    for metric in job.metrics.all():
        share = metric.step / 120
        own = {"rewards/chosen": 0.9 * share, "rewards/rejected": -1.4 * share, "rewards/margins": 2.3 * share}
        own["rewards/accuracies"] = min(1.0, 0.5 + 0.6 * share)
        if metric.full_valid_loss is not None:
            own |= {"full_valid_rewards/margins": 2.1 * share, "full_valid_rewards/accuracies": 0.5 + 0.4 * share}
        metric.more = own
        metric.save()
    for checkpoint in job.checkpoints.all():
        share = checkpoint.step / 120
        checkpoint.more = {"rewards/accuracies": 0.5 + 0.4 * share, "rewards/margins": 2.1 * share}
        checkpoint.save()
    return job


def _raw_text(project: Project, base: BaseModel, file: DatasetFile) -> TrainingJob:
    columns = {"training_file": file, "validation_file": file, "label": "Reads the handbook", "colour": 5}
    return makers.make_job(
        project,
        steps=90,
        total_steps=120,
        recipe=Recipe(method="pretrain"),
        base_model=base,
        phase="training",
        **columns,
    )


def _sweep(project: Project, like: TrainingJob) -> list[TrainingJob]:
    """Three learning rates; the jobs have no name of their own."""
    columns = {"training_file": like.training_file, "validation_file": like.validation_file, "sweep": "sweep-gallery"}
    return [
        makers.make_job(
            project,
            steps=200,
            total_steps=200,
            status="succeeded",
            base_model=like.base_model,
            colour=6 + index,
            recipe=Recipe(learning_rate_multiplier=rate, n_epochs=4),
            **columns,
        )
        for index, rate in enumerate((0.5, 1.0, 2.0))
    ]


def _recipe(
    project: Project, base: BaseModel, jobs: dict[str, TrainingJob], data: dict[str, DatasetFile], dpo: TrainingJob
) -> Chain:
    """Its second stage runs."""
    tickets = jobs["done"].training_file
    assert tickets
    stages = [
        Stage(training_file=data["handbook.txt"].pk, recipe=Recipe(method="pretrain"), label="Reads the handbook"),
        Stage(training_file=tickets.pk, validation_file=jobs["done"].validation_file_id, label="Tickets", take="best"),
        Stage(training_file=data["pairs.jsonl"].pk, recipe=Recipe(method="dpo"), label="Kinder answers"),
    ]
    shown = [stage.model_dump(mode="json") for stage in stages]
    columns = {"label": "Handbook, tickets, manners", "at": 2, "stages_json": shown}
    chain = Chain.objects.create(project=project, base_model=base, **columns)
    TrainingJob.objects.filter(pk=jobs["rerun"].pk).update(chain=chain, stage=1)
    TrainingJob.objects.filter(pk=jobs["running"].pk).update(chain=chain, stage=2)
    return chain


def _exports(project: Project, job: TrainingJob) -> None:
    """One of each state, on the checkpoints of a job."""
    report = {"mean_to_adapter": 0.0002, "max_to_adapter": 0.001, "adapter_to_base": 0.5, "tokens": 80}
    states: list[dict[str, Any]] = [
        {"status": "succeeded", "report_json": report, "finished_at": timezone.now()},
        {"status": "running"},
        {"status": "queued"},
        {"status": "failed", "message": "Merging was killed; it needs about 3 GB.", "finished_at": timezone.now()},
    ]
    for checkpoint, state in zip(job.checkpoints.order_by("step"), states, strict=True):
        Export.objects.create(project=project, checkpoint=checkpoint, **state)


def _validation_rows(job: TrainingJob) -> None:
    assert job.validation_file
    rows = range(1, job.validation_file.rows + 1)
    row_losses.keep(job.folder, 100, rows, [1.1 + 0.37 * (row * 7 % 11) / 11 for row in rows])
    row_losses.keep(job.folder, 400, rows, [0.2 + 0.9 * (row * 5 % 13) / 13 for row in rows])


# ---- film strips: answered to the end, growing, failed; that of the other jobs waits ----


def _films(jobs: dict[str, TrainingJob]) -> None:
    said = [FIRST_WORDS, SEATS % ("high", "12"), SEATS % ("high", "two"), SEATS % ("medium", "two"), ""]
    _answer(jobs["done"], [*said[:4], "expected"])
    _answer(jobs["running"], said[:2])
    growing = jobs["running"].checkpoints.latest("step")
    first = Pinned(**prompts.begin(jobs["running"]).prompts[0])
    Frame.objects.create(
        job=jobs["running"],
        checkpoint=growing,
        answers={first.key: {"text": (SEATS % ("high", "two"))[:58], "stop": ""}},
        claim="another-machine.1.1.a",
        heartbeat_at=timezone.now() + timezone.timedelta(days=1),
    )
    _answer(jobs["rerun"], said[:2])
    refused = jobs["rerun"].checkpoints.order_by("step")[1]
    Frame.objects.create(
        job=jobs["rerun"],
        checkpoint=refused,
        failure="vLLM's answers are as far from the trained weights as the base's.",
    )


def _answer(job: TrainingJob, said: list[str]) -> None:
    """A frame for each text, the first of the weights before; "expected" is what each prompt expects."""
    pinned = [Pinned(**each) for each in prompts.begin(job).prompts]
    checkpoints: list[Checkpoint | None] = [None, *job.checkpoints.order_by("step")]
    for checkpoint, text in zip(checkpoints, said, strict=False):
        answers = {each.key: {"text": each.expected if text == "expected" else text, "stop": "stop"} for each in pinned}
        Frame.objects.create(job=job, checkpoint=checkpoint, answers=answers)
