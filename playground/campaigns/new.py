"""Screen: a new campaign. Contenders come and go while the form is filled in, and the estimate follows."""

from dataclasses import dataclass
from typing import Any

from django import forms
from django.db import transaction
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.views.decorators.http import require_http_methods
from django_htmx.http import HttpResponseClientRedirect

from accounts.errors import ApiError
from accounts.models import Project
from accounts.telling_apart import tell_apart
from playground import contenders
from playground.campaigns import running
from playground.campaigns.forms import MOST_VOTES
from playground.campaigns.models import REPEAT_SHARE, Campaign
from playground.film.prompts import Pinned
from playground.matrix import draft as drafts
from playground.matrix import sets
from playground.matrix.draft import Chosen, Draft
from playground.matrix.models import Matrix, PromptSet
from playground.statistics.shares import FEWEST_VOTES
from training.models import DatasetFile

DRAWN = 60  # rows of a file, unless somebody says otherwise
SECONDS_PER_VOTE = 30  # what the estimate reckons with, and says so
MOST_FILES = 100  # to choose from, and so many older versions
MOST_CRITERIA, MOST_TAGS = 8, 20
LINES = "lines"


def one_a_line(most: int) -> forms.CharField:
    """Short words, one a line or divided by commas."""
    field = forms.CharField(required=False, max_length=2000)
    field.clean = lambda value: _words(value, most)  # type: ignore[method-assign]
    return field


def _words(value: str | None, most: int) -> list[str]:
    found = list(dict.fromkeys(word.strip()[:60] for word in (value or "").replace("\n", ",").split(",")))
    kept = [word for word in found if word]
    if len(kept) > most:
        raise forms.ValidationError(f"These are {len(kept)}: at most {most}.")
    return kept


