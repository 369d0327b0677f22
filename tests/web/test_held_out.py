"""Rows of a dataset that ask what models are judged on: campaigns, pinned prompts, votes; and what is no leak."""

import json
from typing import Any

import pytest
from django.test import Client
from django.urls import reverse

from accounts.models import Project, User
from dashboard import leaks_told
from playground import held_out
from playground.campaigns.models import Campaign
from playground.film import prompts
from playground.film.prompts import Pinned
from playground.forms import Setup
from playground.matrix import matrices, sets
from playground.matrix.models import Matrix, PromptSet
from playground.models import Comparison, Turn, Vote
from tests import makers
from training import file_tasks, files, splits
from training.models import DatasetFile
from training.repeats import work

pytestmark = pytest.mark.django_db

QUESTIONS = [
    "Which of our wool blankets may I wash at sixty degrees, and for how long?",
    "When does the shop beside the old harbour open on a rainy Sunday?",
    "Who mends cotton towels that a dog has torn into seven pieces?",
    "Can silk scarves be sent back after they were worn to one dance?",
    "How many chairs fit around that round oak table near your door?",
    "Where do I find an invoice from last winter under another name?",
    "Why is my lamp still yellow although I bought two white bulbs?",
    "Do you deliver heavy pillows to islands without any bridge or ferry?",
    "What does engraving eleven letters on a copper kettle cost today?",
    "Is there somebody who could explain these assembly drawings by telephone?",
    "Should leather gloves be oiled before they are put away for summer?",
    "May we rent your largest tent for our neighbours and their horses?",
]


def lines(questions: list[str]) -> bytes:
    rows = (
        {"messages": [{"role": "user", "content": text}, {"role": "assistant", "content": f"Answer {at}."}]}
        for at, text in enumerate(questions)
    )
    return b"".join(json.dumps(row).encode() + b"\n" for row in rows)


@pytest.fixture
def train(project: Project, owner: User) -> DatasetFile:
    return files.create_file(project, owner, "care-train.jsonl", "fine-tune", lines(QUESTIONS))


def ask(text: str) -> Pinned:
    return Pinned({"messages": [{"role": "user", "content": text}]})


def campaign(project: Project, name: str, *texts: str) -> Campaign:
    made = sets.make(project=project, user=None, name=f"Prompts of {name}", pinned=[*map(ask, texts)], source={})
    setup = Setup.model_validate({"columns": [{"model": "a"}, {"model": "b"}]})
    matrix = matrices.start(project=project, user=None, name="", prompt_set=made, setup=setup)
    return Campaign.objects.create(project=project, matrix=matrix, name=name)


def voted(project: Project, user: User, text: str) -> Comparison:
    comparison = Comparison.objects.create(project=project, blind=True)
    turn = Turn.objects.create(comparison=comparison, position=0, prompt=text)
    Vote.objects.create(turn=turn, project=project, voter=user, verdict="tie")
    return comparison


def tab(client: Client, file: DatasetFile, **asked: Any) -> str:
    return client.get(f"/datasets/{file.pk}/", {"tab": "repeats", "of": "prompts", **asked}).text


def figures(file: DatasetFile) -> dict[str, Any]:
    return file.tasks.get(kind="prompts").figures


@pytest.fixture
def models(project: Project) -> None:
    makers.make_base_model("a")
    makers.make_base_model("b")


def test_a_row_is_told_with_every_place_where_its_prompt_stands(
    owner_client: Client, project: Project, owner: User, train: DatasetFile, models: None
) -> None:
    made = campaign(project, "Winter", QUESTIONS[0], "Is this said nowhere?")
    job = makers.make_job(project, label="Soft wool")
    prompts.pin(job, [ask("Hello?"), ask(QUESTIONS[0])])
    comparison = voted(project, owner, QUESTIONS[1].replace("rainy", "sunny"))
    page = tab(owner_client, train)
    film, asked = f"film:{job.pk}", f"set:{made.matrix.prompt_set_id}"
    assert figures(train)["places"] == {film: {"exact": 1}, asked: {"exact": 1}, "votes": {"near": 1}}
    assert f'<a href="/campaigns/{made.pk}/">Winter</a>' in page
    assert "prompt 1 of Prompts of Winter" in page and "pinned prompt 2 of Soft wool" in page
    assert "looked <time" in page and "2 prompts pinned to 1 job" in page
    near = tab(owner_client, train, kind="near")
    assert f'<a href="/playground/{comparison.pk}/">a message voted on in the playground</a>' in near
    told = b"".join(owner_client.get(f"/datasets/{train.pk}/repeats/{train.tasks.get(kind='prompts').pk}.csv"))
    assert b"pinned prompt 2 of Soft wool; prompt 1 of Prompts of Winter" in told


