"""The lineage page: what came of what, as a drawing and as a list."""

import re
from datetime import timedelta

import pytest
from django.test import Client
from django.utils import timezone

from accounts.models import Project
from dashboard.lineage import HEIGHT, WIDTH, Graph, lineage
from playground.campaigns.models import Campaign
from playground.matrix.models import Matrix, PromptSet
from tests import makers
from training.aliases.models import Alias, Promotion
from training.models import Checkpoint, TrainingJob

pytestmark = pytest.mark.django_db


def made_of(graph: Graph) -> set[tuple[str, str]]:
    """Titles at both ends of each line."""
    return {(edge.source.title, edge.target.title) for edge in graph.edges}


@pytest.fixture
def first(project: Project) -> TrainingJob:
    file = makers.make_file(project, "train.jsonl")
    return makers.make_job(project, status="succeeded", label="First", training_file=file)


@pytest.fixture
def loop(project: Project, first: TrainingJob) -> TrainingJob:
    """data -> First -> checkpoint -> campaign -> preferences -> Second -> checkpoint, back in the campaign."""
    now = timezone.now()
    start = makers.make_checkpoint(first, step=10, epoch=1, full_valid_loss=0.5)
    makers.make_checkpoint(first, step=20, epoch=2, full_valid_loss=0.9)
    prompts = PromptSet.objects.create(project=project, name="Prompts")
    matrix = Matrix.objects.create(project=project, name="M", prompt_set=prompts, columns=[{"model": start.step_name}])
    campaign = Campaign.objects.create(project=project, name="Blind", matrix=matrix)
    votes = {"kind": "votes", "votes": 12, "preferred_models": [[start.step_name, 9]]}
    file = makers.make_file(
        project, "preferences.jsonl", format="preference", origin=votes | {"campaigns": {campaign.pk: "Blind"}}
    )
    second = makers.make_job(
        project, status="succeeded", label="Second", training_file=file, start_checkpoint=start, created_at=now
    )
    made = makers.make_checkpoint(second, step=10, epoch=1, full_valid_loss=0.4, created_at=now + timedelta(hours=1))
    matrix.columns = [*matrix.columns, {"model": made.step_name}]
    matrix.save()
    alias = Alias.objects.create(project=project, name="support-bot")
    Promotion.objects.create(alias=alias, checkpoint=made, model_name=made.name)
    return second


def test_the_whole_loop_is_drawn_and_what_leads_back_does_not_push_it_on(project: Project, loop: TrainingJob) -> None:
    graph = lineage(project)
    assert made_of(graph) == {
        ("train.jsonl", "First"),
        ("First", "First, epoch 1"),
        ("First, epoch 1", "Blind"),
        ("First, epoch 1", "Second"),
        ("Blind", "preferences.jsonl"),
        ("preferences.jsonl", "Second"),
        ("Second", "Second, epoch 1"),
        ("Second, epoch 1", "Blind"),
        ("Second, epoch 1", "support-bot"),
    }
    (back,) = (edge for edge in graph.edges if edge.back)
    assert (back.source.title, back.target.title) == ("Second, epoch 1", "Blind")
    assert all(edge.source.layer < edge.target.layer for edge in graph.edges if not edge.back)
    assert "First, epoch 2" not in {node.title for node in graph.nodes.values()}, "nothing came of it"


def test_no_two_nodes_stand_on_each_other(project: Project, loop: TrainingJob) -> None:
    for number in range(5):
        makers.make_job(project, label=f"Other {number}", training_file=loop.training_file)
    nodes = list(lineage(project).nodes.values())
    places = [(node.x, node.y) for node in nodes]
    assert len(set(places)) == len(nodes)
    for one in nodes:
        assert not any(other.x == one.x and 0 < other.y - one.y < 48 for other in nodes)


def points(path: str) -> list[tuple[float, float]]:
    """Of a drawn line: twenty a curve, and both ends of a straight piece with what is between."""
    found: list[tuple[float, float]] = []
    for command, numbers in re.findall(r"([MCH])([-\d. ]+)", path):
        given = [float(number) for number in numbers.split()]
        if command == "M":
            found.append((given[0], given[1]))
            continue
        x0, y0 = found[-1]
        x1, y1, x2, y2, x3, y3 = given if command == "C" else (x0, y0, given[0], y0, given[0], y0)
        for t in (step / 20 for step in range(1, 21)):
            parts = ((1 - t) ** 3, 3 * (1 - t) ** 2 * t, 3 * (1 - t) * t**2, t**3)
            xs, ys = (x0, x1, x2, x3), (y0, y1, y2, y3)
            found.append(tuple(sum(p * v for p, v in zip(parts, vs, strict=True)) for vs in (xs, ys)))  # type: ignore[arg-type]
    return found


