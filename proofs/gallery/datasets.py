"""Datasets of every sort and in every state, in a project of their own, and the addresses of their tabs."""

import io
import json
import random
import zipfile
from datetime import timedelta
from typing import Any

import pyarrow as pa
import pyarrow.parquet as parquet
from django.urls import reverse
from django.utils import timezone

from accounts.models import Project, User
from tests import factories, makers
from training import checks, files, splits, token_counts, uploads
from training.files import SAMPLES
from training.intake.models import Making
from training.models import BaseModel, DatasetFile, FileTask
from training.repairs import asking
from training.repairs.models import Repair
from training.repeats import work
from training.safety import moderation, reviewing, scanning
from training.safety.models import ModerationCheck, ModerationPolicy, SafetyScan

FAR = timedelta(days=1)  # so that nobody takes a worker for gone while pictures are taken
SYSTEM = "You answer customers of a shop for lamps and chairs. Be short, kind and exact."
THINGS = ("lamp", "chair", "desk", "shelf", "rug", "mirror", "stool", "clock", "vase", "bench")
FAULTS = ("arrived broken", "has not arrived", "is the wrong colour", "came twice", "smells of paint", "wobbles")
ANSWERS = (
    "I am sorry about the {thing}. A new one leaves our store today and reaches you on {day}.",
    "Thank you for telling us. Please keep the {thing}; your money is back with you by {day}.",
    "The carrier says that the {thing} is on its way. If it is not there on {day}, write to me again.",
)
DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday")


def seed(project: Project, owner: User, base: BaseModel) -> dict[str, str]:
    """Adds everything; picture's name -> address."""
    made = {
        name: files.create_file(project, owner, name, "fine-tune", content) for name, content in _contents().items()
    }
    for file in made.values():
        if file.status == "uploaded":  # packed, or too large to be checked on arrival
            checks.check(file.pk)
            file.refresh_from_db()
    made["gone.jsonl"].path.unlink()
    splits.split(made["chat.jsonl"], share=0.1, seed=7, user=owner)
    _unfinished(project, owner, made)
    _judged(made["private.jsonl"], owner)
    job = {"training_file": made["chat.jsonl"], "validation_file": made["chat.jsonl"], "base_model": base}
    makers.make_job(project, steps=40, total_steps=40, status="succeeded", label="Lamps", suffix="lamps", **job)
    counted = made["chat.jsonl"]
    token_counts.token_facts(counted, base, with_index=True)
    return dict(_addresses(made, _repairs(made, owner, base), base))


def _row(number: int, system: str | None = SYSTEM) -> dict[str, Any]:
    pick = random.Random(number)
    thing = pick.choice(THINGS)
    asked = f"Order {4000 + number}: my {thing} {pick.choice(FAULTS)}. What now?"
    return factories.chat_row(asked, pick.choice(ANSWERS).format(thing=thing, day=pick.choice(DAYS)), system)


def _lines(*rows: Any) -> bytes:
    return b"".join(json.dumps(row, ensure_ascii=False).encode() + b"\n" for row in rows)


