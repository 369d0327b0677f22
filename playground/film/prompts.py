"""Which prompts are pinned to a job: those that somebody chose, else its stage's, else a few of its validation rows."""

import hashlib
import json
import random
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import islice
from typing import Any, Final

from django.db import transaction

from accounts.errors import ApiError
from playground.film import written
from playground.film.models import Film
from playground.film.written import LONGEST, MOST, Entry
from training import jsonl, texts
from training.engine.pairs import is_preference, spelling_of
from training.models import DatasetFile, TrainingJob
from training.notify import job_changed

DRAWN: Final = 4
ROWS_LOOKED_AT: Final = 500  # of the file's beginning, so that a large file costs a page nothing
DOCUMENTS_LOOKED_AT: Final = 40
BEGINNING: Final = 160  # characters of a raw text that are given
GOES_ON: Final = 240  # of how it goes on: shown beside


@dataclass(frozen=True)
class Pinned:
    """`ask` is the part of a request body that asks: {"messages", "tools"?} or, of bare text, {"prompt"}."""

    ask: dict[str, Any]
    expected: str = ""

    @property
    def key(self) -> str:
        """The same for the same question, so that an answer belongs to what was asked, not to a place in a list."""
        return hashlib.sha256(json.dumps(self.ask, sort_keys=True).encode()).hexdigest()[:16]

    @property
    def text(self) -> str:
        """What is asked, in short: the last thing that the user says."""
        if "prompt" in self.ask:
            return str(self.ask["prompt"])
        said = [message for message in self.ask["messages"] if message.get("role") == "user"]
        return text_of((said or self.ask["messages"])[-1])

    @property
    def before(self) -> int:
        """Messages that come before it, of which the page only tells the number."""
        return len(self.ask.get("messages", [])[:-1])

    def asking(self, text: str) -> "Pinned":
        """The same conversation with another question at its end."""
        if "prompt" in self.ask:
            return Pinned({"prompt": text}, self.expected)
        messages = list(self.ask["messages"])
        at = max((i for i, message in enumerate(messages) if message.get("role") == "user"), default=len(messages))
        return Pinned(self.ask | {"messages": [*messages[:at], {"role": "user", "content": text}]}, self.expected)


def of(job: TrainingJob) -> list[Pinned]:
    """As chosen, else as they would be drawn now."""
    film = Film.objects.filter(job=job).first()
    return [Pinned(**each) for each in film.prompts] if film else first(job)


def first(job: TrainingJob) -> list[Pinned]:
    """Before anybody chose on its page: those of its stage, where it is one of a recipe, else drawn."""
    return read(job, _of_stage(job)) or drawn(job)


def _of_stage(job: TrainingJob) -> list[Entry]:
    return list(job.chain.stages[job.stage - 1].pinned_prompts) if job.chain else []


def begin(job: TrainingJob) -> Film:
    """Its film; the prompts that are drawn now stay, whatever becomes of the validation file. Not stored where there
    are none."""
    film = Film.objects.filter(job=job).first() or Film(job=job, prompts=_stored(first(job)))
    if film.pk is None and film.prompts:
        film, _ = Film.objects.get_or_create(job=job, defaults={"prompts": film.prompts})
    return film


@transaction.atomic
def pin(job: TrainingJob, pinned: list[Pinned]) -> Film:
    """These from now on; what was answered already stays. Raises ApiError."""
    if len(pinned) > MOST:
        raise ApiError(f"{len(pinned)} prompts are too many to pin: at most {MOST}.", param="pinned_prompts")
    if any(not each.text.strip() or len(json.dumps(each.ask)) > 4 * LONGEST for each in pinned):
        raise ApiError(f"A pinned prompt has 1 to {LONGEST:,} characters.", param="pinned_prompts")
    unique = list({each.key: each for each in pinned}.values())
    film, _ = Film.objects.update_or_create(job=job, defaults={"prompts": _stored(unique), "open": True})
    job_changed(job.pk)
    return film


def keep_from(parent: TrainingJob, job: TrainingJob) -> None:
    """A rerun is asked what its parent was asked, so that the two strips can be compared."""
    film = begin(parent)
    if film.pk:
        pin(job, [Pinned(**each) for each in film.prompts])


def read(job: TrainingJob, entries: Sequence[Entry]) -> list[Pinned]:
    """What was written, a text as this job's rows ask: as a chat, or as the beginning of a text."""
    bare = _asks_bare(job)
    return [Pinned(*written.ask_of(entry, bare)) for entry in entries]


