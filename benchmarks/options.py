"""What every benchmark can be told, and the line of conditions that stands above its figures."""

import argparse
import os
import subprocess
import sys
from pathlib import Path

from benchmarks.data import Data, prepare
from benchmarks.subjects import ROOT, Recipe
from training.engine.facts import read_model_facts

STARTER = "SmolLM2-135M-Instruct"


def parser(words: str | None, rows: int) -> argparse.ArgumentParser:
    home = Path(os.environ.get("HONE_HOME", ROOT / "var"))
    parser = argparse.ArgumentParser(description=words, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="JSONL of chat rows or GSM8K's; else the shipped sample tasks")
    parser.add_argument("--model", type=Path, default=home / "models" / STARTER)
    parser.add_argument("--home", type=Path, default=home, help="where bench/ is made; else HONE_HOME or var")
    parser.add_argument("--rows", type=int, default=rows)
    parser.add_argument("--valid", type=int, default=24)
    parser.add_argument("--batch-size", type=int, default=8)
    parser.add_argument("--seed", type=int, default=1)
    return parser


def prepared(options: argparse.Namespace, folder: Path) -> tuple[Recipe, Data]:
    """The recipe and the rows; prints both, with commit and machine."""
    if not (options.model / "config.json").exists():
        sys.exit(f"{options.model} is no model folder. `make run` once brings the starter model, or give --model.")
    facts = read_model_facts(options.model, options.model.name)
    recipe = Recipe(options.model, facts.linear_modules, options.batch_size, seed=options.seed)
    data = prepare(options.data, recipe.model, folder, options.rows, options.valid, recipe.max_length, recipe.seed)
    print(f"{commit()}; {machine()}\n{recipe.model.name}: {data.words()}; {recipe.words()}", flush=True)
    return recipe, data


def commit() -> str:
    found = subprocess.run(["git", "describe", "--always", "--dirty"], cwd=ROOT, capture_output=True, text=True)
    return f"commit {found.stdout.strip() or 'unknown'}"


def machine() -> str:
    """In words, with how busy it is: figures of a shared machine are no better than its quiet."""
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    name = next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), "CPU")
    return f"{os.cpu_count()} x {name}, load {os.getloadavg()[0]:.1f}"