def _contents() -> dict[str, bytes]:
    rows = [_row(number) for number in range(240)]
    talk = [{"role": "user", "content": "And the colour?"}, {"role": "assistant", "content": "Oak, as ordered."}]
    long = {"messages": [*rows[0]["messages"], *talk * 40]}
    table = pa.table({"question": [f"Where is order {n}?" for n in range(90)], "answer": ["In the post."] * 90})
    packed, parquet_bytes = io.BytesIO(), io.BytesIO()
    parquet.write_table(table, parquet_bytes)
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("export/spring-rows.jsonl", _lines(*rows[:60]))
    pairs = [factories.preference_row(f"Where is order {n}?", "It left today." * (1 + n % 3), "No.") for n in range(60)]
    return {
        "chat.jsonl": _lines(*rows, long),
        "no-system-prompt.jsonl": _lines(*(_row(number, None) for number in range(80))),
        "wrong.jsonl": _wrong(),
        "private.jsonl": _lines(*(_private(number) for number in range(90))),
        "repeats.jsonl": _lines(*rows[:50], *rows[:12], *map(_nearly, rows[12:30]), *map(_elsewise, rows[30:36])),
        "repeats-valid.jsonl": _lines(*rows[100:130], *rows[:6], *map(_nearly, rows[6:10])),
        "handbook.txt": ("A lamp that flickers has a loose bulb. Turn it, then wait.\n\n" * 12 + "\f").encode() * 40,
        "orders.parquet": parquet_bytes.getvalue(),
        "orders.csv": b"question;answer;product\n" + b"Where is it?;In the post.;lamp\n" * 30,
        "lamps.zip": packed.getvalue(),
        "pairs.jsonl": _lines(*pairs),
        "calls.jsonl": (SAMPLES / "calls" / "train.jsonl").read_bytes(),
        "gone.jsonl": _lines(*rows[:30]),
        "one-row.jsonl": _lines(rows[0]),
        "large.jsonl": _lines(*(_row(number) for number in range(6000))),
        "other-large.jsonl": _lines(*(_row(number, None) for number in range(6000))),
    }


def _wrong() -> bytes:
    """Many kinds of fault between good rows, some often."""
    call = {"id": "c1", "type": "function", "function": {"name": "find", "arguments": {"order": 4}}}
    twice = {"id": "c1", "type": "function", "function": {"name": "find", "arguments": '"{\\"order\\": 4}"'}}
    ask = {"role": "user", "content": "Where is my lamp?"}
    odd = [
        {"messages": [{"role": "human", "content": "Where is my lamp?"}, {"role": "bot", "content": "In the post."}]},
        {"messages": [ask, {"role": "assistant", "content": ""}]},
        {"messages": [ask, {"role": "assistant", "content": "In the post.   \n"}]},
        {"messages": [ask, {"role": "assistant", "content": None, "tool_calls": [call]}]},
        {"messages": [ask, {"role": "assistant", "content": None, "tool_calls": [twice]}]},
        {"messages": [ask]},
        {"messages": [ask, {"role": "assistant", "content": "Soon.", "weight": "1"}]},
        {"conversations": [{"from": "human", "value": "Hi"}, {"from": "gpt", "value": "Hello."}]},
        {"messages": [ask, {"role": "assistant", "content": "Soon.", "mood": "kind"}], "topic": "post"},
    ]
    lines = [_lines(_row(number), odd[number % len(odd)]) for number in range(120)]
    return b"\n".join([*lines, b'{"messages": [{"role": "user", "content": "cut off', b"", b"hello\n"])


def _private(number: int) -> dict[str, Any]:
    row = _row(number)
    more = {
        0: "Write to ada.lovelace@example.com, please.",
        1: f"My number is +49 30 9018{number:04d}.",
        2: "I paid with 4111 1111 1111 1111.",
        3: "The key is sk-proj-" + "".join(random.Random(number).choices("abcdefghijkmnpqrstuvwxyz0123456789", k=48)),
        4: "My IBAN is DE89 3704 0044 0532 0130 00.",
    }.get(number % 9, "")
    row["messages"][1]["content"] += f" {more}" if more else ""
    return row


def _nearly(row: dict[str, Any]) -> dict[str, Any]:
    asked, answer = row["messages"][1]["content"], row["messages"][2]["content"]
    return factories.chat_row(asked.replace("What now?", "What happens now?"), answer, SYSTEM)


def _elsewise(row: dict[str, Any]) -> dict[str, Any]:
    return factories.chat_row(row["messages"][1]["content"], "Please write to the shop where you bought it.", SYSTEM)


# ---- what is under way, and what failed ----


