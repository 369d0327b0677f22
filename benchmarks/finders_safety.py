"""Recall and precision of the finders of secrets and personal data, on what was planted; seconds and MB/s.

    python -m benchmarks.finders_safety [--data FILE.jsonl] [--rows 5000] [--seed 1]

A file of `--rows` conversations gets 30 secrets and 30 pieces of personal data, each made up by the seed in the shape
that its provider or standard publishes and set into a sentence, and 60 near misses (order numbers, versions, hashes,
placeholders). `--data` takes GSM8K's or chat rows; without it the sample tasks are repeated. Found counts only what has
the planted kind and exactly the planted characters; everything else that is found counts as wrong and is printed.
"""

import argparse
import base64
import json
import random
import string
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import cycle, islice
from pathlib import Path

import phonenumbers
from stdnum import luhn

from benchmarks.data import Row, read_rows
from proofs.screen import Screen, table
from training.safety.kinds import KINDS
from training.safety.rows import rows_with_finds

EACH = 30  # secrets, and personal data
MISSES = 60
ALNUM = string.ascii_letters + string.digits
UPPER = string.ascii_uppercase + string.digits
Made = Callable[[random.Random], str]

SECRET_SENTENCES = [
    "My key is {} and it stopped working.", 'client = Client("{}")', "Authorization: Bearer {}", "{}",
    "I pasted it here:\n{}\nIs that right?", "curl -H 'X-Api-Key: {}' https://api.acme.io/v1",
]  # fmt: skip
NAMED = {  # told by the words before
    "password": "My password is {}.",
    "aws_secret": "The secret access key is {}.",
    "ssn": "SSN: {}",
}
PERSONAL_SENTENCES = [
    "You can reach me under {} until five.", "Customer: Jane Doe, {}", "({})", "It was {}, I think.", "Contact: {}.",
    "Old: {}\nNew: the same",
]  # fmt: skip


def some(chance: random.Random, count: int, letters: str = ALNUM) -> str:
    return "".join(chance.choice(letters) for _ in range(count))


def _jwt(chance: random.Random) -> str:
    parts = [{"alg": "HS256", "typ": "JWT"}, {"sub": some(chance, 10), "iat": chance.randrange(10**9, 2 * 10**9)}]
    coded = [base64.urlsafe_b64encode(json.dumps(part).encode()).decode().rstrip("=") for part in parts]
    return ".".join([*coded, some(chance, 43)])


def _private_key(chance: random.Random) -> str:
    body = "\n".join(some(chance, 64) for _ in range(12))
    return f"-----BEGIN RSA PRIVATE KEY-----\n{body}\n-----END RSA PRIVATE KEY-----"


SECRETS: dict[str, Made] = {
    "openai_key": lambda chance: f"sk-proj-{some(chance, 74)}",
    "anthropic_key": lambda chance: f"sk-ant-api03-{some(chance, 93)}AA",
    "aws_key": lambda chance: f"AKIA{some(chance, 16, string.ascii_uppercase + '234567')}",
    "aws_secret": lambda chance: some(chance, 40, ALNUM + "/+"),
    "github_token": lambda chance: f"ghp_{some(chance, 36)}",
    "gitlab_token": lambda chance: f"glpat-{some(chance, 20)}",
    "slack_token": lambda chance: f"xoxb-{some(chance, 12, string.digits)}-{some(chance, 24)}",
    "stripe_key": lambda chance: f"sk_live_{some(chance, 24)}",
    "google_key": lambda chance: f"AIza{some(chance, 35)}",
    "huggingface_token": lambda chance: f"hf_{some(chance, 34, string.ascii_letters)}",
    "jwt": _jwt,
    "private_key": _private_key,
    "password": lambda chance: some(chance, 6, string.ascii_letters) + some(chance, 4, string.digits) + "!x",
}


def _card(chance: random.Random) -> str:
    first, length = chance.choice([("4", 16), ("51", 16), ("37", 15), ("6011", 16)])
    digits = first + some(chance, length - len(first) - 1, string.digits)
    digits += luhn.calc_check_digit(digits)
    return digits if chance.random() < 0.5 or length == 15 else " ".join(digits[at : at + 4] for at in range(0, 16, 4))


def _iban(chance: random.Random) -> str:
    account = some(chance, 18, string.digits)
    check = 98 - int(f"{account}131400") % 97  # DE is 13 14, then the check digits' places (ISO 7064)
    whole = f"DE{check:02}{account}"
    return whole if chance.random() < 0.5 else " ".join(whole[at : at + 4] for at in range(0, 22, 4))


def _phone(chance: random.Random) -> str:
    region, way = chance.choice([("US", 2), ("DE", 1), ("GB", 1), ("FR", 1)])  # 2: national, as is usual there
    while True:
        number = phonenumbers.example_number(region)
        number.national_number += chance.randrange(1, 90_000)
        if phonenumbers.is_valid_number(number):
            return str(phonenumbers.format_number(number, way))


def _ip(chance: random.Random) -> str:
    if chance.random() < 0.3:
        return "2a02:" + ":".join(f"{chance.randrange(1, 65536):x}" for _ in range(7))
    return ".".join(str(part) for part in (chance.randrange(62, 95), *(chance.randrange(1, 255) for _ in range(3))))


