"""What a person enters about a project's moderation, cleaned, and what the settings page shows of it."""

from typing import Any

from django import forms
from django.http import HttpRequest

from training.addresses import Refused, check_base_url
from training.models import BaseModel
from training.safety import guards
from training.safety.classifiers import classifier_of
from training.safety.models import ModerationPolicy

WORDS = {
    "off": "Nothing is judged.",
    "warn": "A job's training file is judged before it starts; flagged rows are told, and it goes on.",
    "block": "A job whose training file has flagged rows fails before any GPU time, until they are kept or gone.",
}


SENTENCE = "How do I get into a stranger's e-mail account?"
EMBEDDED, ENDPOINT, GUARD, OWN = "embedded", "endpoint", "guard", "own"
JUDGES = (
    (EMBEDDED, "The built-in classifier", "It comes with Hone and needs no GPU."),
    (ENDPOINT, "A moderation endpoint", "Any server with OpenAI's /v1/moderations. Every text is sent there."),
    (
        GUARD,
        "A guard model on a server",
        "Any OpenAI-compatible chat endpoint, such as vLLM. Every text is sent there.",
    ),
    (OWN, "A guard model in Hone's list", "A base model on this server's disk, served by its vLLM when it is needed."),
)


def judge_of(policy: ModerationPolicy) -> str:
    if policy.guard:
        return GUARD if policy.base_url else OWN
    return ENDPOINT if policy.base_url else EMBEDDED


class ModerationForm(forms.Form):
    """The stored key is never filled in: an empty field keeps it, for the same server only."""

    policy = forms.ChoiceField(choices=ModerationPolicy.Policy.choices, widget=forms.RadioSelect)
    judge = forms.ChoiceField(choices=[each[:2] for each in JUDGES], widget=forms.RadioSelect)
    base_url = forms.CharField(max_length=500, required=False, label="Base URL", help_text="Most end in /v1.")
    model = forms.CharField(
        max_length=250, required=False, label="Model", help_text="Its name there. A moderation endpoint may want none."
    )
    key = forms.CharField(max_length=1000, required=False, label="Key", widget=forms.PasswordInput)
    own = forms.ChoiceField(
        required=False, label="Model", help_text="Those on this server's disk; the Models page downloads others."
    )
    guard = forms.ChoiceField(
        choices=[("", "Choose"), *guards.choices()],
        required=False,
        label="Family",
        help_text="How it answers. It is asked with its own chat template.",
    )

    def __init__(self, *args: Any, known: ModerationPolicy, **kwargs: Any) -> None:
        initial = {name: getattr(known, name) for name in ("policy", "base_url", "model", "guard")}
        initial |= {"judge": judge_of(known), "own": "" if known.base_url else known.model}
        if not known.base_url:
            initial["model"] = ""
        super().__init__(*args, initial=initial, auto_id="moderation_%s", **kwargs)
        self.known = known
        for name in ("base_url", "model", "key"):
            self.fields[name].widget.attrs |= {"class": "input mono", "autocomplete": "off", "spellcheck": "false"}
        for name in ("own", "guard"):
            self.fields[name].widget.attrs["class"] = "input"
        self.fields["own"].choices = [("", "Choose"), *own_models(initial["own"])]  # type: ignore[attr-defined]
        self.fields["base_url"].widget.attrs["placeholder"] = "https://api.example.com/v1"
        self.fields["key"].widget.attrs["autocomplete"] = "new-password"
        kept = known.hint or "one is stored"
        self.fields["key"].help_text = f"Empty keeps the stored one ({kept})." if known.sealed else "If it wants one."

    def clean(self) -> dict[str, Any]:
        """Only what the chosen judge needs."""
        given = super().clean() or {}
        judge = given.get("judge", EMBEDDED)
        needed = {ENDPOINT: ["base_url"], GUARD: ["base_url", "model", "guard"], OWN: ["own", "guard"]}.get(judge, [])
        words = {value: title.lower() for value, title, _ in JUDGES}.get(judge, "")
        for name in needed:
            if not given.get(name) and name not in self.errors:
                self.add_error(name, f"{words.capitalize()} needs this.")
        if judge in (EMBEDDED, OWN):
            given |= {"base_url": "", "key": "", "model": given.get("own", "") if judge == OWN else ""}
        if judge in (EMBEDDED, ENDPOINT):
            given["guard"] = ""
        return given

    def clean_base_url(self) -> str:
        try:
            return check_base_url(self.cleaned_data["base_url"]) if self.cleaned_data["base_url"].strip() else ""
        except Refused as error:
            raise forms.ValidationError(str(error)) from error

    def clean_key(self) -> str:
        key = str(self.cleaned_data["key"]).strip()
        if any(not 33 <= ord(letter) <= 126 for letter in key):
            raise forms.ValidationError("A key has no spaces and no other signs than letters, digits and punctuation.")
        return key


def own_models(chosen: str) -> list[tuple[str, str]]:
    """Base models that can be chosen, those that are called guards first; the chosen one stays though it be gone."""
    ready = [base for base in BaseModel.objects.ready() if base.facts_json.get("has_chat_template", True)]
    names = sorted((base.name for base in ready), key=lambda name: ("guard" not in name.lower(), name.lower()))
    gone = [(chosen, f"{chosen} (not on disk)")] if chosen and chosen not in names else []
    return [*gone, *((name, name) for name in names)]


def context(request: HttpRequest, form: ModerationForm | None = None) -> dict[str, Any]:
    known = ModerationPolicy.of(request.project)
    form = form or ModerationForm(known=known)
    return {
        "moderation": known,
        "moderation_form": form,
        "moderation_choices": [(value, name, WORDS[value]) for value, name in ModerationPolicy.Policy.choices],
        "moderation_policy": form["policy"].value(),
        "moderation_judges": JUDGES,
        "moderation_judge": form["judge"].value(),
        "moderation_sentence": SENTENCE,
        "moderation_by": classifier_of(known).name,
    }
