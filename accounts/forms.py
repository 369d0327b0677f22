"""What people type: cleaned here, written by `accounts.actions`."""

import datetime
from typing import Any

from django import forms
from django.contrib.auth import password_validation
from django.utils import timezone

from accounts.mail import sends_mail
from accounts.models import ApiKey, Membership, User

PASSWORD_HINT = "At least 10 characters."


def _input(kind: type[forms.TextInput] = forms.TextInput, **attrs: Any) -> forms.TextInput:
    return kind(attrs={"class": "input", **attrs})


def _email_field(**options: Any) -> forms.EmailField:
    return forms.EmailField(
        label="E-mail",
        max_length=254,
        widget=_input(forms.EmailInput, autocomplete="email", spellcheck="false"),
        **options,
    )


def _name_field(label: str = "Your name", **options: Any) -> forms.CharField:
    return forms.CharField(label=label, max_length=120, widget=_input(autocomplete="name"), **options)


def _new_password_field(label: str = "Password") -> forms.CharField:
    widget = _input(forms.PasswordInput, autocomplete="new-password")
    return forms.CharField(label=label, help_text=PASSWORD_HINT, strip=False, max_length=200, widget=widget)


class NewPassword(forms.Form):
    """A password that is good enough, typed once: the page can show it."""

    password = _new_password_field("New password")

    def __init__(self, *args: Any, user: User | None = None, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.user = user

    def clean_password(self) -> str:
        password_validation.validate_password(self.cleaned_data["password"], self.user)
        return self.cleaned_data["password"]


class NewProject(forms.Form):
    name = _name_field("Name of the project")


class SignIn(forms.Form):
    email = forms.EmailField(
        label="E-mail", max_length=254, widget=_input(forms.EmailInput, autocomplete="username", autofocus=True)
    )
    password = forms.CharField(
        label="Password", strip=False, widget=_input(forms.PasswordInput, autocomplete="current-password")
    )


class Join(NewPassword):
    """A new person, by invitation."""

    field_order = ("email", "name", "password")
    email = _email_field()
    name = _name_field(required=False)
    password = _new_password_field()

    def clean_email(self) -> str:
        email = self.cleaned_data["email"].lower()
        if User.objects.filter(email=email).exclude(pk=self.user.pk if self.user else None).exists():
            raise forms.ValidationError("This e-mail already has an account. Sign in first, then open the link again.")
        return email


class Welcome(Join):
    """The first owner gets an e-mail and a password of their own."""

    def clean_email(self) -> str:
        email = self.cleaned_data["email"].lower()
        if User.objects.filter(email=email).exclude(pk=self.user.pk if self.user else None).exists():
            raise forms.ValidationError("Somebody else here has this e-mail.")
        return email


class Profile(forms.Form):
    """One's own name and e-mail."""

    name = _name_field(required=False)
    email = _email_field()
    wants_mail = forms.BooleanField(
        required=False, label="E-mail me when a job of mine has ended, and when a campaign of mine awaits votes"
    )

    def __init__(self, *args: Any, user: User, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.user = user
        if not sends_mail():
            del self.fields["wants_mail"]

    def clean_email(self) -> str:
        email = self.cleaned_data["email"].lower()
        if User.objects.filter(email=email).exclude(pk=self.user.pk).exists():
            raise forms.ValidationError("Somebody else here has this e-mail.")
        return email


class ChangePassword(NewPassword):
    field_order = ("current", "password")
    current = forms.CharField(
        label="Current password", strip=False, widget=_input(forms.PasswordInput, autocomplete="current-password")
    )

    def __init__(self, *args: Any, user: User, **kwargs: Any) -> None:
        super().__init__(*args, user=user, **kwargs)
        if not user.has_usable_password():
            del self.fields["current"]  # the first owner who skipped it

    def clean_current(self) -> str:
        assert self.user
        if not self.user.check_password(self.cleaned_data["current"]):
            raise forms.ValidationError("This is not your current password.")
        return self.cleaned_data["current"]


class Forgotten(forms.Form):
    email = _email_field()


class Invite(forms.Form):
    email = _email_field(required=False, help_text="Optional: fills it in on their page. Nothing is sent.")
    role = forms.ChoiceField(
        choices=Membership.Role.choices,
        initial=Membership.Role.MEMBER,
        widget=forms.Select(attrs={"class": "select"}),
        help_text="What each may do stands above.",
    )


class NewKey(forms.Form):
    """Cleans to `name`, `scopes` (all alone, or others) and `expires_at`, None for never."""

    ENDS = (("never", "Never"), ("30", "In 30 days"), ("90", "In 90 days"), ("date", "On a date"))
    name = forms.CharField(label="Name", max_length=120, widget=_input(placeholder="Such as “evaluation script”"))
    scopes = forms.MultipleChoiceField(
        choices=ApiKey.Scope.choices,
        initial=[ApiKey.Scope.ALL.value],
        widget=forms.CheckboxSelectMultiple,
        error_messages={"required": "Choose at least one thing that the key may do."},
    )
    expires = forms.ChoiceField(
        choices=ENDS, required=False, initial="never", widget=forms.Select(attrs={"class": "select"})
    )
    date = forms.DateField(
        required=False,
        label="The date",
        widget=forms.DateInput(attrs={"class": "input", "type": "date"}),
        error_messages={"invalid": "Write the date as year-month-day, such as 2027-01-31."},
    )

    def clean_scopes(self) -> list[str]:
        given = self.cleaned_data["scopes"]
        return [ApiKey.Scope.ALL.value] if ApiKey.Scope.ALL in given else given

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean() or {}
        kind, date = cleaned.pop("expires", "never"), cleaned.pop("date", None)
        if kind == "date" and "date" not in self.errors:
            self._clean_date(date)
        return cleaned | {"expires_at": self._end(kind or "never", date)}

    def _clean_date(self, date: datetime.date | None) -> None:
        if date is None:
            self.add_error("date", "Choose the last day on which the key works.")
        elif date < timezone.localdate():
            self.add_error("date", "This day is over. Choose one that is to come.")

    def _end(self, kind: str, date: datetime.date | None) -> datetime.datetime | None:
        """The end of the chosen day."""
        if kind == "date" and date:
            return timezone.make_aware(datetime.datetime.combine(date, datetime.time(23, 59, 59)))
        return timezone.now() + datetime.timedelta(days=int(kind)) if kind.isdecimal() else None
