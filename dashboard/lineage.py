"""What came of what: data, jobs, checkpoints, votes, preference files, jobs again, as a graph with a place for each.

Nodes stand in layers from left to right, each to the right of all that it was made of. A checkpoint that joined a
campaign after it had begun points back to it: such a line is drawn, and does not count for the layers.
"""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

from django.urls import reverse

from accounts.models import Project
from playground.campaigns.models import Campaign
from training.aliases.models import Alias
from training.models import BaseModel, Checkpoint, DatasetFile, TrainingJob

MOST_JOBS: Final = 60  # of the whole project: newer ones
MOST_JOBS_SEARCHED: Final = 1_000  # for the lineage of one job
WIDTH, HEIGHT, GAP_X, GAP_Y, EDGE = 196, 48, 56, 16, 12
LETTERS: Final = 24  # of a title that fit into a node; the end tells more than the middle

KINDS: Final = {
    "base": "Base model",
    "file": "Dataset",
    "job": "Job",
    "checkpoint": "Checkpoint",
    "votes": "Votes",
    "campaign": "Campaign",
    "name": "Name",
}


@dataclass
class Node:
    """`key` is unique; `x` and `y` are its upper left corner."""

    key: str
    kind: str
    title: str
    url: str
    made: datetime
    note: str = ""
    colour: str = ""
    layer: int = 0
    x: float = 0
    y: float = 0

    @property
    def kind_words(self) -> str:
        return KINDS[self.kind]

    @property
    def short(self) -> str:
        if len(self.title) <= LETTERS:
            return self.title
        return f"{self.title[: LETTERS // 2 - 1].rstrip()}…{self.title[-LETTERS // 2 :].lstrip()}"

    @property
    def second_line(self) -> str:
        words = f"{self.kind_words} · {self.note}" if self.note else self.kind_words
        return words if len(words) <= LETTERS + 4 else words[: LETTERS + 3].rstrip() + "…"

    @property
    def height(self) -> float:
        """A place that a line passes through has no kind, and needs little room."""
        return HEIGHT if self.kind else EDGE

    @property
    def middle(self) -> float:
        return self.y + self.height / 2


@dataclass(frozen=True)
class Edge:
    source: Node
    target: Node
    back: bool = False
    via: list[Node] = field(default_factory=list, compare=False)  # places in the layers between, free of boxes

    @property
    def path(self) -> str:
        """A curve from the right edge of one to the left edge of the other; one that goes back passes above both."""
        x1, y1, x2, y2 = self.source.x + WIDTH, self.source.middle, self.target.x, self.target.middle
        if self.target.layer <= self.source.layer:
            top = min(self.source.y, self.target.y) - GAP_Y / 2
            x1, x2 = self.source.x + WIDTH / 2, self.target.x + WIDTH / 2
            up = f"C{x1:.0f} {top - 20:.0f} {x2:.0f} {top - 20:.0f}"
            return f"M{x1:.0f} {self.source.y:.0f} {up} {x2:.0f} {self.target.y:.0f}"
        drawn = [f"M{x1:.0f} {y1:.0f}"]
        for x, y, end in [*((place.x, place.middle, place.x + WIDTH) for place in self.via), (x2, y2, x2)]:
            bend = (x - x1) / 2
            drawn.append(f"C{x1 + bend:.0f} {y1:.0f} {x - bend:.0f} {y:.0f} {x:.0f} {y:.0f}")
            drawn += [f"H{end:.0f}"] if end > x else []
            x1, y1 = end, y
        return " ".join(drawn)


