"""What people send: a name, a verdict, an invitation. Cleaned and converted; nothing is written here."""

from typing import Any

from django import forms
from django.http import QueryDict

from playground.campaigns.judging import Said
from playground.campaigns.models import Assignment, Campaign

LONGEST_COMMENT = 4_000
MOST_VOTES = 10_000  # on one pair
SIDES = ("left", "right")


class NameForm(forms.Form):
    """Asked once of somebody who came by a link."""

    name = forms.CharField(max_length=80, label="Your name", widget=forms.TextInput({"autocomplete": "name"}))


class VerdictForm(forms.Form):
    """Ends in `Said`. What the campaign does not ask for, or does not know, is left out."""

    pair = forms.CharField(max_length=40)
    verdict = forms.ChoiceField(choices=Assignment.Verdict.choices)
    comment = forms.CharField(max_length=LONGEST_COMMENT, required=False)

    def __init__(self, data: QueryDict, campaign: Campaign) -> None:
        super().__init__(data)
        self.campaign = campaign

    @property
    def said(self) -> Said:
        campaign, cleaned = self.campaign, self.cleaned_data
        asked = {name: self.data.get(f"criterion-{at}", "") for at, name in enumerate(campaign.criteria)}
        marks = {side: self.data.get(f"satisfaction-{side}", "") for side in SIDES if campaign.satisfaction}
        return Said(
            cleaned["verdict"],
            {name: value for name, value in asked.items() if value in (*SIDES, "tie")},
            {side: int(value) for side, value in marks.items() if value in set("12345")},
            [tag for tag in self.data.getlist("tag") if tag in campaign.tags],
            cleaned["comment"] if campaign.comments else "",
        )


class MoreVotesForm(forms.Form):
    """More votes for each pair than were wanted so far."""

    votes_per_pair = forms.IntegerField(max_value=MOST_VOTES, label="Votes wanted for each pair")

    def __init__(self, *args: Any, campaign: Campaign, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.wanted = campaign.votes_per_pair

    def clean_votes_per_pair(self) -> int:
        asked: int = self.cleaned_data["votes_per_pair"]
        if asked <= self.wanted:
            raise forms.ValidationError(f"It wants {self.wanted} already. Give a higher number.")
        return asked


class InviteForm(forms.Form):
    label = forms.CharField(max_length=120, required=False, label="For whom")
    personal = forms.TypedChoiceField(
        choices=[("", "Anybody with the link"), ("1", "One person")],
        coerce=bool,
        empty_value=False,
        required=False,
        label="Lets in",
    )
    days = forms.TypedChoiceField(
        choices=[("1", "1 day"), ("7", "7 days"), ("14", "14 days"), ("60", "60 days")],
        coerce=int,
        initial="14",
        label="Ends after",
    )

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["label"].widget.attrs = {"class": "input", "placeholder": "Support team"}
        for name in ("personal", "days"):
            self.fields[name].widget.attrs = {"class": "select"}
