"""A job's figures as JSON for the charts, as CSV for everybody else, as a table for those who read."""

from django.http import HttpRequest, HttpResponse, JsonResponse, StreamingHttpResponse
from django.shortcuts import get_object_or_404, render

from dashboard import curves
from training.models import TrainingJob

TABLE_ROWS = 40


def metrics_json(request: HttpRequest, job_id: str) -> HttpResponse:
    """?points=2000&from=1&to=500: columns reduced to about that many points between those steps."""
    job = get_object_or_404(TrainingJob.objects.of(request.project), pk=job_id)
    first, last, points = (_number(request, name) for name in ("from", "to", "points"))
    if job.is_final and (first, last, points) == (None, None, None):
        answer = curves.finished_series(job)
    else:
        answer = curves.series(job, points=points or curves.DEFAULT_POINTS, first=first, last=last)
    return JsonResponse(answer, json_dumps_params={"separators": (",", ":")})


def metrics_csv(request: HttpRequest, job_id: str) -> StreamingHttpResponse:
    job = get_object_or_404(TrainingJob.objects.of(request.project), pk=job_id)
    return StreamingHttpResponse(
        curves.csv_lines(job),
        content_type="text/csv; charset=utf-8",
        headers={"Content-Disposition": f'attachment; filename="{job.id}-metrics.csv"'},
    )


def figures_table(request: HttpRequest, job_id: str) -> HttpResponse:
    """The curves as rows: evenly spaced steps, and every step with a validation over the whole file."""
    job = get_object_or_404(TrainingJob.objects.of(request.project), pk=job_id)
    spaced = {round(1 + i * max(0, job.step - 1) / (TABLE_ROWS - 1)) for i in range(TABLE_ROWS)}
    judged = job.metrics.filter(full_valid_loss__isnull=False).values_list("step", flat=True)
    rows = job.metrics.filter(step__in=spaced | set(judged[:200])).order_by("step")
    return render(request, "dashboard/job.html#figures_table", {"job": job, "figures": rows})


def _number(request: HttpRequest, name: str) -> int | None:
    """A whole number from the address; anything else counts as not given."""
    text = request.GET.get(name, "")
    return int(text) if text.isdecimal() and len(text) < 19 else None