@dataclass
class Graph:
    nodes: dict[str, Node] = field(default_factory=dict)
    edges: list[Edge] = field(default_factory=list)
    left_out: int = 0  # jobs that ended without a checkpoint

    def link(self, source: Node, target: Node) -> None:
        back = target.kind == "campaign" and source.made > target.made
        if source.key != target.key and not any(each.source is source and each.target is target for each in self.edges):
            self.edges.append(Edge(source, target, back))

    def sources(self, node: Node) -> list[Node]:
        return [edge.source for edge in self.edges if edge.target is node]

    def targets(self, node: Node) -> list[Node]:
        return [edge.target for edge in self.edges if edge.source is node]

    @property
    def width(self) -> float:
        return max((node.x for node in self.nodes.values()), default=0) + WIDTH + EDGE

    @property
    def height(self) -> float:
        passed = (place.y for edge in self.edges for place in edge.via)
        return max((*(node.y for node in self.nodes.values()), *passed), default=0) + HEIGHT + EDGE

    @property
    def ordered(self) -> list[Node]:
        """As they are read: layer by layer, from above."""
        return sorted(self.nodes.values(), key=lambda node: (node.layer, node.y))

    @property
    def lines(self) -> list[tuple[Node, list[Node], list[Node]]]:
        """Each node with what it was made of and what came of it."""
        return [(node, self.sources(node), self.targets(node)) for node in self.ordered]


def lineage(project: Project, job: TrainingJob | None = None) -> Graph:
    """Of the newest jobs, or of one job: all that it was made of and all that came of it. Base models and jobs that
    ended without a checkpoint are drawn in the lineage of one job only."""
    graph = _Builder(project, MOST_JOBS_SEARCHED if job else MOST_JOBS, whole=job is None).build()
    if job:
        _keep(graph, _around(graph, f"job:{job.pk}"))
    _place(graph)
    return graph


