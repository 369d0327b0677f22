"""Every method and every way to adapt, really run: one table, one verdict.

    python -m proofs.methods [--only dpo,scratch] [--continue] [--model SmolLM2-135M-Instruct]

Each line of the table trains a few steps on the starter model through the public API, runs its reference and resume
tests by name, takes its checkpoint away (the adapter and merged weights, or full weights) and loads it in plain
transformers, and asks it in vLLM after the parity gate has compared it with what was trained. What a machine without a
GPU refuses is asked for, too, and says so. Prints Markdown; ends with 1 when a cell failed. Talks to the Hone at
HONE_URL (default: this machine's), or starts one; its folder must be on this machine (HONE_HOME). --continue takes the
cells that were good at the same commit from the run before.
"""

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from openai import APIStatusError, BadRequestError, OpenAI, RateLimitError

from proofs import named_tests
from proofs.demo import BASE, SAMPLES, DemoFailed, follow, reason
from proofs.exported import exported
from proofs.recipe import answers_as_text, upload
from proofs.scratched import make_from_scratch, stories
from proofs.screen import Screen, duration
from proofs.server import ROOT, Hone, NoServer, find_or_start, home

ROWS, VALID_ROWS, BATCH = 24, 8, 4
STORIES = 400  # of the model from scratch
ANSWER_TOKENS = 24
WAIT_FOR_MODEL_SECONDS = 900
NO_GPU = "not run: needs a GPU"
COLUMNS = ("trains here", "reference test", "resume test", "exported, nats from the trained", "answers in vLLM")
REFERENCE = (
    "tests/engine/test_references.py::test_loss_and_gradient_are_those_of_transformers_and_peft_one_row_at_a_time"
)
GOLDEN = "tests/engine/test_golden.py::test_the_losses_are_the_golden_ones"
KILLED = "tests/engine/test_killed.py::test_a_run_that_was_killed_three_times_is_the_unbroken_run_bit_for_bit"


@dataclass(frozen=True)
class Line:
    """A method with a way to adapt. `kind` and `adaptation` are those of tests/engine/kinds.py."""

    key: str
    method: str
    adapts: str
    kind: str
    adaptation: str
    data: str  # what it learns from
    asked: dict[str, Any] = field(default_factory=dict)  # besides the files, as the API takes it
    starts_from: str = ""  # another line, whose model it goes on from
    trl_tests: tuple[str, ...] = ()  # where TRL is installed

    @property
    def reference_tests(self) -> list[str]:
        case = f"[{self.kind}-{self.adaptation}]"
        return [REFERENCE + case, GOLDEN + case, *(self.trl_tests if find_spec("trl") else ())]

    @property
    def resume_tests(self) -> list[str]:
        return [f"{KILLED}[{self.kind}-{self.adaptation}]"]


@dataclass
class Cell:
    good: bool
    text: str
    seconds: float = 0.0


Cells = dict[str, Cell]


def method_of(kind: str, multiplier: float, **more: Any) -> dict[str, Any]:
    """A rate so high that a few steps move the answers: what moved nothing cannot be told from the base."""
    hyperparameters = {"n_epochs": 1, "batch_size": BATCH, "learning_rate_multiplier": multiplier} | more
    return {"type": kind, kind: {"hyperparameters": hyperparameters}}


