"""Addresses of the playground."""

from django.urls import include, path, re_path

from playground import export_views, preference_views, views
from playground.judge import views as judge_views

urlpatterns = [
    path("", views.playground, name="playground"),
    path("models/", views.picker, name="playground-models"),
    path("difference/", views.prompt_difference, name="prompt-difference"),
    path("votes/", views.votes, name="votes"),
    path("votes/preferences/", preference_views.vote_preferences, name="vote-preferences"),
    path("prompts/", include("playground.matrix.set_views")),
    path("matrices/", include(judge_views.matrix_urlpatterns)),
    path("matrices/", include("playground.matrix.views")),
    path("epochs/<str:job_id>/", include("playground.film.epochs")),
    path("refusals/", include("playground.refusals.views")),
    path("blind/", views.start_blind, name="start-blind"),
    path("blind/<str:comparison_id>/", views.blind_comparison, name="blind-comparison"),
    path("blind/<str:comparison_id>/next/", views.next_blind, name="next-blind"),
    path("<str:comparison_id>/", views.comparison, name="comparison"),
    re_path(
        r"^(?P<comparison_id>cmp_\w+)/export\.(?P<kind>json|md)$",
        export_views.export_comparison,
        name="export-comparison",
    ),
    path("<str:comparison_id>/edits/", include("playground.edits.views")),
    path("<str:comparison_id>/vote/", views.vote, name="vote"),
]
