"""Screen: a new checkpoint joins a campaign that is there already, the one whose votes it learned from first."""

from django import forms
from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import URLPattern, path
from django.views.decorators.http import require_http_methods

from accounts.errors import ApiError
from accounts.models import Project
from playground import contenders
from playground.campaigns import running
from playground.campaigns.models import Campaign
from playground.forms import Setup
from training.models import DatasetFile


def _campaigns_in(file: DatasetFile | None) -> list[str]:
    """Those whose votes it was made of."""
    return list((file.origin or {}).get("campaigns", {})) if file else []


class JoinForm(forms.Form):
    """The campaigns that the model is not in; the one that it learned from comes first."""

    campaign = forms.ChoiceField()

    def __init__(self, *args: object, project: Project, model: contenders.Contender, **kwargs: object) -> None:
        super().__init__(*args, **kwargs)  # type: ignore[arg-type]
        own = _campaigns_in(model.checkpoint.job.training_file) if model.checkpoint and model.job_id else []
        found = [
            each
            for each in Campaign.objects.of(project).select_related("matrix")
            if model.model not in {column["model"] for column in each.matrix.columns}
        ]
        found.sort(key=lambda each: each.pk not in own)
        self.learned = [each.name for each in found if each.pk in own]
        self.fields["campaign"].choices = [(each.pk, each.name) for each in found]  # type: ignore[attr-defined]


@require_http_methods(["GET", "POST"])
def join_campaign(request: HttpRequest) -> HttpResponse:
    """`?model=NAME`. POST: the campaign's frozen prompts are answered by it, and its pairs are drawn first."""
    model = contenders.named(request.project, [request.GET.get("model", "")])[0]
    form = JoinForm(request.POST or None, project=request.project, model=model)
    if request.method == "POST" and form.is_valid():
        campaign = get_object_or_404(Campaign.objects.of(request.project), pk=form.cleaned_data["campaign"])
        try:
            running.add_contenders(campaign, Setup.model_validate({"columns": [{"model": model.model}]}))
        except ApiError as error:
            form.add_error("campaign", error.message)
        else:
            messages.success(request, _told(campaign, model.label))
            return redirect("campaign", campaign.pk)
    context = {"form": form, "model": model, "unknown": model.gone}
    return render(request, "playground/campaign_join.html", context, status=422 if form.errors else 200)


def _told(campaign: Campaign, label: str) -> str:
    said = f"{label} answers the prompts of {campaign.name} now; its pairs are drawn first."
    return said + (" Reopen the campaign, so that they are judged." if campaign.state == Campaign.State.CLOSED else "")


urlpatterns: list[URLPattern] = [path("contenders/add/", join_campaign, name="join-campaign")]
