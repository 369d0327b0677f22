"""What a person may see of a comparison: the one place that decides it, for the page and for the socket.

Before the vote a blind comparison shows prompts, finished answers and letters, and nothing else: no name, no colour,
no figure, no setting of a column, no reason of a failure, and no answer before all are there, so that speed says
nothing either.
"""

from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlencode

from accounts.models import Project, User
from playground import comparisons, contenders, deployments, figures, structured
from playground.contenders import Contender
from playground.differences import Difference, difference
from playground.edits.models import EditedAnswer
from playground.forms import LETTERS, MOST_COLUMNS
from playground.models import Comparison, Deployment, Response, Turn, Vote
from playground.statistics.pairs import Pair, pairs, sentence
from playground.statistics.shares import FEWEST_VOTES
from playground.structured import Checked

HIDDEN_FAILURE = "This column gave no answer."


@dataclass
class Sheet:
    """One column's header. `contender` is None while its name is hidden."""

    index: int
    contender: Contender | None = None
    own: list[str] = field(default_factory=list)  # what it does differently, in words
    links: dict[str, str] = field(default_factory=dict)  # left, right, remove
    folded: bool = False

    @property
    def letter(self) -> str:
        return LETTERS[self.index]

    @property
    def number(self) -> int:
        return self.index + 1

    @property
    def deployment(self) -> Deployment | None:
        return self.contender.deployment if self.contender else None

    @property
    def state(self) -> str:
        return self.deployment.state if self.deployment else Deployment.State.OFF

    @property
    def words(self) -> str:
        if self.contender and (self.contender.gone or self.contender.external):
            return self.contender.gone_words
        return state_words(self.deployment)


@dataclass
class Sample:
    """One answer as it is shown."""

    text: str = ""
    calls: list[tuple[str, str]] = field(default_factory=list)  # a function's name and its arguments, indented
    checked: Checked | None = None  # beside the answer format, where there is one
    difference: Difference | None = None  # to the column that the others are compared with

    @property
    def plain(self) -> bool:
        """Shown letter by letter, not as Markdown."""
        return self.checked is not None or self.difference is not None


@dataclass
class Cell:
    """One column's answer in one turn."""

    sheet: Sheet
    samples: list[Sample] = field(default_factory=lambda: [Sample()])  # at least one
    judged: int = 0  # which of them this person's vote is about
    wanted: int = 1  # samples that were asked for; 1 while names are hidden
    figures: str = ""
    error: str = ""
    pending: bool = False  # nothing to show yet
    won: bool = False
    beside: str = ""  # what takes how many times as much as in another column
    response: Response | None = None  # a whole answer whose column is known: it can be edited

    @property
    def fewer_words(self) -> str:
        """Where a server gave fewer samples than it was asked for."""
        there = len(self.samples)
        return f"{there} of the {self.wanted} samples that were asked for came." if there < self.wanted else ""

    @property
    def empty(self) -> bool:
        return not any(sample.text or sample.calls for sample in self.samples)

    @property
    def edits(self) -> list[EditedAnswer]:
        return list(self.response.edits.all()) if self.response else []


