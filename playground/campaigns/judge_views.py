"""Screens of an evaluator: the link, the name, the pairs.

What leaves here before a verdict is the prompt and two texts under "left" and "right", in one answer of the server, so
that neither comes first. No name, no figure, no setting, and no order that a model has everywhere.
"""

from typing import Any

from django.conf import settings
from django.contrib.auth.decorators import login_not_required
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse
from django.utils import timezone
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods

from accounts.throttle import is_too_often
from playground.campaigns import judging, running
from playground.campaigns.forms import NameForm, VerdictForm
from playground.campaigns.models import Campaign, Evaluator, Invitation

COOKIE = "evaluator"  # one for each link: its path is the link's
COOKIE_SECONDS = 180 * 24 * 3600
WRONG_LINKS = (60, 600)  # from one address in so many seconds
NEW_NAMES = (60, 600)  # by one link
VERDICTS = (120, 60)  # of one evaluator
SEEN_SECONDS = 30


@login_not_required
@never_cache
@require_http_methods(["GET", "POST"])
def judge(request: HttpRequest, token: str) -> HttpResponse:
    """By a link, without an account."""
    invitation = running.invitation_for(token)
    if invitation is None:
        flood = is_too_often(f"wrong judging link {request.META.get('REMOTE_ADDR', '')}", *WRONG_LINKS)
        return _gone(request, "flood", status=429) if flood else _gone(request, "unknown", status=404)
    person = running.known(invitation, request.COOKIES.get(COOKIE, ""))
    if why := invitation.ended or ("revoked" if person and person.revoked_at else ""):
        return _gone(request, why, person=person)
    if person is None:
        return _join(request, invitation)
    return _pairs(request, person, invitation.campaign, request.path)


@never_cache
@require_http_methods(["GET", "POST"])
def judge_as_member(request: HttpRequest, campaign_id: str) -> HttpResponse:
    """With the account that one is signed in with."""
    related = ("matrix", "project")
    campaign = get_object_or_404(Campaign.objects.of(request.project).select_related(*related), pk=campaign_id)
    person = running.member(campaign, request.user)
    if person.revoked_at:
        return _gone(request, "revoked", person=person)
    return _pairs(request, person, campaign, request.path, home=reverse("campaign", args=[campaign.pk]))


def _join(request: HttpRequest, invitation: Invitation) -> HttpResponse:
    initial = {"name": invitation.label if invitation.personal else ""}
    form = NameForm(request.POST if "name" in request.POST else None, initial=initial)
    if form.is_valid():
        if is_too_often(f"names by link {invitation.pk}", *NEW_NAMES):
            return _gone(request, "flood", status=429)
        _, secret = running.join(invitation, form.cleaned_data["name"])
        response = redirect(request.path)
        if secret:
            kept: dict[str, Any] = {"max_age": COOKIE_SECONDS, "path": request.path, "httponly": True}
            response.set_cookie(COOKIE, secret, samesite="Lax", secure=settings.SESSION_COOKIE_SECURE, **kept)
        return response
    context = {"form": form, "campaign": invitation.campaign, "invitation": invitation}
    return render(request, "judge/join.html", context, status=422 if form.errors else 200)


def _pairs(request: HttpRequest, person: Evaluator, campaign: Campaign, address: str, home: str = "") -> HttpResponse:
    """The next pair, or what one said of the last."""
    running.refresh(campaign)
    person.campaign = campaign
    _seen(person)
    if campaign.state != Campaign.State.OPEN:
        return _gone(request, campaign.state, person=person, home=home, status=200 if request.method == "GET" else 409)
    if request.method == "POST":
        return _said(request, person, campaign, address, home)
    return _next(request, person, address, home)


def _said(request: HttpRequest, person: Evaluator, campaign: Campaign, address: str, home: str) -> HttpResponse:
    if is_too_often(f"verdicts of {person.pk}", *VERDICTS):
        return _gone(request, "flood", person=person, home=home, status=429)
    if "take_back" in request.POST:
        judging.take_back(person)
        return redirect(address)
    form = VerdictForm(request.POST, campaign)
    if not form.is_valid():
        return _next(request, person, address, home, problem="Choose which answer is better, or a tie, or both bad.")
    judging.judge(person, form.cleaned_data["pair"], form.said)  # a pair that came twice is one vote
    return redirect(address)


def _next(request: HttpRequest, person: Evaluator, address: str, home: str, problem: str = "") -> HttpResponse:
    pair, standing = judging.next_for(person)
    progress = judging.progress_of(person, standing)
    context = {"person": person, "campaign": person.campaign, "progress": progress, "home": home, "problem": problem}
    context["can_take_back"] = judging.last_vote(person) is not None
    if pair is None:
        return render(request, "judge/done.html", context)
    pair.campaign = person.campaign
    left, right = judging.answers_in(pair)
    context |= {"pair": pair, "asked": judging.asked_in(pair), "left": left, "right": right}
    context["criteria"] = [(at, name, pair.criteria.get(name, "")) for at, name in enumerate(person.campaign.criteria)]
    return render(request, "judge/pair.html", context, status=422 if problem else 200)


def _gone(
    request: HttpRequest, why: str, *, person: Evaluator | None = None, home: str = "", status: int = 410
) -> HttpResponse:
    """Why nobody judges here; what was judged is kept, and a comment that was on its way is given back."""
    done = person.assignments.judged().count() if person else 0
    sent = request.method == "POST" and "verdict" in request.POST
    context = {"why": why, "person": person, "done": done, "home": home, "sent": sent}
    context["comment"] = request.POST.get("comment", "") if sent else ""
    return render(request, "judge/gone.html", context, status=status)


def _seen(person: Evaluator) -> None:
    now = timezone.now()
    if (now - person.last_seen_at).total_seconds() > SEEN_SECONDS:
        Evaluator.objects.filter(pk=person.pk).update(last_seen_at=now)
