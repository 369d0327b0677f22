"""Screens: keep an edited answer, take it back. Both answer with the comparison's page."""

from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect
from django.urls import URLPattern, path
from django.views.decorators.http import require_POST

from accounts.errors import ApiError
from playground import views
from playground.edits import keeping
from playground.edits.models import EditedAnswer
from playground.models import Comparison, Response


@require_POST
def keep_edit(request: HttpRequest, comparison_id: str, response_id: int) -> HttpResponse:
    found = get_object_or_404(Comparison.objects.of(request.project), pk=comparison_id)
    answers = Response.objects.select_related("turn__comparison")
    response = get_object_or_404(answers, pk=response_id, turn__comparison=found)
    try:
        keeping.keep(response=response, editor=request.user, text=request.POST.get("text", ""))
    except ApiError as error:
        return views.show(request, found, problem=error.message, status=422 if request.htmx else error.status)
    return views.show(request, found) if request.htmx else redirect(views.address(found))


@require_POST
def remove_edit(request: HttpRequest, comparison_id: str, edit_id: int) -> HttpResponse:
    """One's own."""
    found = get_object_or_404(Comparison.objects.of(request.project), pk=comparison_id)
    edits = EditedAnswer.objects.filter(response__turn__comparison=found, editor=request.user)
    get_object_or_404(edits, pk=edit_id).delete()
    return views.show(request, found) if request.htmx else redirect(views.address(found))


urlpatterns: list[URLPattern] = [
    path("<int:response_id>/keep", keep_edit, name="keep-edit"),
    path("<int:edit_id>/remove", remove_edit, name="remove-edit"),
]
