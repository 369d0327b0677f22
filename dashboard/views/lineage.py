"""Screen: what came of what, drawn."""

from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, render
from django.urls import URLPattern, path
from django.views.decorators.http import require_GET

from dashboard.lineage import HEIGHT, MOST_JOBS, WIDTH
from dashboard.lineage import lineage as drawn
from training.models import TrainingJob


@require_GET
def lineage(request: HttpRequest) -> HttpResponse:
    """Of the project; `?job=ID`: of all that this job was made of and that came of it."""
    jobs = TrainingJob.objects.of(request.project)
    job = get_object_or_404(jobs, pk=request.GET["job"]) if request.GET.get("job") else None
    more = max(0, jobs.visible().count() - MOST_JOBS) if job is None else 0
    graph = drawn(request.project, job)
    context = {"graph": graph, "job": job, "more": more, "size": (WIDTH, HEIGHT), "lines": graph.lines}
    context["here"] = f"job:{job.pk}" if job else ""
    return render(request, "dashboard/lineage.html", context)


urlpatterns: list[URLPattern] = [path("", lineage, name="lineage")]
