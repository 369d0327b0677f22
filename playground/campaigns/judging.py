"""What an evaluator does: the next pair, a verdict, taking the last one back; and how far they are.

Nothing here hands out a contender's name: the page gets texts, and an assignment's random id.
"""

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from random import Random
from statistics import median
from typing import Any, Final

from django.db import transaction
from django.db.models import Q
from django.utils import timezone

from playground.campaigns.models import Assignment, Campaign, Evaluator
from playground.film.prompts import text_of
from playground.matrix.matrices import answers_of
from playground.matrix.models import KeptAnswer, Matrix, Prompt
from playground.matrix.table import said
from playground.statistics.pairing import Plan, Shown, Tally, next_pair, tally

SPACING: Final = 8  # other pairs between a pair and its repeat
LONG_PAUSE: Final = timedelta(minutes=10)  # a pair that comes up again after it is timed anew
FORGOTTEN: Final = timedelta(minutes=30)  # a pair shown longer ago is no longer kept from others
LONGEST_SECONDS: Final = 300.0  # what counts as the time of one vote, where the time that is left is told
LEFT_POINTS: Final = {"left": 1.0, "right": 0.0, "tie": 0.5, "both_bad": 0.5}  # of whatever stood left
TIMED: Final = 3  # votes before the time that is left is told


# ---- what is there to judge ----


def plan_of(campaign: Campaign) -> Plan:
    """Every prompt with the contenders that answered it, without those that were left out."""
    answers: dict[str, list[str]] = defaultdict(list)
    for prompt, contender in answers_of(campaign.matrix).filter(error="").values_list("prompt", "contender"):
        answers[prompt].append(contender)
    for prompt in campaign.left_out:
        answers.pop(prompt, None)
    together = {prompt: names for prompt, names in sorted(answers.items()) if len(names) > 1}
    return Plan(together, campaign.votes_per_pair, campaign.pairing, campaign.repeat_share, SPACING)  # type: ignore[arg-type]


def shown_in(campaign: Campaign) -> Iterator[Shown]:
    """Everything that was shown, in that order, but for pairs that somebody left lying."""
    recent = Q(judged_at__isnull=False) | Q(drawn_at__gt=timezone.now() - FORGOTTEN)
    wanted = ("evaluator_id", "prompt", "first", "second", "swapped", "verdict", "repeat_of_id")
    rows = campaign.assignments.filter(recent).order_by("drawn_at", "pk").values_list(*wanted)
    for evaluator, prompt, first, second, swapped, verdict, repeat_of in rows:
        left, right = (second, first) if swapped else (first, second)
        yield Shown(evaluator, prompt, left, right, LEFT_POINTS.get(verdict), repeat_of is not None)


@dataclass(frozen=True)
class Standing:
    """What there is to judge, and what was shown of it: read once for a page."""

    plan: Plan
    counts: Tally


def standing_of(campaign: Campaign) -> Standing:
    return Standing(plan_of(campaign), tally(shown_in(campaign)))


def next_for(evaluator: Evaluator) -> tuple[Assignment | None, Standing]:
    """The pair that is open, else one that is drawn now, or None where nothing is left to judge; and the standing."""
    with transaction.atomic():
        campaign = _locked(evaluator)
        waiting = evaluator.assignments.filter(judged_at=None).first()
        if waiting and waiting.prompt in campaign.left_out:
            waiting.delete()
            waiting = None
        standing = standing_of(campaign)
        if waiting:
            return _timed_anew(waiting), standing
        drawn = _drawn(campaign, evaluator, standing)
        if drawn:
            standing.counts.add(Shown(evaluator.pk, drawn.prompt, drawn.left, drawn.right, None, bool(drawn.repeat_of)))
        return drawn, standing


def _locked(evaluator: Evaluator) -> Campaign:
    """Whoever draws knows what the others have drawn."""
    return Campaign.objects.select_for_update(of=("self",)).select_related("matrix").get(pk=evaluator.campaign_id)


def _timed_anew(waiting: Assignment) -> Assignment:
    if timezone.now() - waiting.drawn_at > LONG_PAUSE:
        waiting.drawn_at = timezone.now()
        waiting.save(update_fields=["drawn_at"])
    return waiting


def _drawn(campaign: Campaign, evaluator: Evaluator, standing: Standing) -> Assignment | None:
    own = standing.counts.own.get(evaluator.pk, [])
    cap = campaign.votes_per_evaluator
    if cap is not None and sum(not each.repeat for each in own) >= cap:
        return None
    chance = Random(f"{campaign.seed}/{evaluator.pk}/{len(own)}")
    draw = next_pair(standing.plan, standing.counts, evaluator.pk, chance)
    if draw is None:
        return None
    first, second = sorted((draw.left, draw.right))
    which = {"prompt": draw.prompt, "first": first, "second": second}
    before = evaluator.assignments.get(repeat_of=None, **which) if draw.repeat else None
    return Assignment.objects.create(
        campaign=campaign, evaluator=evaluator, swapped=draw.left == second, repeat_of=before, **which
    )


# ---- saying which is better ----


@dataclass(frozen=True)
class Said:
    """A verdict with its reasons, as the form cleaned them."""

    verdict: str
    criteria: dict[str, str] = field(default_factory=dict)
    satisfaction: dict[str, int] = field(default_factory=dict)
    tags: list[str] = field(default_factory=list)
    comment: str = ""


