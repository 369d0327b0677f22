"""All addresses; each group's routes stand at the end of its views module."""

from django.urls import include, path

from dashboard import api, health
from playground.campaigns import judge_views

urlpatterns = [
    path("healthz", health.healthz, name="healthz"),
    path("v1/", api.api.urls),
    path("v1/<path:rest>", api.unknown_url, name="unknown-url"),
    path("docs/", include("dashboard.docs.views")),
    path("", include("accounts.urls")),
    path("", include("dashboard.views.overview")),
    path("datasets/", include("dashboard.views.datasets")),
    path("jobs/", include("dashboard.views.jobs")),
    path("models/names/", include("dashboard.views.aliases")),
    path("models/external/", include("playground.external.views")),
    path("models/", include("dashboard.views.models")),
    path("recipes/", include("dashboard.views.chains")),
    path("lineage/", include("dashboard.views.lineage")),
    path("usage/", include("dashboard.views.usage")),
    path("settings/", include("dashboard.views.settings")),
    path("settings/", include("dashboard.views.audit")),
    path("settings/", include("dashboard.views.quotas")),
    path("settings/", include("dashboard.views.moderation")),
    path("settings/", include("dashboard.views.webhooks")),
    path("settings/", include("dashboard.views.ownership")),
    path("playground/", include("playground.urls")),
    path("campaigns/", include("playground.campaigns.results_views")),
    path("campaigns/", include("playground.judge.views")),
    path("campaigns/", include("playground.campaigns.joining")),
    path("campaigns/", include("playground.campaigns.urls")),
    path("judge/<str:token>/", judge_views.judge, name="judge"),
]
