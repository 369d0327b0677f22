"""A row's tokens for a page: which base model reads it, where max_length cuts, what each token is."""

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from django.http import HttpRequest
from django.urls import reverse
from django.utils.html import format_html
from django.utils.http import urlencode
from django.utils.safestring import SafeString, mark_safe

from training import token_counts, token_index
from training.engine.blocks import auto_block_length
from training.engine.chat import ChatFormat
from training.engine.errors import EngineError
from training.engine.resolve import auto_length
from training.engine.spec import DataFacts
from training.models import BaseModel, DatasetFile
from training.row_search import texts_of
from training.token_view import RowView, Run, Sequence, Token, runs, view

MOST_LENGTH = 1 << 24
LIST_WORK = 200_000  # characters of a row that a list encodes, a tenth more for each answer: some tenths of a second
PAGE_WORK = 2_500_000  # ... and that a page of its own does


@dataclass(frozen=True)
class Reader:
    """Who reads the rows of a file, as the address says. `problem`: why nobody can."""

    file: DatasetFile
    models: list[BaseModel]
    model: BaseModel | None
    on: bool  # tokens are looked at, not conversations
    asked_length: int | None
    facts: DataFacts | None
    kept: dict[str, str]  # of the address, for every link of the page

    @cached_property
    def chat(self) -> ChatFormat:
        """Raises EngineError or OSError."""
        assert self.model is not None
        return token_counts.chat_format(self.model)

    @cached_property
    def auto(self) -> tuple[int | None, str]:
        """Where a job with max_length on auto would cut, and why."""
        if self.model is None or not self.model.facts_json:
            return None, ""
        context = self.model.facts.context_length
        if self.facts is None:
            return context, "The model's context; a job on auto may take less once tokens are counted."
        if self.file.format == "text":
            return auto_block_length(self.facts, context)
        return auto_length(self.facts.longest_tokens, context)

    @property
    def max_length(self) -> int | None:
        return self.asked_length or self.auto[0]

    def off(self) -> "Reader":
        return replace(self, on=False)

    def row_link(self, line: int) -> str:
        where = reverse("dataset-row", args=[self.file.id, line])
        return f"{where}?{urlencode(self.kept)}" if self.kept else where


def base_models(request: HttpRequest) -> tuple[list[BaseModel], BaseModel | None]:
    """Those on disk, and the one that reads the rows on every tab of a dataset: ?model=, else the usual one."""
    models = [model for model in BaseModel.objects.ready() if model.is_present]
    asked = request.GET.get("model", "")
    return models, next((each for each in models if each.name == asked), None) or token_counts.usual_model()


def reader(request: HttpRequest, file: DatasetFile, on: bool = False) -> Reader:
    models, model = base_models(request)
    asked = request.GET.get("model", "")
    length = request.GET.get("max_length", "")
    asked_length = min(int(length), MOST_LENGTH) if length.isdecimal() and len(length) < 10 and int(length) else None
    on = on or request.GET.get("view") == "tokens"
    kept = {"view": "tokens"} if on else {}
    kept |= {"model": model.name} if model and asked == model.name else {}
    kept |= {"max_length": str(asked_length)} if asked_length else {}
    return Reader(file, models, model, on, asked_length, _facts(file, model, on), kept)


def _facts(file: DatasetFile, model: BaseModel | None, wanted: bool) -> DataFacts | None:
    """What is known; where tokens are looked at, counted now or asked of the worker."""
    if model is None:
        return None
    if not wanted or file.status != DatasetFile.Status.PROCESSED:
        return file.facts_for(model)
    try:
        return token_counts.facts_or_start(file, model)
    except (EngineError, OSError):
        return None  # each row says why


@dataclass(frozen=True)
class Whole:
    """Of the whole file, before anything is cut. Rows are None until they are counted."""

    tokens: int
    share: float
    untrained: int | None = None
    cut: int | None = None
    lost: int | None = None


