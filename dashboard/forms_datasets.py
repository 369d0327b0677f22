"""Forms of the dataset screens: clean and convert, never write."""

from django import forms


class BeginUploadForm(forms.Form):
    filename = forms.CharField(max_length=1000)
    bytes = forms.IntegerField(min_value=0)
    modified = forms.IntegerField(required=False)  # milliseconds; tells an edited file from the one begun before


class SplitForm(forms.Form):
    percent = forms.FloatField(required=False, min_value=0.01, max_value=99.99, initial=10)
    count = forms.IntegerField(required=False, min_value=1)
    seed = forms.IntegerField(required=False, min_value=0, max_value=2_147_483_647, initial=0)
