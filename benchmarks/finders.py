"""Recall and precision of what looks for repeats and leaks, on repeats that were planted; seconds and peak memory.

    python -m benchmarks.finders [--data FILE.jsonl] [--rows 5000] [--seed 1]

A training file of `--rows` conversations gets 50 exact copies (as another JSON writer would write them) and 50 near
ones, of which 5 to 15 % of the words were exchanged, left out or put in; a validation file of a tenth as many rows gets
10 exact and 10 near copies of training rows. `--data` takes GSM8K's or chat rows; without it, rows are made up here.
Each finder runs in a process of its own. What is found without having been planted counts as wrong in the table; it is
printed below, since a real file may repeat itself. Everything depends on the seed.
"""

import argparse
import json
import multiprocessing
import random
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.data import Row, read_rows
from benchmarks.memory import peak_bytes
from proofs.screen import Screen, table
from training.repeats import asked, found, leaks, within

EXACT = NEAR = 50
LEAKS = 10  # of each kind
PROMPTS = 10
EDITED = (0.05, 0.15)  # share of the words
Pair = tuple[int, Any]  # line, and the line or id that it is like


@dataclass(frozen=True)
class Planted:
    """The files and what stands in them, as (line of the copy or of the training row, line of the other)."""

    train: Path
    valid: Path
    prompts: list[asked.Asked]
    repeats: dict[str, set[Pair]]
    leaks: dict[str, set[Pair]]
    asked: dict[str, set[Pair]]


# ---- planting ----


def plant(rows: list[Row], folder: Path, many: int, seed: int) -> Planted:
    """The training rows come first in the sample and the validation rows after them."""
    chance = random.Random(seed)
    valid_rows = many // 10
    sample = chance.sample(rows, many - EXACT - NEAR + valid_rows - 2 * LEAKS)
    train, valid = sample[: many - EXACT - NEAR], sample[many - EXACT - NEAR :]
    chosen = chance.sample(range(len(train)), EXACT + NEAR + 2 * LEAKS + 2 * PROMPTS)
    vocabulary = sorted({word for row in train[:500] for text in _texts(row) for word in text.split()})

    def near(row: Row) -> Row:
        share = chance.uniform(*EDITED)
        return _said([edited(text, share, vocabulary, chance) for text in _texts(row)], row)

    lines = [json.dumps(row, ensure_ascii=False) for row in train]
    repeats: dict[str, set[Pair]] = {"exact": set(), "near": set()}
    for at in chosen[:EXACT]:
        lines.append(written_otherwise(train[at]))
        repeats["exact"].add((len(lines), at + 1))
    for at in chosen[EXACT : EXACT + NEAR]:
        lines.append(json.dumps(near(train[at])))
        repeats["near"].add((len(lines), at + 1))
    its_lines = [json.dumps(row, ensure_ascii=False) for row in valid]
    leaked: dict[str, set[Pair]] = {"exact": set(), "near": set()}
    rest = chosen[EXACT + NEAR :]
    for place, at in enumerate(rest[: 2 * LEAKS]):
        its_lines.append(written_otherwise(train[at]) if place < LEAKS else json.dumps(near(train[at])))
        leaked["exact" if place < LEAKS else "near"].add((at + 1, len(its_lines)))
    prompts, asks = [], {"exact": set[Pair](), "near": set[Pair]()}
    for place, at in enumerate(rest[2 * LEAKS :]):
        text = _texts(train[at] if place < PROMPTS else near(train[at]))[0]
        prompts.append(asked.Asked(f"p{place}", {"prompt": text}))
        asks["exact" if place < PROMPTS else "near"].add((at + 1, f"p{place}"))
    prompts += [asked.Asked(f"other{at}", {"prompt": _texts(row)[0]}) for at, row in enumerate(valid[:200])]
    files = folder / "train.jsonl", folder / "valid.jsonl"
    for path, content in zip(files, (lines, its_lines), strict=True):
        path.write_text("".join(f"{line}\n" for line in content))
    return Planted(*files, prompts, repeats, leaked, asks)


def edited(text: str, share: float, vocabulary: list[str], chance: random.Random) -> str:
    """With so many of its words exchanged (three of five), left out or followed by another one."""
    words = text.split()
    for at in chance.sample(range(len(words)), round(share * len(words))):
        how = chance.choice(("exchange", "exchange", "exchange", "leave out", "add"))
        other = chance.choice(vocabulary)
        words[at] = {"exchange": other, "leave out": "", "add": f"{words[at]} {other}"}[how]
    return " ".join(word for word in words if word)


