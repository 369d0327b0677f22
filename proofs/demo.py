"""The main job, headless, through the public API with the official SDK: `make demo` or

    python -m proofs.demo [--task ticket|tone|steer|all] [--model SmolLM2-135M-Instruct]

Uploads a sample dataset, fine-tunes, follows the events, then puts the held-out prompts to the base model and to every
epoch's checkpoint and scores the answers. Talks to the Hone at HONE_URL (default: this machine's), or starts one.
Ends with 1 when training did not make the difference that it should.
"""

import argparse
import asyncio
import sys
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from openai import APIConnectionError, APIStatusError, AsyncOpenAI, OpenAI
from openai.types.fine_tuning import FineTuningJob
from openai.types.fine_tuning.jobs import FineTuningJobCheckpoint

from proofs.screen import Screen, bar, duration, table
from proofs.server import Hone, NoServer, find_or_start
from training.samples import score

TASKS = ("ticket", "tone", "steer")
SAMPLES = Path(score.__file__).parent
BASE = "SmolLM2-135M-Instruct"
EPOCHS = 2
BATCH = 4
LORA = {"r": 8, "alpha": 16}  # on a CPU vLLM's adapter path costs by rank
NEEDED_POINTS = 50
AT_ONCE = 16
MAX_TOKENS = 96  # the longest right answer takes about 60
VALID_MEANS = {"ticket": "schema validity", "tone": "voice kept", "steer": "form kept"}
POLL_SECONDS = 1.0
LOOK_BACK = 20  # events behind the newest that may still change
WAIT_FOR_MODEL_SECONDS = 900
FINAL = {"succeeded", "failed", "cancelled"}


@dataclass
class Contender:
    """A model that is asked the held-out prompts."""

    name: str
    shown: str
    system: str | None = None  # in place of the prompt's own
    full_valid_loss: float | None = None
    full_valid_accuracy: float | None = None
    answers: list[str] = field(default_factory=list)
    seconds: float = 0.0
    tokens: int = 0


class DemoFailed(Exception):
    """What went wrong, for the person who watches."""


def reason(error: APIStatusError) -> str:
    """The server's own words."""
    return error.body.get("message", error.message) if isinstance(error.body, dict) else error.message


# ---- train ----


def upload(client: OpenAI, screen: Screen, task: str) -> tuple[str, str]:
    """Ids of the training and the validation file."""
    ids = []
    for part in ("train", "valid"):
        path = SAMPLES / task / f"{part}.jsonl"
        file = client.files.create(file=(f"{task}-{part}.jsonl", path.read_bytes()), purpose="fine-tune")
        file = client.files.wait_for_processing(file.id, poll_interval=0.2)
        if file.status != "processed":
            raise DemoFailed(f"{path.name}: {file.status_details}")
        screen.line(f"{path.name:12} {getattr(file, 'rows', '?'):>4} rows  {file.bytes / 1000:6.0f} kB  {file.id}")
        ids.append(file.id)
    return ids[0], ids[1]


def train(client: OpenAI, screen: Screen, task: str, model: str, files: tuple[str, str]) -> FineTuningJob:
    job = client.fine_tuning.jobs.create(
        model=model,
        training_file=files[0],
        validation_file=files[1],
        suffix=task,
        seed=42,
        method={"type": "supervised", "supervised": {"hyperparameters": {"n_epochs": EPOCHS, "batch_size": BATCH}}},
        metadata={"made_by": "demo"},
        extra_body={"lora": LORA, "label": f"Demo: {task}"},
    )
    screen.line(f"{job.id} on {job.model}")
    job = follow(client, screen, job)
    if job.status != "succeeded":
        raise DemoFailed(f"{job.id} {job.status}: {job.error.message if job.error else ''}")
    return job


def follow(client: OpenAI, screen: Screen, job: FineTuningJob) -> FineTuningJob:
    """Prints messages as they come and one line that moves for the steps; returns the job when it has ended."""
    seen: set[tuple[str, str]] = set()
    while True:
        job = client.fine_tuning.jobs.retrieve(job.id)  # before its events: the last ones are then surely among them
        for event in new_events(client, job.id, seen):
            if event.type == "metrics":
                if "full validation loss" in event.message:
                    screen.line(event.message)
            elif event.level != "info" or "Snapshot ID" not in event.message:
                screen.line(event.message)
        screen.status(progress(job, client))
        if job.status in FINAL:
            screen.status("")
            return job
        time.sleep(POLL_SECONDS)


