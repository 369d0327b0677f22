"""The form of a new matrix while it is filled in: contenders come and go, what was typed stays."""

from dataclasses import dataclass, field
from typing import Any

from accounts.errors import ApiError
from accounts.models import Project
from playground import contenders
from playground.contenders import Contender
from playground.forms import MOST_COLUMNS, Sampling, Setup, parse
from playground.matrix import matrices
from playground.matrix.models import KeptAnswer, PromptSet, contender

SETTINGS = ("temperature", "top_p", "max_tokens", "seed")


@dataclass
class Chosen:
    """A contender, and the system prompt and settings that it has instead of the shared ones."""

    model: str
    system: str = ""
    contender: Contender | None = None
    settings: dict[str, Any] = field(default_factory=dict)

    @property
    def column(self) -> dict[str, Any]:
        own = {name: value for name, value in self.settings.items() if value not in (None, "")}
        system = {"system": self.system} if self.system.strip() else {}
        return {"model": self.model} | system | ({"settings": own} if own else {})


@dataclass
class Draft:
    prompt_set: PromptSet | None = None
    name: str = ""
    system: str = ""
    settings: dict[str, Any] = field(default_factory=dict)
    chosen: list[Chosen] = field(default_factory=list)

    @property
    def full(self) -> bool:
        return len(self.chosen) >= MOST_COLUMNS

    def setup(self) -> Setup:
        """Raises ApiError."""
        if not self.chosen:
            raise ApiError("Choose at least one contender.", param="columns")
        given = {name: None if self.settings.get(name) == "" else self.settings.get(name) for name in SETTINGS}
        if empty := next((name for name in SETTINGS if given[name] is None and name != "seed"), None):
            raise ApiError(f"Give a value for {empty.replace('_', ' ')}.", param=empty)
        columns = [each.column for each in self.chosen]
        return parse(Setup, {"columns": columns, "system": self.system, "settings": given})

    def add(self, model: str) -> None:
        if model and not self.full:
            self.chosen.append(Chosen(model))

    def remove(self, index: str) -> None:
        if index.isdecimal() and int(index) < len(self.chosen):
            del self.chosen[int(index)]


def begun(project: Project, given: Any) -> Draft:
    """From an address: `?set=ID&models=a,b`. Names that do not exist are left out."""
    names = [name for name in given.get("models", "").split(",") if name][:MOST_COLUMNS]
    found = [Chosen(each.model) for each in contenders.named(project, names) if not each.gone]
    mine = PromptSet.objects.of(project)
    prompt_set = mine.filter(pk=given.get("set", "")).first() or mine.first()
    return Draft(prompt_set, settings=Sampling(temperature=0).model_dump(), chosen=found)


def sent(project: Project, given: Any) -> Draft:
    """As the form was sent."""
    systems = given.getlist("own")
    settings = {name: given.getlist(f"own_{name}") for name in SETTINGS}
    chosen = [
        Chosen(
            model[:250],
            systems[at] if at < len(systems) else "",
            settings={name: values[at] for name, values in settings.items() if at < len(values)},
        )
        for at, model in enumerate(given.getlist("model"))
    ]
    return Draft(
        PromptSet.objects.of(project).filter(pk=given.get("set", "")).first(),
        given.get("name", "")[:120],
        given.get("system", ""),
        {name: given.get(name, "") for name in SETTINGS},
        chosen[:MOST_COLUMNS],
    )


@dataclass(frozen=True)
class Estimate:
    """How many answers a matrix wants, and how many of them are there from earlier."""

    prompts: int
    contenders: int
    kept: int

    @property
    def wanted(self) -> int:
        return self.prompts * self.contenders

    @property
    def asked(self) -> int:
        return self.wanted - self.kept


def estimate(project: Project, draft: Draft) -> Estimate | None:
    """None before there is a set and a contender, or while something is wrong."""
    if draft.prompt_set is None or not draft.chosen:
        return None
    try:
        setup = draft.setup()
        columns = matrices.lasting_columns(project, setup)
    except ApiError:
        return None
    keys = [contender(column, setup.system, setup.settings.model_dump()) for column in columns]
    prompts = draft.prompt_set.prompts
    kept = KeptAnswer.objects.filter(project=project, contender__in=keys, prompt__in=prompts.values("key"))
    return Estimate(prompts.count(), len(keys), kept.count())
