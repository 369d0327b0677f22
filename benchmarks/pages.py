"""How long the pages take with much in them: 10,000 votes in a campaign, 10,000 in the playground, a large matrix.

    python -m benchmarks.pages [--votes 10000] [--prompts 2000] [--contenders 8] [--only campaign playground matrix]

The rows are made in a folder of their own that is deleted afterwards; the pages are rendered whole by Django in this
process, without network or browser. Printed are the first time, with nothing remembered, and the median of three more;
on a busy machine the processor time is the figure to trust.
"""

import argparse
import os
import random
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from itertools import combinations
from typing import TYPE_CHECKING, Any

from proofs.screen import Screen, table

if TYPE_CHECKING:
    from django.test import Client

    from accounts.models import Project, User
    from playground.matrix.models import Matrix

PEOPLE = 12
AGAIN = 3
WORDS = [
    "order",
    "parcel",
    "refund",
    "invoice",
    "please",
    "today",
    "number",
    "track",
    "return",
    "address",
    "thank",
    "you",
    "we",
    "will",
    "look",
    "at",
    "it",
    "now",
]
Page = tuple[str, str, str]  # what it is, its address, a query


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, value in (("votes", 10_000), ("prompts", 2_000), ("contenders", 8)):
        parser.add_argument(f"--{name}", type=int, default=value)
    parser.add_argument("--only", nargs="+", choices=list(SUBJECTS), default=list(SUBJECTS))
    wanted = parser.parse_args()
    screen = Screen()
    with tempfile.TemporaryDirectory(prefix="hone-bench-") as home:
        os.environ |= {"HONE_HOME": home, "DJANGO_SETTINGS_MODULE": "dashboard.settings", "HONE_LOG_LEVEL": "ERROR"}
        client, project, user = signed_in()
        head = ["page", "first time", "again", "processor, first", "again", "size", "queries"]
        for name in wanted.only:
            screen.line(name)
            screen.table(table(head, [timed(client, *page) for page in SUBJECTS[name](project, user, wanted)]))


def signed_in() -> tuple["Client", "Project", "User"]:
    import django

    django.setup()
    from django.core.management import call_command
    from django.test import Client

    from accounts.models import Membership, Project, User

    call_command("migrate", verbosity=0)
    project, user = Project.objects.create(name="Benchmark"), User.objects.create_user("bench@example.com")
    Membership.objects.create(user=user, project=project, role="owner")
    client = Client(SERVER_NAME="localhost")
    client.force_login(user)
    return client, project, user


def timed(client: "Client", what: str, address: str, query: str = "") -> list[str]:
    """A row of the table. Raises where the page is not there."""
    from django.db import connection
    from django.test.utils import CaptureQueriesContext

    taken, worked, size = [], [], 0
    for _ in range(1 + AGAIN):
        began, cpu = time.perf_counter(), time.process_time()
        response = client.get(address + query)
        size = len(response.content)
        taken.append(time.perf_counter() - began)
        worked.append(time.process_time() - cpu)
        if response.status_code != 200:
            raise SystemExit(f"{address}{query} answered {response.status_code}")
    with CaptureQueriesContext(connection) as asked:
        client.get(address + query)
    return [
        what,
        f"{taken[0]:.2f} s",
        f"{statistics.median(taken[1:]):.2f} s",
        f"{worked[0]:.2f} s",
        f"{statistics.median(worked[1:]):.2f} s",
        f"{size / 1000:.0f} kB",
        str(len(asked)),
    ]


# ---- the rows ----


def models_of(project: "Project", count: int) -> list[str]:
    """A base model and the epochs of one job."""
    from django.utils import timezone

    from training.models import BaseModel, Checkpoint, TrainingJob

    base, _ = BaseModel.objects.get_or_create(name="base", source="folder", source_id="/nowhere", status="ready")
    given = {"base_model": base, "status": "succeeded", "finished_at": timezone.now()}
    job, _ = TrainingJob.objects.get_or_create(project=project, suffix="bench", defaults=given)
    for epoch in range(1, count):
        name = f"ft:base:hone:bench:{epoch:08d}"
        own = {
            "project": project,
            "base_model": base,
            "epoch": epoch,
            "kind": "lora",
            "step_name": f"{name}:ckpt-step-1",
        }
        Checkpoint.objects.get_or_create(job=job, step=epoch, defaults=own | {"path_in_run": f"checkpoints/{epoch}"})
    return [base.name, *Checkpoint.objects.filter(job=job).order_by("step").values_list("step_name", flat=True)][:count]