def _unfinished(project: Project, owner: User, made: dict[str, DatasetFile]) -> None:
    half = uploads.begin_upload(project, owner, "half-way.jsonl", 80_000_000)
    half.part_path.write_bytes(bytes(31_000_000))
    for name, share in (("checking.jsonl", 0.42), ("waits-for-a-worker.jsonl", 0.0)):
        made[name] = DatasetFile.objects.create(project=project, filename=name, bytes=1_900_000_000, created_by=owner)
        made[name].path.parent.mkdir(parents=True, exist_ok=True)
        made[name].path.touch()
        DatasetFile.objects.filter(pk=made[name].pk).update(check_share=share)
    failed = files.create_file(project, owner, "check-failed.jsonl", "fine-tune", _lines(_row(300)))
    details = "The check itself failed; the reason stands in the worker's log. Press Check again."
    DatasetFile.objects.filter(pk=failed.pk).update(
        status="error",
        status_details=details,
        problems=[],
        rows=0,
        problem_count=0,
        warning_count=0,
        statistics={},
        format="",
    )
    full = files.create_file(project, owner, "disk-full.jsonl", "fine-tune", _lines(_row(1)))
    text, fix = "There is no room for it on this server's disk (12 MB are free)", "Then press Check again."
    report = checks._as_columns(checks.datasets.refused(text, fix, "disk_full"))
    DatasetFile.objects.filter(pk=full.pk).update(**report)
    made |= {"check-failed.jsonl": failed, "disk-full.jsonl": full}
    asked = {"project": project, "created_by": owner, "beat_at": timezone.now() + FAR}
    Making.objects.create(kind="combined", name="Lamps and chairs", status="working", share=0.37, **asked)
    why = "openai/gsm8k could not be brought: the hub did not answer for 30 s. Try again."
    Making.objects.create(kind="hub", name="gsm8k-train.parquet", status="failed", message=why, **asked)
    _at_work(made)
    work.compare(made["repeats.jsonl"], made["repeats-valid.jsonl"])


def _at_work(made: dict[str, DatasetFile]) -> None:
    """Large files: one that a worker is at, and one where it failed or has not begun."""
    base = str(BaseModel.objects.ready().get(name="SmolLM2-135M-Instruct").pk)
    at, failed = made["large.jsonl"], made["other-large.jsonl"]
    begun = timezone.now() - timedelta(seconds=41)
    now = {"claim": "another-machine.1.1.a", "heartbeat_at": timezone.now(), "started_at": begun}
    why = "No space left on device. Free some room on the server's disk, then count again."
    for kind, key, asked in (("tokens", base, {"sha256": at.sha256}), ("repeats", "", {"finder": work.FINDER})):
        FileTask.objects.create(file=at, kind=kind, key=key, asked=asked, status="running", share=0.37, **now)
    ended = {"status": "failed", "message": why, "finished_at": timezone.now()}
    FileTask.objects.create(file=failed, kind="tokens", key=base, asked={"sha256": failed.sha256}, **ended)
    FileTask.objects.create(file=failed, kind="repeats", asked={"finder": work.FINDER}, **ended)
    later = {"changed_at": timezone.now() + FAR}
    SafetyScan.objects.update_or_create(file=at, defaults={"status": "running", "share": 0.6, **later})
    trouble = "other-large.jsonl could not be read to its end: the disk answered with an error."
    SafetyScan.objects.update_or_create(file=failed, defaults={"status": "failed", "trouble": trouble, **later})
    for file in (at, failed):
        DatasetFile.objects.filter(pk=file.pk).update(token_facts={})


def _judged(file: DatasetFile, owner: User) -> None:
    """Rows that moderation flagged, and some decisions about what was found."""
    policy = ModerationPolicy.of(file.project)
    scanning.scan_or_start(file)
    found = list(scanning.listed(file))[:2]
    for each, decision in zip(found, ("redact", "keep"), strict=False):
        where = {"kind": each.kind, "line": each.line, "field": each.field, "start": each.start}
        reviewing.decide(file, decision, user=owner, **where)
    moderation.known_or_start(file, policy)
    ModerationCheck.objects.filter(file=file).update(changed_at=timezone.now() + FAR)


