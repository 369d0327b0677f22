"""About how many tokens a file has, from rows spread evenly over it, while all of them are being counted."""

import math
from dataclasses import dataclass
from functools import lru_cache
from statistics import fmean, stdev

from training import checks, documents, jsonl, texts
from training.engine.chat import ChatFormat
from training.engine.pairs import encode_sequences
from training.engine.spec import DataFacts
from training.models import BaseModel, DatasetFile
from training.token_counts import chat_format

PLACES = 40
ROWS_A_PLACE = 5
PLACE_CHARACTERS = 4000  # of raw text that is read at a place
SAMPLED_CHARACTERS = 1 << 20  # shorter text is counted in no time
TWO_ERRORS = 1.96  # standard errors to either side: 95 of 100 such samples hold the true number


@dataclass(frozen=True)
class Sample:
    """`tokens` and `trained_tokens` of the whole file, as the sample says; `margin` to either side of `tokens`."""

    rows: int  # that were read; of raw text, places
    tokens: int
    trained_tokens: int
    margin: int
    longest_tokens: int  # among those that were read
    lengths: tuple[int, ...] = ()  # of those that were read; none of raw text

    def as_facts(self, rows: int) -> DataFacts:
        """As if all `rows` of the file were counted."""
        longest, lengths = self.longest_tokens, list(self.lengths)
        return DataFacts(
            rows=rows, tokens=self.tokens, trained_tokens=self.trained_tokens, longest_tokens=longest, lengths=lengths
        )

    @property
    def margin_share(self) -> float:
        return self.margin / max(1, self.tokens)


def sample(file: DatasetFile, base_model: BaseModel) -> Sample | None:
    """None where there is nothing to sample: no file, or fewer rows than a sample takes. Raises EngineError."""
    if texts.is_raw_text(file.path, file.filename) if file.path.exists() else False:
        characters = file.statistics.get("characters", 0)
        return _sample_text(file.pk, base_model.pk, file.sha256) if characters > SAMPLED_CHARACTERS else None
    if file.format == "text" or file.rows <= PLACES * ROWS_A_PLACE or not file.path.is_file():
        return None
    return _sample(file.pk, base_model.pk, file.sha256)


@lru_cache(maxsize=32)
def _sample_text(file_id: str, base_model_id: int, sha256: str) -> Sample | None:
    """By how many tokens some thousand characters take, at places spread evenly over the text."""
    file, chat = DatasetFile.objects.get(pk=file_id), chat_format(BaseModel.objects.get(pk=base_model_id))
    index = documents.read_index(file.path)
    last = len(index.places)
    rates = [_tokens_a_character(chat, file, index.places[at]) for at in {n * last // PLACES for n in range(PLACES)}]
    known = [rate for rate in rates if rate]
    if len(known) < 2:  # nothing is known of where to look
        return None
    characters, edges = int(file.statistics["characters"]), sum(map(len, chat.document_edges())) * file.rows
    tokens = round(fmean(known) * characters) + edges
    margin = TWO_ERRORS * stdev(known) / math.sqrt(len(known)) * characters
    return Sample(len(known), tokens, max(0, tokens - file.rows), round(margin), 0)


def _tokens_a_character(chat: ChatFormat, file: DatasetFile, place: documents.Place) -> float:
    """0 at the end of the text."""
    said = next(documents.parts(file.path, place), None)
    words = said.text[:PLACE_CHARACTERS] if said else ""
    return len(chat.encode_texts([words])[0]) / len(words) if words.strip() else 0.0


@lru_cache(maxsize=32)
def _sample(file_id: str, base_model_id: int, sha256: str) -> Sample:
    """Rows at `PLACES` places: a place counts as one observation, for neighbours may be alike."""
    file, chat = DatasetFile.objects.get(pk=file_id), chat_format(BaseModel.objects.get(pk=base_model_id))
    index, lines = checks.read_index(file), max(1, int(file.statistics.get("lines") or file.rows))
    means, trained, rows = [], [], 0
    every: list[int] = []
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
        every += [len(each.token_ids) for row in sequences for each in row]
    margin = TWO_ERRORS * stdev(means) / math.sqrt(len(means)) if len(means) > 1 else 0.0
    tokens, trained_tokens = round(fmean(means) * file.rows), round(fmean(trained) * file.rows)
    return Sample(rows, tokens, trained_tokens, round(margin * file.rows), max(every), tuple(every))
