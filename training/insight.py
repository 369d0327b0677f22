"""What the rows of a file have in common: collected where its tokens are counted, kept beside it, flat in memory.

Openings and endings are counted by their first and last characters and cut to words at the end. Of very many different
ones the rare ones are dropped on the way: then a count may be too low, by at most `missed`.
"""

import json
import re
import secrets
from bisect import bisect_left
from collections import Counter
from dataclasses import dataclass, field
from heapq import heappush, heapreplace
from itertools import accumulate
from pathlib import Path
from typing import Any

from training import home, jsonl
from training.engine.pairs import is_preference, spelling_of
from training.row_search import SYSTEM_CHARACTERS, Said, calls_of, messages_of, offered_tools, texts_of
from training.rules import Row, detect_format, row_errors

EDGE = 24  # characters of an answer's beginning and end
OUTER = 8  # of them are counted still when an edge is dropped
KEPT = 8000  # different edges
KEPT_NAMES = 1000  # of tools
SHOWN = 10
SHOWN_NAMES = 50
MOST_MESSAGES = 1000
LOOKED_AT = 600  # edges that phrases are made of
SAME = 0.8  # of a phrase's answers that go on alike: the longer phrase is shown instead
LESSER = 0.5  # of a shown phrase's answers: what goes on so in fewer of them is not shown besides
COMMON = 0.05  # of all answers, from which a single word is worth a line


