"""Does a model learn a language from nothing? A few million random weights, a small language written for this.

    python -m proofs.scratch [--no-vllm]

makes a model with a tokenizer of its own, trains it on the text by `training.engine.pretrain`, and prints its loss on
held-out text beside what counting words gives (unigram) and what knowing one token back gives (bigram). The checkpoint
then completes sentences in vLLM, with the trainer's log-probabilities, and is taught to chat by `training.engine.sft`.
Exits 1 unless it beats both baselines, vLLM agrees, and the chat starts below a model that learnt no text.
"""

import json
import math
import random
import subprocess
import sys
import urllib.request
from collections import Counter
from itertools import pairwise
from pathlib import Path
from typing import Any

from playground.vllm import Plan, VllmServer, find_build
from proofs.screen import Screen, table
from proofs.server import ROOT, home
from training.engine.chat import ChatFormat
from training.engine.facts import read_model_facts
from training.engine.scratch import Shape, write_model
from training.engine.spec import AnyEvent, CheckpointSaved, JobSpec, Probes, Started, Step, Validation, event_adapter

SHAPE = Shape(layers=4, width=256, vocabulary=1024, context=512)
TRAIN, VALID, EPOCHS = 3000, 200, 2
SEED = 7
NUMBERS = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve"]
ANIMALS = ["fox", "dog", "owl", "hare", "goat", "wren", "toad", "mole"]
COLOURS = ["red", "grey", "white", "brown", "black"]
PLACES = ["by the river", "under the oak", "behind the barn", "on the hill"]
DEEDS = {"sees": "seen", "follows": "followed", "greets": "greeted", "feeds": "fed"}
MEAN_DIFFERENCE = 0.02  # nats a token, between trainer and vLLM


def story(chance: random.Random) -> str:
    """Four sentences that need each other: who did what to whom, turned round; how many; and a sum."""
    one, other = chance.sample(ANIMALS, 2)
    colour, tint, place = chance.choice(COLOURS), chance.choice(COLOURS), chance.choice(PLACES)
    deed, done = chance.choice([*DEEDS.items()])
    a, b = chance.randint(0, 6), chance.randint(0, 6)
    return (
        f"{place[0].upper()}{place[1:]} the {colour} {one} {deed} the {tint} {other}. "
        f"So the {tint} {other} is {done} by the {colour} {one}. "
        f"The {one} has {NUMBERS[a]} nuts and finds {NUMBERS[b]} more. Now the {one} has {NUMBERS[a + b]} nuts."
    )


def write_texts(folder: Path) -> tuple[Path, Path]:
    """Training and held-out stories; none is in both."""
    chance, found = random.Random(SEED), dict[str, None]()
    while len(found) < TRAIN + VALID:
        found[story(chance)] = None
    stories = list(found)
    paths = folder / "train.jsonl", folder / "valid.jsonl"
    for path, part in zip(paths, (stories[VALID:], stories[:VALID]), strict=True):
        path.write_text("".join(json.dumps({"text": text}) + "\n" for text in part))
    return paths


def documents(path: Path, chat: ChatFormat) -> list[list[int]]:
    texts = [json.loads(line)["text"] for line in path.read_text().splitlines()]
    return [[*ids, chat.eos_ids[0]] for ids in chat.encode_texts(texts)]


def baselines(train: list[list[int]], valid: list[list[int]], vocabulary: int) -> tuple[float, float]:
    """Loss of counting, in nats a token over the same tokens that the model is judged on: every one but a document's
    first. Unigram: how frequent each token is. Bigram: after the one before it. Both with one added to every count."""
    unigrams = Counter(token for ids in train for token in ids)
    bigrams = Counter(pair for ids in train for pair in pairwise(ids))
    before = Counter(first for ids in train for first in ids[:-1])
    total, judged = sum(unigrams.values()), [pair for ids in valid for pair in pairwise(ids)]
    alone = -sum(math.log((unigrams[token] + 1) / (total + vocabulary)) for _, token in judged)
    after = -sum(math.log((bigrams[pair] + 1) / (before[pair[0]] + vocabulary)) for pair in judged)
    return alone / len(judged), after / len(judged)


def train(folder: Path, method: str, spec: dict[str, Any]) -> list[AnyEvent]:
    """Runs the trainer as a process of its own; raises with its last words when it fails."""
    folder.mkdir(parents=True)
    (folder / "spec.json").write_text(JobSpec.model_validate(spec | {"method": method}).model_dump_json(indent=2))
    with (folder / "trainer.log").open("wb") as log:
        subprocess.run(
            [sys.executable, "-m", f"training.engine.{method}", str(folder)], cwd=ROOT, stdout=log, stderr=log
        )
    events = [event_adapter.validate_json(line) for line in (folder / "events.jsonl").read_text().splitlines()]
    if events[-1].type != "end" or events[-1].status != "succeeded":
        raise SystemExit(f"{method} failed: {events[-1]}; see {folder / 'trainer.log'}")
    return events


def spec_of(base: Path, training_file: Path, **more: Any) -> dict[str, Any]:
    usual = {
        "job_id": "scratch", "base_model": "little", "base_path": base, "training_file": training_file,
        "n_epochs": EPOCHS, "batch_size": 8, "learning_rate": 3e-3, "lr_scheduler": "cosine", "warmup_ratio": 0.05,
        "max_length": 256, "adaptation": "full", "seed": SEED,
    }  # fmt: skip
    return usual | more