def judge(evaluator: Evaluator, assignment_id: str, judgement: Said) -> bool:
    """Stores it. False: this pair was judged already (the form came twice), or is no longer asked."""
    now = timezone.now()
    still_open = evaluator.assignments.filter(pk=assignment_id, judged_at=None)
    drawn_at = still_open.values_list("drawn_at", flat=True).first()
    if drawn_at is None:
        return False
    seconds = (now - drawn_at).total_seconds()
    return bool(still_open.update(judged_at=now, seconds=seconds, taken_back=False, **vars(judgement)))


def last_vote(evaluator: Evaluator) -> Assignment | None:
    """The one that can be taken back: none while one that was is open."""
    if evaluator.assignments.filter(judged_at=None, taken_back=True).exists():
        return None
    return evaluator.assignments.judged().order_by("-judged_at").first()


@transaction.atomic
def take_back(evaluator: Evaluator) -> bool:
    """Opens the last vote again, with its reasons but without its verdict; the pair that was open is drawn later."""
    _locked(evaluator)
    last = last_vote(evaluator)
    if last is None:
        return False
    evaluator.assignments.filter(judged_at=None).delete()
    last.verdict, last.judged_at, last.seconds = "", None, None
    last.drawn_at, last.taken_back = timezone.now(), True
    last.save()
    return True


# ---- how far ----


@dataclass(frozen=True)
class Progress:
    """`done` of `wanted` pairs, repeats among them: nobody can tell which those are."""

    done: int
    wanted: int
    seconds_left: float | None = None
    others: bool = False  # judge too: what they judge is left to nobody else, so `wanted` may fall

    @property
    def words(self) -> str:
        """'12 of 40, about 9 minutes left'; '12 of at most 40' where others judge, too."""
        so_far = f"{self.done} of {'at most ' if self.others else ''}{self.wanted}"
        if self.seconds_left is None:
            return so_far
        minutes = round(self.seconds_left / 60)
        left = "under a minute" if minutes < 1 else f"about {minutes} minute{'s' if minutes > 1 else ''}"
        return f"{so_far}, {left} left"


def progress_of(evaluator: Evaluator, standing: Standing) -> Progress:
    """As far as can be known: others who vote leave less to do."""
    plan, counts = standing.plan, standing.counts
    own = counts.own.get(evaluator.pk, [])
    fresh = [each for each in own if not each.repeat]
    open_now = sum(each.point is None for each in fresh)
    campaign = evaluator.campaign
    left = min(_votes_left(plan, counts), _unseen(plan, fresh)) + open_now
    if campaign.votes_per_evaluator is not None:
        left = min(left, max(0, campaign.votes_per_evaluator - len(fresh)) + open_now)
    done = sum(each.point is not None for each in own)
    judged = len(fresh) - open_now
    repeats = int(plan.repeated * max(0, judged + left - SPACING))
    wanted = max(done + left, judged + left + repeats, done + any(each.point is None for each in own))
    others = any(shown for pk, shown in counts.own.items() if pk != evaluator.pk)
    return Progress(done, wanted, _seconds_left(evaluator, wanted - done), others)


def _votes_left(plan: Plan, counts: Tally) -> int:
    missing = [plan.votes_wanted - counts.of_pair[pair] for pair in plan.pairs]
    return max(0, sum(missing)) if plan.rule == "informative" else sum(max(0, each) for each in missing)


def _unseen(plan: Plan, fresh: list[Shown]) -> int:
    everything = sum(len(names) * (len(names) - 1) // 2 for names in plan.answers.values())
    return max(0, everything - len(fresh))


def _seconds_left(evaluator: Evaluator, votes: int) -> float | None:
    times = evaluator.assignments.judged().order_by("-judged_at").values_list("seconds", flat=True)[:20]
    timed = [min(each, LONGEST_SECONDS) for each in times if each is not None]
    return votes * median(timed) if len(timed) >= TIMED else None


# ---- what is shown ----


@dataclass(frozen=True)
class Message:
    """One message of the conversation that is answered."""

    who: str
    text: str


@dataclass(frozen=True)
class Asked:
    """The prompt as an evaluator reads it. `given`: the system prompt, where it is the same for every contender."""

    messages: list[Message]
    given: str = ""
    tools: list[str] = field(default_factory=list)
    continues: bool = False  # a text is continued, no question answered


WHO: Final = {"user": "Question", "assistant": "Answer before", "tool": "What a tool returned"}


def asked_in(assignment: Assignment) -> Asked:
    matrix = assignment.campaign.matrix
    prompt = Prompt.objects.get(prompt_set=matrix.prompt_set_id, key=assignment.prompt)
    if "prompt" in prompt.ask:
        return Asked([Message("Text", str(prompt.ask["prompt"]))], continues=True)
    messages = prompt.ask["messages"]
    spoken = [each for each in messages if each.get("role") not in ("system", "developer")]
    tools = prompt.ask.get("tools") or prompt.ask.get("functions") or []
    return Asked(
        [Message(WHO.get(each.get("role", ""), "Message"), text_of(each)) for each in spoken],
        _given_to_all(matrix, messages),
        [str((each.get("function") or each).get("name", "")) for each in tools],
    )


def _given_to_all(matrix: Matrix, messages: list[dict[str, Any]]) -> str:
    if any(column.get("system") is not None for column in matrix.columns):
        return ""  # it would tell the contenders apart
    own = [text_of(each) for each in messages if each.get("role") in ("system", "developer")]
    return matrix.system_prompt.strip() or "\n\n".join(own).strip()


def answers_in(assignment: Assignment) -> tuple[str, str]:
    """The texts that stand left and right."""
    kept = KeptAnswer.objects.filter(
        project=assignment.campaign.project_id,
        prompt=assignment.prompt,
        contender__in=(assignment.first, assignment.second),
    )
    texts = {each.contender: said(each) for each in kept}
    return texts[assignment.left], texts[assignment.right]