def as_written(job: TrainingJob) -> list[Entry] | None:
    """For another job that is to be asked the same; None where nothing was pinned yet."""
    film = Film.objects.filter(job=job).first()
    if film is None:
        return _of_stage(job) or None
    return _entries(job, [Pinned(**each) for each in film.prompts])


def of_rerun(parent: TrainingJob, validation_file: DatasetFile | None, seed: int | None) -> list[Entry] | None:
    """What a rerun with this file and seed is asked besides what would be drawn for it anyway; None: nothing else."""
    asked = of(parent)
    if (validation_file, seed) == (parent.validation_file, parent.seed) and asked == drawn(parent):
        return None
    return _entries(parent, asked)


def _entries(job: TrainingJob, asked: Sequence[Pinned]) -> list[Entry]:
    bare = _asks_bare(job)
    return [written.entry_of(each.ask, each.expected, bare) for each in asked]


def _asks_bare(job: TrainingJob) -> bool:
    kind = job.training_file.format if job.training_file else ""
    return not job.base_model.facts_json.get("has_chat_template", True) or kind in ("completion", "text")


def _stored(pinned: list[Pinned]) -> list[dict[str, Any]]:
    return [asdict(each) for each in pinned]


# ---- out of the validation file ----


def drawn(job: TrainingJob) -> list[Pinned]:
    """The same rows for the same seed; none without a checked validation file."""
    file = job.validation_file
    if file is None or file.status != DatasetFile.Status.PROCESSED:
        return []
    try:
        found = [pinned for row in _first_rows(file) if (pinned := of_row(row))]
    except OSError:  # deleted under us
        return []
    chosen = random.Random(job.seed).sample(range(len(found)), min(DRAWN, len(found)))
    return [found[index] for index in sorted(chosen)]


def _first_rows(file: DatasetFile) -> list[dict[str, Any]]:
    if texts.is_raw_text(file.path, file.filename):
        return [dict(row) for _, row in texts.page(file.path, 1, DOCUMENTS_LOOKED_AT)]
    return [row for _, row in islice(jsonl.iterate(file.path), ROWS_LOOKED_AT)]


def of_row(row: dict[str, Any]) -> Pinned | None:
    """What a row asks and what it answers last; None for a row that asks nothing, or too much."""
    pinned = _of_row(row)
    return pinned if pinned and pinned.text.strip() and len(json.dumps(pinned.ask)) <= LONGEST else None


def _of_row(row: dict[str, Any]) -> Pinned | None:
    if is_preference(row):
        asked, preferred, _ = spelling_of(row)
        given, answer = row[asked], text_of(row[preferred])
        if isinstance(given, str):
            return Pinned({"prompt": given}, answer)
        chat = given if isinstance(given, dict) else {"messages": given, "tools": row.get("tools")}
        return Pinned(_chat(chat, chat["messages"]), answer)
    if isinstance(row.get("messages"), list):
        messages = row["messages"]
        answers = [at for at, message in enumerate(messages) if message.get("role") == "assistant"]
        return Pinned(_chat(row, messages[: answers[-1]]), text_of(messages[answers[-1]])) if answers else None
    if "prompt" in row:
        return Pinned({"prompt": str(row["prompt"])}, text_of(row.get("completion", "")))
    text = str(row.get("text", ""))
    beginning = text[:BEGINNING].rsplit(" ", 1)[0] if len(text) > BEGINNING else text[: len(text) // 2]
    return Pinned({"prompt": beginning}, text[len(beginning) :][:GOES_ON])


def _chat(row: dict[str, Any], messages: list[dict[str, Any]]) -> dict[str, Any]:
    """Without what only training reads."""
    asked = [{name: value for name, value in message.items() if name != "weight"} for message in messages]
    tools = {name: row[name] for name in ("tools", "functions") if row.get(name)}
    return {"messages": asked, **tools}


def text_of(value: Any) -> str:
    """The words of a message, of the last of several, or of a plain text; calls as name(arguments)."""
    if isinstance(value, list):
        return text_of(value[-1]) if value else ""
    if not isinstance(value, dict):
        return str(value or "")
    calls = [call.get("function", {}) for call in value.get("tool_calls") or []]
    calls += [value["function_call"]] if value.get("function_call") else []
    content = value.get("content") or ""
    if isinstance(content, list):
        content = "".join(part.get("text", "") for part in content)
    return "\n".join([*([content] if content else []), *(call_text(call) for call in calls)])


def call_text(call: dict[str, Any]) -> str:
    return f"{call.get('name') or ''}({call.get('arguments') or ''})"