@dataclass
class Tally:
    """Counts of what occurs often, in bounded memory. `outer`: the part of a dropped edge that stays counted."""

    kept: int = KEPT
    outer: slice | None = None
    counts: dict[str, int] = field(default_factory=dict)
    outers: dict[str, int] = field(default_factory=dict)
    missed: int = 0

    def drop_rare(self) -> None:
        """Half of what is kept, the rarest."""
        counts, outers, outer = self.counts, self.outers, self.outer
        limit = sorted(counts.values())[len(counts) // 2]
        self.counts = {key: count for key, count in counts.items() if count > limit}
        self.missed += limit
        if outer is None:
            return
        for key, count in counts.items():
            if count <= limit:
                part = key[outer]
                outers[part] = outers.get(part, 0) + count
        if len(outers) > self.kept:
            self.outers = dict(Counter(outers).most_common(self.kept // 2))


class Insight:
    """Of all good rows of a file."""

    def __init__(self) -> None:
        self.messages: Counter[int] = Counter()
        self.turns: Counter[int] = Counter()
        self.openings, self.endings = Tally(outer=slice(None, OUTER)), Tally(outer=slice(-OUTER, None))
        self.system, self.offered, self.called = Tally(KEPT_NAMES), Tally(KEPT_NAMES), Tally(KEPT_NAMES)
        self.rows = self.answers = self.calls = self.without_system = 0
        self.longest: list[tuple[int, int]] = []  # (characters, line)
        self.shortest: list[tuple[int, int]] = []  # (-characters, line)

    def add(self, row: Row, line: int, texts: list[Said]) -> None:
        """`texts` as row_search.texts_of gives them."""
        self.rows += 1
        characters = sum(len(text) for _, text in texts)
        _keep(self.longest, (characters, line))
        _keep(self.shortest, (-characters, line))
        messages = messages_of(row)
        if messages:
            self._conversation(row, messages)
        for text in learnt_from(row, texts):
            self._answer(text)

    def _conversation(self, row: Row, messages: list[Row]) -> None:
        if is_preference(row):
            messages = messages[:-1]  # the answer that is not preferred
        self.messages[min(len(messages), MOST_MESSAGES)] += 1
        roles = [message.get("role") for message in messages]
        self.turns[min(roles.count("assistant"), MOST_MESSAGES)] += 1
        self.without_system += not ("system" in roles or "developer" in roles)
        for message, role in zip(messages, roles, strict=True):
            if role in ("system", "developer") and isinstance(message.get("content"), str):
                _count(self.system, message["content"][:SYSTEM_CHARACTERS])
            for name, _ in calls_of(message) if len(message) > 2 else ():
                self.calls += 1
                _count(self.called, name[:100])
        for name in offered_tools(row):
            _count(self.offered, name[:100])

    def _answer(self, text: str) -> None:
        if text:
            self.answers += 1
            _count(self.openings, text[:EDGE])
            _count(self.endings, text.rstrip()[-EDGE:])

    def as_json(self) -> dict[str, Any]:
        return {
            "rows": self.rows,
            "answers": self.answers,
            "messages": {str(each): count for each, count in sorted(self.messages.items())},
            "turns": {str(each): count for each, count in sorted(self.turns.items())},
            "without_system": self.without_system,
            "system": [{"text": text, "rows": count} for text, count in Counter(self.system.counts).most_common(SHOWN)],
            "different_system": len(self.system.counts),
            "system_missed": self.system.missed,
            "openings": phrases(self.openings, self.answers, opening=True),
            "openings_missed": self.openings.missed,
            "endings": phrases(self.endings, self.answers, opening=False),
            "endings_missed": self.endings.missed,
            "longest": sorted(self.longest, reverse=True),
            "shortest": sorted((-negative, line) for negative, line in self.shortest),
            "calls": self.calls,
            "tools": _tools(self.offered.counts, self.called.counts),
            "tools_missed": max(self.offered.missed, self.called.missed),
        }


def learnt_from(row: Row, texts: list[Said]) -> list[str]:
    """What the model learns to say: the assistant's texts without those of weight 0, and the preferred answer alone; a
    document of raw text."""
    if is_preference(row):
        answer = row.get(spelling_of(row)[1])
        if isinstance(answer, str):
            return [answer]
        row = {"messages": answer}
    if isinstance(row.get("messages"), list):
        said = [each for each in messages_of(row) if each.get("role") == "assistant" and each.get("weight", 1) != 0]
        return [each["content"] for each in said if isinstance(each.get("content"), str)]
    return [text for role, text in texts if role in ("assistant", "text")]


def _count(tally: Tally, key: str) -> None:
    tally.counts[key] = tally.counts.get(key, 0) + 1
    if len(tally.counts) > tally.kept:
        tally.drop_rare()


def _keep(heap: list[tuple[int, int]], entry: tuple[int, int]) -> None:
    """The largest few."""
    if len(heap) < SHOWN:
        heappush(heap, entry)
    elif entry > heap[0]:
        heapreplace(heap, entry)


def _tools(offered: dict[str, int], called: dict[str, int]) -> list[dict[str, Any]]:
    """The most called first; a tool that is offered and never called is worth seeing too."""
    names = sorted(offered.keys() | called.keys(), key=lambda name: (-called.get(name, 0), -offered.get(name, 0), name))
    return [{"name": name, "rows": offered.get(name, 0), "calls": called.get(name, 0)} for name in names[:SHOWN_NAMES]]


# ---- kept beside the file ----


def path_of(file_id: str) -> Path:
    return home.file_folder(file_id) / "insight.json"


def read(file_id: str) -> dict[str, Any] | None:
    """None where nobody has collected it, or the file was put back since."""
    path = path_of(file_id)
    try:
        if path.stat().st_mtime < path.with_name("content").stat().st_mtime:
            return None
        return json.loads(path.read_text())
    except (FileNotFoundError, ValueError):
        return None


def write(file_id: str, insight: Insight) -> dict[str, Any]:
    found, path = insight.as_json(), path_of(file_id)
    part = path.with_name(f"insight.{secrets.token_hex(4)}.part")
    part.write_text(json.dumps(found))
    part.replace(path)
    return found


def collect(path: Path) -> Insight:
    """Reads all rows; what the check has refused is passed over."""
    insight, kind = Insight(), ""
    for line, row in jsonl.iterate(path):
        kind = kind or detect_format(row)
        if detect_format(row) == kind and kind and not row_errors(row, kind):
            insight.add(row, line, texts_of(row))
    return insight


# ---- phrases ----


def phrases(tally: Tally, answers: int, opening: bool) -> list[dict[str, Any]]:
    """What most answers begin or end with, as whole words: [{"text", "answers"}], the commonest first."""
    prefixes = _Prefixes(tally, reverse=not opening)
    counts = {phrase: prefixes.count(phrase) for key in prefixes.some() for phrase in _phrases(key, opening)}
    longer: dict[str, int] = {}
    for phrase, count in counts.items():
        for shorter in _phrases(phrase, opening, whole=True)[:-1]:
            longer[shorter] = max(longer.get(shorter, 0), count)
    worth = [
        (phrase, count)
        for phrase, count in counts.items()
        if count > 1 and longer.get(phrase, 0) < SAME * count and (_has_words(phrase) or count >= COMMON * answers)
    ]
    worth.sort(key=lambda each: (-each[1], each[0]))
    shown: dict[str, int] = {}
    for phrase, count in worth:
        within = [part for part in _phrases(phrase, opening, whole=True)[:-1] if part in shown and _has_words(part)]
        if not any(count < LESSER * shown[part] for part in within):
            shown[phrase] = count
        if len(shown) == SHOWN:
            break
    return [{"text": phrase, "answers": count} for phrase, count in shown.items()]


class _Prefixes:
    """How many answers begin with a phrase (`reverse`: end), by the sorted edges."""

    def __init__(self, tally: Tally, reverse: bool) -> None:
        self._step = -1 if reverse else 1
        merged = Counter(tally.counts)
        merged.update(tally.outers)
        self._counts = merged
        self._keys = sorted(key[:: self._step] for key in merged)
        self._sums = [0, *accumulate(merged[key[:: self._step]] for key in self._keys)]

    def count(self, phrase: str) -> int:
        part = phrase[:: self._step]
        first = bisect_left(self._keys, part)
        return self._sums[bisect_left(self._keys, part + "\U0010ffff", first)] - self._sums[first]

    def some(self) -> list[str]:
        """The commonest edges, and others from the whole width: many that differ may begin alike."""
        common = [key for key, _ in self._counts.most_common(LOOKED_AT // 3)]
        spread = self._keys[:: max(1, len(self._keys) * 3 // (2 * LOOKED_AT))]
        return [*common, *(key[:: self._step] for key in spread)]


def _has_words(text: str) -> bool:
    return len(text.split()) > 1


def _phrases(key: str, opening: bool, whole: bool = False) -> list[str]:
    """The beginnings (or ends) of an edge at whole words, the shortest first. An edge that was cut out of a text may
    end within a word, unless it is known to be `whole`."""
    full = len(key) in (EDGE, OUTER) and not whole
    words = list(re.finditer(r"\S+", key))
    if opening:
        found = [key[: word.end()] for word in words]
        within = bool(words) and words[-1].end() == len(key)
    else:
        found = [key[word.start() :] for word in reversed(words)]
        within = bool(words) and words[0].start() == 0
    return found[:-1] if full and within and len(found) > 1 else found


# ---- distributions ----


def distribution(counts: dict[str, int]) -> dict[str, float]:
    """Of whole numbers with how often each occurs; a percentile is a value that occurs (the nearest rank)."""
    ordered = sorted((int(value), count) for value, count in counts.items())
    total = sum(count for _, count in ordered)
    if not total:
        return {}
    return {
        "min": ordered[0][0],
        "p5": _at(ordered, 0.05 * total),
        "median": _at(ordered, 0.5 * total),
        "mean": sum(value * count for value, count in ordered) / total,
        "p95": _at(ordered, 0.95 * total),
        "max": ordered[-1][0],
    }


def _at(ordered: list[tuple[int, int]], rank: float) -> int:
    seen = 0
    for value, count in ordered:
        seen += count
        if seen >= rank - 1e-9:
            return value
    return ordered[-1][0]