def new_events(client: OpenAI, job_id: str, seen: set[tuple[str, str]]) -> list[Any]:
    """Oldest first. The text of a step's event grows when its validation is done: then it is new once more."""
    found, known = [], 0
    for event in client.fine_tuning.jobs.list_events(job_id, limit=50):
        if (event.id, event.message) in seen:
            known += 1
            if known == LOOK_BACK:
                break
            continue
        seen.add((event.id, event.message))
        found.append(event)
    return found[::-1]


def progress(job: FineTuningJob, client: OpenAI) -> str:
    ours: dict[str, Any] = getattr(job, "hone", None) or {}
    step, total = ours.get("step") or 0, ours.get("total_steps") or 0
    if job.status != "running" or not total:
        return ours.get("status_text") or job.status
    newest = next(iter(client.fine_tuning.jobs.list_events(job.id, limit=1)), None)
    data = (newest and newest.data) or {}
    loss = f"  loss {data['train_loss']:.3f}" if isinstance(data, dict) and data.get("train_loss") else ""
    left = f"  {duration(job.estimated_finish - time.time())} left" if job.estimated_finish else ""
    return f"{bar(step / total)} step {step}/{total}{loss}{left}"


def contenders(client: OpenAI, screen: Screen, job: FineTuningJob, base: str, task: str) -> list[Contender]:
    """The base model, also with the long prompt where the task has one, and every checkpoint, oldest first."""
    rows = list(client.fine_tuning.jobs.checkpoints.list(job.id))[::-1]
    screen.table(
        table(
            ["checkpoint", "step", "train loss", "full valid. loss", "full valid. accuracy"],
            [checkpoint_cells(row) for row in rows],
        )
    )
    tuned = [
        Contender(
            name=row.fine_tuned_model_checkpoint,
            shown=f"epoch {getattr(row, 'epoch', index)}",
            full_valid_loss=row.metrics.full_valid_loss,
            full_valid_accuracy=row.metrics.full_valid_mean_token_accuracy,
        )
        for index, row in enumerate(rows, start=1)
    ]
    untrained = [Contender(name=base, shown="base")]
    long_prompt = SAMPLES / task / "long_prompt.txt"
    if long_prompt.exists():
        untrained.append(Contender(name=base, shown="base, long prompt", system=long_prompt.read_text()))
    return [*untrained, *tuned]


def checkpoint_cells(row: FineTuningJobCheckpoint) -> list[str]:
    figures = row.metrics
    accuracy = figures.full_valid_mean_token_accuracy
    return [
        row.fine_tuned_model_checkpoint,
        str(row.step_number),
        number(figures.train_loss),
        number(figures.full_valid_loss),
        f"{accuracy * 100:.1f} %" if accuracy is not None else "",
    ]


def number(value: float | None) -> str:
    return "" if value is None else f"{value:.4f}"


# ---- ask ----


class Asking:
    """Puts every prompt to every contender, many at once, and waits for models that are still being loaded."""

    def __init__(self, client: AsyncOpenAI, screen: Screen, models: list[Contender]) -> None:
        self.client, self.screen, self.models = client, screen, models
        self.places = asyncio.Semaphore(AT_ONCE)
        self.done = dict.fromkeys((model.shown for model in models), 0)

    async def warm_up(self) -> None:
        """One token from each, so that loading is not counted as answering."""
        await asyncio.gather(*(self.complete(model, [{"role": "user", "content": "Hi"}], 1) for model in self.models))
        self.screen.status("")

    async def ask_all(self, prompts: list[list[dict[str, str]]]) -> None:
        for model in self.models:
            model.answers = [""] * len(prompts)
        asks = [self.ask(model, i, prompts) for i in range(len(prompts)) for model in self.models]
        await asyncio.gather(*asks)
        self.screen.status("")

    async def ask(self, model: Contender, index: int, prompts: list[list[dict[str, str]]]) -> None:
        async with self.places:
            began = time.monotonic()
            model.answers[index] = await self.complete(model, with_system(model, prompts[index]), MAX_TOKENS)
            model.seconds += time.monotonic() - began
        self.done[model.shown] += 1
        self.screen.status("  ".join(f"{m.shown} {bar(self.done[m.shown] / len(prompts), 10)}" for m in self.models))

    async def complete(self, model: Contender, messages: list[dict[str, str]], max_tokens: int) -> str:
        deadline = time.monotonic() + WAIT_FOR_MODEL_SECONDS
        while True:
            try:
                answer = await self.client.chat.completions.create(
                    model=model.name,
                    messages=messages,  # type: ignore[arg-type]
                    temperature=0,
                    max_tokens=max_tokens,
                )
            except APIStatusError as error:
                await self.wait_or_give_up(error, model, deadline)
                continue
            model.tokens += answer.usage.completion_tokens if answer.usage else 0
            return answer.choices[0].message.content or ""

    async def wait_or_give_up(self, error: APIStatusError, model: Contender, deadline: float) -> None:
        """A model that is still being loaded answers 429 and says when to come again."""
        again = error.response.headers.get("Retry-After")
        if not again or time.monotonic() > deadline:
            raise DemoFailed(f"{model.name}: {reason(error)}") from error
        self.screen.status(f"{model.shown}: {reason(error)}")
        await asyncio.sleep(float(again))