def complete(server: VllmServer, prompt: str) -> str:
    body = {"model": "little", "prompt": prompt, "max_tokens": 24, "temperature": 0, "stop": ["."]}
    request = urllib.request.Request(
        f"{server.url}/v1/completions", json.dumps(body).encode(), {"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=300) as answer:
        return json.load(answer)["choices"][0]["text"]


def served(checkpoint: Path, screen: Screen) -> bool:
    """Whether vLLM gives the trainer's log-probabilities. What it completes is shown beside what the stories would say:
    a model of this size and training knows the words and their order, not yet who did what."""
    asked = {
        "On the hill the red fox feeds the grey owl. So the grey owl is": " fed by the red fox",
        "The mole has four nuts and finds three more. Now the mole has": " seven nuts",
        "The goat has two nuts and finds two more. Now the goat has": " four nuts",
    }
    server = VllmServer(Plan("little", checkpoint, home() / "logs" / "proof-scratch-vllm.log", context_tokens=512))
    server.start()
    try:
        server.wait_until_ready()
        told = Probes.model_validate_json((checkpoint / "probes.json").read_text()).probes
        found = server.prompt_logprobs("little", [(probe.token_ids, probe.prompt_length) for probe in told])
        answers = {prompt: complete(server, prompt) for prompt in asked}
    finally:
        server.stop()
    differences = [
        abs(a - b)
        for probe, own in zip(told, found, strict=True)
        for a, b in zip(probe.trained_logprobs, own, strict=True)
    ]
    mean = sum(differences) / len(differences)
    rows = [[prompt, answer, asked[prompt]] for prompt, answer in answers.items()]
    screen.table(table(["prompt", "vLLM completes", "the story's own end"], rows))
    screen.line(f"vLLM against the trainer: {mean:.4f} nats a token apart over {len(differences)} tokens")
    return mean < MEAN_DIFFERENCE


def chat_file(folder: Path) -> Path:
    chance, path = random.Random(SEED + 1), folder / "chat.jsonl"
    lines = []
    for _ in range(96):
        animal, a, b = chance.choice(ANIMALS), chance.randint(0, 6), chance.randint(0, 6)
        asked = f"The {animal} has {NUMBERS[a]} nuts and finds {NUMBERS[b]} more."
        answer = f"Now the {animal} has {NUMBERS[a + b]} nuts."
        lines.append({"messages": [{"role": "user", "content": asked}, {"role": "assistant", "content": answer}]})
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


def main() -> int:
    screen = Screen()
    folder = home() / "proofs" / "scratch"
    subprocess.run(["rm", "-rf", str(folder)], check=True)
    (folder / "base").mkdir(parents=True)
    train_file, valid_file = write_texts(folder)
    with screen.part("a tokenizer and random weights"):
        texts = (json.loads(line)["text"] for line in train_file.read_text().splitlines())
        write_model(folder / "base", SHAPE, texts, SEED, lambda text: None)
    base, chat = folder / "base", ChatFormat.load(folder / "base")
    facts = read_model_facts(base, "little")
    train_ids, valid_ids = documents(train_file, chat), documents(valid_file, chat)
    unigram, bigram = baselines(train_ids, valid_ids, facts.vocabulary)
    screen.line(
        f"{facts.parameters:,} parameters, {facts.vocabulary} words, {TRAIN:,} stories of "
        f"{sum(map(len, train_ids)):,} tokens; {VALID} held out"
    )
    with screen.part(f"{EPOCHS} epochs of text"):
        events = train(folder / "text", "pretrain", spec_of(base, train_file, validation_file=valid_file, packing=True))
    steps = [event for event in events if isinstance(event, Step)]
    whole = [event for event in events if isinstance(event, Validation) and event.whole]
    started = next(event for event in events if isinstance(event, Started))
    checkpoint = folder / "text" / [event for event in events if isinstance(event, CheckpointSaved)][-1].path
    losses = {"unigram": unigram, "bigram": bigram, "first step": steps[0].train_loss}
    losses |= {f"epoch {number}": event.loss for number, event in enumerate(whole, start=1)}
    rows = [[name, f"{loss:.3f}", f"{math.exp(loss):.2f}"] for name, loss in losses.items()]
    screen.table(table(["", "loss on held-out text", "perplexity"], rows))
    screen.line(f"{started.total_steps} steps, {steps[-1].tokens_per_second:,.0f} tokens a second at the end")
    verdicts = {"below unigram": whole[-1].loss < unigram, "below bigram": whole[-1].loss < bigram}

    if "--no-vllm" not in sys.argv and find_build(sys.executable):
        with screen.part("served in vLLM"):
            verdicts["answers in vLLM as trained"] = served(checkpoint, screen)
    else:
        screen.line("not run: vLLM is not installed here, or --no-vllm was given")
    with screen.part("taught to chat, from the text and from nothing"):
        rows_file, first = chat_file(folder), {}
        for name, start in (("from the text", checkpoint), ("from nothing", None)):
            chatted = train(
                folder / name.replace(" ", "-"), "sft", spec_of(base, rows_file, start_path=start, n_epochs=1)
            )
            losses = [event.train_loss for event in chatted if isinstance(event, Step)]
            first[name] = losses[-1]
            screen.line(f"{name}: loss {losses[0]:.3f} at the first step, {losses[-1]:.3f} at step {len(losses)}")
    verdicts["chat goes on from the text"] = first["from the text"] < first["from nothing"]
    for what, passed in verdicts.items():
        screen.line(f"{'✓' if passed else '✗'} {what}")
    return 0 if all(verdicts.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
