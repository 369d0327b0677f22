"""Screens of the project: all campaigns, one campaign and what is done with it."""

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse
from django.views.decorators.http import require_GET, require_POST

from accounts.errors import ApiError
from playground.campaigns import overview, running
from playground.campaigns.forms import InviteForm, MoreVotesForm
from playground.campaigns.models import Campaign

PAGE = "campaigns/campaign.html"


def of(request: HttpRequest, campaign_id: str) -> Campaign:
    """One of this project's."""
    found = Campaign.objects.of(request.project).select_related("matrix__prompt_set", "project", "created_by")
    return get_object_or_404(found, pk=campaign_id)


@require_GET
def campaigns(request: HttpRequest) -> HttpResponse:
    found = running.with_counts(Campaign.objects.of(request.project))
    return render(request, "campaigns/campaigns.html", {"rows": overview.rows(found)})


@require_GET
def campaign(request: HttpRequest, campaign_id: str) -> HttpResponse:
    """State, contenders, pairs, people and links; the part that changes is fetched again now and then."""
    found = running.refresh(of(request, campaign_id))
    context = overview.context(found) | {"invite": InviteForm()}
    return render(request, f"{PAGE}#live" if request.htmx else PAGE, context)


@require_POST
def act(request: HttpRequest, campaign_id: str, verb: str) -> HttpResponse:
    """One press: open, close, reopen, ask again for what failed."""
    found = of(request, campaign_id)
    try:
        {"open": running.open_it, "reopen": running.open_it, "close": running.close, "retry": running.ask_again}[verb](
            found
        )
    except ApiError as error:
        messages.error(request, error.message)
    return redirect("campaign", found.pk)


@require_POST
def invite(request: HttpRequest, campaign_id: str) -> HttpResponse:
    """A new link, shown once: only its hash is stored."""
    found = of(request, campaign_id)
    form = InviteForm(request.POST)
    context = {"invite": form}
    if form.is_valid():
        _, token = running.invite(campaign=found, user=request.user, **form.cleaned_data)
        address = request.build_absolute_uri(reverse("judge", args=[token]))
        context = {"invite": InviteForm(), "link": address, "link_label": form.cleaned_data["label"]}
    response = render(request, PAGE, overview.context(found) | context, status=422 if form.errors else 200)
    response["Cache-Control"] = "no-store"
    return response


@require_POST
def want_more(request: HttpRequest, campaign_id: str) -> HttpResponse:
    """More votes for each pair; a closed campaign stays closed until it is opened again."""
    found = of(request, campaign_id)
    form = MoreVotesForm(request.POST, campaign=found)
    if form.is_valid():
        running.want_more(found, form.cleaned_data["votes_per_pair"])
        again = " Open it again, so that people can judge." if found.state == Campaign.State.CLOSED else ""
        messages.success(request, f"Each pair gets {form.cleaned_data['votes_per_pair']:,} votes now.{again}")
    else:
        messages.error(request, form.errors["votes_per_pair"][0])
    return redirect("campaign", found.pk)


@require_POST
def revoke(request: HttpRequest, campaign_id: str, kind: str, row: int) -> HttpResponse:
    """Ends a link, with all who came by it, or lets one person in no more."""
    found = of(request, campaign_id)
    rows = {"link": found.invitations, "person": found.evaluators}[kind].filter(pk=row)
    get_object_or_404(rows)
    running.revoke(rows)
    messages.success(request, "Revoked. What was judged stays.")
    return redirect("campaign", found.pk)


@require_POST
def delete(request: HttpRequest, campaign_id: str) -> HttpResponse:
    """With its votes. The answers stay in the matrix."""
    found = of(request, campaign_id)
    found.delete()
    messages.success(request, f"The campaign “{found.name}” was deleted.")
    return redirect("campaigns")