def test_no_line_runs_behind_a_box_that_it_does_not_lead_to(project: Project, first: TrainingJob) -> None:
    start = makers.make_checkpoint(first, step=10, epoch=1, full_valid_loss=0.5)
    again = {"status": "succeeded", "start_checkpoint": start, "training_file": first.training_file}
    for label in ("Second", "Third"):  # the same data again, past its first job and the checkpoint
        makers.make_checkpoint(makers.make_job(project, label=label, **again), step=10, epoch=1)
    graph = lineage(project)
    far = {edge.target.title for edge in graph.edges if edge.target.layer - edge.source.layer > 1}
    assert far == {"Second", "Third"}
    for edge in graph.edges:
        others = [node for node in graph.nodes.values() if node not in (edge.source, edge.target)]
        for x, y in points(edge.path) if not edge.back else []:
            behind = [n.title for n in others if n.x < x < n.x + WIDTH and n.y < y < n.y + HEIGHT]
            assert not behind, (edge.source.title, edge.target.title)
            assert 0 <= y <= graph.height


def test_votes_of_the_playground_stand_between_the_answers_and_the_file(project: Project, first: TrainingJob) -> None:
    start = makers.make_checkpoint(first, step=10, full_valid_loss=0.5)
    origin = {"kind": "votes", "votes": 1, "preferred_models": [[start.step_name, 1]], "campaigns": {}}
    file = makers.make_file(project, "preferences.jsonl", format="preference", origin=origin)
    makers.make_job(project, label="Second", training_file=file)
    assert {("First, epoch 1", "1 vote"), ("1 vote", "preferences.jsonl")} <= made_of(lineage(project))


def test_of_one_job_only_what_it_was_made_of_and_what_came_of_it(project: Project, loop: TrainingJob) -> None:
    makers.make_job(project, label="Apart", training_file=makers.make_file(project, "apart.jsonl"))
    titles = {node.title for node in lineage(project, loop).nodes.values()}
    assert "Apart" not in titles and "apart.jsonl" not in titles
    assert {"tiny", "train.jsonl", "Blind", "Second", "support-bot"} <= titles


def test_jobs_that_made_nothing_are_counted_and_not_drawn(project: Project, first: TrainingJob) -> None:
    graph = lineage(project)
    assert graph.left_out == 1 and not graph.nodes
    assert "First" in {node.title for node in lineage(project, first).nodes.values()}


def test_the_page_draws_links_and_lists_the_same(owner_client: Client, loop: TrainingJob) -> None:
    page = owner_client.get("/lineage/").text
    assert page.count(f'href="/jobs/{loop.pk}/"') == 2, "in the drawing and in the list"
    assert "<svg" in page and "made of" in page and "style=" not in page
    assert "Apart" not in owner_client.get("/lineage/", {"job": loop.pk}).text
    assert f"/lineage/?job={loop.pk}" in owner_client.get(f"/jobs/{loop.pk}/", {"tab": "lineage"}).text


def test_the_job_that_was_asked_for_is_marked_once_in_the_drawing_and_once_in_the_list(
    owner_client: Client, loop: TrainingJob
) -> None:
    page = owner_client.get("/lineage/", {"job": loop.pk}).text
    _, _, page = page.partition("<main")  # the menu of projects above it marks the project
    assert page.count('aria-current="true"') == 2 and page.count('id="drawn-here"') == 1
    assert f'<a href="/jobs/{loop.pk}/" class="lineage-node lineage-node--job' in page
    assert '<a href="#drawn-here"><b>Second</b></a>' in page, "the way there by keyboard"
    whole = owner_client.get("/lineage/").text
    assert "drawn-here" not in whole and "js/lineage.js" not in whole


def test_a_deleted_file_and_an_empty_project_break_nothing(
    owner_client: Client, stranger_client: Client, loop: TrainingJob
) -> None:
    assert loop.training_file
    loop.training_file.delete()
    Checkpoint.objects.filter(job=loop).delete()
    assert owner_client.get("/lineage/").status_code == 200
    assert "Nothing was trained yet" in stranger_client.get("/lineage/").text
    assert stranger_client.get("/lineage/", {"job": loop.pk}).status_code == 404
