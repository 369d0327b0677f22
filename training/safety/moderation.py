"""Moderation of whole files by the project's policy: looked at once by each classifier, kept, and asked by every job.

A row is flagged when any of its texts is. People may keep a flagged row, which then blocks nothing, or drop it; both
stand with the decisions about secrets (reviewing.py) under the kind `flagged`.
"""

import contextlib
import json
import logging
import secrets
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from datetime import timedelta
from hashlib import sha256
from itertools import islice
from pathlib import Path
from typing import Any

from django.db import transaction
from django.utils import timezone

from accounts.errors import ApiError
from training import home, jsonl, notify, texts
from training.engine.errors import EngineError
from training.job_log import add_event
from training.models import DatasetFile, TrainingJob
from training.safety.classifiers import Classifier, classifier_of
from training.safety.embedded import Verdict
from training.safety.finders import find, masked_text
from training.safety.guard_model import NoVerdict
from training.safety.kinds import FLAGGED
from training.safety.models import WHOLE_KIND, ModerationCheck, ModerationPolicy, SafetyDecision
from training.safety.rows import answers_of, document_pieces

log = logging.getLogger(__name__)
Status = ModerationCheck.Status
Policy = ModerationPolicy.Policy

EXCERPT = 200  # characters
ALSO_FIELDS = 10  # of a row that is flagged for several texts
PROGRESS_SECONDS = 0.5
LOOK_SECONDS = 0.2  # between two looks at what somebody else is judging
UNWANTED = "Nobody waits for it any more, so not every row was judged."
HELD_UP_BYTES = 256 << 20  # a job does not wait for a warning about a larger file: judging takes about 5 minutes a GB
TOO_LARGE = (
    "{name} was not moderated: it is so large that the job would have waited for minutes. The policy is to warn, so it "
    "goes on; the Safety tab of the dataset has every row judged."
)
BY_A_GUARD_BYTES = 8 << 20  # the same where a language model judges each text: some minutes on a GPU
SILENT = timedelta(seconds=60)  # a look at a file tells of itself after each batch of texts
GIVEN_UP = timedelta(minutes=20)  # a guard model may have to be loaded before its first verdict
LINES_TOLD = 50  # in the message of a job; the page lists all
_NO_TEXT = (".role", ".type", ".id", ".name", "tool_call_id")  # fields of a row that nobody reads


@dataclass(frozen=True)
class Flagged:
    """A row that was flagged, by its most telling text; `also`: the fields of its other flagged texts, the first of
    them."""

    line: int
    field: str
    categories: list[str]
    score: float | None  # None: the judge gave no figure
    excerpt: str
    also: Sequence[str] = ()


# ---- a file ----


def known(file: DatasetFile, policy: ModerationPolicy) -> ModerationCheck | None:
    """What this policy's classifier said about this file, or is saying; None when it was not asked."""
    found = ModerationCheck.objects.filter(file=file, classifier=classifier_of(policy).key).first()
    if found and found.status in (Status.WAITING, Status.RUNNING) and found.changed_at < timezone.now() - GIVEN_UP:
        return None
    return found


def known_or_start(file: DatasetFile, policy: ModerationPolicy) -> ModerationCheck | None:
    """For a page: a worker is woken here, since loading the embedded classifier takes seconds and 150 MB that the web
    process has better use for. Somebody else's endpoint and a guard model cost time and money, so they are asked only
    on a person's wish or for a job."""
    found = known(file, policy)
    return found if found or policy.policy == Policy.OFF or not policy.is_embedded else start(file, policy)


def start(file: DatasetFile, policy: ModerationPolicy) -> ModerationCheck:
    """Another look by a worker, whatever there was before."""
    classifier = classifier_of(policy)
    fresh = {"status": Status.WAITING, "share": 0.0, "trouble": "", "changed_at": timezone.now()}
    check, _ = ModerationCheck.objects.update_or_create(file=file, classifier=classifier.key, defaults=fresh)
    from training.tasks import moderate_file, wake

    transaction.on_commit(lambda: wake(moderate_file, check.pk))
    return check