def written_otherwise(row: Row) -> str:
    """The same meaning: keys in another order, spaces, escapes, and a field that nobody reads."""
    turns = [{key: turn[key] for key in reversed(turn)} for turn in row["messages"]]
    return json.dumps({"source": "copy", "messages": turns}, ensure_ascii=True, separators=(" , ", " : "))


def made_up(many: int, seed: int) -> list[Row]:
    """Questions and answers of words drawn by a Zipf law, as rows of a real file share their common words."""
    chance = random.Random(seed)
    vocabulary = ["".join(chance.choices("abcdefghijklmnoprstuvw", k=chance.randint(2, 9))) for _ in range(8000)]
    weights = [1 / (rank + 3) for rank in range(len(vocabulary))]

    def text(words: int) -> str:
        return " ".join(chance.choices(vocabulary, weights, k=words))

    return [_said([text(chance.randint(20, 70)), text(chance.randint(25, 90))]) for _ in range(many)]


def _texts(row: Row) -> list[str]:
    return [turn["content"] for turn in row["messages"]]


def _said(texts: list[str], like: Row | None = None) -> Row:
    roles = [turn["role"] for turn in like["messages"]] if like else ["user", "assistant"]
    return {"messages": [{"role": role, "content": text} for role, text in zip(roles, texts, strict=True)]}


# ---- finding ----


@dataclass(frozen=True)
class Measured:
    seconds: float
    peak_bytes: int
    before_bytes: int  # of the process before it began


def measured(find: Callable[..., Any], *arguments: Any) -> Measured:
    """In a process of its own, for its peak memory."""
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe(duplex=False)
    child = context.Process(target=_measure, args=(there, find, arguments))
    child.start()
    there.close()
    try:
        return Measured(*here.recv())
    finally:
        child.join()


def _measure(pipe: Any, find: Callable[..., Any], arguments: tuple[Any, ...]) -> None:
    before, began = peak_bytes(), time.perf_counter()
    find(*arguments)
    pipe.send((time.perf_counter() - began, peak_bytes(), before))


def pairs(folder: Path, kind: found.Kind) -> set[Pair]:
    """Of groups, each row with every other: whether the copy or the original is first does not matter."""
    told: set[Pair] = set()
    for entry in found.entries(folder, kind, 0, 10**9):
        if "rows" in entry:
            lines = [line for line, _ in entry["rows"]]
            told |= {(late, early) for early in lines for late in lines if late > early}
        else:
            told.add((entry["line"], entry["other"]))
    return told


def figures(name: str, planted: set[Pair], told: set[Pair], took: Measured | None) -> list[str]:
    right = len(planted & told)
    return [
        name,
        str(len(planted)),
        str(len(told)),
        f"{right / len(planted):.3f}",
        f"{right / len(told) if told else 1:.3f}",
        f"{took.seconds:.2f} s" if took else "",
        f"{took.peak_bytes / 1e6:.0f} MB ({took.before_bytes / 1e6:.0f} before)" if took else "",
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="JSONL of chat rows or GSM8K's; else rows are made up")
    parser.add_argument("--rows", type=int, default=5000)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    screen = Screen()
    rows = read_rows(options.data) if options.data else made_up(2 * options.rows, options.seed)
    with tempfile.TemporaryDirectory(prefix="hone-finders-") as made:
        folder = Path(made)
        planted = plant(rows, folder, options.rows, options.seed)
        screen.line(f"{options.rows} rows ({planted.train.stat().st_size / 1e6:.1f} MB), seed {options.seed}")
        searches: list[tuple[str, Callable[..., Any], tuple[Any, ...], dict[str, set[Pair]]]] = [
            ("within the file", within.find, (planted.train, folder / "work", folder / "1"), planted.repeats),
            ("leaks", leaks.find, (planted.train, planted.valid, folder / "work", folder / "2"), planted.leaks),
            ("kept prompts", asked.find, (planted.train, planted.prompts, folder / "3"), planted.asked),
        ]
        lines, besides = [], []
        for name, find, arguments, known in searches:
            took = measured(find, *arguments)
            for kind in ("exact", "near"):
                told = pairs(arguments[-1], kind)
                lines.append(figures(f"{name}, {kind}", known[kind], told, took if kind == "exact" else None))
                besides += [(name, kind, pair) for pair in sorted(told - known[kind], key=str)]
        screen.table(table(["finder", "planted", "found", "recall", "precision", "time", "peak memory"], lines))
        if besides:
            screen.line(f"{len(besides)} pairs were found that were not planted: " + "; ".join(map(str, besides[:20])))


if __name__ == "__main__":
    main()