def _repairs(made: dict[str, DatasetFile], owner: User, base: BaseModel) -> dict[str, Repair]:
    """A preview, one that a worker is at, one that failed, and one that was made; each of another file or person."""
    wrong = made["wrong.jsonl"]
    keys = ["role_names", "empty_messages", "arguments", "trailing_space", "weight_type", "unknown_fields", "drop_bad"]
    done = asking.make(asking.look(wrong, keys, owner))
    shown = asking.look(wrong, [*keys, "blank_lines"], owner)
    columns = {"file": wrong, "keys": keys}
    failed = Repair.objects.create(state="failed", problem="No space left on device.", **columns)
    looking = Repair.objects.create(state="looking", share=0.4, **columns)
    nothing = asking.look(made["chat.jsonl"], ["too_long"], owner, how="drop", model=base.name, max_length=8000)
    cut = asking.look(made["chat.jsonl"], ["too_long"], None, how="truncate", model=base.name, max_length=120)
    return {"done": done, "shown": shown, "failed": failed, "looking": looking, "nothing": nothing, "cut": cut}


# ---- addresses ----


def _addresses(made: dict[str, DatasetFile], repairs: dict[str, Repair], base: BaseModel) -> list[tuple[str, str]]:
    def of(name: str, tab: str = "", more: str = "") -> str:
        return reverse("dataset", args=[made[name].pk]) + (f"?tab={tab}{more}" if tab else "")

    tabs = ("rows", "problems", "tokens", "repeats", "safety", "split", "versions", "used")
    found = [(f"{name.partition('.')[0]}", of(name)) for name in made if name in made]
    found += [(f"chat-{tab}", of("chat.jsonl", tab)) for tab in tabs]
    found += [(f"large-{tab}", of("large.jsonl", tab)) for tab in ("tokens", "repeats", "safety", "split")]
    found += [(f"failing-{tab}", of("other-large.jsonl", tab)) for tab in ("tokens", "repeats", "safety")]
    found += [(f"text-{tab}", of("handbook.txt", tab)) for tab in ("rows", "tokens", "repeats", "safety", "split")]
    found += [(f"private-{tab}", of("private.jsonl", tab)) for tab in ("safety", "problems")]
    found += [("no-system-prompt-problems", of("no-system-prompt.jsonl", "problems"))]
    found += [(f"wrong-{tab}", of("wrong.jsonl", tab)) for tab in ("rows", "problems", "tokens", "repeats")]
    found += [(f"repair-{key}", of(it.file.filename, "problems", f"&repair={it.pk}")) for key, it in repairs.items()]
    other = made["repeats-valid.jsonl"].pk
    found += [
        ("rows-found", of("chat.jsonl", "rows", "&q=lamp&role=user")),
        ("rows-no-match", of("chat.jsonl", "rows", "&q=zebra")),
        ("rows-bad-filter", of("chat.jsonl", "rows", "&turns=many")),
        ("rows-tokens", of("chat.jsonl", "rows", f"&view=tokens&model={base.name}&max_length=64")),
        ("row", reverse("dataset-row", args=[made["chat.jsonl"].pk, 3])),
        ("row-cut", reverse("dataset-row", args=[made["chat.jsonl"].pk, 241]) + "?max_length=100"),
        ("row-wrong", reverse("dataset-row", args=[made["wrong.jsonl"].pk, 2])),
        ("row-calls", reverse("dataset-row", args=[made["calls.jsonl"].pk, 1])),
        ("row-pair", reverse("dataset-row", args=[made["pairs.jsonl"].pk, 1])),
        ("repeats-exact", of("repeats.jsonl", "repeats", "&kind=exact")),
        ("repeats-near", of("repeats.jsonl", "repeats", "&kind=near")),
        ("repeats-remove", of("repeats.jsonl", "repeats", "&remove=exact&remove=near&alike=80&side=rows")),
        ("leaks", of("repeats.jsonl", "repeats", f"&of={other}")),
        ("map", reverse("map-columns", args=[made["orders.csv"].pk])),
        ("combine", reverse("combine-datasets") + f"?file={made['chat.jsonl'].pk}"),
        ("hub", reverse("dataset-from-hub")),
        ("hub-away", reverse("dataset-from-hub") + "?id=openai/gsm8k"),
        ("list", reverse("datasets")),
        ("settings", reverse("settings")),
    ]
    return found