def text_of(chance: random.Random, words: int) -> str:
    return " ".join(chance.choice(WORDS) for _ in range(words))


def answered(project: "Project", name: str, models: list[str], prompts: int, words: int) -> "Matrix":
    """A matrix in which every model has answered every prompt."""
    from playground.forms import Setup
    from playground.matrix import matrices, sets
    from playground.matrix.models import KeptAnswer, Matrix, Prompt

    chance = random.Random(name)
    asked = sets.typed("question 0 0")
    made = sets.make(project=project, user=None, name=name, pinned=asked, source={})
    pattern = made.prompts.get()
    made.prompts.all().delete()
    Prompt.objects.bulk_create(
        Prompt(
            prompt_set=made,
            position=number,
            key=f"{name[:4]}{number:012d}",
            ask={"messages": [{"role": "user", "content": (said := f"{text_of(chance, 14)} {number}")}]},
            text=said,
            expected=text_of(chance, 8),
            tags=[f"topic {number % 6}", *pattern.tags],
        )
        for number in range(prompts)
    )
    setup = Setup.model_validate({"columns": [{"model": model} for model in models]})
    matrix = matrices.start(project=project, user=None, name=name, prompt_set=made, setup=setup)
    matrix.state = Matrix.State.DONE
    matrix.save()
    KeptAnswer.objects.bulk_create(
        KeptAnswer(
            project=project,
            contender=key,
            prompt=prompt,
            model=model,
            text=text_of(chance, words),
            stop_reason="stop",
            prompt_tokens=40,
            completion_tokens=words,
            first_token_seconds=chance.random(),
            seconds=1 + chance.random(),
        )
        for prompt in made.prompts.values_list("key", flat=True)
        for key, model in zip(matrix.contenders, models, strict=True)
    )
    return matrix


