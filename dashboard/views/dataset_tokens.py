"""Tab of a dataset: its tokens as a base model reads them, and what its rows have in common."""

from dataclasses import replace
from typing import Any

from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils.http import urlencode
from django.views.decorators.http import require_http_methods

from dashboard.insight_figures import common, token_figures
from dashboard.row_filters import SHOWS, address
from dashboard.row_tokens import Reader, reader, whole_file
from dashboard.views.one_dataset import one_dataset
from training import token_counts, token_sample
from training.engine.errors import EngineError
from training.models import BaseModel, DatasetFile

Status = DatasetFile.Status


@require_http_methods(["GET", "POST"])
def tokens(request: HttpRequest, file_id: str) -> HttpResponse:
    """Token counts for the base model ?model=; asks the worker when the file is large, and by POST once more where a
    count failed."""
    file = one_dataset(request, file_id)
    if request.method == "POST":
        asked = reader(request, file)
        if asked.model and file.status == Status.PROCESSED and file.path.exists():
            token_counts.ask_worker(file, asked.model, again=True)
        if not request.htmx:
            return redirect(f"{reverse('dataset', args=[file.id])}?{urlencode({'tab': 'tokens', **asked.kept})}#tabs")
    found = _tokens(request, file, reader(request, file), start=True)
    return render(request, "dashboard/dataset_tokens.html#tokens", {"file": file, **found})


def context(request: HttpRequest, file: DatasetFile) -> dict[str, Any]:
    tokens = reader(request, file)
    found = {"common": common(file, tokens)} if file.path.exists() else {}
    return {**found, **_tokens(request, file, tokens, start=False)}


def _tokens(request: HttpRequest, file: DatasetFile, tokens: Reader, start: bool) -> dict[str, Any]:
    """`start`: count now if that was not done yet; the page itself only shows what is known."""
    present = file.path.exists()
    model = tokens.model
    found: dict[str, Any] = {
        "tokens": tokens, "models": tokens.models, "model": model, "facts": None, "token_error": "", "present": present,
    }  # fmt: skip
    if model is None or file.status != Status.PROCESSED or not present:
        return found
    facts = None
    try:
        if start or request.GET.get("model"):
            records = token_counts.index_or_start(file, model)
            if records is not None or file.format == "text":
                facts = token_counts.facts_or_start(file, model)
        else:
            facts = file.facts_for(model)
    except (EngineError, OSError) as error:
        return {**found, "token_error": str(error)}
    if facts is None:
        task = token_counts.task_of(file, model)
        return {**found, "counting": True, "asked": start, "sample": _sample(file, model), "task": task}
    tokens = replace(tokens, facts=facts)
    figures = token_figures(file, tokens, facts)
    share = facts.trained_tokens / facts.tokens if facts.tokens else 0.0
    kept = {**tokens.kept, "view": "tokens"}
    links = {show: address({"show": show}, kept) for show in SHOWS}
    found |= {"tokens": tokens}
    return {**found, "facts": facts, "share": share, "figures": figures, "links": links, "whole": whole_file(tokens)}


def _sample(file: DatasetFile, model: BaseModel) -> token_sample.Sample | None:
    """What to show until all rows are counted."""
    try:
        return token_sample.sample(file, model)
    except (EngineError, OSError):
        return None