def run_in_worker(check_id: int) -> None:
    """Body of the actor. One whose policy has changed meanwhile is not asked."""
    check = ModerationCheck.objects.filter(pk=check_id).select_related("file__project").first()
    if check is None:
        return
    classifier = classifier_of(ModerationPolicy.of(check.file.project))
    if classifier.key == check.classifier and check.status == Status.WAITING:
        run(check, classifier)


def run(check: ModerationCheck, classifier: Classifier, is_wanted: Callable[[], bool] = lambda: True) -> bool:
    """Judges every row and stores what came of it, also in `check`. Whoever is not the first to take the check as it
    stands there leaves: False. It stops when it is not wanted any more."""
    as_read = ModerationCheck.objects.filter(pk=check.pk, status=check.status, changed_at=check.changed_at)
    if not as_read.update(status=Status.RUNNING, share=0.0, trouble="", changed_at=timezone.now()):
        return False
    _run(check, classifier, is_wanted)
    return True


def _run(check: ModerationCheck, classifier: Classifier, is_wanted: Callable[[], bool]) -> None:
    began = time.monotonic()
    try:
        flagged, categories = _judge_file(check, classifier, is_wanted)
    except FileNotFoundError:
        _fail(check, f"{check.file.filename} is gone from the disk. Upload it again.")
        return
    except (ApiError, EngineError) as error:
        _fail(check, error.message)
        return
    except Exception:
        log.exception("moderating %s failed", check.file_id)
        _fail(check, "The check itself failed; the reason stands in the server's log.")
        raise
    _store(
        check,
        status=Status.DONE,
        share=1.0,
        sha256=check.file.sha256,
        flagged=flagged,
        categories=dict(categories),
        seconds=round(time.monotonic() - began, 3),
    )


def _judge_file(
    check: ModerationCheck, classifier: Classifier, is_wanted: Callable[[], bool]
) -> tuple[int, Counter[str]]:
    count, last, categories = 0, 0, Counter[str]()
    path = flagged_path(check)
    # a name of its own: whoever takes over from one that is only slow writes beside it
    part, told = path.with_suffix(f".{secrets.token_hex(4)}.part"), time.monotonic()
    with contextlib.ExitStack() as cleaning, part.open("w", encoding="utf-8") as out:
        cleaning.callback(part.unlink, missing_ok=True)
        for share, rows in _batches(check.file, classifier.batch):
            for flagged in _judge(rows, classifier):
                if flagged.line == last:  # a document that comes in pieces
                    continue
                count, last = count + 1, flagged.line
                categories.update(flagged.categories)
                out.write(json.dumps(asdict(flagged), ensure_ascii=False) + "\n")
            if time.monotonic() - told > PROGRESS_SECONDS:
                if not is_wanted():
                    raise ApiError(UNWANTED, code="cancelled")
                told = time.monotonic()
                _store(check, share=share)
        out.flush()
        part.replace(path)
    return count, categories


Batch = list[tuple[int, str, str, str]]  # line, field, text, what it answers


def _batches(file: DatasetFile, size: int) -> Iterator[tuple[float, Batch]]:
    """Texts of whole rows, about `size` at a time, with the share of the file that is read."""
    batch: Batch = []
    for line, share, row in _rows(file):
        batch += [
            (line, place.field, place.text, question)
            for place, question in answers_of(row)
            if place.text.strip() and not place.field.endswith(_NO_TEXT)
        ]
        if len(batch) >= size:
            yield share, batch
            batch = []
    yield 1.0, batch


def _rows(file: DatasetFile) -> Iterator[tuple[int, float, dict[str, Any]]]:
    if texts.is_raw_text(file.path, file.filename):
        for number, _, words, _ in document_pieces(file.path):
            yield number, number / max(1, file.rows, number), {"text": words}
        return
    lines = max(1, int(file.statistics.get("lines") or file.rows))
    for number, row in jsonl.iterate(file.path):
        yield number, min(1.0, number / lines), row


