"""Hone's trainer against TRL's and LLaMA-Factory's: the same rows, model, LoRA shape and global batch, in alternation.

    make bench
    python -m benchmarks.training [--data FILE.jsonl] [--model FOLDER] [--rows 64] [--rounds 2] [--only hone trl-best]

Each run is a process of its own, timed from its start to its end: load, training, one validation, one checkpoint.
tokens/s are without padding, from the third step on (steady state); "whole tokens/s" divides by the whole run.
The losses of the saved adapters are computed by benchmarks/judge.py. `--add` goes on with the runs of the call before.
"""

import argparse
import json
import shutil
from collections.abc import Callable
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path

from benchmarks import gpu
from benchmarks.data import Data
from benchmarks.measured import Measured, ratios, table
from benchmarks.options import parser, prepared
from benchmarks.peers import PEERS, NoEnvironment, environment
from benchmarks.subjects import Recipe, adapter_of, judge, run_hone, run_peer


def main() -> None:
    options = _options()
    folder = options.home / "bench"
    recipe, data = prepared(options, folder / "data")
    subjects = subjects_that_run(options.only, folder)

    record = folder / "runs.json"
    runs = [Measured(**run) for run in json.loads(record.read_text())] if options.add else []
    shutil.rmtree(folder / "runs", ignore_errors=True)
    for number in range(options.rounds):
        for subject, run in subjects.items():
            runs.append(run(recipe, data, folder / "runs" / f"{subject}-{number}"))
            record.write_text(json.dumps([asdict(run) for run in runs]))
            print(f"  round {number + 1}: {_line(runs[-1])}", flush=True)
    runs = _judged(runs, list(subjects), recipe, data, folder / "runs")
    record.write_text(json.dumps([asdict(run) for run in runs]))
    print(f"\n{table(runs)}\n")
    if any(run.subject == "hone" for run in runs):
        print(ratios(runs))
    gpu.main(folder)


def _options() -> argparse.Namespace:
    options = parser(__doc__, rows=64)
    options.add_argument("--rounds", type=int, default=2)
    names = ["hone", *(peer.name for peer in PEERS)]
    options.add_argument("--only", nargs="+", choices=names, default=names, help="subjects, in this order")
    options.add_argument("--add", action="store_true", help="to the runs of the call before, with the same options")
    return options.parse_args()


def subjects_that_run(names: list[str], folder: Path) -> dict[str, Callable[[Recipe, Data, Path], Measured]]:
    """How to run each; a peer whose environment cannot be made here is left out, with the reason."""
    runs: dict[str, Callable[[Recipe, Data, Path], Measured]] = {}
    for name in names:
        if name == "hone":
            runs[name] = run_hone
            continue
        peer = next(peer for peer in PEERS if peer.name == name)
        try:
            runs[name] = partial(run_peer, peer, python=environment(peer.software, folder))
        except NoEnvironment as reason:
            print(f"  {name}: not run: {reason}", flush=True)
    return runs


def _judged(runs: list[Measured], subjects: list[str], recipe: Recipe, data: Data, folder: Path) -> list[Measured]:
    """With the validation loss of each subject's first run of this call."""
    adapters = [str(adapter_of(folder / f"{subject}-0")) for subject in subjects]
    base, *losses = judge(recipe, data, ["-", *adapters])
    print(f"  validation loss of the base model {base:.4f}", flush=True)
    found = dict(zip(subjects, losses, strict=True))
    return [replace(run, valid_loss=found.get(run.subject, run.valid_loss)) for run in runs]


def _line(run: Measured) -> str:
    figures = run.figures
    return (
        f"{run.subject}: {figures['tokens/s']:.0f} tokens/s, whole run {run.seconds:.0f} s, "
        f"{figures['peak GiB']:.2f} GiB, first loss {run.first_loss:.4f}"
    )


if __name__ == "__main__":
    main()