def whole_file(reader: Reader) -> Whole | None:
    if reader.facts is None or reader.model is None or not reader.facts.tokens:
        return None
    whole = Whole(reader.facts.tokens, reader.facts.trained_tokens / reader.facts.tokens)
    records = token_index.read(token_index.path_of(reader.file.id, reader.model.name))
    if records is None or reader.max_length is None:
        return whole
    length = reader.max_length
    counts = {"cut": len(token_index.cut(records, length)), "lost": len(token_index.lost(records, length))}
    return replace(whole, untrained=len(token_index.untrained(records)), **counts)


# ---- one row ----


@dataclass(frozen=True)
class ShownSequence:
    sequence: Sequence
    html: SafeString
    first: int
    last: int  # of the shown tokens, counted from 1
    cut_here: bool


@dataclass(frozen=True)
class ShownRow:
    view: RowView | None
    sequences: list[ShownSequence]
    problem: str = ""
    long: bool = False

    @property
    def state(self) -> str:
        """trained | cut | lost | untrained | long | problem"""
        if self.view is None:
            return "long" if self.long else "problem"
        if self.view.lost:
            return "lost"
        if not self.view.trained:
            return "untrained"
        return "cut" if self.view.cut else "trained"


def show(reader: Reader, row: dict[str, Any], count: int, first: int = 0, most_work: int = LIST_WORK) -> ShownRow:
    if reader.model is None:
        return ShownRow(None, [], "No base model is on disk yet.")
    if (work := _work(row)) > most_work:
        long = f"This row is long: {sum(len(text) for _, text in texts_of(row)):,} characters."
        where = "Open it alone to see its tokens." if work <= PAGE_WORK else "Its tokens are not shown here."
        return ShownRow(None, [], f"{long} {where}", long=True)
    try:
        found = view(reader.chat, row, reader.max_length)
    except (EngineError, OSError) as error:
        return ShownRow(None, [], str(error))
    return ShownRow(found, [_sequence(reader.chat, each, first, count) for each in found.sequences])


def _work(row: dict[str, Any]) -> int:
    """What encoding it costs: it is read once, and once more, ten times as fast, for each answer."""
    texts = texts_of(row)
    return sum(len(text) for _, text in texts) * (10 + sum(role == "assistant" for role, _ in texts)) // 10


def _sequence(chat: ChatFormat, sequence: Sequence, first: int, count: int) -> ShownSequence:
    first = min(first, max(0, len(sequence.ids) - 1))
    found = runs(chat, sequence, first, count)
    html = mark_safe("".join(_run(run, sequence) for run in found))
    last = min(first + count, len(sequence.ids))
    return ShownSequence(sequence, html, first + 1, last, first < sequence.kept <= last and bool(sequence.cut))


CUT = mark_safe('<span class="tok-cut" role="note">cut here</span>')


def _run(run: Run, sequence: Sequence) -> str:
    """A mark around what is trained; a line before what is cut away."""
    inner = "".join(_token(token, run) for token in run.tokens)
    kind = "tok-run" + (" tok-run--trained" if run.trained else "") + (" tok-run--cut" if run.cut else "")
    before = CUT if run.cut and run.tokens[0].at == sequence.kept else ""
    tag = "mark" if run.trained and not run.cut else "span"
    return f'{before}<{tag} class="{kind}">{inner}</{tag}>'


def _token(token: Token, run: Run) -> SafeString:
    kind = "tok tok--special" if token.special else "tok"
    return format_html('<span class="{}" title="{}">{}</span>', kind, _title(token, run), token.shown)


def _title(token: Token, run: Run) -> str:
    said = "cut away" if run.cut else "trained on" if run.trained else "read, not trained on"
    parts = [f"token {token.at + 1}", f"id {token.id}", f"weight {token.weight:g}", said]
    return ", ".join([*parts, *(["special token"] if token.special else []), *([token.note] if token.note else [])])
