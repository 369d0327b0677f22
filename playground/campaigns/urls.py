"""Addresses under /campaigns/. An evaluator's link stands at /judge/<token>/."""

from django.urls import path, re_path

from playground.campaigns import judge_views, new, views

urlpatterns = [
    path("", views.campaigns, name="campaigns"),
    path("new/", new.new_campaign, name="new-campaign"),
    path("<str:campaign_id>/", views.campaign, name="campaign"),
    path("<str:campaign_id>/judge/", judge_views.judge_as_member, name="judge-as-member"),
    path("<str:campaign_id>/invite/", views.invite, name="invite-evaluators"),
    path("<str:campaign_id>/votes/", views.want_more, name="want-more-votes"),
    path("<str:campaign_id>/delete/", views.delete, name="delete-campaign"),
    re_path(
        r"^(?P<campaign_id>camp_\w+)/revoke/(?P<kind>link|person)/(?P<row>\d+)/$", views.revoke, name="revoke-judging"
    ),
    re_path(r"^(?P<campaign_id>camp_\w+)/(?P<verb>open|reopen|close|retry)/$", views.act, name="act-on-campaign"),
]
