"""What a person can ask: to look what repairs would change, and to make the version. Small files at once, larger ones
by the worker."""

import logging
import time
from collections import Counter
from collections.abc import Sequence
from itertools import islice, takewhile
from typing import Any

from django.core.cache import cache
from django.db import transaction

from accounts.errors import ApiError
from accounts.models import User
from training import home, jsonl, notify, texts, token_counts
from training.checks import CHECKED_AT_ONCE_BYTES, PROGRESS_SECONDS
from training.engine.errors import EngineError
from training.locks import only_one
from training.models import BaseModel, DatasetFile
from training.repairs import applying, catalogue, lengths
from training.repairs.messages import system_of, takes_system
from training.repairs.models import Repair
from training.versions import new_version

log = logging.getLogger(__name__)
State = Repair.State

SYSTEM_PROMPTS_READ = 10_000  # rows searched for the whole of a long system prompt
LINES_ASKED = 500  # for a system prompt, where the check kept none
KEPT_CHARACTERS = 500  # of a system prompt, by the check


def look(file: DatasetFile, keys: Sequence[str], user: User | None, **options: Any) -> Repair:
    """What these repairs would change, without changing anything. Raises ApiError for a choice that says nothing."""
    refuse_unreadable(file)
    known = [key for key in catalogue.BY_KEY if key in keys]
    if not known:
        raise ApiError("Choose at least one repair.", param="repair")
    if "system_prompt" in known and not options.get("system", "").strip():
        raise ApiError("Write the system prompt that is to be added.", param="system")
    repair = Repair(file=file, created_by=user, keys=known, options=_kept(known, options))
    _options(repair)  # raises ApiError
    mine = Repair.objects.filter(file=file, created_by=user).exclude(state__in=[State.DONE, State.MAKING])
    mine.delete()  # one look at a time; nothing hangs on those before
    repair.save()
    return _have_worked(repair)


def make(repair: Repair) -> Repair:
    """The version, as it was shown. Pressed twice, it is made once."""
    refuse_unreadable(repair.file)
    begun = Repair.objects.filter(pk=repair.pk, state=State.SHOWN).update(state=State.MAKING, share=0.0)
    repair.refresh_from_db()
    return _have_worked(repair) if begun else repair


def refuse_unreadable(file: DatasetFile) -> None:
    """Raises ApiError for what has no lines to mend."""
    if not file.path.exists():
        raise ApiError(f"{file.filename} is gone from the disk. Upload it again.", status=404, code="file_gone")
    if not can_be_repaired(file):
        raise ApiError(f"{file.filename} is raw text, which has no rows to mend.", param="file")


def can_be_repaired(file: DatasetFile) -> bool:
    return file.path.is_file() and not texts.is_raw_text(file.path, file.filename)


def _kept(keys: list[str], options: dict[str, Any]) -> dict[str, Any]:
    wanted = {"system_prompt": ("system",), "too_long": ("how", "model", "max_length")}
    return {name: options.get(name) for key in keys for name in wanted.get(key, ())}


def _options(repair: Repair) -> catalogue.Options:
    """Raises ApiError for a base model that is not there or a length that is none."""
    given = dict(repair.options)
    if "too_long" not in repair.keys:
        return catalogue.Options(**given)
    if given.get("how") not in catalogue.SHORTENED:
        raise ApiError("Choose what becomes of rows that are too long: cut, split or left out.", param="how")
    if not isinstance(given.get("max_length"), int) or given["max_length"] < 16:
        raise ApiError("Give the most tokens that a row may have: a whole number, 16 or more.", param="max_length")
    model = BaseModel.objects.ready().filter(name=given.get("model") or "").first()
    if model is None or not model.is_present:
        raise ApiError("Choose a base model that is on disk: tokens are counted with its tokenizer.", param="model")
    try:
        chat = token_counts.chat_format(model)
    except EngineError as error:
        raise ApiError(error.message, param="model") from error
    return catalogue.Options(**given, fits=lengths.fits(chat, given["max_length"]))


def plan_of(repair: Repair) -> applying.Plan:
    return applying.Plan(repair.keys, _options(repair), repair.figures.get("format", ""))


