"""What a model judged, beside what people said of the same pairs."""

from collections import Counter, defaultdict
from dataclasses import dataclass, field

from playground.campaigns.models import Assignment
from playground.judge import runs
from playground.judge.models import JudgeRun
from playground.judge.runs import Question
from playground.statistics.agreement import consistency, kappa, kappa_interval, position_bias
from playground.statistics.pairs import Ballot, Pair, pairs
from playground.statistics.shares import FEWEST_VOTES, Interval, clustered

TIE = "tie"
LEANING = 0.1  # of the points for what stands first, beyond one half, that is worth a word
Cell = tuple[str, str, str]  # prompt and pair


@dataclass
class JudgeFindings:
    """Contenders are keys. `people` and `model` are the records of the same pairs on the same prompts."""

    asked: int = 0  # questions, each pair in both orders
    said: int = 0
    unreadable: int = 0
    first: Interval | None = None  # share of the points that it gave to what stood first
    same: Interval | None = None  # share of pairs on which both orders came out the same
    model: list[Pair] = field(default_factory=list)
    people: list[Pair] = field(default_factory=list)
    votes: int = 0  # of people, on pairs that it judged
    agreed: Interval | None = None  # share of those votes that say the same
    kappa: float | None = None
    kappa_interval: tuple[float, float] | None = None
    among_people: float | None = None  # how often two people say the same of one pair
    examples: list[str] = field(default_factory=list)  # replies that could not be read

    @property
    def percent(self) -> int:
        return 100 * self.said // self.asked if self.asked else 100

    @property
    def flags(self) -> list[str]:
        """What to know before one believes it, in plain words."""
        found = []
        if self.first and self.first.decided and abs(self.first.rate - 0.5) > LEANING:
            where, rate = ("first", self.first.rate) if self.first.rate > 0.5 else ("second", 1 - self.first.rate)
            found.append(
                f"It prefers whatever stands {where}: {rate * 100:.0f} % of the points went there, though each pair "
                "was shown in both orders"
            )
        if self.said and self.unreadable * 10 > self.said:
            found.append(f"{self.unreadable} of its {self.said} replies were neither the JSON nor the letter asked for")
        low = self.kappa_interval[0] if self.kappa_interval else None
        if self.kappa is not None and low is not None and low <= 0 and self.votes >= FEWEST_VOTES:
            found.append("Its agreement with people may be chance: the interval of kappa holds zero")
        return found


def findings(run: JudgeRun) -> JudgeFindings:
    wanted = runs.questions(run)
    said = runs.verdicts(run)
    here = {each: said[each] for each in wanted if each in said}
    decided, both = _decided(here)
    votes = list(Assignment.objects.votes(run.campaign)) if run.campaign else []
    shared = [vote for vote in votes if (vote.prompt, vote.first, vote.second) in decided]
    together = [(vote.prompt, _plain(vote.choice), decided[vote.prompt, vote.first, vote.second]) for vote in shared]
    return JudgeFindings(
        asked=len(wanted),
        said=len(here),
        unreadable=sum(not choice for choice in here.values()),
        first=position_bias([POINT[choice] for choice in here.values() if choice]),
        same=consistency(both),
        model=pairs(_ballot(cell, choice) for cell, choice in decided.items()),
        people=pairs(_ballot((vote.prompt, vote.first, vote.second), _plain(vote.choice)) for vote in shared),
        votes=len(shared),
        agreed=clustered((prompt, float(one == other)) for prompt, one, other in together),
        kappa=kappa([(one, other) for _, one, other in together]),
        kappa_interval=kappa_interval(together),
        among_people=_among(shared),
        examples=runs.unreadable_replies(run),
    )


POINT = {"left": 1.0, "right": 0.0, TIE: 0.5}


def _plain(choice: str) -> str:
    """A judge is not asked whether both are bad."""
    return TIE if choice == Assignment.Verdict.BOTH_BAD else choice


def _decided(said: dict[Question, str]) -> tuple[dict[Cell, str], list[tuple[str, str]]]:
    """The verdict on each pair that was readable in both orders: the same contender twice, else a tie; and what each
    order said."""
    decided: dict[Cell, str] = {}
    both = []
    for asked, choice in said.items():
        if asked.left > asked.right:
            continue
        again = said.get(Question(asked.prompt, asked.right, asked.left), "")
        if not choice or not again:
            continue
        one = {"left": asked.left, "right": asked.right}.get(choice, TIE)
        other = {"left": asked.right, "right": asked.left}.get(again, TIE)
        both.append((one, other))
        decided[asked.prompt, asked.left, asked.right] = one if one == other else TIE
    return decided, both


def _ballot(cell: Cell, choice: str) -> Ballot:
    prompt, one, other = cell
    return Ballot((one, other), choice if choice in (one, other) else None, prompt=prompt)


def _among(votes: list[Assignment]) -> float | None:
    """Of all two people who judged the same pair, the share that said the same."""
    said: dict[Cell, Counter[str]] = defaultdict(Counter)
    for vote in votes:
        said[vote.prompt, vote.first, vote.second][_plain(vote.choice)] += 1
    same = sum(count * (count - 1) for counted in said.values() for count in counted.values())
    pairs_of_people = sum(counted.total() * (counted.total() - 1) for counted in said.values())
    return same / pairs_of_people if pairs_of_people else None