def test_rows_of_one_place_are_shown_and_removed_alone(
    owner_client: Client, project: Project, owner: User, train: DatasetFile
) -> None:
    job = makers.make_job(project, label="Soft wool")
    prompts.pin(job, [ask(QUESTIONS[2])])
    voted(project, owner, QUESTIONS[3])
    place = f"film:{job.pk}"
    page = tab(owner_client, train, place=place, remove=["exact"])
    assert "cotton towels" in page and "Can silk scarves" not in page and "Remove 1 row<" in page
    form = {"task": train.tasks.get(kind="prompts").pk, "remove": ["exact"], "side": "rows", "place": place}
    owner_client.post(f"/datasets/{train.pk}/repeats/remove", form)
    assert DatasetFile.objects.get(version=2).path.read_bytes() == b"".join(
        line for at, line in enumerate(lines(QUESTIONS).splitlines(keepends=True)) if at != 2
    )


def test_prompts_that_are_held_out_of_the_same_file_are_no_leak_of_it(
    owner_client: Client, project: Project, train: DatasetFile
) -> None:
    learnt, valid = splits.split(train, count=4)
    job = makers.make_job(project, training_file=learnt, validation_file=valid, label="Split")
    film = prompts.begin(job)
    assert len(film.prompts) == 4
    sets.make(
        project=project, user=None, name="Of the held-out rows", pinned=sets.of_file(valid, 4),
        source={"kind": "file", "file": valid.pk, "filename": valid.filename},
    )  # fmt: skip
    page = tab(owner_client, train)
    assert "this file's own" in page and "held out of this file in care-train-valid.jsonl" in page
    assert not train.tasks.filter(kind="prompts")
    page = tab(owner_client, valid)
    assert "drawn from this file" in page and "spoils nothing as long as no job trains on it" in page
    asked = leaks_told.asks({"training_file": valid})
    assert asked and asked.names == ["prompt set Of the held-out rows"]  # where somebody trains on them
    assert " leak" not in owner_client.get(reverse("datasets")).text
    tab(owner_client, learnt)
    assert figures(learnt)["places"] == {}  # looked for, and no row of it was held out


def test_prompts_drawn_from_a_training_file_are_its_leak(
    owner_client: Client, project: Project, train: DatasetFile
) -> None:
    source = {"kind": "file", "file": train.pk, "filename": train.filename}
    sets.make(project=project, user=None, name="Drawn", pinned=sets.of_file(train, 3), source=source)
    page = tab(owner_client, train)
    assert "drawn from this file" in page and figures(train)["exact"]["rows"] == 3


def test_a_file_made_of_votes_is_not_held_against_the_votes(project: Project, owner: User, train: DatasetFile) -> None:
    voted(project, owner, QUESTIONS[0])
    assert [each.key for each in held_out.looked_for(held_out.kept(project, train))] == ["votes"]
    train.origin = {"kind": "votes"}
    train.save()
    assert held_out.looked_for(held_out.kept(project, train)) == []


def test_prompts_of_another_project_and_of_archived_jobs_are_not_looked_for(
    owner_client: Client, project: Project, stranger: User, train: DatasetFile, models: None
) -> None:
    elsewhere = Project.objects.get(name="Elsewhere")
    campaign(elsewhere, "Secret", QUESTIONS[0])
    prompts.pin(makers.make_job(elsewhere), [ask(QUESTIONS[1])])
    voted(elsewhere, stranger, QUESTIONS[2])
    gone = makers.make_job(project, status="succeeded")
    prompts.pin(gone, [ask(QUESTIONS[3])])
    gone.archived_at = gone.created_at
    gone.save()
    assert held_out.kept(project, train) == []
    assert "No prompts are kept for judging yet" in tab(owner_client, train)