@dataclass
class Round:
    """One turn of all columns."""

    turn: Turn
    cells: list[Cell]
    votable: bool
    vote: Vote | None

    @property
    def failed(self) -> bool:
        """A column has no answer; asking again may bring one."""
        return any(cell.error or cell.pending for cell in self.cells)

    @property
    def unjudged_words(self) -> str:
        """Which columns a vote is not about, or why there can be none; empty where all answered."""
        failed = [cell.sheet for cell in self.cells if cell.error]
        if not failed or any(cell.pending for cell in self.cells) or len(self.cells) < 2:
            return ""
        if self.votable:
            return f"{_letters(failed)} gave no answer: the vote is about the others."
        told = f"{_letters(failed)} gave no answer. A vote needs two"
        gone = [sheet for sheet in failed if sheet.contender and sheet.contender.gone]
        if not gone:
            return f"{told}: retry."
        what = ("the column", "another model") if len(gone) == 1 else ("the columns", "other models")
        return f"{told}, and {_letters(gone)} cannot be asked any more: remove {what[0]} or put {what[1]} there."

    @property
    def several(self) -> bool:
        """Some column answered more than once."""
        return any(len(cell.samples) > 1 for cell in self.cells)

    @property
    def verdict(self) -> str:
        """The person's own vote in words."""
        if self.vote is None:
            return ""
        won = next((cell for cell in self.cells if cell.won), None)
        best = won.sheet.letter if won else ""
        if won and len(won.samples) > 1:
            best += f", sample {won.judged + 1}"
        return {"best": f"You chose {best}.", "tie": "You called it a tie.", "both_bad": "You found all bad."}[
            self.vote.verdict
        ]


def _letters(sheets: list[Sheet]) -> str:
    """'A, B and C'; at least one"""
    *first, last = [sheet.letter for sheet in sheets]
    return f"{', '.join(first)} and {last}" if first else last


@dataclass
class Record:
    """A pair of contenders as the tables show it."""

    pair: Pair
    first: str
    second: str
    alike: int = 0  # votes on two answers of the very same text
    alike_ties: int = 0  # of these: ties

    @property
    def alike_words(self) -> str:
        """'20 of 27 ties: both wrote the same'; empty where no two answers were alike."""
        parts = []
        if self.alike_ties:
            ties = f"{self.alike_ties} of {self.pair.ties} {'tie' if self.pair.ties == 1 else 'ties'}"
            parts.append(f"{ties}: both wrote the same")
        if chosen := self.alike - self.alike_ties:
            parts.append(f"{chosen} {'vote' if chosen == 1 else 'votes'} chose between two answers of the same text")
        return "; ".join(parts)

    @property
    def bar(self) -> dict[str, float] | None:
        """The interval on a scale of 0 to 200, for the drawing."""
        interval = self.pair.interval
        if interval is None:
            return None
        low, high, rate = (round(200 * value, 1) for value in (interval.low, interval.high, interval.rate))
        return {"low": low, "width": round(high - low, 1), "rate": rate}

    @property
    def percent(self) -> str:
        return f"{self.pair.interval.rate * 100:.0f} %" if self.pair.interval else ""

    @property
    def range_words(self) -> str:
        interval = self.pair.interval
        if interval is None:
            return ""
        return f"{interval.rate * 100:.0f} %, between {interval.low * 100:.0f} and {interval.high * 100:.0f} %"

    @property
    def unsure(self) -> str:
        """Why the votes do not tell yet."""
        if self.pair.votes < FEWEST_VOTES:
            return "not enough votes"
        return "not sure yet" if self.pair.more_votes else "no difference seen"

    @property
    def finding(self) -> str:
        """The words for large type: a score does not break over two lines."""
        return self.words.replace("–", "\u2060–\u2060")

    @property
    def names(self) -> dict[str, str]:
        """Both contenders' keys with their labels."""
        return {self.pair.first: self.first, self.pair.second: self.second}

    @property
    def words(self) -> str:
        return sentence(self.pair, self.names)


def columns_address(models: list[str]) -> str:
    return "/playground/?" + urlencode({"models": ",".join(models)}, safe=",:") if models else "/playground/"


def sheets_for(project: Project, models: list[str]) -> list[Sheet]:
    """Headers of a set of columns, with the addresses that move and remove them."""
    return [
        Sheet(index, contender, links=_links(models, index))
        for index, contender in enumerate(contenders.named(project, models))
    ]


def _links(models: list[str], index: int) -> dict[str, str]:
    links = {"remove": columns_address(models[:index] + models[index + 1 :])}
    for name, other in (("left", index - 1), ("right", index + 1)):
        if 0 <= other < len(models):
            swapped = list(models)
            swapped[index], swapped[other] = swapped[other], swapped[index]
            links[name] = columns_address(swapped)
    return links


