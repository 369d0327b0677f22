"""Which local base stands for which model of OpenAI: `--map gpt-4o-mini=Qwen3-0.6B`, or a YAML file of such pairs.

A snapshot (gpt-4o-mini-2024-07-18) is found by its own name, then by its family's (gpt-4o-mini), then by `*`.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import yaml

from accounts.errors import ApiError
from accounts.models import Project
from training.aliases import pointing
from training.aliases.models import Alias
from training.models import BaseModel

DATED = re.compile(r"-(\d{4}-\d{2}-\d{2}|\d{4})$")
ALL = "*"
REASON = "Stands for OpenAI's model of this name (import_openai)"


def family(name: str) -> str:
    """gpt-4o-mini for gpt-4o-mini-2024-07-18, gpt-3.5-turbo for gpt-3.5-turbo-0125."""
    return DATED.sub("", name)


def base_of(name: str) -> str:
    """The base model under a name: gpt-4o-mini-2024-07-18 for ft:gpt-4o-mini-2024-07-18:acme::x, davinci for
    davinci:ft-acme-2022-02-15."""
    return name.removeprefix("ft:").partition(":")[0]


@dataclass(frozen=True)
class ModelMap:
    pairs: dict[str, BaseModel]

    def local(self, name: str) -> BaseModel | None:
        base = base_of(name)
        return self.pairs.get(base) or self.pairs.get(family(base)) or self.pairs.get(ALL)

    def missing(self, names: Iterable[str]) -> list[str]:
        """The bases among these that nothing stands for."""
        return sorted({base_of(name) for name in names if self.local(name) is None})


def read(given: Sequence[str]) -> ModelMap:
    """Each is THEIRS=OURS or the path of a YAML file. Raises ApiError, which names what is wrong."""
    pairs: dict[str, str] = {}
    for each in given:
        if "=" in each:
            theirs, _, ours = each.partition("=")
            pairs[theirs.strip()] = ours.strip()
        else:
            pairs |= _from_file(Path(each))
    return ModelMap({theirs: _find(theirs, ours) for theirs, ours in pairs.items()})


def _from_file(path: Path) -> dict[str, str]:
    try:
        found = yaml.safe_load(path.read_text())
    except OSError as error:
        raise ApiError(f"--map {path}: neither THEIRS=OURS nor a file that can be read ({error.strerror}).") from error
    except yaml.YAMLError as error:
        raise ApiError(f"--map {path} is not YAML: {error}") from error
    if not isinstance(found, dict) or not all(isinstance(each, str) for pair in found.items() for each in pair):
        raise ApiError(f"--map {path}: a map is wanted, a line for each model: `gpt-4o-mini: Qwen3-0.6B`.")
    return found


def _find(theirs: str, ours: str) -> BaseModel:
    found = BaseModel.objects.called(ours)
    if found is None:
        known = ", ".join(BaseModel.objects.values_list("name", flat=True)) or "none yet"
        raise ApiError(
            f"--map {theirs}={ours}: {ours} is not in Hone's catalogue (there are: {known}). Add it with"
            f" `manage.py add_model`, or on the Models page."
        )
    return found


def set_up_names(project: Project, models: ModelMap, bases: Iterable[str]) -> tuple[list[str], dict[str, str]]:
    """Each base of OpenAI and its family as names of the local base: what was made or moved, and what was left alone
    and why."""
    wanted: dict[str, BaseModel] = {}
    for base in sorted({*bases, *models.pairs} - {ALL}):
        if local := models.local(base):
            wanted[base] = local
            wanted.setdefault(family(base), models.local(family(base)) or local)
    made, left = list[str](), dict[str, str]()
    for name, local in wanted.items():
        alias = Alias.objects.of(project).filter(name=name).prefetch_related("promotions").first()
        if alias and alias.current.target == local:
            continue
        if (alias and alias.current.reason != REASON) or BaseModel.objects.filter(name__iexact=name).exists():
            left[name] = "the name points elsewhere in Hone and was left as it is"
            continue
        try:
            pointing.promote(project, None, name, local, REASON)
        except ApiError as error:  # no name that Hone can give; the others still come
            left[name] = error.message
            continue
        made.append(f"{name} → {local.name}")
    return made, left