class RubricForm(forms.Form):
    """What evaluators are asked, and how much of it."""

    name = forms.CharField(max_length=120, label="Name")
    instructions = forms.CharField(max_length=8000, required=False)
    criteria = one_a_line(MOST_CRITERIA)
    tags = one_a_line(MOST_TAGS)
    satisfaction = forms.BooleanField(required=False)
    comments = forms.BooleanField(required=False)
    votes_per_pair = forms.IntegerField(
        min_value=1, max_value=MOST_VOTES, initial=20, label="Votes wanted for each pair"
    )
    votes_per_evaluator = forms.IntegerField(
        min_value=1, max_value=10_000, required=False, label="Votes of each person"
    )
    repeats = forms.IntegerField(min_value=0, max_value=50, initial=round(100 * REPEAT_SHARE), label="Repeats")
    pairing = forms.ChoiceField(choices=Campaign.Pairing.choices, initial=Campaign.Pairing.BALANCED)
    opens_itself = forms.BooleanField(required=False)

    def __init__(self, *args: Any, models: list[str], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.models = models

    def clean(self) -> dict[str, Any]:
        """Evaluators read these: a model that is named there is not blind."""
        for name in ("name", "instructions", "criteria", "tags"):
            text = str(self.cleaned_data.get(name, ""))
            if told := next((model for model in self.models if model in text), None):
                self.add_error(name, f"Evaluators read this, and it names {told}. Leave the name out.")
        return self.cleaned_data

    @property
    def rubric(self) -> dict[str, Any]:
        """Columns of Campaign."""
        given = dict(self.cleaned_data)
        given["repeat_share"] = given.pop("repeats") / 100
        return {name: value for name, value in given.items() if name != "name"}


# ---- which prompts ----


@dataclass
class Prompts:
    """What the field "Prompts" says: "set:ID", "file:ID" or "lines"."""

    project: Project
    chosen: str = ""
    count: str = str(DRAWN)
    text: str = ""

    @property
    def kind(self) -> str:
        return self.chosen.partition(":")[0]

    @property
    def set(self) -> PromptSet | None:
        wanted = self.chosen.partition(":")[2] if self.kind == "set" else ""
        return PromptSet.objects.of(self.project).filter(pk=wanted).first()

    @property
    def file(self) -> DatasetFile | None:
        wanted = self.chosen.partition(":")[2] if self.kind == "file" else ""
        return DatasetFile.objects.of(self.project).usable().filter(pk=wanted).first()

    @property
    def rows(self) -> int:
        """How many are drawn of a file."""
        return int(self.count) if self.count.isdecimal() and int(self.count) else DRAWN

    @property
    def many(self) -> int:
        """How many there will be, as far as can be known without reading the file."""
        if found := self.set:
            return found.prompts.count()
        if file := self.file:
            return min(self.rows, file.rows)
        return len(sets.typed(self.text)) if self.kind == LINES else 0

    def made(self, user: Any, name: str, seed: int = 0) -> PromptSet:
        """The set, which is made where it was not there. Raises ApiError."""
        if found := self.set:
            return found
        if file := self.file:
            source = {"kind": "file", "file": file.pk, "filename": file.filename, "seed": seed}
            return self._stored(user, f"{file.filename}, {self.rows} rows", sets.of_file(file, self.rows, seed), source)
        if self.kind == LINES:
            return self._stored(user, name, sets.typed(self.text), {"kind": "typed"})
        raise ApiError("Choose what is asked: a prompt set, rows of a dataset, or lines.", param="prompts")

    def _stored(self, user: Any, name: str, pinned: list[Pinned], source: dict[str, Any]) -> PromptSet:
        return sets.make(project=self.project, user=user, name=name[:120], pinned=pinned, source=source)


# ---- the estimate ----


@dataclass(frozen=True)
class Estimate:
    """What it takes: answers of models, votes of people."""

    contenders: int
    prompts: int
    votes_per_pair: int
    kept: int = 0  # answers that are there from earlier
    repeat_percent: int = 0  # planted repeats for each hundred votes, at most

    @property
    def answers(self) -> int:
        return self.contenders * self.prompts

    @property
    def pairs(self) -> int:
        return self.contenders * (self.contenders - 1) // 2

    @property
    def votes(self) -> int:
        return self.pairs * self.votes_per_pair

    @property
    def repeats(self) -> int:
        """At most: each lies several pairs behind the one that it repeats."""
        return self.votes * self.repeat_percent // 100

    @property
    def time(self) -> str:
        """Of all judging together, repeats too, in words."""
        minutes = max(1, round((self.votes + self.repeats) * SECONDS_PER_VOTE / 60))
        return f"{minutes} minutes" if minutes < 120 else f"{minutes / 60:.0f} hours"

    @property
    def too_few(self) -> int:
        """So many votes a pair must have before anything is said of it; 0 where it will."""
        return FEWEST_VOTES if self.votes_per_pair < FEWEST_VOTES else 0

    @property
    def fewest_people(self) -> int:
        """Nobody judges a pair twice on one prompt."""
        return -(-self.votes_per_pair // self.prompts)


def estimate(project: Project, draft: Draft, prompts: Prompts, form: RubricForm) -> Estimate | None:
    wanted = form["votes_per_pair"].value()
    many, chosen = prompts.many, len(draft.chosen)
    if chosen < 2 or not many or not str(wanted).isdecimal() or not int(wanted):
        return None
    found = drafts.estimate(project, draft)
    repeats = str(form["repeats"].value())
    return Estimate(
        chosen, many, int(wanted), found.kept if found else 0, min(int(repeats), 50) if repeats.isdecimal() else 0
    )


# ---- the screen ----


@require_http_methods(["GET", "POST"])
def new_campaign(request: HttpRequest) -> HttpResponse:
    """`?models=a,b`, `?set=ID`, `?matrix=ID` or `?like=ID` fill it in; the buttons of a POST change it or start it."""
    if request.method == "GET":
        return _form(request, *_begun(request))
    draft = drafts.sent(request.project, request.POST)
    given = {name: request.POST.get(name, "") for name in ("count", "text")}
    prompts = Prompts(request.project, request.POST.get("prompts", ""), **given)
    draft.prompt_set = prompts.set
    if "remove" in request.POST:
        draft.remove(request.POST["remove"])
    elif "add" in request.POST:
        draft.add(request.POST["add"])
    form = RubricForm(request.POST, models=[each.model for each in draft.chosen])
    if "start" not in request.POST:
        return _form(request, draft, prompts, RubricForm(initial=_as_sent(request), models=[]))
    if not form.is_valid():
        return _form(request, draft, prompts, form, next(iter(form.errors.values()))[0])
    return _start(request, draft, prompts, form)


def _start(request: HttpRequest, draft: Draft, prompts: Prompts, form: RubricForm) -> HttpResponse:
    name = form.cleaned_data["name"]
    try:
        with transaction.atomic():
            made = running.begin(
                project=request.project,
                user=request.user,
                name=name,
                prompts=prompts.made(request.user, name),
                setup=draft.setup(),
                rubric=form.rubric,
            )
    except ApiError as error:
        return _form(request, draft, prompts, form, error.message)
    address = reverse("campaign", args=[made.pk])
    return HttpResponseClientRedirect(address) if request.htmx else redirect(address)


def _as_sent(request: HttpRequest) -> dict[str, Any]:
    """What was typed so far, without judging it yet."""
    boxes = ("satisfaction", "comments", "opens_itself")
    return {name: request.POST.get(name, "") for name in RubricForm.base_fields} | {
        name: name in request.POST for name in boxes
    }


def _begun(request: HttpRequest) -> tuple[Draft, Prompts, RubricForm]:
    like = Campaign.objects.of(request.project).filter(pk=request.GET.get("like", "")).first()
    matrix = (
        like.matrix if like else Matrix.objects.of(request.project).filter(pk=request.GET.get("matrix", "")).first()
    )
    draft = _draft_of(matrix) if matrix else drafts.begun(request.project, request.GET)
    chosen = f"set:{draft.prompt_set.pk}" if draft.prompt_set else ""
    initial: dict[str, Any] = {"comments": True, "opens_itself": True}
    if like:
        same = ("instructions", "satisfaction", "comments", "votes_per_pair", "votes_per_evaluator", "pairing")
        initial |= {name: getattr(like, name) for name in (*same, "opens_itself")}
        initial |= {"criteria": "\n".join(like.criteria), "tags": ", ".join(like.tags)}
        initial |= {"repeats": round(100 * like.repeat_share)}
    return draft, Prompts(request.project, chosen), RubricForm(initial=initial, models=[])


def _draft_of(matrix: Matrix) -> Draft:
    """The same contenders on the same prompts: what is answered need not be asked again."""
    chosen = [
        Chosen(column["model"], column.get("system") or "", settings=column.get("settings") or {})
        for column in matrix.columns
    ]
    return Draft(matrix.prompt_set, "", matrix.system_prompt, dict(matrix.settings), chosen)


def _form(request: HttpRequest, draft: Draft, prompts: Prompts, form: RubricForm, problem: str = "") -> HttpResponse:
    named = contenders.named(request.project, [each.model for each in draft.chosen])
    for chosen, found in zip(draft.chosen, named, strict=True):
        chosen.contender = found
    words = (request.POST if request.method == "POST" else request.GET).get("q", "")[:200]
    prompts.chosen = prompts.chosen or _first_choice(request.project)
    context = {
        "draft": draft,
        "prompts": prompts,
        "form": form,
        "sets": sets.told_apart(request.project),
        "files": _files(request.project),
        "older_files": _older(request.project),
        "choices": contenders.search(request.project, words),
        "q": words,
        "estimate": estimate(request.project, draft, prompts, form),
        "problem": problem,
    }
    return render(request, "campaigns/new.html", context, status=422 if problem else 200)


def _first_choice(project: Project) -> str:
    newest = PromptSet.objects.of(project).first()
    return f"set:{newest.pk}" if newest else LINES


def _files(project: Project) -> list[DatasetFile]:
    """Of each dataset its newest version; validation files first: nothing was trained on them."""
    validates = DatasetFile.objects.of(project).filter(validates__isnull=False)
    held_out = set(validates.values_list("family", flat=True))
    found = list(DatasetFile.objects.of(project).usable().newest(DatasetFile.Status.PROCESSED)[:MOST_FILES])
    for file in found:
        file.held_out = file.family in held_out  # type: ignore[attr-defined]
    return sorted(tell_apart(found, "filename"), key=lambda file: not file.held_out)  # type: ignore[attr-defined]


def _older(project: Project) -> list[DatasetFile]:
    found = DatasetFile.objects.of(project).usable().older(DatasetFile.Status.PROCESSED)
    return tell_apart(found[:MOST_FILES], "filename")
