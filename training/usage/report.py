"""Sums of what a project used: by day, model, key and person."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any, Final

from django.db.models import Sum
from django.db.models.functions import TruncDate
from django.utils import timezone

from accounts.models import Project
from training.usage.models import FIGURES, Usage, UsageQuerySet
from training.usage.terms import Prices, prices_of, servers_prices

PERIODS: Final = (7, 30, 90, 365)  # days up to today
MEASURES: Final = {"tokens": "Tokens", "requests": "Requests", "cost": "Cost"}
COLOURS: Final = 6  # models that have one of their own in the chart; the rest stand together
OTHERS: Final = "Others"


@dataclass(frozen=True)
class Line:
    """One row of a table."""

    name: str
    figures: dict[str, Any]
    cost: float | None
    note: str = ""

    @property
    def tokens(self) -> int:
        """All that a model has read or written."""
        return sum(self.figures[name] for name in ("prompt_tokens", "completion_tokens", "file_tokens"))

    def measure(self, name: str) -> float:
        given = {"tokens": self.tokens, "requests": self.figures["requests"], "cost": self.cost or 0.0}
        return given[name]


def first_day(days: int) -> date:
    return timezone.now().date() - timedelta(days=days - 1)


def rows(project: Project, days: int) -> UsageQuerySet:
    start = datetime.combine(first_day(days), datetime.min.time(), timezone.get_current_timezone())
    return Usage.objects.of(project).filter(hour__gte=start)


class Report:
    """Of some rows of one project."""

    def __init__(self, project: Project, found: UsageQuerySet) -> None:
        self.project, self.found = project, found
        self.prices, self.server = prices_of(project), servers_prices()

    def total(self) -> Line:
        return self._sum("All", self._grouped("base"))

    def by_model(self) -> list[Line]:
        """The most tokens first."""
        return self._lines("model", lambda row: (row["model"], row["base"] if row["base"] != row["model"] else ""))

    def by_kind(self) -> list[Line]:
        return self._lines("kind", lambda row: (Usage.Kind(row["kind"]).label, ""))

    def by_key(self) -> list[Line]:
        names = ("api_key", "api_key__name", "api_key__hint")
        by_keys = Report(self.project, self.found.exclude(api_key=None))
        return by_keys._lines(names, lambda row: (row["api_key__name"], row["api_key__hint"]))

    def by_person(self) -> list[Line]:
        names = ("user", "user__name", "user__email")
        return self._lines(names, lambda row: _person(row["user__name"], row["user__email"]))

    def by_day(self) -> dict[date, dict[str, Line]]:
        """For each day with use its models."""
        found: dict[date, dict[str, Line]] = {}
        for row in self.found.annotate(day=TruncDate("hour")).values("day", "model", "base").annotate(**SUMS):
            found.setdefault(row["day"], {})[row["model"]] = self._sum(row["model"], [row])
        return found

    def _grouped(self, *names: str) -> list[dict[str, Any]]:
        return list(self.found.order_by().values(*{*names, "base"}).annotate(**SUMS))

    def _lines(self, names: Any, named: Any) -> list[Line]:
        """`named`: a row's name and note; `names`: the columns that tell one line from another, whatever they are
        called."""
        groups: dict[tuple[Any, ...], list[dict[str, Any]]] = {}
        columns = [names] if isinstance(names, str) else names
        for row in self._grouped(*columns):
            groups.setdefault((*named(row), *(row[column] for column in columns)), []).append(row)
        lines = [self._sum(name, group, note) for (name, note, *_), group in groups.items()]
        return sorted(lines, key=lambda line: (-line.tokens, -line.figures["requests"], line.name))

    def _sum(self, name: str, group: Iterable[dict[str, Any]], note: str = "") -> Line:
        group = [{**row, **{figure: row[f"sum_{figure}"] for figure in FIGURES}} for row in group]
        costs = [self.prices_for(row["base"]).cost(row) for row in group]
        known = [cost for cost in costs if cost is not None]
        figures = {figure: sum(row[figure] for row in group) for figure in FIGURES}
        return Line(name, figures, sum(known) if known else None, note)

    def prices_for(self, base: str) -> Prices:
        return self.prices.get(base, self.server) if base else Prices()


def _person(name: str | None, email: str | None) -> tuple[str, str]:
    """Name and note: several people may have the same name, but never the same e-mail."""
    return (name, email or "") if name else (email or "Nobody any more", "")


SUMS: Final = {f"sum_{name}": Sum(name) for name in FIGURES}


# ---- the chart ----


@dataclass(frozen=True)
class Bar:
    """A model's part of a day; the chart is 100 high."""

    model: str
    colour: str  # css class
    value: float
    y: float
    height: float


def chart(report: Report, days: int, measure: str) -> tuple[list[tuple[date, list[Bar]]], list[tuple[str, str]], float]:
    """Each day of the period with its bars, the models with their colours, and the highest day's value."""
    by_day = report.by_day()
    totals: dict[str, float] = {}
    for lines in by_day.values():
        for model, line in lines.items():
            totals[model] = totals.get(model, 0) + line.measure(measure)
    ranked = sorted((model for model in totals if totals[model]), key=lambda model: (-totals[model], model))
    colours = {model: f"run-{at}" for at, model in enumerate(ranked[:COLOURS])}
    legend = [*colours.items(), *([(OTHERS, "run-base")] if len(ranked) > COLOURS else [])]
    top = max((sum(line.measure(measure) for line in lines.values()) for lines in by_day.values()), default=0) or 1
    shown = []
    for day in (first_day(days) + timedelta(days=number) for number in range(days)):
        values: dict[str, float] = {}
        for model, line in by_day.get(day, {}).items():
            name = model if model in colours else OTHERS
            values[name] = values.get(name, 0) + line.measure(measure)
        bars, y = [], 100.0
        for model, colour in legend:
            if value := values.get(model):
                height = 100 * value / top
                y -= height
                bars.append(Bar(model, colour, value, round(y, 2), round(height, 2)))
        shown.append((day, bars))
    return shown, legend, top
