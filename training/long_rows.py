"""Rows that a base model cannot read whole: from its count of the file, else from the file's longest lines, which the
check has kept. So they are told while the file has other problems, too, for then its tokens are not counted.
"""

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from training import checks, jsonl, token_counts, token_index
from training.engine.chat import ChatFormat
from training.engine.errors import EngineError
from training.engine.pairs import encode_sequences
from training.engine.spec import DataFacts
from training.models import BaseModel, DatasetFile
from training.row_search import texts_of

KEPT_LINES = 20
ENCODED_BYTES = 1 << 20  # of one line; of a longer one only the beginning is encoded
LOOKED_BYTES = 4 << 20  # of all lines together: a page waits for it, once


@dataclass(frozen=True)
class LongRows:
    """`tokens` of the longest, `more` where it has more than these. `rows`: how many there are, 0 where nobody knows;
    `at_least` where there may be more. `lines` are the first of them."""

    tokens: int
    rows: int
    lines: tuple[int, ...] = ()
    more: bool = False
    at_least: bool = False


def of(file: DatasetFile, base_model: BaseModel) -> LongRows | None:
    """None where every row fits, as far as that can be told."""
    if file.format == "text" or not base_model.facts_json:
        return None
    most = base_model.facts.context_length
    if facts := file.facts_for(base_model):
        return _counted(file, base_model, facts) if facts.longest_tokens > most else None
    if not file.statistics.get("longest_lines") or not file.path.is_file():
        return None
    try:
        return _looked(file.pk, base_model.pk, file.sha256, most)
    except (EngineError, OSError):
        return None  # this model cannot read the rows at all, which their own page says


def _counted(file: DatasetFile, base_model: BaseModel, facts: DataFacts) -> LongRows:
    most = base_model.facts.context_length
    records = token_index.read(token_index.path_of(file.id, base_model.name))
    if records is not None:
        lines = token_index.cut(records, most).tolist()
        return LongRows(facts.longest_tokens, len(lines), tuple(lines[:KEPT_LINES]))
    known = len(facts.lengths) == facts.rows
    return LongRows(facts.longest_tokens, sum(length > most for length in facts.lengths) if known else 0)


@lru_cache(maxsize=64)
def _looked(file_id: str, base_model_id: int, sha256: str, most: int) -> LongRows | None:
    """Among the longest lines; one of no more bytes than the model reads tokens fits."""
    file, chat = DatasetFile.objects.get(pk=file_id), token_counts.chat_format(BaseModel.objects.get(pk=base_model_id))
    index, kept, looked = checks.read_index(file), file.statistics["longest_lines"], 0
    found: list[tuple[int, int, bool]] = []
    for size, line in kept:
        if size <= most or looked > LOOKED_BYTES:
            break
        looked += min(size, ENCODED_BYTES)
        row = jsonl.page(file.path, line, 1, index)[0][1]
        tokens, more = _tokens(chat, row, size) if row else (0, False)
        if tokens > most:
            found.append((tokens, line, more))
    if not found:
        return None
    tokens, _, more = max(found)
    some_left = (kept[-1][0] > most and file.statistics["sound_rows"] > len(kept)) or looked > LOOKED_BYTES
    return LongRows(tokens, len(found), tuple(sorted(line for _, line, _ in found)), more, some_left)


def _tokens(chat: ChatFormat, row: dict[str, Any], size: int) -> tuple[int, bool]:
    """And whether it has more than these."""
    if size <= ENCODED_BYTES:
        return max(len(each.token_ids) for each in encode_sequences(chat, row)), False
    said = " ".join(text[:ENCODED_BYTES] for _, text in texts_of(row))[:ENCODED_BYTES]
    return len(chat.encode_texts([said])[0]), True