def _judge(batch: Batch, classifier: Classifier) -> Iterator[Flagged]:
    """One of each flagged row: its text with the highest score."""
    worst: dict[int, tuple[float, Verdict, str, str]] = {}
    every: dict[int, set[str]] = {}
    places: dict[int, list[str]] = {}
    for (line, field, words, _), verdict in zip(batch, _verdicts(batch, classifier), strict=True):
        if verdict.flagged:
            sure = 1.0 if verdict.score is None else verdict.score
            every.setdefault(line, set()).update(verdict.categories)
            places.setdefault(line, []).append(field)
            if line not in worst or sure > worst[line][0]:
                worst[line] = (sure, verdict, field, words)
    for line, (_, verdict, field, words) in sorted(worst.items()):
        score = None if verdict.score is None else round(verdict.score, 4)
        also = [each for each in places[line] if each != field][:ALSO_FIELDS]
        yield Flagged(line, field, sorted(every[line]), score, _excerpt(words), also)


def _verdicts(batch: Batch, classifier: Classifier) -> list[Verdict]:
    """Raises ApiError; where one text has no verdict, with its line."""
    try:
        return classifier.judge([each[2] for each in batch], [each[3] for each in batch])
    except NoVerdict as error:
        line, field, *_ = batch[error.index]
        raise ApiError(f"Line {line}, {field}: {error.message}", code=error.code) from error


def _excerpt(words: str) -> str:
    """The beginning, with secrets and personal data masked."""
    head = words[: 4 * EXCERPT]
    shown = masked_text(head, find(head))[0]
    return shown if len(shown) <= EXCERPT else shown[:EXCERPT] + "…"


def _store(check: ModerationCheck, **columns: Any) -> None:
    """In the object too: what came of this look must not be mistaken for that of another one at the same time."""
    for name, value in columns.items():
        setattr(check, name, value)
    if ModerationCheck.objects.filter(pk=check.pk).update(changed_at=timezone.now(), **columns):
        notify.project_changed(check.file.project_id)


def _fail(check: ModerationCheck, trouble: str) -> None:
    """What somebody else has finished meanwhile stays."""
    check.status, check.trouble = Status.FAILED, trouble
    still = ModerationCheck.objects.filter(pk=check.pk, status=Status.RUNNING)
    if still.update(status=Status.FAILED, trouble=trouble, changed_at=timezone.now()):
        notify.project_changed(check.file.project_id)


# ---- what was flagged ----


def flagged_path(check: ModerationCheck) -> Path:
    return home.file_folder(check.file_id) / f"flagged-{sha256(check.classifier.encode()).hexdigest()[:12]}.jsonl"


def flagged_rows(check: ModerationCheck, first: int = 0, count: int | None = None) -> Iterator[Flagged]:
    try:
        with flagged_path(check).open(encoding="utf-8") as lines:
            for line in islice(lines, first, None if count is None else first + count):
                yield Flagged(**json.loads(line))
    except FileNotFoundError:
        return


class Kept:
    """Which flagged rows people have decided about."""

    def __init__(self, file: DatasetFile) -> None:
        made = SafetyDecision.objects.filter(file=file, kind=FLAGGED)
        self.lines: dict[int, str] = dict(made.values_list("line", "decision"))

    def about(self, line: int) -> str:
        """keep | drop | "" while nobody has decided."""
        return self.lines.get(line) or self.lines.get(WHOLE_KIND, "")


def blocking(file: DatasetFile, check: ModerationCheck) -> Iterator[Flagged]:
    """Flagged rows that nobody has kept."""
    kept = Kept(file)
    return (row for row in flagged_rows(check) if kept.about(row.line) != SafetyDecision.Decision.KEEP)


def undecided(file: DatasetFile, policy: ModerationPolicy) -> int:
    """Flagged rows that nobody has kept or dropped."""
    check, kept = known(file, policy), Kept(file)
    if check is None or check.status != Status.DONE or not check.flagged or kept.lines.get(WHOLE_KIND):
        return 0
    return sum(not kept.about(row.line) for row in flagged_rows(check))


def dropped_lines(file: DatasetFile, policy: ModerationPolicy) -> set[int]:
    """Flagged rows that a new version leaves out."""
    check, kept = known(file, policy), Kept(file)
    if check is None or check.status != Status.DONE or SafetyDecision.Decision.DROP not in kept.lines.values():
        return set()
    return {row.line for row in flagged_rows(check) if kept.about(row.line) == SafetyDecision.Decision.DROP}


# ---- a job ----


