"""Rows of a file whose prompt is one of a set of prompts that are kept for judging."""

import json
from array import array
from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from training.repeats.alike import NEAR, similarity
from training.repeats.found import Kind, Writer, all_entries, removable
from training.repeats.sketch import BANDS, ROWS_AT_ONCE, Progress, read_rows, signatures_of
from training.repeats.words import asked_text, question_words, row_hash, words_of
from training.rules import Row

LEAST_WORDS: Final = 4  # of a prompt for a near one: shorter ones are near to everything
MOST_COMPARED: Final = 8
FOUND: Final = "prompts.json"  # the prompts that rows ask, beside what found.py writes


@dataclass(frozen=True)
class Asked:
    """A prompt: the same id for the same words, what is asked ({"messages"} or {"prompt"}), and where it stands, as
    PLACE/WHICH each."""

    id: str
    ask: Row
    stands: tuple[str, ...] = ()


def merged(asks: Iterable[tuple[Row, str]]) -> list[Asked]:
    """Of what is asked and where each stands: every prompt once, with all its places. What says nothing is left out."""
    found: dict[str, tuple[Row, list[str]]] = {}
    for ask, stands in asks:
        if words := words_of(asked_text(ask)):
            found.setdefault(f"{row_hash(words):016x}", (ask, []))[1].append(stands)
    return [Asked(id_, ask, tuple(stands)) for id_, (ask, stands) in found.items()]


def place_of(stands: str) -> str:
    return stands.partition("/")[0]


def find(path: Path, prompts: list[Asked], out: Path, progress: Progress | None = None) -> dict[str, Any]:
    """Writes what found.py says and the prompts that were found to `out`. The prompts are held in memory, about 2 KB
    each; the rows are not. Its "places" are the rows of each kind by the place where their prompts stand."""
    known, size = _Known(prompts), max(1, path.stat().st_size)
    lines, likes = array("I"), array("d")
    held: list[tuple[int, list[str]]] = []  # questions of rows, by line
    rows = 0
    by_id = {each.id: each for each in prompts}
    places: defaultdict[str, Counter[str]] = defaultdict(Counter)
    told: dict[str, dict[str, Any]] = {}
    with Writer(out) as writer:

        def look() -> None:
            best: dict[int, tuple[float, str]] = {}
            for (line, _), found in zip(held, known.like([words for _, words in held]), strict=True):
                if found and found > best.get(line, (0.0, "")):
                    best[line] = found
            for line, (like, asked) in sorted(best.items()):
                kind: Kind = "exact" if like > 1 else "near"
                writer.pair(kind, line, asked, min(like, 1.0))
                told[asked] = {"ask": by_id[asked].ask, "stands": by_id[asked].stands}
                for place in {place_of(each) for each in by_id[asked].stands}:
                    places[place][kind] += 1
                lines.append(line)
                likes.append(like)
            held.clear()

        for line, offset, row in read_rows(path):
            held += [(line, words) for words in question_words(row)]
            rows += 1
            if len(held) >= ROWS_AT_ONCE:
                look()
                if progress:
                    progress(offset / size)
        look()
        likes_n = np.array(likes)
        near_n = np.where(likes_n > 1, 0, 1000 * likes_n).astype(np.uint16)
        no_n = np.zeros(len(likes), dtype=bool)
        writer.removable("rows", removable(np.array(lines, dtype=np.uint32), likes_n > 1, near_n, no_n))
        (out / FOUND).write_text(json.dumps(told))
        return {"rows": rows, "prompts": len(prompts), "places": places, **writer.figures()}


def told(folder: Path) -> dict[str, dict[str, Any]]:
    """By its id each prompt that was found: {"ask", "stands"}."""
    path = folder / FOUND
    found: dict[str, dict[str, Any]] = json.loads(path.read_bytes()) if path.exists() else {}
    return found


def standing(folder: Path, place: str) -> set[str]:
    """Ids of the prompts that were found and stand in the place."""
    return {id_ for id_, each in told(folder).items() if any(place_of(stands) == place for stands in each["stands"])}


def lines_asking(folder: Path, kinds: Iterable[Kind], place: str, at_least: float) -> np.ndarray:
    """Line numbers in rising order of the rows that ask a prompt of the place. `at_least` is for near rows alone."""
    wanted = standing(folder, place)
    found = [
        line
        for kind in kinds
        for pairs in all_entries(folder, kind)
        for line, other, alike in pairs
        if other in wanted and (kind != "near" or (alike or 0) >= at_least)
    ]
    return np.array(sorted(found), dtype=np.uint32)


SAME: Final = 2.0  # more than any similarity: word for word


class _Known:
    """The prompts by their words and by the bands of their signatures."""

    def __init__(self, prompts: list[Asked]) -> None:
        self.prompts = [(each.id, words) for each in prompts if (words := words_of(asked_text(each.ask)))]
        self.exact = {tuple(words): id_ for id_, words in reversed(self.prompts)}
        bands_kB = _bands([words for _, words in self.prompts])
        self.order_Bk = np.argsort(bands_kB.T, axis=1, kind="stable")
        self.sorted_Bk = np.take_along_axis(bands_kB.T, self.order_Bk, axis=1)

    def like(self, questions: list[list[str]]) -> list[tuple[float, str] | None]:
        """For each question the prompt most like it, with the similarity; SAME where the words are the same."""
        found = [self._exact(words) for words in questions]
        if not self.prompts:
            return found
        bands_qB = _bands(questions)
        compared: dict[int, set[int]] = {}
        for band in range(BANDS):
            keys, column = self.sorted_Bk[band], bands_qB[:, band]
            first, last = np.searchsorted(keys, column, "left"), np.searchsorted(keys, column, "right")
            for at in np.flatnonzero(last > first).tolist():
                if not found[at] and len(questions[at]) >= LEAST_WORDS:
                    some = self.order_Bk[band][first[at] : last[at]][:MOST_COMPARED].tolist()
                    compared.setdefault(at, set()).update(some)
        for at, some in compared.items():
            scored = [(similarity(questions[at], self.prompts[one][1], NEAR), self.prompts[one][0]) for one in some]
            if scored and max(scored)[0]:
                found[at] = max(scored)
        return found

    def _exact(self, words: list[str]) -> tuple[float, str] | None:
        id_ = self.exact.get(tuple(words))
        return (SAME, id_) if id_ is not None else None


def _bands(texts: list[list[str]]) -> np.ndarray:
    """(texts, B) of uint32."""
    return signatures_of(texts).view("<u4").reshape(len(texts), BANDS)
