"""Screen: external models. Add, test, edit, remove; every member sees and uses them, owners change them
(dashboard.walls)."""

import asyncio
from typing import Any

from django.conf import settings
from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import URLPattern, path
from django.utils import timezone
from django.views.decorators.cache import never_cache
from django.views.decorators.debug import sensitive_post_parameters
from django.views.decorators.http import require_POST

from accounts.errors import ApiError
from playground.external import calling, trouble
from playground.external.forms import ExternalForm
from playground.external.models import ExternalModel

PAGE = "playground/external.html"
TEST_SECONDS = 60.0
QUESTION = "Answer with one word: ready"


@never_cache
def external_models(request: HttpRequest) -> HttpResponse:
    return _page(request)


@never_cache
@sensitive_post_parameters("key")
def add_external(request: HttpRequest) -> HttpResponse:
    form = ExternalForm(request.POST or None, project=request.project)
    if request.method == "POST" and form.is_valid():
        made = _store(ExternalModel(project=request.project, created_by=request.user), form.cleaned_data)
        if problem := _test(made):
            messages.warning(request, f"{made.name} is added, but it did not answer: {problem}")
        else:
            messages.success(request, f"{made.name} can stand in a column from now on.")
        return redirect("external-models")
    return _page(request, form=form, status=422 if form.errors else 200)


@never_cache
@sensitive_post_parameters("key")
def edit_external(request: HttpRequest, pk: str) -> HttpResponse:
    known = get_object_or_404(ExternalModel.objects.of(request.project).kept(), pk=pk)
    form = ExternalForm(request.POST or None, project=request.project, known=known)
    if request.method == "POST" and form.is_valid():
        if problem := _test(_store(known, form.cleaned_data)):
            messages.warning(request, f"{known.name} is changed, but it did not answer: {problem}")
        else:
            messages.success(request, f"{known.name} is changed.")
        return redirect("external-models")
    return _page(request, form=form, editing=known, status=422 if form.errors else 200)


@require_POST
def test_external(request: HttpRequest, pk: str) -> HttpResponse:
    """Asks it one short question now."""
    _test(get_object_or_404(ExternalModel.objects.of(request.project).kept(), pk=pk))
    return _page(request) if request.htmx else redirect("external-models")


@require_POST
def remove_external(request: HttpRequest, pk: str) -> HttpResponse:
    """Its key is wiped; its name stays with old comparisons."""
    known = get_object_or_404(ExternalModel.objects.of(request.project).kept(), pk=pk)
    known.keep_key("")
    known.removed_at = timezone.now()
    known.save(update_fields=["sealed", "hint", "removed_at"])
    messages.success(request, f"{known.name} is removed and its key deleted. Its answers and votes stay.")
    return redirect("external-models")


def _store(external: ExternalModel, given: dict[str, Any]) -> ExternalModel:
    for name in ("name", "base_url", "model", "input_price", "output_price"):
        setattr(external, name, given[name])
    if given["key"] or given.get("forget_key"):
        external.keep_key(given["key"])
    external.save()
    return external


def _test(external: ExternalModel) -> str:
    """Asks and keeps what came of it; returns why it did not answer, empty when it did."""
    try:
        text, first, seconds = asyncio.run(_asked(external))  # a loop of its own: connections to nobody else in it
        said = " ".join(text.split())[:80]
        ok, words = True, f"first token after {first:.2f} s, done after {seconds:.2f} s"
        words += f", said “{said}”" if said else ", but it said nothing"
    except TimeoutError:
        ok, words = False, f"No whole answer within {TEST_SECONDS:.0f} seconds."
    except ApiError as error:
        ok, words = False, error.message.removeprefix(f"{external.name}: ").replace(trouble.ON_ITS_PAGE, "")
    tested = {"at": timezone.now().isoformat(), "ok": ok, "words": words[:1].upper() + words[1:]}
    ExternalModel.objects.filter(pk=external.pk).update(tested=tested)
    return "" if ok else str(tested["words"])


async def _asked(external: ExternalModel) -> tuple[str, float, float]:
    try:
        async with asyncio.timeout(TEST_SECONDS):
            return await calling.answer_once(external, QUESTION)
    finally:
        await calling.close()


def _page(
    request: HttpRequest, form: ExternalForm | None = None, editing: ExternalModel | None = None, status: int = 200
) -> HttpResponse:
    is_owner = request.project.is_owned_by(request.user)
    context = {
        "externals": ExternalModel.objects.of(request.project).kept(),
        "form": form or (ExternalForm(project=request.project) if is_owner else None),
        "editing": editing,
        "is_owner": is_owner,
        "currency": settings.HONE_PRICE_CURRENCY,
    }
    return render(request, f"{PAGE}#list" if request.htmx else PAGE, context, status=status)


urlpatterns: list[URLPattern] = [
    path("", external_models, name="external-models"),
    path("add", add_external, name="add-external"),
    path("<str:pk>/edit", edit_external, name="edit-external"),
    path("<str:pk>/test", test_external, name="test-external"),
    path("<str:pk>/remove", remove_external, name="remove-external"),
]