def campaign(project: "Project", user: "User", wanted: argparse.Namespace) -> Iterator[Page]:
    """Five contenders, a tenth as many prompts as votes; every tenth vote is asked again."""
    from django.utils import timezone

    from playground.campaigns.models import Assignment, Campaign, Evaluator, Invitation

    chance = random.Random(1)
    models = models_of(project, 5)
    matrix = answered(project, "camp", models, max(10, wanted.votes // 10), 80)
    made = Campaign.objects.create(
        project=project,
        name="Benchmark",
        matrix=matrix,
        state=Campaign.State.OPEN,
        criteria=["correct", "friendly"],
        tags=["too long", "wrong", "rude"],
        satisfaction=True,
        votes_per_pair=wanted.votes,
    )
    now = timezone.now()
    link = Invitation.objects.create(campaign=made, hash="none", expires_at=now + timedelta(days=1))
    people = [
        Evaluator.objects.create(campaign=made, invitation=link, name=f"Person {number}") for number in range(PEOPLE)
    ]
    prompts = list(matrix.prompt_set.prompts.values_list("key", flat=True))
    pairs = [tuple(sorted(pair)) for pair in combinations(matrix.contenders, 2)]
    places = [(who, prompt, pair) for who in people for prompt in prompts for pair in pairs]
    votes = []
    for number, (who, prompt, (first, second)) in enumerate(chance.sample(places, wanted.votes)):
        better = chance.choices(["left", "right", "tie", "both_bad"], [45, 35, 15, 5])[0]
        votes.append(
            Assignment(
                campaign=made,
                evaluator=who,
                prompt=prompt,
                first=first,
                second=second,
                swapped=chance.random() < 0.5,
                drawn_at=now - timedelta(seconds=wanted.votes - number),
                judged_at=now - timedelta(seconds=wanted.votes - number - 1),
                seconds=10 * chance.random(),
                verdict=better,
                criteria={"correct": "left", "friendly": "tie"},
                satisfaction={"left": chance.randint(1, 5), "right": chance.randint(1, 5)},
                tags=["too long"] if chance.random() < 0.3 else [],
            )
        )
    Assignment.objects.bulk_create(votes)
    Assignment.objects.bulk_create(
        Assignment(**{**plain(vote), "swapped": not vote.swapped, "repeat_of": vote}) for vote in votes[::10]
    )
    yield "results of the campaign", f"/campaigns/{made.pk}/results/", ""
    yield "the same, page 20", f"/campaigns/{made.pk}/results/", "?page=20"
    yield "the same without one evaluator", f"/campaigns/{made.pk}/results/", f"?without={people[0].pk}"
    yield "the campaign", f"/campaigns/{made.pk}/", ""
    yield "all campaigns", "/campaigns/", ""
    yield "a pair to judge", f"/campaigns/{made.pk}/judge/", ""


def plain(vote: Any) -> dict[str, Any]:
    left_out = {"id", "repeat_of", "campaign", "evaluator"}
    found = {each.name: getattr(vote, each.name) for each in vote._meta.concrete_fields if each.name not in left_out}
    return found | {"campaign": vote.campaign, "evaluator": vote.evaluator}


def playground(project: "Project", user: "User", wanted: argparse.Namespace) -> Iterator[Page]:
    """One vote on each of as many comparisons of two models, every third blind."""
    from playground.forms import Sampling
    from playground.models import Comparison, Response, Turn, Vote

    chance = random.Random(2)
    models = models_of(project, wanted.contenders)
    settings = Sampling().model_dump()
    shown = [chance.sample(models, 2) for _ in range(wanted.votes)]
    made = Comparison.objects.bulk_create(
        Comparison(
            project=project,
            created_by=user,
            blind=number % 3 == 0,
            columns=[{"model": model} for model in pair],
            settings=settings,
        )
        for number, pair in enumerate(shown)
    )
    turns = Turn.objects.bulk_create(
        Turn(comparison=one, position=0, prompt=f"{text_of(chance, 12)} {number % 3000}")
        for number, one in enumerate(made)
    )
    answers = Response.objects.bulk_create(
        Response(turn=turn, column=column, model=model, text=text_of(chance, 60), settings=settings)
        for turn, pair in zip(turns, shown, strict=True)
        for column, model in enumerate(pair)
    )
    best = [
        chance.choices([answers[2 * number], answers[2 * number + 1], None], [45, 40, 15])[0]
        for number in range(len(turns))
    ]
    Vote.objects.bulk_create(
        Vote(turn=turn, project=project, voter=user, verdict="best" if one else "tie", best=one, blind=number % 3 == 0)
        for number, (turn, one) in enumerate(zip(turns, best, strict=True))
    )
    yield "leaderboard", "/playground/votes/", ""
    yield "leaderboard, blind votes", "/playground/votes/", "?blind=1"
    yield "preferences as a dataset", "/playground/votes/preferences/", ""
    yield "playground", "/playground/", ""


def matrix(project: "Project", user: "User", wanted: argparse.Namespace) -> Iterator[Page]:
    """Two scores; everything that can be chosen on the page."""
    from playground.matrix import matrices
    from playground.matrix.scores import Score

    made = answered(project, "matrix", models_of(project, wanted.contenders), wanted.prompts, 120)
    address = f"/playground/matrices/{made.pk}/"
    yield "matrix", address, ""
    yield "page 40", address, "?page=40"
    yield "answers differ", address, "?show=answers"
    yield "search", address, "?q=refund+invoice"
    yield "a tag", address, "?tag=topic+3"
    matrices.add_score(made, Score(kind="contains", value="refund"))
    matrices.add_score(made, Score(kind="similarity"))
    yield "with two scores", address, ""
    yield "scores differ", address, "?show=scores"
    yield "export as CSV", f"{address}export.csv", ""
    yield "all matrices", "/playground/matrices/", ""


SUBJECTS: dict[str, Callable[["Project", "User", argparse.Namespace], Iterator[Page]]] = {
    "campaign": campaign,
    "playground": playground,
    "matrix": matrix,
}

if __name__ == "__main__":
    main()
