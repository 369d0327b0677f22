"""How fast a dataset is checked, and in how much memory, beside `datasets.load_dataset` and the cookbook's checks.

    python -m benchmarks.datasets [--mb 1000] [--rounds 1] [--only hone hone-worker datasets] [--upload]

The script writes the file: chat rows with one to three questions, of some 1.7 kB each. Every subject reads it in a
process of its own, one after the other in the same run:

    hone         training.datasets.check: structure, every rule of a row, repeats, statistics
    hone-worker  the same, and the SHA-256 and the index of lines that the worker makes besides
    datasets     load_dataset("json"), then the format checks and counts of OpenAI's cookbook
                 (Chat_finetuning_data_prep, without its token counts); left out, with a word, where it is not installed

--upload starts Hone, uploads the file in pieces, breaks off at 40 %, goes on in another session, and watches the memory
of the web process and of the worker until the file is checked.
"""

import argparse
import importlib.util
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.memory import peak_bytes

ROOT = Path(__file__).resolve().parent.parent
SUBJECTS = ("hone", "hone-worker", "datasets")


def main() -> None:
    home = Path(os.environ.get("HONE_HOME", ROOT / "var"))
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mb", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--only", nargs="*", choices=SUBJECTS, default=SUBJECTS)
    parser.add_argument("--home", type=Path, default=home, help="where bench/ is made; else HONE_HOME or var")
    parser.add_argument("--upload", action="store_true")
    parser.add_argument("--subject", choices=SUBJECTS, help=argparse.SUPPRESS)
    parser.add_argument("--file", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.subject:
        print(json.dumps(_read(options.subject, options.file)))
        return
    from benchmarks.options import commit, machine  # late: what they load is no part of a subject's memory

    path = options.home / "bench" / f"chat-{options.mb}-mb.jsonl"
    write(path, options.mb * 1_000_000)
    size = path.stat().st_size / 1e6
    print(f"{commit()}; {machine()}\n{path.name}: {size:,.0f} MB", flush=True)
    table(measure(path, options.only, options.rounds), size)
    if options.upload:
        from benchmarks import upload

        upload.measure(path, options.home)


def write(path: Path, size: int) -> None:
    """The same file every time; kept for the next run."""
    if path.exists() and path.stat().st_size >= size:
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    chance = random.Random(0)
    letters = "abcdefghijklmnopqrstuvwxyz"
    words = ["".join(chance.choices(letters, k=chance.randint(2, 9))) for _ in range(3000)]
    texts = [" ".join(chance.choices(words, k=chance.randint(8, 120))) for _ in range(20_000)]
    with path.open("w") as file:
        number = 0
        while file.tell() < size:
            messages = [{"role": "system", "content": "You answer for a small shop, shortly and kindly."}]
            for _ in range(chance.randint(1, 3)):
                number += 1
                messages.append({"role": "user", "content": f"Order {number}: {chance.choice(texts)}"})
                messages.append({"role": "assistant", "content": chance.choice(texts)})
            file.write(json.dumps({"messages": messages}) + "\n")


def measure(path: Path, subjects: list[str], rounds: int) -> dict[str, list[dict[str, Any]]]:
    """By subject, one entry a round."""
    found: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for _ in range(rounds):
        for subject in subjects:
            if subject == "datasets" and importlib.util.find_spec("datasets") is None:
                print("datasets is not installed, so it is left out: .venv/bin/pip install datasets", flush=True)
                continue
            command = [sys.executable, "-m", "benchmarks.datasets", "--subject", subject, "--file", str(path)]
            done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
            if done.returncode:
                sys.exit(f"{subject} failed:\n{done.stderr[-2000:]}")
            found[subject].append(json.loads(done.stdout.splitlines()[-1]))
    return found


def table(found: dict[str, list[dict[str, Any]]], size: float) -> None:
    print("\n| subject | seconds | MB/s | processor seconds | MB a processor second | peak memory | rows | problems |")
    print("|---|---|---|---|---|---|---|---|")
    for subject, rounds in found.items():
        seconds, cpu = (median(each[name] for each in rounds) for name in ("seconds", "cpu_seconds"))
        peak, last = max(each["peak_mb"] for each in rounds), rounds[-1]
        print(
            f"| {subject} | {seconds:.1f} | {size / seconds:.0f} | {cpu:.1f} | {size / cpu:.0f} | {peak:.0f} MB "
            f"| {last['rows']:,} | {last['problems']:,} |",
            flush=True,
        )


def _read(subject: str, path: Path) -> dict[str, Any]:
    """In a process of its own: wall clock and processor time of reading and checking, peak memory of all of it."""
    by_name = {"hone": _hone, "hone-worker": _hone_worker, "datasets": _datasets}
    began, used = time.perf_counter(), time.process_time()
    rows, problems = by_name[subject](path)
    return {
        "seconds": time.perf_counter() - began,
        "cpu_seconds": time.process_time() - used,
        "peak_mb": peak_bytes() / (1 << 20),
        "rows": rows,
        "problems": problems,
    }


def _hone(path: Path) -> tuple[int, int]:
    from training import datasets

    report = datasets.check(path)
    return report.rows, report.problem_count


def _hone_worker(path: Path) -> tuple[int, int]:
    from training import datasets, disk

    report = datasets.check(path)
    disk.sha256_of(path)
    with tempfile.TemporaryFile() as index:
        report.line_index.tofile(index)
    return report.rows, report.problem_count


def _datasets(path: Path) -> tuple[int, int]:
    import datasets

    datasets.disable_progress_bars()
    cache = Path(tempfile.mkdtemp(prefix="hone-datasets-", dir=path.parent))
    try:
        rows = datasets.load_dataset("json", data_files=str(path), split="train", cache_dir=str(cache))
        errors = cookbook_errors(rows)
        return len(rows), sum(errors.values())
    finally:
        shutil.rmtree(cache, ignore_errors=True)


def cookbook_errors(rows: Any) -> dict[str, int]:
    """The format checks and the counts of the cookbook's Chat_finetuning_data_prep, by the names of its errors."""
    errors: dict[str, int] = defaultdict(int)
    without_system = without_user = 0
    messages_a_row = []
    for row in rows:
        if not isinstance(row, dict):
            errors["data_type"] += 1
            continue
        messages = row.get("messages", None)
        if not messages:
            errors["missing_messages_list"] += 1
            continue
        for message in messages:
            if "role" not in message or "content" not in message:
                errors["message_missing_key"] += 1
            if any(key not in ("role", "content", "name", "function_call", "weight") for key in message):
                errors["message_unrecognized_key"] += 1
            if message.get("role", None) not in ("system", "user", "assistant", "function"):
                errors["unrecognized_role"] += 1
            content = message.get("content", None)
            if (not content and not message.get("function_call", None)) or not isinstance(content, str):
                errors["missing_content"] += 1
        if not any(message.get("role", None) == "assistant" for message in messages):
            errors["example_missing_assistant_message"] += 1
        without_system += not any(message["role"] == "system" for message in messages)
        without_user += not any(message["role"] == "user" for message in messages)
        messages_a_row.append(len(messages))
    return errors


if __name__ == "__main__":
    main()
