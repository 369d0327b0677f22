"""A recipe of all three methods on the starter model, through the public API with the official SDK:

    python -m proofs.recipe [--model SmolLM2-135M-Instruct]

Raw text (a manual in the house voice), then examples, then preferences, started as one. Each stage must start from what
the one before made. Every stage's last checkpoint is put to the held-out prompts in vLLM beside the base model and
scored. Ends with 1 when a stage fails, the line of descent is broken, or examples did not teach the voice.
"""

import argparse
import asyncio
import itertools
import json
import sys
import time
from typing import Any

from openai import OpenAI
from openai.types.fine_tuning import FineTuningJob

from proofs.demo import BASE, LORA, SAMPLES, Contender, DemoFailed, ask, follow, judge, points_gained, show_one
from proofs.screen import Screen, table
from proofs.server import Hone, NoServer, find_or_start

PATH = "/fine_tuning/recipes"
TASK = "tone"
STAGES = ("text", "examples", "preferences")
NEEDED_POINTS = 50
POLL_SECONDS = 0.5


def answers_as_text() -> bytes:
    """What the voice says, as documents without questions: a manual to read before the lessons."""
    rows = [json.loads(line) for line in (SAMPLES / TASK / "train.jsonl").read_text().splitlines()]
    texts = [next(m["content"] for m in row["messages"] if m["role"] == "assistant") for row in rows]
    return "".join(json.dumps({"text": text}, ensure_ascii=False) + "\n" for text in texts).encode()


def upload(client: OpenAI, name: str, content: bytes) -> str:
    file = client.files.create(file=(f"{name}.jsonl", content), purpose="fine-tune")
    file = client.files.wait_for_processing(file.id, poll_interval=0.2)
    if file.status != "processed":
        raise DemoFailed(f"{name}: {file.status_details}")
    return file.id


def start(client: OpenAI, model: str) -> dict[str, Any]:
    def sample(folder: str, part: str) -> str:
        return upload(client, f"{folder}-{part}", (SAMPLES / folder / f"{part}.jsonl").read_bytes())

    usual: dict[str, Any] = {"hyperparameters": {"n_epochs": 1, "batch_size": 4}, "lora": LORA, "seed": 42}
    stages = [
        usual | {"training_file": upload(client, "voice-text", answers_as_text())},
        usual | {"training_file": sample(TASK, "train"), "validation_file": sample(TASK, "valid")},
        usual | {"training_file": sample("pairs", "train"), "validation_file": sample("pairs", "valid")},
    ]
    body = {"model": model, "label": "Proof: text, examples, preferences", "stages": stages}
    return client.post(PATH, cast_to=dict, body=body)  # type: ignore[no-any-return]


def follow_stages(client: OpenAI, screen: Screen, recipe_id: str) -> list[FineTuningJob]:
    """The jobs of all stages, ended well."""
    jobs: list[FineTuningJob] = []
    while len(jobs) < len(STAGES):
        now: dict[str, Any] = client.get(f"{PATH}/{recipe_id}", cast_to=dict)
        if now["status"] == "failed":
            raise DemoFailed(f"The recipe ended in stage {len(jobs) + 1}: {now['problem']}")
        job_id = now["stages"][len(jobs)]["job"]
        if not job_id:
            time.sleep(POLL_SECONDS)
            continue
        with screen.part(f"Stage {len(jobs) + 1}, {now['stages'][len(jobs)]['method']}"):
            jobs.append(follow(client, screen, client.fine_tuning.jobs.retrieve(job_id)))
    return jobs


def unbroken(screen: Screen, jobs: list[FineTuningJob]) -> bool:
    """Whether each stage names what the one before made as its model."""
    rows = [[stage, job.id, job.model, str(job.fine_tuned_model)] for stage, job in zip(STAGES, jobs, strict=True)]
    screen.table(table(["stage", "job", "starts from", "made"], rows))
    return all(later.model == earlier.fine_tuned_model for earlier, later in itertools.pairwise(jobs))


def prove(hone: Hone, screen: Screen, model: str) -> bool:
    client = OpenAI(base_url=hone.api, api_key=hone.key, timeout=120)
    recipe = start(client, model)
    screen.line(f"{hone.url}/recipes/{recipe['id']}/")
    jobs = follow_stages(client, screen, recipe["id"])
    if not unbroken(screen, jobs):
        screen.line("The line of descent is broken.")
        return False
    stages = [Contender(str(job.fine_tuned_model), stage) for stage, job in zip(STAGES, jobs, strict=True)]
    models = [Contender(model, "base"), *stages]
    asyncio.run(ask(hone, screen, models, TASK))
    show_one(screen, models, TASK)
    results = judge(screen, models, TASK)
    return points_gained(results) >= NEEDED_POINTS


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default=BASE, help="name of the base model in Hone's catalogue")
    model = parser.parse_args().model
    screen = Screen()
    try:
        with find_or_start(screen) as hone:
            passed = prove(hone, screen, model)
    except (DemoFailed, NoServer) as error:
        screen.line(f"The proof stopped: {error}")
        return 1
    screen.line("proven" if passed else "NOT PROVEN")
    screen.times()
    return 0 if passed else 1


if __name__ == "__main__":
    sys.exit(main())