class _Builder:
    """Reads each kind of row once."""

    def __init__(self, project: Project, most_jobs: int, whole: bool) -> None:
        self.project, self.graph, self.whole = project, Graph(), whole
        jobs = TrainingJob.objects.of(project).visible()
        self.jobs = list(
            jobs.select_related("base_model", "start_checkpoint__job", "training_file", "imported__start_job")[
                :most_jobs
            ]
        )
        self.files = {file.pk: file for file in DatasetFile.objects.of(project).datasets()}
        mine = Checkpoint.objects.of(project).select_related("job", "base_model").order_by("step")
        self.checkpoints = {each.pk: each for each in mine}
        self.named = {name: each for each in self.checkpoints.values() for name in (each.step_name, each.final_name)}
        self.campaigns = list(Campaign.objects.of(project).select_related("matrix"))
        self.aliases = list(Alias.objects.of(project).prefetch_related("promotions__checkpoint"))

    def build(self) -> Graph:
        told = self._that_matter()
        made = {checkpoint.job_id for checkpoint in self.checkpoints.values()}
        made |= {job.pk for job in self.jobs if hasattr(job, "imported")}  # what they made stayed at OpenAI
        for job in reversed(self.jobs):
            if self.whole and job.is_final and job.pk not in made:
                self.graph.left_out += 1
                continue
            node = self._job(job)
            if file := self.files.get(job.training_file_id or ""):
                self.graph.link(self._file(file), node)
            if job.start_checkpoint:
                self.graph.link(self._checkpoint(job.start_checkpoint), node)
            elif hasattr(job, "imported"):
                if job.imported.start_job:
                    self.graph.link(self._job(job.imported.start_job), node)
            elif not self.whole:
                self.graph.link(self._base(job.base_model), node)
        for checkpoint in self.checkpoints.values():
            if checkpoint.pk in told and f"job:{checkpoint.job_id}" in self.graph.nodes:
                self._checkpoint(checkpoint)
        for campaign in self.campaigns:
            self._campaign(campaign)
        for alias in self.aliases:
            target = alias.current.checkpoint if alias.promotions.all() else None
            if target and f"checkpoint:{target.pk}" in self.graph.nodes:
                url = reverse("aliases")
                name = self._node(f"name:{alias.pk}", "name", alias.name, url, alias.created_at, "points here now")
                self.graph.link(self.graph.nodes[f"checkpoint:{target.pk}"], name)
        return self.graph

    def _that_matter(self) -> set[str]:
        """Checkpoints that something came of, and of each job the best one, else the last."""
        told = {job.start_checkpoint_id for job in self.jobs if job.start_checkpoint_id}
        told |= {alias.current.checkpoint_id for alias in self.aliases if alias.promotions.all()}
        judged = {column["model"] for campaign in self.campaigns for column in campaign.matrix.columns}
        judged |= {name for file in self.files.values() for name in _preferred(file)}
        told |= {self.named[name].pk for name in judged if name in self.named}
        of_job: dict[str, list[Checkpoint]] = defaultdict(list)
        for each in self.checkpoints.values():
            of_job[each.job_id].append(each)
        for found in of_job.values():
            scored = [each for each in found if each.full_valid_loss is not None]
            told.add((min(scored, key=lambda each: each.full_valid_loss or 0) if scored else found[-1]).pk)
        return {pk for pk in told if pk}

    def _node(
        self, key: str, kind: str, title: str, url: str, made: datetime, note: str = "", colour: str = ""
    ) -> Node:
        return self.graph.nodes.setdefault(key, Node(key, kind, title, url, made, note, colour))

    def _base(self, base: BaseModel) -> Node:
        return self._node(f"base:{base.pk}", "base", base.title or base.name, reverse("models"), base.created_at)

    def _job(self, job: TrainingJob) -> Node:
        place = " at OpenAI" if hasattr(job, "imported") else ""
        note = f"{job.recipe.method}, {job.get_status_display().lower()}{place}"
        url = reverse("job", args=[job.pk])
        return self._node(f"job:{job.pk}", "job", job.display_name, url, job.created_at, note, f"run-{job.colour}")

    def _checkpoint(self, checkpoint: Checkpoint) -> Node:
        job = checkpoint.job
        loss = checkpoint.full_valid_loss
        node = self._node(
            f"checkpoint:{checkpoint.pk}",
            "checkpoint",
            f"{checkpoint.label or job.display_name}, {checkpoint.when}",
            f"{reverse('job', args=[job.pk])}#checkpoints",
            checkpoint.created_at,
            f"loss {loss:.4g}" if loss is not None else "",
            f"run-{job.colour}",
        )
        if parent := self.graph.nodes.get(f"job:{job.pk}"):
            self.graph.link(parent, node)
        return node

    def _file(self, file: DatasetFile) -> Node:
        there = self.graph.nodes.get(f"file:{file.pk}")
        url = reverse("dataset", args=[file.pk])
        version = f"version {file.version}, " if file.version > 1 else ""
        note = f"{version}{file.rows:,} rows"
        node = self._node(f"file:{file.pk}", "file", file.filename, url, file.created_at, note)
        if there:
            return node
        if parent := self.files.get(file.parent_id or ""):
            self.graph.link(self._file(parent), node)
        if file.origin.get("kind") == "votes":
            self._votes(file, node)
        return node

    def _votes(self, file: DatasetFile, node: Node) -> None:
        """The campaigns that a preference file came from, else the votes of the playground."""
        named = file.origin.get("campaigns") or {}
        held = [campaign for campaign in self.campaigns if campaign.pk in named]
        for campaign in held:
            self.graph.link(self._campaign_node(campaign), node)
        if not held:
            count = file.origin.get("votes", 0)
            title = f"{count:,} vote{'' if count == 1 else 's'}"
            votes = self._node(f"votes:{file.pk}", "votes", title, reverse("votes"), file.created_at)
            self.graph.link(votes, node)
            for name in _preferred(file):
                if name in self.named:
                    self.graph.link(self._checkpoint(self.named[name]), votes)

    def _campaign(self, campaign: Campaign) -> None:
        """Where one of its contenders is drawn."""
        models = [self.named[column["model"]] for column in campaign.matrix.columns if column["model"] in self.named]
        drawn = [found for each in models if (found := self.graph.nodes.get(f"checkpoint:{each.pk}"))]
        for contender in drawn:
            self.graph.link(contender, self._campaign_node(campaign))

    def _campaign_node(self, campaign: Campaign) -> Node:
        url, note = reverse("campaign", args=[campaign.pk]), campaign.state_words
        return self._node(f"campaign:{campaign.pk}", "campaign", campaign.name, url, campaign.created_at, note)


