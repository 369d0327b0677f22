"""Forms of the dataset screens: clean and convert, never write."""

from typing import cast, get_args

from django import forms

from training.repeats.alike import NEAR
from training.repeats.found import KINDS, Kind, Side
from training.repeats.removing import Removal


class BeginUploadForm(forms.Form):
    filename = forms.CharField(max_length=1000)
    bytes = forms.IntegerField(min_value=0)
    modified = forms.IntegerField(required=False)  # milliseconds; tells an edited file from the one begun before


class SplitForm(forms.Form):
    percent = forms.FloatField(required=False, min_value=0.01, max_value=99.99, initial=10)
    count = forms.IntegerField(required=False, min_value=1)
    seed = forms.IntegerField(required=False, min_value=0, max_value=2_147_483_647, initial=0)
    stratify = forms.RegexField(r"\A(system|turns|field:.{1,60})\Z", required=False)
    group = forms.RegexField(r"\A(first|near|field:.{1,60})\Z", required=False)


class RemoveRepeatsForm(forms.Form):
    """Which rows that a search found are to go."""

    remove = forms.MultipleChoiceField(
        choices=[(kind, kind) for kind in KINDS], error_messages={"required": "Choose what is to be removed."}
    )
    alike = forms.IntegerField(min_value=round(100 * NEAR), max_value=100, required=False)  # per cent
    side = forms.ChoiceField(choices=[(side, side) for side in get_args(Side)], required=False)
    place = forms.CharField(max_length=80, required=False)  # playground.held_out.Kept.key: only what stands there

    def removal(self) -> Removal:
        asked = self.cleaned_data
        return Removal(
            tuple(cast(list[Kind], asked["remove"])),
            (asked["alike"] or 100 * NEAR) / 100,
            asked["side"] or "rows",
            asked["place"],
        )


class ExpiryForm(forms.Form):
    """After how many days a version goes by itself."""

    DAYS = (7, 30, 90, 365)
    days = forms.TypedChoiceField(
        choices=[("", "never"), *((days, days) for days in DAYS)], coerce=int, required=False, empty_value=None
    )
