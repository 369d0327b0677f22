"""Addresses of the playground."""

from django.urls import path

from playground import preference_views, views

urlpatterns = [
    path("", views.playground, name="playground"),
    path("models/", views.picker, name="playground-models"),
    path("votes/", views.votes, name="votes"),
    path("votes/preferences/", preference_views.vote_preferences, name="vote-preferences"),
    path("blind/", views.start_blind, name="start-blind"),
    path("blind/<str:comparison_id>/", views.blind_comparison, name="blind-comparison"),
    path("blind/<str:comparison_id>/next/", views.next_blind, name="next-blind"),
    path("<str:comparison_id>/", views.comparison, name="comparison"),
    path("<str:comparison_id>/vote/", views.vote, name="vote"),
]