def sheets_of(comparison: Comparison, user: User) -> list[Sheet]:
    """Headers of a comparison as this person may see them."""
    if not comparisons.is_revealed(comparison, user):
        return [Sheet(index) for index in range(len(comparison.columns))]
    sheets = sheets_for(comparison.project, [column["model"] for column in comparison.columns])
    for sheet, column in zip(sheets, comparison.columns, strict=True):
        sheet.own = own_words(column, comparison.system_prompt, comparison.settings)
    return sheets


@dataclass
class Given:
    """What every column of a blind comparison is given. What one is given differently stays hidden until the vote."""

    system: str
    settings: str
    differs: bool  # some column has a prompt or settings of its own


def given(comparison: Comparison) -> Given:
    drawn = comparisons.setup_of(comparison).settings
    seed = "a new seed each time" if drawn.seed is None else f"seed {drawn.seed}"
    words = f"temperature {drawn.temperature:g} · top p {drawn.top_p:g} · up to {drawn.max_tokens:,} tokens · {seed}"
    if drawn.n > 1:
        words += f" · {drawn.n} samples each"
    words += "".join(f" · {part}" for part in structure_words(comparison))
    return Given(comparison.system_prompt.strip(), words, any(_has_own(column) for column in comparison.columns))


def structure_words(comparison: Comparison) -> list[str]:
    """'tools: get_weather, get_time', 'answers by a JSON schema'"""
    names = [tool["function"]["name"] for tool in comparison.tools or []]
    wanted = (comparison.response_format or {}).get("type")
    said = {"json_schema": "answers by a JSON schema", "json_object": "answers as JSON"}.get(wanted or "", "")
    return [*([f"tools: {', '.join(names)}"] if names else []), *([said] if said else [])]


def _has_own(column: dict[str, Any]) -> bool:
    return column.get("system") is not None or any(each is not None for each in (column.get("settings") or {}).values())


OWN_WORDS = {"temperature": "temperature", "top_p": "top p", "max_tokens": "longest answer", "seed": "seed"}


def own_words(column: dict[str, Any], shared_system: str, shared: dict[str, Any]) -> list[str]:
    """What a column has otherwise than all: 'system prompt 3 words (all: 412)', 'temperature 0 (all: 0.7)'.
    static/js/playground.js says the same while it is being set."""
    words = []
    system = column.get("system")
    if system is not None:
        own, all_have = (_count(text) for text in (system, shared_system))
        words.append(f"{f'system prompt {own}' if system.strip() else 'no system prompt'} (all: {all_have})")
    for name, value in (column.get("settings") or {}).items():
        if value is not None:
            all_have = shared.get(name)
            words.append(
                f"{OWN_WORDS[name]} {_figure(value)} (all: {'new' if all_have is None else _figure(all_have)})"
            )
    return words


def _figure(value: float) -> str:
    return str(value) if isinstance(value, int) else f"{value:g}"


def _count(text: str) -> str:
    words = len(text.split())
    return f"{words:,} word{'' if words == 1 else 's'}" if words else "none"


def rounds_of(comparison: Comparison, user: User, sheets: list[Sheet], *, against: int | None = None) -> list[Round]:
    """All turns as this person may see them; `against`: the column that the others are compared with."""
    hidden = not comparisons.is_revealed(comparison, user)
    turns = comparison.turns.prefetch_related("responses__edits__editor", "votes").select_related("comparison")
    rounds = [_round(turn, user, sheets, hidden, against) for turn in turns]
    if against is not None:
        for each in rounds:
            _mark_differences(each.cells, against)
    return rounds


def _mark_differences(cells: list[Cell], against: int) -> None:
    """Of the first samples, as a person sees them: before a blind vote that is the words and nothing else."""
    first = cells[against].samples[0]
    for sample in (cell.samples[0] for cell in cells):
        if sample is not first and sample.text and first.text:
            sample.difference = difference(_words(first), _words(sample))


