"""Hone's trainer against TRL's SFTTrainer: the same rows, model, LoRA shape and global batch, in alternation.

    make bench
    python -m benchmarks.training [--data FILE.jsonl] [--model FOLDER] [--rows 64] [--rounds 2] [--only hone trl-best]

Each run is a process of its own, timed from its start to its end: load, training, one validation, one checkpoint.
tokens/s are without padding, from the third step on (steady state); "whole tokens/s" divides by the whole run.
The losses of the saved adapters are computed by benchmarks/judge.py. `--add` goes on with the runs of the call before.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
from dataclasses import asdict, replace
from pathlib import Path

from benchmarks import gpu
from benchmarks.data import Data, prepare
from benchmarks.measured import Measured, ratios, table
from benchmarks.peers import environment
from benchmarks.subjects import Peer, Recipe, adapter_of, judge, run_hone, run_trl
from training.engine.facts import read_model_facts

ROOT = Path(__file__).resolve().parent.parent
STARTER = "SmolLM2-135M-Instruct"
# What TRL's own guides name for speed and what runs without a GPU: no recomputing of activations, no padding by rows of
# other length. Packing and padding-free need FlashAttention; packing also changes how many rows a step has.
BEST_FLAGS = {"gradient_checkpointing": False, "train_sampling_strategy": "group_by_length"}
PEERS = (Peer("trl"), Peer("trl-best", BEST_FLAGS))


def main() -> None:
    options = _options()
    folder = options.home / "bench"
    if not (options.model / "config.json").exists():
        sys.exit(f"{options.model} is no model folder. `make run` once brings the starter model, or give --model.")
    facts = read_model_facts(options.model, options.model.name)
    recipe = Recipe(options.model, facts.linear_modules, options.batch_size, seed=options.seed)
    rows, valid = options.rows, options.valid
    data = prepare(options.data, options.model, folder / "data", rows, valid, recipe.max_length, options.seed)
    print(f"{commit()}; {machine()}\n{options.model.name}: {data.words()}; {_words(recipe)}", flush=True)
    python = environment(folder / "venv")

    record = folder / "runs.json"
    runs = [Measured(**run) for run in json.loads(record.read_text())] if options.add else []
    shutil.rmtree(folder / "runs", ignore_errors=True)
    for number in range(options.rounds):
        for subject in options.only:
            runs.append(_run(subject, recipe, data, folder / "runs" / f"{subject}-{number}", python))
            record.write_text(json.dumps([asdict(run) for run in runs]))
            print(f"  round {number + 1}: {_line(runs[-1])}", flush=True)
    runs = _judged(runs, options.only, recipe, data, folder / "runs")
    record.write_text(json.dumps([asdict(run) for run in runs]))
    print(f"\n{table(runs)}\n")
    if any(run.subject == "hone" for run in runs):
        print(ratios(runs))
    gpu.main(folder)


def _options() -> argparse.Namespace:
    home = Path(os.environ.get("HONE_HOME", ROOT / "var"))
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="JSONL of chat rows or GSM8K's; else the shipped sample tasks")
    parser.add_argument("--model", type=Path, default=home / "models" / STARTER)
    parser.add_argument("--home", type=Path, default=home, help="where bench/ is made; else HONE_HOME or var")
    parser.add_argument("--rows", type=int, default=64)
    parser.add_argument("--valid", type=int, default=24)
    parser.add_argument("--batch-size", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--seed", type=int, default=1)
    names = ["hone", *(peer.name for peer in PEERS)]
    parser.add_argument("--only", nargs="+", choices=names, default=names, help="subjects, in this order")
    parser.add_argument("--add", action="store_true", help="to the runs of the call before, with the same options")
    return parser.parse_args()


def _run(subject: str, recipe: Recipe, data: Data, folder: Path, python: Path) -> Measured:
    if subject == "hone":
        return run_hone(recipe, data, folder)
    return run_trl(next(peer for peer in PEERS if peer.name == subject), recipe, data, folder, python)


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


def _words(recipe: Recipe) -> str:
    return (
        f"LoRA r={recipe.lora_r} alpha={recipe.lora_alpha} on {len(recipe.target_modules)} kinds of linear layers, "
        f"batch {recipe.batch_size}, rate {recipe.learning_rate}, {recipe.epochs} epoch"
    )


def commit() -> str:
    found = subprocess.run(["git", "describe", "--always", "--dirty"], cwd=ROOT, capture_output=True, text=True)
    return f"commit {found.stdout.strip() or 'unknown'}"


def machine() -> str:
    """In words, with how busy it is: figures of a shared machine are no better than its quiet."""
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    name = next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), "CPU")
    return f"{os.cpu_count()} x {name}, load {os.getloadavg()[0]:.1f}"


if __name__ == "__main__":
    main()
