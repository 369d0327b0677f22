"""Recall and precision of the embedded moderation classifier on a labelled set; share of a clean set that it flags.

    python -m benchmarks.moderation SAMPLES.jsonl.gz [--clean FILE.jsonl]

SAMPLES is `data/samples-1680.jsonl.gz` of OpenAI's moderation-api-release (MIT): 1,680 texts marked by people in eight
categories (Markov et al., "A Holistic Approach to Undesired Content Detection", arXiv 2208.03274). A text is harmful
when any label of its is 1. `--clean` takes chat, prompt/completion or GSM8K rows in which nothing is harmful; a row is
flagged when any of its texts is.
"""

import argparse
import gzip
import json
import time
from pathlib import Path
from typing import Any

from benchmarks.data import read_rows
from proofs.screen import Screen, table
from training.safety.embedded import OFFENSIVE, THRESHOLD, Embedded
from training.safety.rows import texts_of

LABELS = {
    "S": "sexual", "H": "hate", "V": "violence", "HR": "harassment", "SH": "self-harm", "S3": "sexual/minors",
    "H2": "hate/threatening", "V2": "violence/graphic",
}  # fmt: skip
THRESHOLDS = (0.3, 0.5, 0.7, 0.9)


def figures(scores: list[float], harmful: list[bool], threshold: float) -> list[str]:
    """Flagged, recall, precision, and the share of harmless texts that are flagged all the same."""
    flagged = [score >= threshold for score in scores]
    right = sum(one and bad for one, bad in zip(flagged, harmful, strict=True))
    bad, good = sum(harmful), len(harmful) - sum(harmful)
    wrong = sum(flagged) - right
    mark = " (used)" if threshold == THRESHOLD else ""
    return [
        f"{threshold}{mark}",
        f"{sum(flagged)}",
        f"{right / bad:.3f}",
        f"{right / sum(flagged):.3f}",
        f"{wrong / good:.3f}",
    ]


def recall_of(label: str, rows: list[dict[str, Any]], scores: list[float]) -> list[str]:
    marked = [score for row, score in zip(rows, scores, strict=True) if row.get(label) == 1]
    return [LABELS[label], f"{len(marked)}", f"{sum(score >= THRESHOLD for score in marked) / len(marked):.3f}"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("samples", type=Path)
    parser.add_argument("--clean", type=Path)
    asked = parser.parse_args()
    screen, classifier = Screen(), Embedded()
    with gzip.open(asked.samples, "rt", encoding="utf-8") as lines:
        rows = [json.loads(line) for line in lines]
    classifier.judge(["loads it"])
    began = time.perf_counter()
    scores = [verdict.scores[OFFENSIVE] for verdict in classifier.judge([row["prompt"] for row in rows])]
    seconds = time.perf_counter() - began
    harmful = [any(row.get(label) == 1 for label in LABELS) for row in rows]
    size = sum(len(row["prompt"].encode()) for row in rows)
    screen.line(f"{classifier.name}: {len(rows):,} texts, {sum(harmful)} harmful; {size / seconds / 1e6:.1f} MB/s")
    head = ["threshold", "flagged", "recall", "precision", "harmless flagged"]
    screen.table(table(head, [figures(scores, harmful, threshold) for threshold in THRESHOLDS]))
    screen.table(table(["label", "texts", "recall"], [recall_of(label, rows, scores) for label in LABELS]))
    if asked.clean:
        clean = [[place.text for place in texts_of(row)] for row in read_rows(asked.clean)]
        flagged = sum(any(verdict.flagged for verdict in classifier.judge(texts)) for texts in clean)
        screen.line(f"clean rows: {flagged} of {len(clean):,} flagged ({flagged / len(clean):.2%})")


if __name__ == "__main__":
    main()
