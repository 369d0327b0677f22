"""What a page shows of a film strip: a line for each prompt, a frame for each of the job's weights."""

import difflib
import re
from dataclasses import dataclass
from typing import Final

from playground import deployments, sharing, sheets
from playground.claims import is_claimed
from playground.film import prompts, tending
from playground.film.models import Film, Frame
from playground.film.prompts import Pinned
from playground.models import Deployment
from training.models import TrainingJob

WORDS: Final = re.compile(r"(\w+|[^\w\s])(\s*)")  # a word or a sign, and the space after it
MOST_WORDS_COMPARED: Final = 1_000


@dataclass(frozen=True)
class Piece:
    """A part of an answer; `changed` against the frame before."""

    text: str
    changed: bool = False


@dataclass(frozen=True)
class Cell:
    """One answer; no pieces and no error: not begun."""

    head: "Head"
    pieces: tuple[Piece, ...] = ()
    error: str = ""
    growing: bool = False
    cut: bool = False  # at the most tokens that a frame may have
    as_expected: bool = False
    empty: bool = False  # it was answered, with nothing


@dataclass(frozen=True)
class Head:
    """The top of a frame. `state` is waiting, answering, answered or failed."""

    title: str
    note: str  # which weights
    loss: float | None
    state: str
    words: str = ""  # why it waits or failed
    cells: str = ""  # what stands in the place of its answers, where there is something to say


@dataclass(frozen=True)
class Line:
    pinned: Pinned
    cells: list[Cell]


@dataclass(frozen=True)
class Strip:
    heads: list[Head]
    lines: list[Line]
    state: str  # none, over, waiting, answering, failed, answered
    words: str = ""  # what it waits for and what to do
    can_ask: bool = False  # a press has the missing ones answered now


def of(job: TrainingJob, pinned: list[Pinned] | None = None) -> Strip:
    """`pinned`: its prompts, where they are known already."""
    pinned = prompts.of(job) if pinned is None else pinned
    if not pinned:
        return Strip([], [], "none", _why_none(job))
    frames = tending.frames_of(job)
    keys = [each.key for each in pinned]
    if job.is_final and all(frame.checkpoint is None and not frame.answers for frame in frames):
        return Strip([], [], "over", "The job is over, and there is no checkpoint of it to answer its prompts.")
    held = sharing.training_goes_first() and not Film.objects.filter(job=job, now=True).exists()
    heads = [_head(frame, keys, held) for frame in frames]
    lines = [_line(each, frames, heads) for each in pinned]
    state, words, can_ask = _sum(job, heads)
    return Strip(heads, lines, state, words, can_ask)


def _why_none(job: TrainingJob) -> str:
    if Film.objects.filter(job=job).exists():
        return "None were chosen for this job. Write some, and every checkpoint answers them."
    if job.status == "validating_files":
        return "They are drawn from the validation file when it has been checked."
    if job.validation_file is None:
        return "This job has no validation file to draw them from. Write some of your own."
    return "Write some, and every checkpoint answers them."


def _head(frame: Frame, keys: list[str], held: bool) -> Head:
    """`held`: it waits for the training on the same device."""
    checkpoint, target = frame.checkpoint, tending.target_of(frame)
    title = (checkpoint.label or checkpoint.when.capitalize()) if checkpoint else "Before"
    note = target.name
    if checkpoint:
        note = f"step {checkpoint.step:,}" if checkpoint.ends_epoch else f"in epoch {checkpoint.epoch}"
    loss = checkpoint.full_valid_loss if checkpoint else None
    failure = frame.failure or next((each["error"] for each in frame.answers.values() if each.get("error")), "")
    if failure:
        return Head(title, note, loss, "failed", failure)
    if not tending.is_missing(frame, keys):
        return Head(title, note, loss, "answered")
    if is_claimed(frame):
        return Head(title, note, loss, "answering")
    row = tending.known_row(target)
    if row and row.wanted and row.state == Deployment.State.FAILED:
        return Head(title, note, loss, "failed", row.reason)
    loading = row and row.wanted and row.state != Deployment.State.READY
    words = sheets.state_words(row) if loading and not held else ""
    return Head(title, note, loss, "waiting", words, "after the training" if held else "")


def _line(pinned: Pinned, frames: list[Frame], heads: list[Head]) -> Line:
    cells, before = [], None
    for frame, head in zip(frames, heads, strict=True):
        found = frame.answer_to(pinned.key)
        if not found:
            cells.append(Cell(head))
            continue
        text, done = found["text"], bool(found["stop"])
        pieces = changes(before, text) if done and before is not None else (Piece(text),)
        same = done and bool(pinned.expected) and text.strip() == pinned.expected.strip()
        error, cut = found.get("error", ""), found["stop"] == "length"
        cells.append(Cell(head, pieces, error, not done, cut, same, empty=done and not text.strip()))
        before = text if done and not found.get("error") else before
    return Line(pinned, cells)


def changes(before: str, now: str) -> tuple[Piece, ...]:
    """The words of `now`, those marked that were not there before; joined where neighbours are alike."""
    old, new = ([word for word, _ in WORDS.findall(text)] for text in (before, now))
    if len(old) + len(new) > MOST_WORDS_COMPARED:
        return (Piece(now),)
    spaced = [match.group() for match in WORDS.finditer(now)]
    pieces = []
    for kind, _, _, first, last in difflib.SequenceMatcher(None, old, new, autojunk=False).get_opcodes():
        text = "".join(spaced[first:last])
        if kind in ("replace", "insert"):
            words = text.rstrip()
            pieces += [Piece(words, True), *([Piece(text[len(words) :])] if text != words else [])]
        elif text:
            pieces.append(Piece(text))
    return tuple(pieces)


def _sum(job: TrainingJob, heads: list[Head]) -> tuple[str, str, bool]:
    """State, what it waits for, and whether asking helps."""
    states = {head.state for head in heads}
    if "answering" in states:
        return "answering", "", False
    failed = next((head for head in heads if head.state == "failed"), None)
    if failed:
        return "failed", f"{failed.title}: {failed.words}", True
    if states == {"answered"}:
        return "answered", "" if job.is_final else "The next frame comes with the next checkpoint.", False
    return _waits_for(job, next(head for head in heads if head.state == "waiting"))


def _waits_for(job: TrainingJob, first: Head) -> tuple[str, str, bool]:
    if deployments.heartbeat() is None:
        return "waiting", f"Nothing is served now. {deployments.SERVE_IS_GONE}", False
    if first.words:
        return "waiting", f"{first.title}: {first.words}", False
    if first.cells:
        does = "trains" if sharing.trains_beside() else "is about to train"
        text = f"A job {does} on the device that would answer, so the answers wait until it is done."
        return "waiting", f"{text} Asked now, they slow it down for a while.", True
    if not tending.is_served(job.base_model):
        return "waiting", f"{job.base_model.name} is not loaded, so nothing can answer.", True
    return "waiting", "The answers come in a moment.", True
