"""Screen: what a campaign found. For the people of the project only."""

from collections import Counter
from dataclasses import dataclass, replace
from typing import Any

from django.core.paginator import Paginator
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, render
from django.urls import URLPattern, path
from django.views.decorators.http import require_GET

from playground import comparisons, contenders
from playground.campaigns import findings as computed
from playground.campaigns import overview
from playground.campaigns.findings import Findings
from playground.campaigns.models import Assignment, Campaign
from playground.leaderboard import Leaderboard, Named, board, headline, short_of_votes
from playground.sheets import Record
from playground.statistics.pairs import Pair
from playground.statistics.shares import FEWEST_VOTES

PAGE_PROMPTS = 20
MOST_COMMENTS = 200
OPEN_TOPICS = 4  # so many kinds of prompt are unfolded at once
SHADES = 5  # of the pair matrix, from losing to winning


@require_GET
def campaign_results(request: HttpRequest, campaign_id: str) -> HttpResponse:
    """`?without=3,7` leaves out the votes of these evaluators."""
    campaign = get_object_or_404(Campaign.objects.of(request.project).select_related("matrix"), pk=campaign_id)
    context: dict[str, Any] = {"campaign": campaign}
    if campaign.is_judged_by(request.user):  # names beside answers would tell whom to prefer
        return render(request, "playground/campaign_results.html", context | {"judging": True})
    without = _without(request)
    found = computed.findings(campaign, without)
    named = names(campaign)
    labels = {key: each.label for key, each in named.items()}
    records = _alike(_records(found.records, labels), found)
    ranks = _board(found, named) if found.ranked else None
    first, first_note = headline(records, ranks)
    context |= {
        "found": found,
        "records": records,
        "headline": first,
        "headline_note": first_note,
        "board": ranks,
        "short": _short(found, labels),
        "grid": _grid(found, named),
        "criteria": [(name, _records(given, labels)) for name, given in found.criteria.items()],
        "topics": [(name, _records(given, labels)) for name, given in found.topics.items()],
        "topics_open": len(found.topics) <= OPEN_TOPICS,
        "reasons": _reasons(found, labels),
        "satisfaction": _satisfaction(found, named),
        "people": _people(request, found, without, joined := overview.joined(campaign)),
        "comments": _comments(campaign, without, labels, joined),
        "without": without,
        "repeats": sum(each.repeats for each in found.evaluators if each.pk not in without),
        "left": _percent(found.left),
        "page": (page := _prompts(request, campaign, found, labels)),
        "divided": any(row["divided"] for row in page.paginator.object_list),
    }
    return render(request, "playground/campaign_results.html", context)


def _without(request: HttpRequest) -> frozenset[int]:
    return frozenset(int(each) for each in request.GET.get("without", "").split(",") if each.isdecimal())


def names(campaign: Campaign) -> dict[str, Named]:
    """Each contender key of the campaign as the pages show it."""
    matrix = campaign.matrix
    keys = {
        key: comparisons.contender_key(column) for key, column in zip(matrix.contenders, matrix.columns, strict=True)
    }
    models = {key: column["model"] for key, column in zip(matrix.contenders, matrix.columns, strict=True)}
    labels = comparisons.labels(campaign.project, set(keys.values()))
    known = contenders.find(campaign.project, models.values())
    return {
        key: Named(
            labels[name],
            known[models[key]].colour if models[key] in known else "run-base",
            models[key] if models[key] in known else "",
        )
        for key, name in keys.items()
    }


def _records(found: list[Pair], labels: dict[str, str]) -> list[Record]:
    return [Record(pair, labels.get(pair.first, "deleted"), labels.get(pair.second, "deleted")) for pair in found]


def _alike(records: list[Record], found: Findings) -> list[Record]:
    """The same with how often both had written the same."""
    keys = [(min(each.pair.first, each.pair.second), max(each.pair.first, each.pair.second)) for each in records]
    return [
        replace(each, alike=found.alike[key], alike_ties=found.alike_ties[key])
        for each, key in zip(records, keys, strict=True)
    ]


def _board(found: Findings, named: dict[str, Named]) -> Leaderboard | None:
    gone = Named("deleted", "run-base", "")
    if not found.ratings:
        return None
    known = {each.name: named.get(each.name, gone) for each in found.ratings}
    return board(found.ratings, known, [named.get(key, gone).label for key in found.apart])


def _short(found: Findings, labels: dict[str, str]) -> list[str]:
    """While there are no ranks: the pairs that have too few votes, nearest to enough first."""
    return [] if found.ranked else short_of_votes(found.records, labels)


@dataclass(frozen=True)
class GridCell:
    """A pair seen from the row: '12–3–5', how that reads, and its shade."""

    words: str = ""
    shade: str = ""
    title: str = ""


def _grid(found: Findings, named: dict[str, Named]) -> list[tuple[Named, list[GridCell]]]:
    """Rows and columns in the order of the ratings; nothing for two contenders, where the table of pairs says it."""
    order = [each.name for each in found.ratings if each.name in named]
    if len(order) < 3:
        return []
    table = {(pair.first, pair.second): pair for pair in found.records}
    return [(named[row], [_cell(row, column, table, named) for column in order]) for row in order]


