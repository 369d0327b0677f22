"""All addresses; each group's routes stand at the end of its views module."""

from django.urls import include, path

from dashboard import api, health

urlpatterns = [
    path("healthz", health.healthz, name="healthz"),
    path("v1/", api.api.urls),
    path("v1/<path:rest>", api.unknown_url),
    path("", include("accounts.urls")),
    path("", include("dashboard.views.overview")),
    path("datasets/", include("dashboard.views.datasets")),
    path("jobs/", include("dashboard.views.jobs")),
    path("models/names/", include("dashboard.views.aliases")),
    path("models/", include("dashboard.views.models")),
    path("recipes/", include("dashboard.views.chains")),
    path("settings/", include("dashboard.views.settings")),
    path("playground/", include("playground.urls")),
]