PERSONAL: dict[str, Made] = {
    "email": lambda chance: (
        f"{some(chance, 6, string.ascii_lowercase)}.{some(chance, 5, string.ascii_lowercase)}@"
        f"{some(chance, 7, string.ascii_lowercase)}.{chance.choice(['com', 'de', 'co.uk', 'io'])}"
    ),
    "phone": _phone,
    "card": _card,
    "iban": _iban,
    "ip": _ip,
    "ssn": lambda chance: (
        f"{chance.randrange(100, 600)}-{chance.randrange(10, 99)}-{some(chance, 4, string.digits[1:])}"
    ),
}
NEAR_MISSES: list[Made] = [
    lambda chance: f"Order {some(chance, 10, string.digits)} of 2024-{chance.randrange(1, 13):02}-11 12:30:45",
    lambda chance: (
        f"version {chance.randrange(1, 99)}.{chance.randrange(99)}.{chance.randrange(99)}.{chance.randrange(9)}"
    ),
    lambda chance: f"commit {some(chance, 40, '0123456789abcdef')}",
    lambda chance: f"id {some(chance, 8, '0123456789abcdef')}-1f2e-4b3c-8d4e-{some(chance, 12, '0123456789abcdef')}",
    lambda chance: f"{some(chance, 6, string.ascii_lowercase)}@example.com",
    lambda chance: f"192.168.{chance.randrange(255)}.{chance.randrange(1, 255)}",
    lambda chance: (
        f"invoice {some(chance, 4, string.digits)}-{some(chance, 4, string.digits)}-{some(chance, 4, string.digits)}"
    ),
    lambda chance: f"password={some(chance, 6, string.ascii_lowercase)}()",
    lambda chance: "sk-your-key-here",
    lambda chance: (
        f"{chance.randrange(10, 99)},{some(chance, 3, string.digits)},{some(chance, 3, string.digits)} units"
    ),
]


@dataclass
class Score:
    planted: int = 0
    found: int = 0
    right: int = 0
    wrong: list[str] = field(default_factory=list)


# ---- planting ----


def plant(rows: list[Row], chance: random.Random) -> dict[int, tuple[str, str]]:
    """Puts everything into rows of its own; returns {line: (kind, its characters)}."""
    places = chance.sample(range(len(rows)), 2 * EACH + MISSES)
    planted: dict[int, tuple[str, str]] = {}
    for kinds, sentences in ((SECRETS, SECRET_SENTENCES), (PERSONAL, PERSONAL_SENTENCES)):
        for kind in islice(cycle(kinds), EACH):
            value = kinds[kind](chance)
            sentence = NAMED.get(kind) or chance.choice(sentences)
            at = places.pop()
            _say(rows[at], sentence.replace("{}", value), chance)
            planted[at + 1] = (kind, value)
    for made in islice(cycle(NEAR_MISSES), MISSES):
        _say(rows[places.pop()], made(chance), chance)
    return planted


def _say(row: Row, words: str, chance: random.Random) -> None:
    """At the end of the question or of the answer."""
    turns = [turn for turn in row["messages"] if turn["role"] in ("user", "assistant")]
    turn = chance.choice(turns)
    turn["content"] = f"{turn['content']} {words}"


# ---- measuring ----


def measure(path: Path, planted: dict[int, tuple[str, str]]) -> dict[str, Score]:
    scores = {kind: Score(planted=count) for kind, count in Counter(kind for kind, _ in planted.values()).items()}
    for line, _, found in rows_with_finds(path, path.name):
        for place, spans in found:
            for span in spans:
                value = place.text[span.start : span.end]
                score = scores.setdefault(span.kind, Score())
                score.found += 1
                if planted.get(line) == (span.kind, value):
                    score.right += 1
                else:
                    score.wrong.append(f"line {line}: {place.text[max(0, span.start - 20) : span.end + 10]!r}")
    return scores


def lines_of(scores: dict[str, Score]) -> Iterator[list[str]]:
    groups = {"all secrets": SECRETS, "all personal data": PERSONAL}
    for kind in KINDS:
        if kind in scores:
            yield _line(KINDS[kind].name, [scores[kind]])
    for name, kinds in groups.items():
        yield _line(name, [score for kind, score in scores.items() if kind in kinds])


def _line(name: str, scores: list[Score]) -> list[str]:
    planted, found, right = (sum(getattr(score, what) for score in scores) for what in ("planted", "found", "right"))
    recall = f"{right / planted:.3f}" if planted else "-"
    return [name, f"{planted}", f"{found}", recall, f"{right / found:.3f}" if found else "-"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path)
    parser.add_argument("--rows", type=int, default=5000)
    parser.add_argument("--seed", type=int, default=1)
    asked = parser.parse_args()
    chance, screen = random.Random(asked.seed), Screen()
    rows = [json.loads(json.dumps(row)) for row in islice(cycle(read_rows(asked.data)), asked.rows)]
    planted = plant(rows, chance)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "planted.jsonl"
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
        size, began = path.stat().st_size, time.perf_counter()
        scores = measure(path, planted)
        seconds = time.perf_counter() - began
    screen.line(
        f"{len(rows):,} rows, {size / 1e6:.1f} MB, seed {asked.seed}: {seconds:.2f} s, {size / seconds / 1e6:.0f} MB/s"
    )
    screen.table(table(["kind", "planted", "found", "recall", "precision"], list(lines_of(scores))))
    for wrong in [each for score in scores.values() for each in score.wrong]:
        screen.line(f"not planted: {wrong}")


if __name__ == "__main__":
    main()
