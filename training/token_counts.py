"""How many tokens a file has under a base model's tokenizer, counted with the trainer's own encoding and kept."""

from collections.abc import Callable, Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any

from django.core.cache import cache
from django.db import transaction
from django.db.models import F, Max

from accounts.errors import ApiError
from training import file_tasks, insight, jsonl, token_index
from training.engine.chat import ChatFormat
from training.engine.errors import EngineError
from training.engine.pairs import encode_sequences
from training.engine.spec import DataFacts
from training.engine.text import count_text_tokens, text_kind
from training.models import BaseModel, DatasetFile, FileTask

COUNTED_AT_ONCE_BYTES = 1 << 20
KEPT_LENGTHS = 2000
COUNTED_UNASKED_BYTES = 64 << 20  # larger files are counted when a page or a job asks
COUNTED_A_LOOK = 20
PROGRESS_ROWS = 64  # between two words of progress
KIND = "tokens"  # of the work on a file; its key is the base model
Progress = Callable[[float], None]


@lru_cache(maxsize=8)
def _chat_format(folder: Path, changed: float) -> ChatFormat:
    return ChatFormat.load(folder)


def chat_format(base_model: BaseModel) -> ChatFormat:
    """The tokenizer and chat template of a model on disk, kept in memory."""
    return _chat_format(base_model.path, (base_model.path / "config.json").stat().st_mtime)


def token_facts(
    file: DatasetFile, base_model: BaseModel, with_index: bool = False, progress: Progress | None = None
) -> DataFacts:
    """Counts every row with the trainer's own encoding, once for each base model; the result is kept. `with_index`:
    each row's figures must be there too, which older counts have not written."""
    known = file.facts_for(base_model)
    if known and not (with_index and _lacks_index(file, base_model)):
        return known
    chat = chat_format(base_model)
    if file.format == "text":
        share = (lambda done, total: progress(min(1.0, done / max(1, total)))) if progress else None
        facts = count_text_tokens(file.path, chat, share)
        if text_kind(file.path) == "jsonl":
            insight.write(file.id, insight.collect(file.path))
    else:
        with token_index.Writer(token_index.path_of(file.id, base_model.name), chat) as index:
            lines = int(file.statistics.get("lines") or file.rows)
            facts = count_tokens(file.path, chat, index, lines, progress)
        insight.write(file.id, index.insight)
    with transaction.atomic():
        fresh = DatasetFile.objects.select_for_update().get(pk=file.pk)
        fresh.token_facts[base_model.name] = facts.model_dump()
        fresh.save(update_fields=["token_facts"])
    file.token_facts = fresh.token_facts
    return facts


def _lacks_index(file: DatasetFile, base_model: BaseModel) -> bool:
    return file.format != "text" and not token_index.path_of(file.id, base_model.name).exists()


def index_or_start(file: DatasetFile, base_model: BaseModel) -> token_index.Records | None:
    """As `facts_or_start`, of the figures of each row; None for raw text, whose documents have none."""
    if file.format == "text":
        return None
    if _lacks_index(file, base_model) or not file.facts_for(base_model):
        if file.bytes > COUNTED_AT_ONCE_BYTES:
            ask_worker(file, base_model)
            return None
        token_facts(file, base_model, with_index=True)
    return token_index.read(token_index.path_of(file.id, base_model.name))


def facts_or_start(file: DatasetFile, base_model: BaseModel) -> DataFacts | None:
    """For a page: small files are counted at once; for larger ones the worker is asked and None returned."""
    if known := file.facts_for(base_model):
        return known
    if file.bytes <= COUNTED_AT_ONCE_BYTES:
        return token_facts(file, base_model)
    ask_worker(file, base_model)
    return None