def _cell(row: str, column: str, table: dict[tuple[str, str], Pair], named: dict[str, Named]) -> GridCell:
    if row == column:
        return GridCell(shade="grid__self")
    pair = table.get((row, column)) or table.get((column, row))
    if pair is None or pair.interval is None:
        return GridCell("–", "grid__few", "No votes on this pair")
    ahead = pair.first == row
    wins, losses = (pair.wins, pair.losses) if ahead else (pair.losses, pair.wins)
    rate = pair.interval.rate if ahead else 1 - pair.interval.rate
    shade = "grid__few" if pair.votes < FEWEST_VOTES else f"grid__{min(int(rate * SHADES), SHADES - 1)}"
    title = f"{named[row].label} against {named[column].label}: {wins} wins, {pair.ties} ties, {losses} losses"
    return GridCell(f"{wins}–{pair.ties}–{losses}", shade, title)


def _reasons(found: Findings, labels: dict[str, str]) -> list[dict[str, Any]]:
    """Each reason with how often it was given for each contender."""
    return [
        {
            "tag": tag,
            "votes": votes,
            "won": [(labels[key], counted[key]) for key in labels if counted[key]],
            "none": counted["tie"] + counted["both_bad"],
        }
        for tag, votes, counted in found.reasons
    ]


def _satisfaction(found: Findings, named: dict[str, Named]) -> list[dict[str, Any]]:
    """Best first, drawn on 0 to 200 for marks of 1 to 5."""
    least, most = computed.SATISFACTION

    def drawn(mark: float) -> float:
        return round(200 * (mark - least) / (most - least), 1)

    rows = []
    for key, mean in sorted(found.satisfaction.items(), key=lambda each: -each[1].value):
        bar = None
        if mean.low is not None and mean.high is not None:
            bar = {"low": drawn(mean.low), "width": round(drawn(mean.high) - drawn(mean.low), 1)}
        if key in named:
            rows.append({"named": named[key], "mean": mean, "bar": bar, "at": drawn(mean.value)})
    return rows


def _percent(interval: Any) -> dict[str, str] | None:
    if interval is None:
        return None
    return {"rate": f"{interval.rate * 100:.0f} %", "range": f"{interval.low * 100:.0f}–{interval.high * 100:.0f} %"}


def _people(
    request: HttpRequest, found: Findings, without: frozenset[int], joined: dict[int, str]
) -> list[dict[str, Any]]:
    rows = []
    for each in found.evaluators:
        other = sorted(without ^ {each.pk})
        query = request.GET.copy()
        query.pop("page", None)
        query["without"] = ",".join(map(str, other))
        rows.append(
            {
                "who": each,
                "apart": joined.get(each.pk, ""),
                "out": each.pk in without,
                "same": _percent(each.same_again),
                "left": _percent(each.left),
                "toggle": query.urlencode(safe=",") if other else "",
            }
        )
    return rows


def _comments(
    campaign: Campaign, without: frozenset[int], labels: dict[str, str], joined: dict[int, str]
) -> list[dict[str, Any]]:
    """What people wrote beside their verdicts, beside those on planted repeats too; the newest first."""
    written = campaign.assignments.judged().exclude(comment="").exclude(evaluator__in=without)
    votes = list(written.select_related("evaluator").order_by("-judged_at", "pk")[:MOST_COMMENTS])
    asked = campaign.matrix.prompt_set.prompts.filter(key__in={vote.prompt for vote in votes})
    texts = dict(asked.values_list("key", "text"))
    return [
        {
            "vote": vote,
            "apart": joined.get(vote.evaluator_id, ""),
            "prompt": texts.get(vote.prompt, ""),
            "said": _verdict(vote, labels),
        }
        for vote in votes
    ]


def _verdict(vote: Assignment, labels: dict[str, str]) -> str:
    """'voice over base', 'tie: base and voice'."""
    first, second = (labels.get(name, "deleted") for name in (vote.first, vote.second))
    if vote.choice in SAID:
        return f"{SAID[vote.choice]}: {first} and {second}"
    return f"{first} over {second}" if vote.choice == vote.first else f"{second} over {first}"


def _prompts(request: HttpRequest, campaign: Campaign, found: Findings, labels: dict[str, str]) -> Any:
    """Every judged prompt with what was said of each pair; those with a pair of which people said different things
    first, the most evenly divided before, then those with most votes."""
    prompts = campaign.matrix.prompt_set.prompts.filter(key__in=found.said).values_list("pk", "key", "text")
    rows = []
    for pk, key, text in prompts:
        pairs = [_said_of(pair, counted, labels) for pair, counted in found.said[key].items()]
        pairs.sort(key=lambda each: (-each["divided"], -each["votes"]))
        votes = sum(each["votes"] for each in pairs)
        rows.append({"pk": pk, "text": text, "votes": votes, "pairs": pairs, "divided": pairs[0]["divided"]})
    rows.sort(key=lambda row: (-row["divided"], -row["votes"]))
    return Paginator(rows, PAGE_PROMPTS).get_page(request.GET.get("page"))


def _said_of(pair: tuple[str, str], counted: Counter[str], labels: dict[str, str]) -> dict[str, Any]:
    """Both contenders with their votes, the winner first; `divided` is the share that did not say what most said."""
    votes = counted.total()
    both = [(labels.get(name, "deleted"), counted[name]) for name in sorted(pair, key=lambda name: -counted[name])]
    none = [(words, counted[name]) for name, words in SAID.items() if counted[name]]
    return {"said": both + none, "votes": votes, "divided": 1 - max(counted.values()) / votes}


SAID = {"tie": "tie", "both_bad": "both bad"}


urlpatterns: list[URLPattern] = [path("<str:campaign_id>/results/", campaign_results, name="campaign-results")]
