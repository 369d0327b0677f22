"""Malformed dataset files by the thousand, from a fuzzer that knows how they are built (tests/malformed.py).

    python -m proofs.fuzz [--files 10000] [--seed 0]

Each is put through what reads an upload: unpacking, the check, the mapping, the page of rows. None may crash, none may
take longer than 10 seconds, memory stays under 500 MB, and every file that cannot be trained on gets words.
"""

import argparse
import faulthandler
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from hypothesis import HealthCheck, Phase, given, seed, settings

from benchmarks.memory import peak_bytes
from tests.examining import examine
from tests.malformed import files

MOST_SECONDS = 10
MOST_MB = 500


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--files", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    kinds: Counter[str] = Counter()
    outcomes: Counter[str] = Counter()
    messages: Counter[str] = Counter()
    slowest = 0.0
    began = time.perf_counter()

    with tempfile.TemporaryDirectory(prefix="hone-fuzz-") as folder:
        path = Path(folder) / "content"

        @seed(options.seed)
        @settings(
            max_examples=options.files, database=None, deadline=None, suppress_health_check=list(HealthCheck),
            phases=[Phase.generate, Phase.shrink], print_blob=True,
        )  # fmt: skip
        @given(files())
        def survives(file: tuple[str, str, bytes]) -> None:
            nonlocal slowest
            kind, name, content = file
            path.write_bytes(content)
            faulthandler.dump_traceback_later(MOST_SECONDS, exit=True)  # a hang ends the proof, and says where
            started = time.perf_counter()
            examined = examine(path, name)
            slowest = max(slowest, time.perf_counter() - started)
            faulthandler.cancel_dump_traceback_later()
            kinds[kind] += 1
            outcomes["ready" if examined.report.usable else "refused in words"] += 1
            outcomes["mapped"] += bool(examined.mapped)
            messages[examined.words[:40]] += 1

        survives()

    peak = peak_bytes() / (1 << 20)
    total = kinds.total()
    print(
        f"{total:,} files in {time.perf_counter() - began:.0f} s; the slowest took {slowest:.2f} s; peak {peak:.0f} MB"
    )
    print("began as: " + ", ".join(f"{kind} {count:,}" for kind, count in kinds.most_common()))
    print("ended as: " + ", ".join(f"{outcome} {count:,}" for outcome, count in outcomes.most_common()))
    print(f"{len(messages):,} different first words; the most common:")
    for words, count in messages.most_common(12):
        print(f"  {count:6,}  {words or '(ready)'}")
    if total < options.files or peak > MOST_MB:
        sys.exit(f"not shown: {total:,} of {options.files:,} files, {peak:.0f} of {MOST_MB} MB")


if __name__ == "__main__":
    main()