def _preferred(file: DatasetFile) -> list[str]:
    """Names of the models whose answers a preference file prefers."""
    return [name for name, _ in file.origin.get("preferred_models") or []]


def _around(graph: Graph, key: str) -> set[str]:
    """The node, all that it was made of, and all that came of it."""
    forward, backward = defaultdict(list), defaultdict(list)
    for edge in graph.edges:
        if not edge.back:
            forward[edge.source.key].append(edge.target.key)
            backward[edge.target.key].append(edge.source.key)
    return _reached(forward, key) | _reached(backward, key)


def _reached(steps: dict[str, list[str]], start: str) -> set[str]:
    found, waiting = {start}, [start]
    while waiting:
        for key in steps[waiting.pop()]:
            if key not in found:
                found.add(key)
                waiting.append(key)
    return found


def _keep(graph: Graph, keys: Iterable[str]) -> None:
    kept = set(keys)
    graph.nodes = {key: node for key, node in graph.nodes.items() if key in kept}
    graph.edges = [edge for edge in graph.edges if edge.source.key in kept and edge.target.key in kept]


def _place(graph: Graph) -> None:
    """Layers by the longest way to each node; in a layer each stands as near as it can to what it was made of."""
    ahead = [edge for edge in graph.edges if not edge.back]
    for _ in range(len(graph.nodes)):  # no more, should the rows ever say that something was made of itself
        moved = False
        for edge in ahead:
            if edge.target.layer <= edge.source.layer:
                edge.target.layer, moved = edge.source.layer + 1, True
        if not moved:
            break
    sources: dict[str, list[Node]] = defaultdict(list)
    targets: dict[str, list[Node]] = defaultdict(list)
    for edge in ahead:
        sources[edge.target.key].append(edge.source)
        targets[edge.source.key].append(edge.target)
    for node in graph.nodes.values():
        if not sources[node.key] and targets[node.key]:  # data stands right before what learned it
            node.layer = min(target.layer for target in targets[node.key]) - 1
    layers: dict[int, list[Node]] = defaultdict(list)
    for node in graph.nodes.values():
        layers[node.layer].append(node)
    for place in _make_way(ahead, sources, targets):
        layers[place.layer].append(place)
    both = {key: [*sources[key], *targets[key]] for key in {**sources, **targets}}
    for at in sorted(layers):
        _place_layer(layers[at], sources, EDGE + at * (WIDTH + GAP_X))
    for at in sorted(layers, reverse=True):
        _place_layer(layers[at], both, EDGE + at * (WIDTH + GAP_X))


def _make_way(edges: list[Edge], sources: dict[str, list[Node]], targets: dict[str, list[Node]]) -> Iterable[Node]:
    """A place in each layer that a line crosses, so that it passes between the boxes; noted beside the real nodes."""
    for number, edge in enumerate(edges):
        before = edge.source
        for layer in range(edge.source.layer + 1, edge.target.layer):
            place = Node(f"way:{number}:{layer}", "", "", "", edge.source.made, layer=layer)
            edge.via.append(place)
            sources[place.key].append(before)
            targets[place.key].append(edge.target)
            before = place
            yield place


def _place_layer(nodes: list[Node], beside: dict[str, list[Node]], x: float) -> None:
    """One under the other, each as near as it can to the mean of those beside it."""

    def wanted(node: Node) -> float:
        found = [other.middle for other in beside.get(node.key, ())]
        return sum(found) / len(found) - node.height / 2 if found else 0.0

    free = float(EDGE + GAP_Y)
    for node in sorted(nodes, key=lambda node: (wanted(node), node.made)):
        node.x, node.y = x, max(free, wanted(node))
        free = node.y + node.height + GAP_Y