def refusal(job: TrainingJob) -> ApiError | None:
    """Judges the job's training file if nobody has yet; an event tells what was flagged. What blocks the job is
    returned, in OpenAI's words with the rows named."""
    file, policy = job.training_file, ModerationPolicy.of(job.project)
    if file is None or policy.policy == Policy.OFF:
        return None
    most = BY_A_GUARD_BYTES if policy.guard else HELD_UP_BYTES
    if policy.policy == Policy.WARN and file.bytes > most and not _is_judged(file, known(file, policy)):
        add_event(job, TOO_LARGE.format(name=file.filename), type="moderation_checks", once=True)
        return None
    check = _judged(file, policy, lambda: TrainingJob.objects.filter(pk=job.pk, status=job.status).exists())
    name = classifier_of(policy).name
    if check.status != Status.DONE:
        return _unjudged(job, policy, check)
    open_rows = list(blocking(file, check))
    if not open_rows:
        return None
    categories = Counter(category for row in open_rows for category in row.categories)
    said = in_words(open_rows, categories, file.rows, name)
    blocks = policy.policy == Policy.BLOCK
    data = {
        "policy": policy.policy,
        "classifier": name,
        "flagged": len(open_rows),
        "flagged_lines": [row.line for row in open_rows[:1000]],
        "categories": dict(categories),
        "enforcement": "blocked" if blocks else "none",
    }
    add_event(job, said, level="error" if blocks else "warn", type="moderation_checks", data=data, once=True)
    return _blocked(open_rows, categories) if blocks else None


def _is_judged(file: DatasetFile, check: ModerationCheck | None) -> bool:
    return check is not None and check.status == Status.DONE and check.sha256 == file.sha256


def _judged(file: DatasetFile, policy: ModerationPolicy, is_wanted: Callable[[], bool]) -> ModerationCheck:
    """What is being judged at this moment, for a page or another job, is waited for. Everything else is judged here and
    now: what nobody has begun, and what was silent for so long that whoever did it may be gone."""
    classifier = classifier_of(policy)
    while True:
        check, _ = ModerationCheck.objects.get_or_create(file=file, classifier=classifier.key)
        check.file = file
        if _is_judged(file, check):
            return check
        if check.status != Status.RUNNING or check.changed_at < timezone.now() - SILENT:
            if run(check, classifier, is_wanted):
                return check
        elif is_wanted():
            time.sleep(LOOK_SECONDS)
        else:
            check.status, check.trouble = Status.FAILED, UNWANTED
            return check


def _unjudged(job: TrainingJob, policy: ModerationPolicy, check: ModerationCheck) -> ApiError | None:
    """A policy that blocks does not let through what nobody could judge; one that warns says so and goes on."""
    said = check.trouble or "The training file could not be moderated."
    if policy.policy == Policy.BLOCK:
        return ApiError(
            f"{said} The project's policy is to block, so nothing was trained.", code="moderation_unavailable"
        )
    add_event(job, said, level="warn", type="moderation_checks", data={"policy": policy.policy}, once=True)
    return None


def in_words(rows: list[Flagged], categories: Counter[str], total: int, name: str) -> str:
    flagged = f"{name} flagged {len(rows):,} of {total:,} examples for {_names(categories)}"
    return f"Moderation: {flagged}. Flagged lines: {lines_in_words(rows)}"


def lines_in_words(rows: list[Flagged]) -> str:
    told = ", ".join(str(row.line) for row in rows[:LINES_TOLD])
    return told + (f" and {len(rows) - LINES_TOLD:,} more" if len(rows) > LINES_TOLD else "")


def _names(categories: Counter[str]) -> str:
    return ", ".join(name for name, _ in categories.most_common()) or "reasons of its own"


def _blocked(rows: list[Flagged], categories: Counter[str]) -> ApiError:
    text = (
        "The job failed due to an invalid training file. This file failed moderation safety checks. To fine tune on "
        "this data, please try removing the flagged lines and uploading the file again, or keep them on the Safety tab "
        f"of the dataset. Flagged lines: {lines_in_words(rows)}. Flagged categories: {_names(categories)}"
    )
    return ApiError(text, param="training_file", code="invalid_training_file")


def by(policy: ModerationPolicy) -> str:
    """Who judges, for a page."""
    return classifier_of(policy).name