SUPERVISED = {"method": method_of("supervised", 4)}
TRL = {
    "sft": ("tests/engine/test_sft_trl.py::test_loss_and_gradient_are_those_of_trl",),
    "dpo": ("tests/engine/test_dpo_trl.py::test_loss_and_gradient_are_those_of_trl",),
}
LORA = {"lora": {"r": 8, "alpha": 16}}
LINES = (
    Line("chat", "SFT, chat", "LoRA", "sft-chat", "lora", "ticket", SUPERVISED | LORA, trl_tests=TRL["sft"]),
    Line("completion", "SFT, prompt and completion", "LoRA", "sft-completion", "lora", "completions",
         SUPERVISED | LORA, trl_tests=TRL["sft"]),
    Line("calls", "SFT, function calling", "LoRA", "sft-calls", "lora", "calls", SUPERVISED | LORA),
    Line(
        "dpo", "DPO", "LoRA, from the chat line's", "dpo", "lora", "pairs",
        {"method": method_of("dpo", 100, beta=0.1)} | LORA, starts_from="chat", trl_tests=TRL["dpo"],
    ),
    Line("text", "raw text (continued pre-training)", "LoRA", "text", "lora", "text",
         {"method": method_of("pretrain", 4)} | LORA),
    Line("scratch", "from scratch", "full weights", "scratch", "full", "stories",
         {"method": method_of("pretrain", 2), "training": {"adaptation": "full"}}),
    Line("rslora", "SFT, chat", "rsLoRA", "sft-chat", "rslora", "ticket",
         SUPERVISED | {"lora": {"r": 8, "alpha": 16, "variant": "rslora"}}),
    Line("dora", "SFT, chat", "DoRA", "sft-chat", "dora", "ticket",
         SUPERVISED | {"lora": {"r": 8, "alpha": 16, "variant": "dora"}}),
    Line("full", "SFT, chat", "full weights", "sft-chat", "full", "ticket",
         SUPERVISED | {"training": {"adaptation": "full"}}),
    Line("qlora", "SFT, chat", "QLoRA (4-bit)", "", "", "ticket",
         SUPERVISED | {"lora": {"r": 8, "alpha": 16, "quantization": "4bit"}}),
    Line("adamw8", "SFT, chat", "LoRA, 8-bit AdamW", "", "", "ticket",
         SUPERVISED | LORA | {"training": {"optimizer": "adamw_8bit"}}),
)  # fmt: skip


# ---- what they learn from ----


def sample(folder: str, part: str, count: int) -> list[dict[str, Any]]:
    lines = (SAMPLES / folder / f"{part}.jsonl").read_text().splitlines()
    return [json.loads(line) for line in lines[:count]]


def as_completion(row: dict[str, Any]) -> dict[str, Any]:
    *before, answer = row["messages"]
    return {"prompt": "\n".join(message["content"] for message in before) + "\n", "completion": answer["content"]}


def rows_of(data: str) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """To train on and to validate with."""
    if data == "completions":
        return tuple([as_completion(row) for row in part] for part in rows_of("ticket"))  # type: ignore[return-value]
    if data == "text":
        found = [json.loads(line) for line in answers_as_text().splitlines()]
        return found[VALID_ROWS : VALID_ROWS + 2 * ROWS], found[:VALID_ROWS]
    if data == "stories":
        found = [{"text": text} for text in stories(STORIES + VALID_ROWS)]
        return found[VALID_ROWS:], found[:VALID_ROWS]
    return sample(data, "train", ROWS), sample(data, "valid", VALID_ROWS)


def as_jsonl(rows: list[dict[str, Any]]) -> bytes:
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows).encode()


# ---- the cells ----


