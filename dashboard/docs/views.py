"""/docs, open to everybody: nothing of any project is on these pages."""

from functools import cache
from typing import Any

from django.contrib.auth.decorators import login_not_required
from django.http import Http404, HttpRequest, HttpResponse, JsonResponse
from django.http.response import HttpResponseBase
from django.shortcuts import redirect, render
from django.urls import path, reverse
from django.utils.html import escape
from django.utils.safestring import mark_safe
from django.views.decorators.cache import cache_control
from django.views.decorators.http import require_safe
from django.views.static import serve

from dashboard.docs import pages, reference, rendering

REFERENCE = "Reference"
EXAMPLE_ADDRESS = "http://127.0.0.1:8000"  # as the files have it; a reader copies what works from where they are


def _frame(current: str) -> dict[str, Any]:
    """The navigation, and what stands before and after this page."""
    there = pages.pages()
    links = [
        {"group": each.group, "title": each.title, "url": reverse("docs-page", args=[each.slug])} for each in there
    ]
    after_api = next((at for at, link in enumerate(links) if link["group"] == "API"), len(links) - 1) + 1
    links.insert(after_api, {"group": "API", "title": REFERENCE, "url": reverse("docs-reference")})
    at = next(at for at, link in enumerate(links) if link["url"] == current)
    return {
        "links": links,
        "current": current,
        "before": links[at - 1] if at else None,
        "after": links[at + 1] if at + 1 < len(links) else None,
    }


@require_safe
@login_not_required
def index(request: HttpRequest) -> HttpResponse:
    return redirect("docs-page", slug=pages.pages()[0].slug)


@require_safe
@login_not_required
def show(request: HttpRequest, slug: str) -> HttpResponse:
    page = pages.find(slug)
    if page is None:
        raise Http404
    found = rendering.render(page)
    here = found.html.replace(EXAMPLE_ADDRESS, escape(request.build_absolute_uri("/").rstrip("/")))
    return render(request, "docs/page.html", {"page": found, "html": mark_safe(here), **_frame(request.path)})


@require_safe
@login_not_required
def show_reference(request: HttpRequest) -> HttpResponse:
    context = {"tags": reference.tags(), "title": REFERENCE, "own": reference.OWN, **_frame(request.path)}
    return render(request, "docs/reference.html", context)


@require_safe
@login_not_required
@cache_control(max_age=300)
def search(request: HttpRequest) -> JsonResponse:
    return JsonResponse({"sections": [*_of_pages(), *_of_reference()]})


def _of_pages() -> list[dict[str, str]]:
    found = []
    for page in pages.pages():
        url = reverse("docs-page", args=[page.slug])
        rendered = rendering.render(page)
        found += [{"page": rendered.title, "url": url, **section} for section in rendering.sections(rendered)]
    return found


@cache
def _of_reference() -> list[dict[str, str]]:
    url = reverse("docs-reference")
    return [
        {
            "page": REFERENCE,
            "url": url,
            "anchor": operation["id"],
            "heading": f"{operation['method']} {operation['path']}",
            "text": " ".join([rendering.words_of(operation["words"]), *(f["name"] for f in operation["body_fields"])]),
        }
        for tag in reference.tags()
        for operation in tag["operations"]
    ]


@require_safe
@login_not_required
def image(request: HttpRequest, name: str) -> HttpResponseBase:
    return serve(request, name, document_root=pages.FOLDER / "img")


urlpatterns = [
    path("", index, name="docs"),
    path("reference/", show_reference, name="docs-reference"),
    path("search.json", search, name="docs-search"),
    path("img/<str:name>", image, name="docs-image"),
    path("<slug:slug>/", show, name="docs-page"),
]
