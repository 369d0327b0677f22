"""What a person may see of a comparison: the one place that decides it, for the page and for the socket.

Before the vote a blind comparison shows prompts, finished answers and letters, and nothing else: no name, no colour,
no figure, no setting of a column, no reason of a failure, and no answer before all are there, so that speed says
nothing either.
"""

from dataclasses import dataclass, field
from urllib.parse import urlencode

from accounts.models import Project, User
from playground import comparisons, contenders, deployments
from playground.comparisons import Answer
from playground.contenders import Contender
from playground.forms import MOST_COLUMNS
from playground.models import Comparison, Deployment, Response, Turn, Vote
from playground.statistics.pairs import Pair, pairs, sentence
from playground.statistics.shares import FEWEST_VOTES

HIDDEN_FAILURE = "This column gave no answer."


@dataclass
class Sheet:
    """One column's header. `contender` is None while its name is hidden."""

    index: int
    contender: Contender | None = None
    own: list[str] = field(default_factory=list)  # what it does differently, in words
    links: dict[str, str] = field(default_factory=dict)  # left, right, remove

    @property
    def letter(self) -> str:
        return "ABCDEF"[self.index]

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
        return state_words(self.deployment)


@dataclass
class Cell:
    """One column's answer in one turn."""

    sheet: Sheet
    text: str = ""
    figures: str = ""
    error: str = ""
    pending: bool = False  # nothing to show yet
    won: bool = False


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
    def verdict(self) -> str:
        """The person's own vote in words."""
        if self.vote is None:
            return ""
        best = next((cell.sheet.letter for cell in self.cells if cell.won), "")
        return {"best": f"You chose {best}.", "tie": "You called it a tie.", "both_bad": "You found all bad."}[
            self.vote.verdict
        ]


@dataclass
class Record:
    """A pair of contenders as the tables show it."""

    pair: Pair
    first: str
    second: str

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
    def words(self) -> str:
        return sentence(self.pair, {self.pair.first: self.first, self.pair.second: self.second})


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
        sheet.own = _own(column)
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
    return Given(comparison.system_prompt.strip(), words, any(_own(column) for column in comparison.columns))


OWN_WORDS = {"temperature": "temperature", "top_p": "top p", "max_tokens": "longest answer", "seed": "seed"}


def _own(column: dict[str, object]) -> list[str]:
    settings = column.get("settings") or {}
    assert isinstance(settings, dict)
    words = [f"{OWN_WORDS[name]} {value}" for name, value in settings.items() if value is not None]
    return ["own system prompt", *words] if column.get("system") is not None else words


def rounds_of(comparison: Comparison, user: User, sheets: list[Sheet]) -> list[Round]:
    """All turns as this person may see them."""
    hidden = not comparisons.is_revealed(comparison, user)
    turns = comparison.turns.prefetch_related("responses", "votes").select_related("comparison")
    return [_round(turn, user, sheets, hidden) for turn in turns]


def _round(turn: Turn, user: User, sheets: list[Sheet], hidden: bool) -> Round:
    responses = {response.column: response for response in turn.responses.all()}
    vote = next((vote for vote in turn.votes.all() if vote.voter_id == user.pk), None)
    all_there = len(responses) == len(sheets)
    cells = [_cell(sheet, responses.get(sheet.index), vote, hidden, all_there) for sheet in sheets]
    return Round(turn, cells, comparisons.is_complete(turn) and len(sheets) > 1, vote)


def _cell(sheet: Sheet, response: Response | None, vote: Vote | None, hidden: bool, all_there: bool) -> Cell:
    if response is None or (hidden and not all_there):
        return Cell(sheet, pending=True)
    if hidden:
        return Cell(sheet, text=response.text, error=HIDDEN_FAILURE if response.error else "")
    won = bool(vote and vote.best_id == response.pk)
    return Cell(sheet, response.text, figures_line(response), response.error, won=won)


STOPPED = {"stop": "finished", "length": "cut at the limit", "stopped": "stopped"}


def figures_line(response: Response | Answer) -> str:
    """'18 prompt tokens · first token 0.21 s · 48 tok/s · 212 tokens · finished'."""
    parts = []
    if response.prompt_tokens is not None:
        parts.append(f"{response.prompt_tokens:,} prompt tokens")
    if response.first_token_seconds is not None:
        parts.append(f"first token {_seconds(response.first_token_seconds)}")
    if response.tokens_per_second is not None:
        parts.append(f"{_rate(response.tokens_per_second)} tok/s")
    if response.completion_tokens is not None:
        parts.append(f"{response.completion_tokens:,} {'token' if response.completion_tokens == 1 else 'tokens'}")
    if response.stop_reason:
        parts.append(STOPPED.get(response.stop_reason, response.stop_reason))
    return " · ".join(parts)


def _seconds(value: float) -> str:
    return f"{value:.2f} s" if value < 10 else f"{value:.0f} s"


def _rate(value: float) -> str:
    return f"{value:.1f}" if value < 10 else f"{value:.0f}"


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
