"""Addresses under which a comparison is downloaded."""

from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_GET

from accounts.errors import ApiError
from playground import exporting, views
from playground.models import Comparison


@never_cache
@require_GET
def export_comparison(request: HttpRequest, comparison_id: str, kind: str) -> HttpResponse:
    """`kind` is json or md. Blind and not judged by this person: refused on the comparison's own page."""
    found = get_object_or_404(Comparison.objects.of(request.project).select_related("project"), pk=comparison_id)
    try:
        if kind == "json":
            text, mime = exporting.as_json(found, request.user), "application/json"
        else:
            address = request.build_absolute_uri(views.address(found))
            text, mime = exporting.as_markdown(found, request.user, address), "text/markdown; charset=utf-8"
    except ApiError as error:
        return views.show(request, found, problem=error.message, status=error.status)
    named = {"Content-Disposition": f'attachment; filename="{found.pk}.{kind}"'}
    return HttpResponse(text, content_type=mime, headers=named)