def words_of(repair: Repair) -> str:
    """What it did, or would do, in one sentence."""
    figures = repair.figures
    return catalogue.words_of(figures.get("by", {}), figures.get("left_out", {}), catalogue.Options(**repair.options))


def most_used_system(file: DatasetFile) -> str:
    """The system prompt of most rows, whole; empty where no row has one. The check keeps its first characters only, and
    none of preferences or of rows with problems: there the first rows are asked."""
    prompts = file.statistics.get("system_prompts") or []
    text: str = prompts[0]["text"] if prompts else ""
    if not file.path.exists() or 0 < len(text) < KEPT_CHARACTERS:
        return text
    if not text:
        first = takewhile(lambda each: each[0] <= LINES_ASKED, jsonl.iterate(file.path))
        prompts_found = Counter(filter(None, (system_of(row) for _, row in first)))
        return prompts_found.most_common(1)[0][0] if prompts_found else ""
    rows = islice(jsonl.iterate(file.path), SYSTEM_PROMPTS_READ)
    return next((found for _, row in rows if (found := system_of(row)).startswith(text)), text)


def some_take_system(file: DatasetFile) -> bool:
    """Of the first rows some have messages, before which a system message can stand."""
    first = takewhile(lambda each: each[0] <= LINES_ASKED, jsonl.iterate(file.path))
    return any(takes_system(row) for _, row in first)


# ---- the work ----


def _have_worked(repair: Repair) -> Repair:
    if repair.file.bytes < CHECKED_AT_ONCE_BYTES:
        work(repair.pk)
        repair.refresh_from_db()
        return repair
    from training.tasks import repair_file, wake

    transaction.on_commit(lambda: wake(repair_file, repair.pk))
    return repair


def waiting() -> list[Repair]:
    """Of large files, asked for and perhaps forgotten by the queue; each comes once in a while only."""
    found = Repair.objects.unfinished().filter(file__bytes__gte=CHECKED_AT_ONCE_BYTES)[:20]
    return [repair for repair in found if cache.add(f"repair:{repair.pk}:{repair.state}", 1, timeout=60)]


def work(repair_id: str) -> None:
    """One step: looks, or makes. Safe to run twice; only one process works on a repair."""
    repair = Repair.objects.unfinished().select_related("file").filter(pk=repair_id).first()
    if repair is None:
        return
    with only_one(home.file_folder(repair.file_id) / "repair.lock") as mine:
        if not mine:
            return
        repair.refresh_from_db()
        try:
            if repair.state == State.LOOKING:
                figures = applying.run(repair.file.path, plan_of(repair), progress=_Progress(repair))
                _store(repair, state=State.SHOWN, figures=figures.as_row(), share=1.0)
            elif repair.state == State.MAKING:
                _store(repair, made=_made(repair), state=State.DONE, share=1.0)
        except ApiError as error:
            _store(repair, state=State.FAILED, problem=error.message)
        except FileNotFoundError:
            problem = f"{repair.file.filename} is gone from the disk. Upload it again."
            _store(repair, state=State.FAILED, problem=problem)
        except Exception:
            log.exception("repair %s failed", repair.pk)
            _store(repair, state=State.FAILED, problem="The repair itself failed; the reason stands in the log.")
            raise


def _made(repair: Repair) -> DatasetFile:
    figures = {name: repair.figures.get(name, 0) for name in ("rows", "changed", "dropped", "added")}
    return new_version(
        repair.file,
        kind="repair",
        words=words_of(repair),
        user=repair.created_by,
        write=lambda out: _write(repair, out),
        repairs=repair.keys,
        **figures,
    )


def _write(repair: Repair, out: Any) -> None:
    applying.run(repair.file.path, plan_of(repair), out, _Progress(repair))


def _store(repair: Repair, **columns: Any) -> None:
    Repair.objects.filter(pk=repair.pk).update(**columns)
    notify.project_changed(repair.file.project_id)


class _Progress:
    """Writes the progress to the repair's row, twice a second at most."""

    def __init__(self, repair: Repair) -> None:
        self.repair, self.next = repair, time.monotonic() + PROGRESS_SECONDS

    def __call__(self, share: float) -> None:
        if time.monotonic() < self.next or share >= 1:
            return
        self.next = time.monotonic() + PROGRESS_SECONDS
        _store(self.repair, share=share)
