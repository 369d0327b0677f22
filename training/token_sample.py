"""About how many tokens a file has, from rows spread evenly over it, while all of them are being counted."""

import math
from dataclasses import dataclass
from functools import lru_cache
from statistics import fmean, stdev

from training import checks, jsonl
from training.engine.pairs import encode_sequences
from training.models import BaseModel, DatasetFile
from training.token_counts import chat_format

PLACES = 40
ROWS_A_PLACE = 5
TWO_ERRORS = 1.96  # standard errors to either side: 95 of 100 such samples hold the true number


@dataclass(frozen=True)
class Sample:
    """`tokens` and `trained_tokens` of the whole file, as the sample says; `margin` to either side of `tokens`."""

    rows: int  # that were read
    tokens: int
    trained_tokens: int
    margin: int
    longest_tokens: int  # among those that were read


def sample(file: DatasetFile, base_model: BaseModel) -> Sample | None:
    """None where there is nothing to sample: raw text, or fewer rows than a sample takes. Raises EngineError."""
    if file.format == "text" or file.rows <= PLACES * ROWS_A_PLACE or not file.path.is_file():
        return None
    return _sample(file.pk, base_model.pk, file.sha256)


@lru_cache(maxsize=32)
def _sample(file_id: str, base_model_id: int, sha256: str) -> Sample:
    """Rows at `PLACES` places: a place counts as one observation, for neighbours may be alike."""
    file, chat = DatasetFile.objects.get(pk=file_id), chat_format(BaseModel.objects.get(pk=base_model_id))
    index, lines = checks.read_index(file), max(1, int(file.statistics.get("lines") or file.rows))
    means, trained, longest, rows = [], [], 0, 0
    for place in range(PLACES):
        first = 1 + place * lines // PLACES
        found = [row for _, row in jsonl.page(file.path, first, ROWS_A_PLACE, index) if row]
        if not found:
            continue
        sequences = [encode_sequences(chat, row) for row in found]
        lengths = [sum(len(each.token_ids) for each in row) for row in sequences]
        rows += len(found)
        means.append(fmean(lengths))
        trained.append(fmean(sum(each.trained_tokens for each in row) for row in sequences))
        longest = max(longest, *(len(each.token_ids) for row in sequences for each in row))
    margin = TWO_ERRORS * stdev(means) / math.sqrt(len(means)) if len(means) > 1 else 0.0
    return Sample(
        rows, round(fmean(means) * file.rows), round(fmean(trained) * file.rows), round(margin * file.rows), longest
    )