def test_prompts_that_came_since_are_said_of_a_larger_file_and_looked_for_in_a_small_one(
    owner_client: Client, project: Project, train: DatasetFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = makers.make_job(project)
    prompts.pin(job, [ask(QUESTIONS[0])])
    tab(owner_client, train)
    prompts.pin(job, [ask(QUESTIONS[0]), ask(QUESTIONS[1])])
    with monkeypatch.context() as larger:
        larger.setattr(file_tasks, "DONE_AT_ONCE_BYTES", 10)
        assert "what is kept has changed since" in tab(owner_client, train)
        assert figures(train)["exact"]["rows"] == 1
    assert "what is kept has changed since" not in tab(owner_client, train)
    assert figures(train)["exact"]["rows"] == 2


def test_the_list_tells_what_was_found_and_nothing_of_what_nobody_looked_for(
    owner_client: Client, project: Project, owner: User, train: DatasetFile, models: None
) -> None:
    campaign(project, "Winter", *QUESTIONS[:2])
    again = files.create_file(project, owner, "again-train.jsonl", "fine-tune", lines([*QUESTIONS, QUESTIONS[0]]))
    valid = files.create_file(project, owner, "care-valid.jsonl", "fine-tune", lines(QUESTIONS[:1]))
    page = owner_client.get(reverse("datasets")).text
    assert " leak" not in page and " repeat" not in page
    for file in (train, again, valid):
        tab(owner_client, file)
    work.compare(train, valid)
    work.compare(train, again)  # both are trained on: what they share is no leak
    page = owner_client.get(reverse("datasets")).text
    assert page.count(">3 leaks</a>") == 2 and page.count("leaks</a>") == 2  # nothing of the validation file
    assert "Rows: 1 also in care-valid.jsonl; 2 asking what models are judged on" in page
    assert f'href="/datasets/{train.pk}/?tab=repeats&amp;of=prompts#found"' in page
    assert page.count("repeat</a>") == 1 and f'href="/datasets/{again.pk}/?tab=repeats#found"' in page
    assert 'Repeats <span class="tab__count">3</span>' in owner_client.get(f"/datasets/{train.pk}/").text
    Campaign.objects.all().delete()
    Matrix.objects.all().delete()
    PromptSet.objects.all().delete()
    assert "1 leak</a>" in owner_client.get(reverse("datasets")).text  # what was asked is gone


def test_the_form_of_a_job_warns_of_what_its_rows_ask(
    owner_client: Client, project: Project, train: DatasetFile, models: None, present: None
) -> None:
    campaign(project, "Winter", QUESTIONS[0])
    train.token_facts = {"a": makers.make_file(project).token_facts["tiny"]}
    train.save()
    data = {"model": "base:a", "training_file": train.pk, "validation": "none", "adaptation": "lora"}
    answer = owner_client.post(reverse("estimate-job"), data)
    assert "1 row of care-train.jsonl asks what models are judged on: campaign Winter." in answer.text
    assert f"/datasets/{train.pk}/?tab=repeats&amp;of=prompts#found" in answer.text


def test_the_form_of_a_job_warns_of_a_file_that_is_trained_on_whole_after_it_was_split(
    owner_client: Client, project: Project, train: DatasetFile, models: None, present: None
) -> None:
    learnt, valid = splits.split(train, count=4)
    job = makers.make_job(project, label="Soft wool", training_file=learnt, validation_file=valid)
    prompts.pin(job, [ask("Is this one?"), ask("Is that one?")])
    known = {"a": makers.make_file(project).token_facts["tiny"]}
    DatasetFile.objects.filter(pk__in=[train.pk, learnt.pk]).update(token_facts=known)
    data = {"model": "base:a", "validation": "none", "split_share": 20, "adaptation": "lora"}

    def warned(file: DatasetFile, **more: Any) -> bool:
        answer = owner_client.post(reverse("estimate-job"), data | {"training_file": file.pk} | more)
        return "2 prompts of them: prompts pinned to Soft wool." in answer.text

    assert warned(train)
    assert not warned(train, validation="split") and not warned(learnt)
