"""How many tokens a file has under a base model's tokenizer, counted with the trainer's own encoding and kept."""

from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any

from django.core.cache import cache
from django.db import transaction
from django.db.models import F, Max, QuerySet

from training import insight, jsonl, notify, token_index
from training.engine.chat import ChatFormat
from training.engine.pairs import encode_sequences
from training.engine.spec import DataFacts
from training.engine.text import count_text_tokens, text_kind
from training.models import BaseModel, DatasetFile

COUNTED_AT_ONCE_BYTES = 1 << 20
KEPT_LENGTHS = 2000
COUNTED_UNASKED_BYTES = 64 << 20  # larger files are counted when a page or a job asks
COUNTED_A_LOOK = 20


@lru_cache(maxsize=8)
def _chat_format(folder: Path, changed: float) -> ChatFormat:
    return ChatFormat.load(folder)


def chat_format(base_model: BaseModel) -> ChatFormat:
    """The tokenizer and chat template of a model on disk, kept in memory."""
    return _chat_format(base_model.path, (base_model.path / "config.json").stat().st_mtime)


def token_facts(file: DatasetFile, base_model: BaseModel, with_index: bool = False) -> DataFacts:
    """Counts every row with the trainer's own encoding, once for each base model; the result is kept. `with_index`:
    each row's figures must be there too, which older counts have not written."""
    known = file.facts_for(base_model)
    if known and not (with_index and _lacks_index(file, base_model)):
        return known
    chat = chat_format(base_model)
    if file.format == "text":
        facts = count_text_tokens(file.path, chat)
        if text_kind(file.path) == "jsonl":
            insight.write(file.id, insight.collect(file.path))
    else:
        with token_index.Writer(token_index.path_of(file.id, base_model.name), chat) as index:
            facts = count_tokens(file.path, chat, index)
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
            _ask_worker(file, base_model)
            return None
        token_facts(file, base_model, with_index=True)
    return token_index.read(token_index.path_of(file.id, base_model.name))


def facts_or_start(file: DatasetFile, base_model: BaseModel) -> DataFacts | None:
    """For a page: small files are counted at once; for larger ones the worker is asked and None returned."""
    if known := file.facts_for(base_model):
        return known
    if file.bytes <= COUNTED_AT_ONCE_BYTES:
        return token_facts(file, base_model)
    _ask_worker(file, base_model)
    return None


def _ask_worker(file: DatasetFile, base_model: BaseModel) -> None:
    from training.tasks import count_file_tokens

    if cache.add(f"counting:{file.id}:{base_model.pk}", 1, timeout=600):  # asked once, not by every refresh
        count_file_tokens.send(file.id, base_model.pk)


def uncounted() -> Iterator[tuple[DatasetFile, BaseModel]]:
    """Checked files that nobody asked about yet, each with the base model whose tokens its page would show. Each pair
    comes once in a worker's life: a file that cannot be counted must not be read again and again."""
    base_model = next((model for model in _by_use() if model.is_present), None)
    if base_model is None:
        return
    files = DatasetFile.objects.usable().filter(token_facts={}, bytes__lte=COUNTED_UNASKED_BYTES)
    for file in files[:COUNTED_A_LOOK]:
        if file.path.is_file() and cache.add(f"uncounted:{file.id}:{base_model.pk}", 1, timeout=None):
            yield file, base_model


def _by_use() -> QuerySet[BaseModel]:
    """What was trained last comes first."""
    return (
        BaseModel.objects.ready()
        .annotate(used=Max("jobs__created_at"))
        .order_by(F("used").desc(nulls_last=True), "name")
    )


def count_in_worker(file_id: str, base_model_id: int) -> None:
    """Body of the actor that counts large files."""
    file = DatasetFile.objects.filter(pk=file_id).first()
    base_model = BaseModel.objects.filter(pk=base_model_id).first()
    if file and base_model and base_model.is_present and file.path.exists():
        token_facts(file, base_model, with_index=True)
        notify.project_changed(file.project_id)


def count_tokens(path: Path, format_: Any, index: token_index.Writer | None = None) -> DataFacts:
    """Exact totals; `lengths` are those of evenly spaced rows once there are more than 2,000. Of a preference row both
    answers count, each with the input before it."""
    rows = tokens = trained = longest = least = 0
    lengths: list[int] = []
    every = 1
    for line, row in jsonl.iterate(path):
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
