"""Writes train.jsonl (120 rows), valid.jsonl (40) and heldout.jsonl (30 prompts) of the four sample tasks.

    python -m training.samples.make

Everything is composed from the hand-written pieces in pieces_*.py, by a fixed seed, so the files can be made again
byte for byte (a test does). No message stands in two files, and part of the held-out prompts uses pieces that the
training rows never show.
"""

import json
import random
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from training.samples import pieces_calls, pieces_steer, pieces_ticket, pieces_tone

HERE = Path(__file__).parent
TRAIN_ROWS, VALID_ROWS, HELDOUT_ROWS = 120, 40, 30
Row = dict[str, Any]


def chat(system: str, user: str, answer: str) -> Row:
    return {
        "messages": [
            {"role": "system", "content": system},
            {"role": "user", "content": user},
            {"role": "assistant", "content": answer},
        ]
    }


def prompt(system: str, user: str, expected: Row) -> Row:
    return {
        "messages": [{"role": "system", "content": system}, {"role": "user", "content": user}],
        "expected": expected,
    }


# ---- ticket ----


def ticket(seed: int = 11) -> tuple[list[Row], list[Row], list[Row]]:
    dice = random.Random(seed)
    seen: set[str] = set()
    taught = _take(TRAIN_ROWS + VALID_ROWS, seen, _tickets(dice, pieces_ticket.SITUATIONS))
    fresh = _take(HELDOUT_ROWS // 2, seen, _tickets(dice, pieces_ticket.UNSEEN))
    known = _take(HELDOUT_ROWS - HELDOUT_ROWS // 2, seen, _tickets(dice, pieces_ticket.SITUATIONS))
    rows = [chat(pieces_ticket.SYSTEM, message, json.dumps(fields)) for message, fields in taught]
    held = [prompt(pieces_ticket.SYSTEM, message, fields) for message, fields in fresh + known]
    return rows[:TRAIN_ROWS], rows[TRAIN_ROWS:], held


def _tickets(dice: random.Random, situations: dict[str, list[str]]) -> Iterator[tuple[str, Row]]:
    """Endless (message, fields); categories and products take turns so that all are equally frequent."""
    turn = 0
    decks = {kind: _deck(dice, texts) for kind, texts in situations.items()}
    moods = {mood: _deck(dice, texts) for mood, texts in pieces_ticket.MOODS.items()}
    while True:
        category = list(situations)[turn % len(situations)]
        product = dice.choice(pieces_ticket.PRODUCTS)
        mood = dice.choice(["calm", "calm", "happy", "upset"])
        priority = dice.choice(["normal", "normal", "high", "low"])
        order = f"{dice.choice('KLR')}-{dice.randrange(1000, 9999)}" if dice.random() < 0.7 else None
        parts = [next(moods[mood]), next(decks[category]).format(p=product)]
        if order:
            parts.insert(dice.choice([1, 2]), dice.choice(pieces_ticket.ORDERS).format(o=order))
        if priority != "normal":
            parts.append(dice.choice(pieces_ticket.PRIORITIES[priority]))
        if dice.random() < 0.4:
            parts.append(dice.choice(pieces_ticket.ENDS))
        fields = {"category": category, "product": product, "order": order, "priority": priority, "mood": mood}
        turn += 1
        yield " ".join(part for part in parts if part), fields


# ---- tone ----


def tone(seed: int = 12) -> tuple[list[Row], list[Row], list[Row]]:
    """Each topic has six ways to ask: five are taught, spread over train and valid, and one is held out."""
    dice = random.Random(seed)
    taught, held = [], []
    for topic in pieces_tone.TOPICS:
        *known, kept = topic["questions"]
        taught += [(question, topic["answers"][n % len(topic["answers"])]) for n, question in enumerate(known)]
        held.append((kept, topic["facts"]))
    dice.shuffle(taught)
    dice.shuffle(held)
    rows = [chat(pieces_tone.SYSTEM, question, answer) for question, answer in taught]
    asked = held[: HELDOUT_ROWS - len(pieces_tone.NEW_TOPICS)] + [(text, []) for text in pieces_tone.NEW_TOPICS]
    prompts = [prompt(pieces_tone.SYSTEM, question, {"facts": facts}) for question, facts in asked]
    return rows[:TRAIN_ROWS], rows[TRAIN_ROWS : TRAIN_ROWS + VALID_ROWS], prompts


# ---- steer ----


def steer(seed: int = 13) -> tuple[list[Row], list[Row], list[Row]]:
    dice = random.Random(seed)
    seen: set[str] = set()
    taught = _take(TRAIN_ROWS + VALID_ROWS, seen, _notes(dice, pieces_steer.PLACES))
    held = _take(HELDOUT_ROWS // 2, seen, _notes(dice, pieces_steer.NEW_PLACES))
    held += _take(HELDOUT_ROWS - len(held), seen, _notes(dice, pieces_steer.PLACES))
    rows = [chat(pieces_steer.SYSTEM, message, pieces_steer.note(**fields)) for message, fields in taught]
    prompts = [prompt(pieces_steer.SYSTEM, message, fields) for message, fields in held]
    return rows[:TRAIN_ROWS], rows[TRAIN_ROWS:], prompts


def _notes(dice: random.Random, places: list[dict[str, list[Any]]]) -> Iterator[tuple[str, Row]]:
    frames = _deck(dice, pieces_steer.FRAMES)
    while True:
        for place in places:
            done, open_, step = (dice.choice(place[part]) for part in ("done", "open", "next"))
            day = dice.choice(pieces_steer.DAYS)
            said_done, name_done = done
            said_open, name_open = open_
            frame = next(frames)
            message = frame.format(done=said_done, open=said_open, next=step, day=day)
            yield _sentences(message), {"done": name_done, "open": name_open, "next": f"{step}, {day}"}


def _sentences(text: str) -> str:
    """A capital letter at each beginning, whatever clause was put there."""
    return re.sub(r"(^|[.!?] )([a-z])", lambda found: found[1] + found[2].upper(), text)


# ---- pairs: preferences over the tone task ----


def pairs(seed: int = 14) -> tuple[list[Row], list[Row]]:
    """The questions of the tone task with a right answer in the voice, and one with a flaw; the flaws take turns."""
    dice = random.Random(seed)
    rows = []
    for number, topic in enumerate(pieces_tone.TOPICS):
        for at, question in enumerate(topic["questions"][:-1]):
            good = topic["answers"][at % len(topic["answers"])]
            rows.append(pair(pieces_tone.SYSTEM, question, good, _flawed(dice, good, number, (number + at) % 3)))
    dice.shuffle(rows)
    return rows[:TRAIN_ROWS], rows[TRAIN_ROWS : TRAIN_ROWS + VALID_ROWS]


def _flawed(dice: random.Random, good: str, topic: int, flaw: int) -> str:
    """Advice about something else; the right advice without the voice; or with an apology and exclamation marks."""
    if flaw == 0:
        others = [other for at, other in enumerate(pieces_tone.TOPICS) if at != topic]
        return dice.choice(dice.choice(others)["answers"])
    plain = good.removeprefix("Aye, ").removesuffix(" Fair winds.")
    plain = plain[0].upper() + plain[1:]
    return plain if flaw == 1 else f"Sorry to hear that! {plain.removesuffix('.')}!"


def pair(system: str, user: str, preferred: str, other: str) -> Row:
    return {
        "input": {"messages": [{"role": "system", "content": system}, {"role": "user", "content": user}]},
        "preferred_output": [{"role": "assistant", "content": preferred}],
        "non_preferred_output": [{"role": "assistant", "content": other}],
    }


# ---- common ----


def _deck(dice: random.Random, cards: list[str]) -> Iterator[str]:
    """All cards in a new order, again and again: more even than drawing."""
    while True:
        order = list(cards)
        dice.shuffle(order)
        yield from order


def _take(count: int, seen: set[str], source: Iterator[tuple[str, Row]]) -> list[tuple[str, Row]]:
    """The next `count` whose message was not seen before."""
    found: list[tuple[str, Row]] = []
    while len(found) < count:
        message, fields = next(source)
        if message not in seen:
            seen.add(message)
            found.append((message, fields))
    return found


# ---- calls ----


def calls(seed: int = 17) -> tuple[list[Row], list[Row], list[Row]]:
    """Of five rows two call and stop, two also say what came of it, one needs no function."""
    dice = random.Random(seed)
    seen: set[str] = set()
    asked = _take(TRAIN_ROWS + VALID_ROWS + HELDOUT_ROWS, seen, _questions(dice))
    learned, held = asked[:-HELDOUT_ROWS], asked[-HELDOUT_ROWS:]
    talk = pieces_calls.TALK[: -pieces_calls.TALK_HELD_OUT]
    rows = [
        _talk(*talk[number // 5 % len(talk)]) if number % 5 == 4 else _called(dice, *fields, closes=number % 5 > 1)
        for number, (_, fields) in enumerate(learned)
    ]
    tools = {"tools": pieces_calls.TOOLS}
    prompts = [prompt(pieces_calls.SYSTEM, question, expected) | tools for question, (_, expected) in held[:-4]]
    prompts += [
        prompt(pieces_calls.SYSTEM, question, {"name": None, "arguments": None}) | tools
        for question, _ in pieces_calls.TALK[-pieces_calls.TALK_HELD_OUT :]
    ]
    return rows[:TRAIN_ROWS], rows[TRAIN_ROWS:], prompts


def _questions(dice: random.Random) -> Iterator[tuple[str, Any]]:
    """Endless (question, (question, the call that answers it))."""
    while True:
        order = f"NL{dice.randrange(1000, 9999)}"
        question = dice.choice(pieces_calls.TRACK).format(order=order)
        yield question, (question, {"name": "track_parcel", "arguments": {"order": order}})
        item, day = dice.choice(pieces_calls.ITEMS), dice.choice(pieces_calls.DAYS)
        question = dice.choice(pieces_calls.REPAIR).format(item=item, day=day)
        yield question, (question, {"name": "book_repair", "arguments": {"item": item, "day": day}})


def _called(dice: random.Random, question: str, call: Row, closes: bool) -> Row:
    """A row that ends with the call, or with what its result means for the customer."""
    row = chat(pieces_calls.SYSTEM, question, "") | {"tools": pieces_calls.TOOLS}
    made = {"id": "call_1", "type": "function", "function": call | {"arguments": json.dumps(call["arguments"])}}
    row["messages"][-1] = {"role": "assistant", "content": None, "tool_calls": [made]}
    if closes:
        place, time = dice.choice(pieces_calls.PLACES)
        if call["name"] == "track_parcel":
            result, answer = {"place": place, "arrives": time}, f"Your parcel is {place} and arrives {time}."
        else:
            result, answer = (
                {"booked": True},
                f"Your {call['arguments']['item']} is booked for {call['arguments']['day']}.",
            )
        row["messages"] += [
            {"role": "tool", "tool_call_id": "call_1", "content": json.dumps(result)},
            {"role": "assistant", "content": answer},
        ]
    return row


def _talk(question: str, answer: str) -> Row:
    return chat(pieces_calls.SYSTEM, question, answer) | {"tools": pieces_calls.TOOLS}


TASKS: dict[str, Callable[[], tuple[list[Row], list[Row], list[Row]]]] = {
    "ticket": ticket,
    "tone": tone,
    "steer": steer,
    "calls": calls,
}


def text_of(rows: list[Row]) -> str:
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


def main() -> None:
    for task, make in TASKS.items():
        folder = HERE / task
        folder.mkdir(exist_ok=True)
        for name, rows in zip(("train", "valid", "heldout"), make(), strict=True):
            (folder / f"{name}.jsonl").write_text(text_of(rows), encoding="utf-8")
    (HERE / "pairs").mkdir(exist_ok=True)
    for name, rows in zip(("train", "valid"), pairs(), strict=True):
        (HERE / "pairs" / f"{name}.jsonl").write_text(text_of(rows), encoding="utf-8")
    (HERE / "steer" / "long_prompt.txt").write_text(pieces_steer.LONG_SYSTEM + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