def with_system(model: Contender, messages: list[dict[str, str]]) -> list[dict[str, str]]:
    if model.system is None:
        return messages
    return [{"role": "system", "content": model.system}, *(each for each in messages if each["role"] != "system")]


async def ask(hone: Hone, screen: Screen, models: list[Contender], task: str) -> None:
    prompts = [row["messages"] for row in score.heldout(task)]
    async with AsyncOpenAI(base_url=hone.api, api_key=hone.key, max_retries=0, timeout=600) as client:
        asking = Asking(client, screen, models)
        with screen.part("Models loaded and checked by vLLM"):
            await asking.warm_up()
        with screen.part(f"{len(prompts)} held-out prompts x {len(models)} models answered"):
            await asking.ask_all(prompts)


# ---- judge ----


def judge(screen: Screen, models: list[Contender], task: str) -> list[score.Summary]:
    """Prints the table and what was gained."""
    results = [score.score_task(task, model.answers) for model in models]
    head = ["", "model", "full valid. loss", "accuracy", VALID_MEANS[task], "score", "tokens"]
    rows = [table_cells(model, result) for model, result in zip(models, results, strict=True)]
    screen.table(table(head, rows))
    gain = points_gained(results)
    screen.line(f"{VALID_MEANS[task]}: {gain:+.0f} points over the base model (needed: +{NEEDED_POINTS})")
    return results


def table_cells(model: Contender, result: score.Summary) -> list[str]:
    accuracy = model.full_valid_accuracy
    return [
        model.shown,
        model.name,
        number(model.full_valid_loss),
        "" if accuracy is None else f"{accuracy * 100:.1f} %",
        f"{result.valid_share * 100:.0f} %",
        f"{result.score * 100:.1f} %",
        str(model.tokens),
    ]


def points_gained(results: list[score.Summary]) -> float:
    """The last checkpoint against the base model with the same prompt."""
    return (results[-1].valid_share - results[0].valid_share) * 100


def show_one(screen: Screen, models: list[Contender], task: str) -> None:
    """The first held-out prompt with what each model makes of it."""
    screen.line(f"For example: {score.heldout(task)[0]['messages'][-1]['content'][:200]}")
    for model in models:
        screen.line(f"  {model.shown:>8}: {' '.join(model.answers[0].split())[:200]}")


def run_task(hone: Hone, screen: Screen, task: str, base: str) -> bool:
    screen.heading(f"Task: {task}")
    client = OpenAI(base_url=hone.api, api_key=hone.key, timeout=120)
    with screen.part("Files uploaded and checked"):
        files = upload(client, screen, task)
    with screen.part("Fine-tuned"):
        job = train(client, screen, task, base, files)
    models = contenders(client, screen, job, base, task)
    asyncio.run(ask(hone, screen, models, task))
    show_one(screen, models, task)
    results = judge(screen, models, task)
    passed = points_gained(results) >= NEEDED_POINTS
    measured = [vars(model) | asdict(result) for model, result in zip(models, results, strict=True)]
    hone.results.append({"task": task, "job": job.id, "passed": passed, "models": measured})
    return passed


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--task", choices=[*TASKS, "all"], default="ticket")
    parser.add_argument("--model", default=BASE, help="name of the base model in Hone's catalogue")
    options = parser.parse_args()
    screen = Screen()
    tasks = TASKS if options.task == "all" else (options.task,)
    try:
        with find_or_start(screen) as hone:
            passed = [run_task(hone, screen, task, options.model) for task in tasks]
            hone.keep_results()
    except (DemoFailed, NoServer) as error:
        screen.line(f"The demo stopped: {error}")
        return 1
    except APIStatusError as error:
        screen.line(f"The demo stopped: {reason(error)} ({error.request_id})")
        return 1
    except APIConnectionError as error:
        screen.line(f"The demo stopped: Hone does not answer ({error.__cause__ or error})")
        return 1
    except KeyboardInterrupt:
        screen.line("Stopped.")
        return 130
    screen.times()
    return 0 if all(passed) else 1


if __name__ == "__main__":
    sys.exit(main())