def ask_worker(file: DatasetFile, base_model: BaseModel, again: bool = False) -> FileTask:
    """The count as work on the file: once, however often a page asks. One that failed is tried `again` only when
    somebody wants it."""
    known = task_of(file, base_model)
    if known and known.status == FileTask.Status.DONE:  # of an earlier check, or of other days
        file.refresh_from_db(fields=["token_facts"])
        again = again or file.facts_for(base_model) is None or _lacks_index(file, base_model)
    asked, size = {"sha256": file.sha256}, file_tasks.DONE_AT_ONCE_BYTES + 1
    return file_tasks.ask(file, KIND, key=str(base_model.pk), asked=asked, size=size, again=again)


def task_of(file: DatasetFile, base_model: BaseModel) -> FileTask | None:
    """The last count that a worker was asked for."""
    return FileTask.objects.filter(file=file, kind=KIND, key=str(base_model.pk)).first()


def do(task: FileTask, progress: Progress) -> dict[str, Any]:
    """Counts in the worker. Raises ApiError with why it cannot be."""
    base_model = BaseModel.objects.filter(pk=int(task.key)).first()
    if base_model is None or not base_model.is_present:
        name = base_model.name if base_model else "The base model"
        raise ApiError(f"{name} is gone from the disk, and its tokenizer with it. Bring it back under Models.")
    try:
        facts = token_facts(task.file, base_model, with_index=True, progress=progress)
    except EngineError as error:
        raise ApiError(str(error)) from error
    except OSError as error:
        if isinstance(error, FileNotFoundError):
            raise
        raise ApiError(f"{error.strerror or error}. Free some room on the server's disk, then count again.") from error
    return {"tokens": facts.tokens}


def uncounted() -> Iterator[tuple[DatasetFile, BaseModel]]:
    """Checked files that nobody asked about yet, each with the base model whose tokens its page would show. Each pair
    comes once in a worker's life: a file that cannot be counted must not be read again and again."""
    base_model = usual_model()
    if base_model is None:
        return
    files = DatasetFile.objects.usable().filter(token_facts={}, bytes__lte=COUNTED_UNASKED_BYTES)
    for file in files[:COUNTED_A_LOOK]:
        if file.path.is_file() and cache.add(f"uncounted:{file.id}:{base_model.pk}", 1, timeout=None):
            yield file, base_model


def usual_model() -> BaseModel | None:
    """Of those on disk the one that was trained last: pages count with it where nobody chooses another."""
    ready = BaseModel.objects.ready().annotate(used=Max("jobs__created_at"))
    by_use = ready.order_by(F("used").desc(nulls_last=True), "name")
    return next((model for model in by_use if model.is_present), None)


def count_tokens(
    path: Path, format_: Any, index: token_index.Writer | None = None, lines: int = 0, progress: Progress | None = None
) -> DataFacts:
    """Exact totals; `lengths` are those of evenly spaced rows once there are more than 2,000. Of a preference row both
    answers count, each with the input before it. `lines`: how many the file has, for the progress."""
    rows = tokens = trained = longest = least = 0
    lengths: list[int] = []
    every = 1
    for line, row in jsonl.iterate(path):
        if progress and rows % PROGRESS_ROWS == 0:
            progress(min(1.0, line / max(1, lines)))
        sequences = encode_sequences(format_, row)
        if index:
            index.add(line, row, sequences)
        row_lengths = [len(encoded.token_ids) for encoded in sequences]
        if rows % every == 0:
            lengths += row_lengths
            if len(lengths) > KEPT_LENGTHS:
                lengths, every = _every_second(lengths, len(sequences)), every * 2
        rows += 1
        tokens += sum(row_lengths)
        trained += sum(encoded.trained_tokens for encoded in sequences)
        longest = max(longest, *row_lengths)
        if all(encoded.trained_tokens for encoded in sequences):
            needed = max(token_index.until_trained(encoded) for encoded in sequences)
            least = min(least or needed, needed)
    return DataFacts(
        rows=rows, tokens=tokens, trained_tokens=trained, longest_tokens=longest, lengths=lengths, least_length=least
    )


def _every_second(lengths: list[int], sequences: int) -> list[int]:
    """Of rows that have so many sequences each."""
    return [length for at, length in enumerate(lengths) if at // sequences % 2 == 0]