class Proof:
    """The models that were made, and what is known of each line."""

    def __init__(self, hone: Hone, screen: Screen, base: str) -> None:
        self.hone, self.screen, self.base = hone, screen, base
        self.client = OpenAI(base_url=hone.api, api_key=hone.key, timeout=600, max_retries=0)
        self.jobs: dict[str, Any] = {}
        self.cells: dict[str, Cells] = {}

    @property
    def record(self) -> Path:
        return home() / "proofs" / "methods.json"

    def recall(self) -> None:
        """The good cells of a run before, if it was of this commit."""
        kept = json.loads(self.record.read_text()) if self.record.exists() else {}
        if kept.get("commit") != commit():
            return
        for key, cells in kept["cells"].items():
            self.cells[key] = {column: Cell(**cell) for column, cell in cells.items() if cell["good"]}
        for key, job_id in kept["jobs"].items():
            self.jobs[key] = self.client.fine_tuning.jobs.retrieve(job_id)

    def keep(self, line: Line, column: str, cell: Cell) -> None:
        self.cells.setdefault(line.key, {})[column] = cell
        cells = {key: {name: vars(each) for name, each in found.items()} for key, found in self.cells.items()}
        jobs = {key: job.id for key, job in self.jobs.items()}
        self.record.parent.mkdir(parents=True, exist_ok=True)
        self.record.write_text(json.dumps({"commit": commit(), "cells": cells, "jobs": jobs}, indent=1))

    def lacks(self, line: Line, column: str) -> bool:
        return column not in self.cells.get(line.key, {})

    def measure(self, line: Line, column: str, work: Callable[[Line], tuple[bool, str]]) -> None:
        """A cell that fails says why, and the others go on."""
        if not self.lacks(line, column):
            return
        began = time.monotonic()
        try:
            good, text = work(line)
        except APIStatusError as error:
            good, text = False, reason(error)
        except (DemoFailed, RuntimeError, OSError, ValueError) as error:
            good, text = False, str(error)
        seconds = time.monotonic() - began
        self.screen.status("")
        self.screen.line(f"{'✓' if good else '✗'} {line.key}, {column}: {text} ({duration(seconds)})")
        self.keep(line, column, Cell(good, text, seconds))

    def train(self, line: Line) -> tuple[bool, str]:
        train, valid = (as_jsonl(rows) for rows in rows_of(line.data))
        file = upload(self.client, f"{line.data}-train", train)
        asked = {**line.asked, "label": f"Methods: {line.method}, {line.adapts}", "seed": 42, "suffix": line.key}
        model = self.base
        if line.starts_from:
            model = self.jobs[line.starts_from].fine_tuned_model
        if line.data == "stories":
            model = make_from_scratch(self.hone, self.client, file)
        try:
            job = self.client.fine_tuning.jobs.create(
                model=model,
                training_file=file,
                validation_file=upload(self.client, f"{line.data}-valid", valid),
                extra_body=asked,
            )
        except BadRequestError as refused:
            if "needs an NVIDIA GPU" in reason(refused):
                return True, NO_GPU
            raise
        job = follow(self.client, self.screen, job)
        if job.status != "succeeded":
            said = job.error.message if job.error else job.status
            if "needs an NVIDIA GPU" in said:
                return True, NO_GPU
            raise DemoFailed(said)
        self.jobs[line.key] = job
        losses = [event.data["train_loss"] for event in self.events(job)]
        return losses[-1] < losses[0], f"{len(losses)} steps, loss {losses[0]:.2f} → {losses[-1]:.2f}"

    def events(self, job: Any) -> list[Any]:
        """Of every step, oldest first."""
        found = [event for event in self.client.fine_tuning.jobs.list_events(job.id, limit=100) if event.data]
        return [event for event in found if "train_loss" in event.data][::-1]

    def export(self, line: Line) -> tuple[bool, str]:
        job = self.jobs[line.key]
        (checkpoint,) = (home() / "runs" / job.id / "checkpoints").iterdir()
        spec = json.loads((home() / "runs" / job.id / "spec.json").read_text())
        found = exported(self.hone, self.client, job.fine_tuned_model, checkpoint, spec["base_path"])
        moved = f"; training moved {found[0].moved:.2f}"
        return all(each.verdict == "verified" for each in found), ", ".join(each.words for each in found) + moved

    def serve(self, line: Line) -> tuple[bool, str]:
        job = self.jobs[line.key]
        answer = self.answer(line, job.fine_tuned_model)
        parity = self.client.fine_tuning.jobs.checkpoints.list(job.id).data[0].model_extra["parity"]  # type: ignore[index]
        self.screen.line(f"{line.key} answers: {' '.join(answer.split())[:160]!r}")
        words = f"{parity['outcome']}, {parity['mean_to_trained']:.3f} nats apart"
        return parity["outcome"] == "verified" and bool(answer.strip()), words

    def answer(self, line: Line, model: str) -> str:
        """Of the first validation row; a model that only completes text is given the beginning of one."""
        row = rows_of(line.data)[1][0]
        if "text" in row or "prompt" in row:
            prompt = row.get("prompt") or " ".join(row["text"].split()[:6])
            return self.patiently(
                lambda: (
                    self.client.completions.create(model=model, prompt=prompt, max_tokens=ANSWER_TOKENS, temperature=0)
                    .choices[0]
                    .text
                )
            )
        messages = row["input"]["messages"] if "input" in row else row["messages"][:-1]
        tools = {"tools": row["tools"]} if "tools" in row else {}
        message = self.patiently(
            lambda: (
                self.client.chat.completions.create(
                    model=model, messages=messages, max_tokens=3 * ANSWER_TOKENS, temperature=0, **tools
                )
                .choices[0]
                .message
            )
        )
        called = [f"{call.function.name}({call.function.arguments})" for call in message.tool_calls or []]
        return str(message.content or " ".join(called))

    def patiently(self, ask: Callable[[], Any]) -> Any:
        """A model that is still being loaded answers 429 and says when to come again."""
        deadline = time.monotonic() + WAIT_FOR_MODEL_SECONDS
        while True:
            try:
                return ask()
            except RateLimitError as error:
                if time.monotonic() > deadline:
                    raise
                self.screen.status(reason(error))
                time.sleep(float(error.response.headers.get("Retry-After", 2)))

    def test(self, lines: list[Line]) -> None:
        """The reference and resume tests of all lines in one run."""
        named = [name for line in lines for name in (*line.reference_tests, *line.resume_tests)]
        with self.screen.part(f"{len(named)} reference and resume tests"):
            results = named_tests.run(named)
        for line in lines:
            for column, names in ((COLUMNS[1], line.reference_tests), (COLUMNS[2], line.resume_tests)):
                found = [result for name in names for result in results[name]]
                failed = [result for result in found if result.outcome != "passed"]
                text = f"FAILED: {len(failed)} of {len(found)}" if failed else f"{len(found)} passed"
                if column == COLUMNS[1] and line.trl_tests and not find_spec("trl"):
                    text += ", TRL's not run: not installed"
                seconds = sum(result.seconds for result in found)
                good = not failed and all(results[name] for name in names)
                self.keep(line, column, Cell(good, text, seconds))