def _words(sample: Sample) -> str:
    return sample.checked.text if sample.checked else sample.text


def _round(turn: Turn, user: User, sheets: list[Sheet], hidden: bool, against: int | None) -> Round:
    responses = {response.column: response for response in turn.responses.all()}
    vote = next((vote for vote in turn.votes.all() if vote.voter_id == user.pk), None)
    all_there = len(responses) == len(sheets)
    cells = [_cell(sheet, responses.get(sheet.index), vote, hidden, all_there) for sheet in sheets]
    if hidden:
        _same_number_of_samples(cells)
    else:
        _mark_costs(cells, responses, against or 0)
    return Round(turn, cells, comparisons.can_be_judged(turn), vote)


def _same_number_of_samples(cells: list[Cell]) -> None:
    """A server that gives fewer than it was asked for would tell itself."""
    fewest = min(len(cell.samples) for cell in cells)
    for cell in cells:
        del cell.samples[fewest:]


def _mark_costs(cells: list[Cell], responses: dict[int, Response], against: int) -> None:
    other = responses.get(against)
    for cell in cells:
        response = responses.get(cell.sheet.index)
        if response and other and response is not other and not (response.error or other.error):
            cell.beside = figures.beside(response, other, LETTERS[against])


def _cell(sheet: Sheet, response: Response | None, vote: Vote | None, hidden: bool, all_there: bool) -> Cell:
    if response is None or (hidden and not all_there):
        return Cell(sheet, pending=True)
    if hidden:
        return Cell(sheet, samples_of(response), error=HIDDEN_FAILURE if response.error else "")
    return Cell(
        sheet,
        samples_of(response),
        vote.sample_of(sheet.index) if vote else 0,
        1 if response.error else response.settings.get("n", 1),
        figures.line(response),
        response.error,
        won=bool(vote and vote.best_id == response.pk),
        response=response if response.text and not response.error else None,
    )


def samples_of(response: Response) -> list[Sample]:
    """All answers of a column to one message."""
    first = response.sample(0)
    wanted = response.settings.get("response_format")
    return [_sample(each["text"], each["tool_calls"], wanted) for each in (first, *response.more_samples)]


def _sample(text: str, calls: list[dict[str, str]], wanted: dict[str, Any] | None) -> Sample:
    shown = [(call["name"], structured.pretty_arguments(call["arguments"])) for call in calls]
    return Sample(text, shown, structured.check(text, wanted) if text else None)


def records(project: Project, *, blind_only: bool = False, among: set[str] | None = None) -> list[Record]:
    """Each pair with its names; `among`: only pairs of these contenders."""
    found = pairs(comparisons.ballots(project, blind_only=blind_only, among=among))
    kept = [pair for pair in found if among is None or {pair.first, pair.second} <= among]
    names = comparisons.labels(project, {key for pair in kept for key in (pair.first, pair.second)})
    return [Record(pair, names[pair.first], names[pair.second]) for pair in kept]


def state_words(deployment: Deployment | None) -> str:
    """What a column waits for, for people; nothing when it is ready."""
    if deployment is None:
        return "Not loaded yet"
    if deployment.state == Deployment.State.READY:
        return ""
    if deployment.state != Deployment.State.FAILED and deployments.heartbeat() is None:
        return deployments.SERVE_IS_GONE
    return deployment.reason or {
        Deployment.State.QUEUED: "Waiting for the model server",
        Deployment.State.LOADING: "Loading into the model server",
        Deployment.State.OFF: "Not loaded; it loads when you send",
        Deployment.State.FAILED: "Could not be loaded",
    }.get(Deployment.State(deployment.state), "")


def can_add(sheets: list[Sheet]) -> bool:
    return len(sheets) < MOST_COLUMNS