def prove(proof: Proof, lines: list[Line]) -> bool:
    """The table is printed also when it was ended before all was run."""
    try:
        for line in lines:
            proof.measure(line, COLUMNS[0], proof.train)
        made = [line for line in lines if line.key in proof.jobs]
        for line in made:
            proof.measure(line, COLUMNS[3], proof.export)
        for line in made:
            proof.measure(line, COLUMNS[4], proof.serve)
        untested = [line for line in lines if line.kind and any(proof.lacks(line, name) for name in COLUMNS[1:3])]
        if untested:
            proof.test(untested)
    finally:
        print("\n" + "\n".join(as_table(proof, lines)), flush=True)
    return all(cell.good for cells in proof.cells.values() for cell in cells.values())


def as_table(proof: Proof, lines: list[Line]) -> list[str]:
    """Markdown, with where and when it was run."""
    head = ["method", "adaptation", *COLUMNS]
    rows = [[line.method, line.adapts, *(words(proof.cells.get(line.key, {}).get(column)) for column in COLUMNS)]
            for line in lines]  # fmt: skip
    table = ["| " + " | ".join(row) + " |" for row in (head, ["---"] * len(head), *rows)]
    minutes = (time.monotonic() - proof.screen.began) / 60
    return [*table, "", f"{proof.base}, commit {commit()}, {minutes:.0f} minutes."]


@cache
def commit() -> str:
    """Short hash and day of what is run."""
    described = ["git", "log", "-1", "--format=%h of %cs"]
    return subprocess.run(described, cwd=ROOT, capture_output=True, text=True, check=False).stdout.strip()


def words(cell: Cell | None) -> str:
    """What was not reached because training failed, or was not run, says so."""
    if cell is None or cell.text == NO_GPU:
        return NO_GPU if cell else "—"
    return f"{'' if cell.good else 'FAILED: '}{cell.text}, {duration(cell.seconds)}"


def chosen(only: str) -> list[Line]:
    """In the order of the table; a line that goes on from another brings it along."""
    wanted = set(only.split(",")) if only else {line.key for line in LINES}
    unknown = wanted - {line.key for line in LINES}
    if unknown:
        raise SystemExit(f"Unknown: {', '.join(sorted(unknown))}. There are {', '.join(line.key for line in LINES)}.")
    wanted |= {line.starts_from for line in LINES if line.key in wanted}
    return [line for line in LINES if line.key in wanted]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="", help=", ".join(line.key for line in LINES))
    parser.add_argument("--continue", dest="go_on", action="store_true", help="take the good cells of the run before")
    parser.add_argument("--model", default=BASE, help="name of the base model in Hone's catalogue")
    options = parser.parse_args()
    lines, screen = chosen(options.only), Screen()
    try:
        with find_or_start(screen) as hone:
            proof = Proof(hone, screen, options.model)
            if options.go_on:
                proof.recall()
            passed = prove(proof, lines)
    except NoServer as error:
        screen.line(f"The proof stopped: {error}")
        return 1
    screen.line("proven" if passed else "NOT PROVEN")
    return 0 if passed else 1


if __name__ == "__main__":
    sys.exit(main())
