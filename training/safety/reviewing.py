"""What people decide about finds, and the version of a dataset that is made of their decisions."""

import json
import logging
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from typing import BinaryIO

from django.db import transaction
from django.utils import timezone

from accounts.errors import ApiError
from accounts.models import User
from training import jsonl, notify, texts
from training.models import DatasetFile
from training.safety import finders, moderation, scanning
from training.safety.kinds import FLAGGED, KINDS, Span
from training.safety.models import WHOLE_KIND, ModerationPolicy, SafetyDecision, SafetyScan
from training.safety.rows import Found, Place, document_pieces, found_in, rows_with_finds
from training.safety.scanning import listed
from training.versions import new_version

log = logging.getLogger(__name__)
Decision = SafetyDecision.Decision
Key = tuple[str, int, str, int]  # kind, line, field, start


def decide(
    file: DatasetFile,
    decision: str,
    *,
    kind: str,
    line: int = WHOLE_KIND,
    field: str = "",
    start: int = 0,
    user: User | None,
) -> None:
    """About one find, or with no line about all of its kind; an empty decision takes an earlier one back."""
    where = {"file": file, "kind": kind, "line": line, "field": field[:500], "start": start}
    possible = [Decision.KEEP, Decision.DROP] if kind == FLAGGED else Decision.values if kind in KINDS else []
    if decision not in ("", *possible) or not possible:
        raise ApiError(f"Nothing can be decided so: {decision!r} about {kind!r}.", param="decision")
    if not decision:
        SafetyDecision.objects.filter(**where).delete()
        return
    told = {"decision": decision, "decided_by": user, "decided_at": timezone.now()}
    SafetyDecision.objects.update_or_create(**where, defaults=told)


@dataclass
class Decisions:
    """All decisions about a file, to be looked up."""

    kinds: dict[str, SafetyDecision]
    finds: dict[Key, SafetyDecision]

    @classmethod
    def of(cls, file: DatasetFile) -> "Decisions":
        made = list(SafetyDecision.objects.filter(file=file).select_related("decided_by"))
        return cls(
            kinds={each.kind: each for each in made if each.line == WHOLE_KIND},
            finds={(each.kind, each.line, each.field, each.start): each for each in made if each.line != WHOLE_KIND},
        )

    def kept_lines(self) -> set[int]:
        return {made.line for made in self.finds.values() if made.decision == Decision.KEEP}

    def about(self, kind: str, line: int, field: str, start: int) -> SafetyDecision | None:
        return self.finds.get((kind, line, field[:500], start)) or self.kinds.get(kind)


@dataclass
class Outcome:
    """What becomes of finds, by decision ("" where none was made) and kind. One in a row that goes is dropped, whatever
    was decided about the find itself."""

    counts: dict[str, Counter[str]] = field(
        default_factory=lambda: {each: Counter() for each in ("", *Decision.values)}
    )
    kept_by: defaultdict[str, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))  # kind: people
    moved: dict[Key, int] = field(default_factory=dict)  # where kept finds begin after what was redacted before them
    shift: int = 0  # characters by which redaction has made the field longer so far, which may come in pieces

    def add(self, kind: str, made: SafetyDecision | None, goes: bool, many: int = 1) -> None:
        """`goes`: its row does."""
        decision = Decision.DROP if goes else made.decision if made else ""
        self.counts[decision][kind] += many
        if made and decision == Decision.KEEP:
            self.kept_by[kind][str(made.decided_by or "somebody")] += many

    def total(self, decision: str) -> int:
        return self.counts[decision].total()

    def words(self, flagged: int) -> str:
        """For the list of versions: "Redacted: 12 × E-mail address. Dropped the rows of: 2 × Phone number. Kept:
        1 × AWS key (decided by Jane Doe)."."""
        said = [
            f"{verb}: "
            + ", ".join(f"{count:,} × {KINDS[kind].name}{self._who(kind, decision)}" for kind, count in most)
            + "."
            for decision, verb in (("redact", "Redacted"), ("drop", "Dropped the rows of"), ("keep", "Kept"))
            if (most := self.counts[decision].most_common())
        ]
        rows = f"{flagged:,} row{'' if flagged == 1 else 's'}"
        said += [f"Dropped {rows} that moderation had flagged."] if flagged else []
        return " ".join(said)

    def _who(self, kind: str, decision: str) -> str:
        return f" (decided by {', '.join(sorted(self.kept_by[kind]))})" if decision == Decision.KEEP else ""


def foreseen(file: DatasetFile, scan: SafetyScan, decisions: Decisions, going: set[int]) -> Outcome:
    """What a version would make of the finds; `going` are flagged rows that are dropped. Exact where every find is
    listed; of those beyond, rows that go for another find are not known."""
    outcome, rest = Outcome(), Counter(scan.counts)
    if decisions.finds or decisions.kinds or going:
        finds = [(each, decisions.about(each.kind, each.line, each.field, each.start)) for each in listed(file)]
        gone = going | {each.line for each, made in finds if made and made.decision == Decision.DROP}
        for each, made in finds:
            outcome.add(each.kind, made, each.line in gone)
            rest[each.kind] -= 1
    for kind, many in (+rest).items():
        outcome.add(kind, made := decisions.kinds.get(kind), bool(made and made.decision == Decision.DROP), many)
    return outcome


def known(file: DatasetFile) -> Outcome | None:
    """What is foreseen of the finds in a file; None where nobody has looked or there are none."""
    scan = SafetyScan.objects.filter(file=file, status=SafetyScan.Status.DONE).first()
    if scan is None or not scan.found:
        return None
    return foreseen(file, scan, Decisions.of(file), _flagged_lines(file))


# ---- a version of the decisions ----


def refusal(file: DatasetFile) -> str:
    """Why no version can be made of this file; empty when one can."""
    if file.status != DatasetFile.Status.PROCESSED:
        return "Correct its problems first: rows that cannot be read cannot be rewritten."
    if not file.path.exists():
        return f"{file.filename} is gone from the disk. Upload it again."
    return ""


def make_or_start(file: DatasetFile, user: User | None) -> DatasetFile | None:
    """The version without what was decided on; None when the worker makes it. Raises ApiError."""
    found = SafetyScan.objects.filter(file=file, status=SafetyScan.Status.DONE).first()
    if reason := refusal(file):
        raise ApiError(reason, param="file")
    if found is None:
        raise ApiError("The file is not looked through yet. Wait for the end of it.", param="file")
    going = _flagged_lines(file)
    outcome = foreseen(file, found, Decisions.of(file), going)
    if not outcome.total("redact") and not outcome.total("drop") and not going:
        raise ApiError("Nothing is to be redacted or dropped yet. Decide about a find or a kind first.", param="file")
    if file.bytes < scanning.AT_ONCE_BYTES:
        return make(file, user)
    if SafetyScan.objects.filter(file=file, making=False).update(making=True, making_trouble=""):
        from training.tasks import redact, wake

        transaction.on_commit(lambda: wake(redact, file.pk, user.pk if user else None))
    return None


def make(file: DatasetFile, user: User | None) -> DatasetFile:
    """A new version in which every find is as it was decided; the file itself stays as it is. What was kept is kept in
    the new version too. Raises ApiError."""
    decisions, going, outcome = Decisions.of(file), _flagged_lines(file), Outcome()
    raw = texts.is_raw_text(file.path, file.filename)
    name = f"{file.filename.rpartition('.')[0] or file.filename}.jsonl" if raw else ""
    lines: dict[int, int] = {}  # of rows that somebody kept: their places in the new version
    made = new_version(
        file,
        kind="redacted",
        words="",
        user=user,
        write=lambda out: (_write_documents if raw else _write_rows)(file, decisions, going, outcome, lines, out),
        filename=name,
        flagged=len(going),
    )
    # what was done is known now that it is written
    done = {"redacted": dict(outcome.counts["redact"]), "dropped": dict(outcome.counts["drop"])}
    kept = {"kept": {kind: dict(people) for kind, people in outcome.kept_by.items()}}
    made.origin |= {"words": outcome.words(len(going)), **done, **kept}
    made.save(update_fields=["origin"])
    _carry_over(file, made, {WHOLE_KIND: WHOLE_KIND} | lines, outcome.moved)
    return made


def _carry_over(file: DatasetFile, made: DatasetFile, lines: dict[int, int], moved: dict[Key, int]) -> None:
    """A row that somebody looked at and kept need not be looked at again, least of all to be trained on."""
    for kept in SafetyDecision.objects.filter(file=file, decision=Decision.KEEP, line__in=lines):
        start = moved.get((kept.kind, kept.line, kept.field, kept.start), kept.start)
        where = {"kind": kept.kind, "line": lines[kept.line], "field": kept.field, "start": start}
        told = {"decision": kept.decision, "decided_by": kept.decided_by, "decided_at": kept.decided_at}
        SafetyDecision.objects.get_or_create(file=made, **where, defaults=told)


def make_in_worker(file_id: str, user_id: int | None) -> None:
    """Body of the actor; trouble is told on the page."""
    file = DatasetFile.objects.filter(pk=file_id).first()
    if file is None or not SafetyScan.objects.filter(file=file, making=True).exists():
        return
    trouble = ""
    try:
        make(file, User.objects.filter(pk=user_id).first())
    except ApiError as error:
        trouble = error.message
    except Exception:
        log.exception("making a version of %s failed", file_id)
        trouble = "No version could be made; the reason stands in the server's log."
        raise
    finally:
        SafetyScan.objects.filter(file=file).update(making=False, making_trouble=trouble)
        notify.project_changed(file.project_id)


def _flagged_lines(file: DatasetFile) -> set[int]:
    return moderation.dropped_lines(file, ModerationPolicy.of(file.project))


def _write_rows(
    file: DatasetFile, decisions: Decisions, going: set[int], outcome: Outcome, lines: dict[int, int], out: BinaryIO
) -> None:
    kept, written = decisions.kept_lines(), 0
    with file.path.open("rb") as source:
        for number, line in jsonl.lines(source):
            if line is None or not line.strip():
                continue
            if number == 1:
                line = line.removeprefix(b"\xef\xbb\xbf")
            if finders.may_hold(line):
                row = jsonl.parse(line)
                verdict = _rewrite(found_in(row), number, decisions, outcome, goes=number in going)
                if verdict == Decision.DROP:
                    continue
                if verdict == Decision.REDACT:
                    line = json.dumps(row, ensure_ascii=False).encode()
            elif number in going:
                continue
            out.write(line.rstrip(b"\r\n") + b"\n")
            written += 1
            if number in kept:
                lines[number] = written


def _write_documents(
    file: DatasetFile, decisions: Decisions, going: set[int], outcome: Outcome, lines: dict[int, int], out: BinaryIO
) -> None:
    kept, written = decisions.kept_lines(), 0
    gone = going | _dropped_documents(file, decisions)
    for number, offset, words, ends in document_pieces(file.path):
        place = Place("text", words, {"text": words}, "text", offset)
        _rewrite([(place, finders.find(words))], number, decisions, outcome, goes=number in gone)
        if number in gone:
            continue
        written_so = json.dumps(place.inside["text"], ensure_ascii=False)[1:-1].encode()
        out.write(written_so if offset else b'{"text": "' + written_so)
        if ends:
            out.write(b'"}\n')
            written += 1
            if number in kept:
                lines[number] = written


def _dropped_documents(file: DatasetFile, decisions: Decisions) -> set[int]:
    """Known before the first of them is written, because a long one is written in pieces."""
    if not any(made.decision == Decision.DROP for made in (*decisions.kinds.values(), *decisions.finds.values())):
        return set()
    found = rows_with_finds(file.path, file.filename, file.rows)
    return {line for line, _, finds in found if _any(_decided(finds, line, decisions), Decision.DROP)}


Decided = list[tuple[Place, list[tuple[Span, SafetyDecision | None]]]]


def _decided(found: Found, line: int, decisions: Decisions) -> Decided:
    return [
        (place, [(span, decisions.about(span.kind, line, place.field, place.offset + span.start)) for span in spans])
        for place, spans in found
    ]


def _rewrite(found: Found, line: int, decisions: Decisions, outcome: Outcome, goes: bool) -> str:
    """Redacts in place and counts in `outcome`. Returns DROP when the row goes (`goes`: it does whatever is in it),
    REDACT when something in it was redacted, KEEP when it stays as it is."""
    decided = _decided(found, line, decisions)
    goes = goes or _any(decided, Decision.DROP)
    for place, spans in decided:
        outcome.shift = outcome.shift if place.offset else 0
        for span, made in spans:
            outcome.add(span.kind, made, goes)
            if made and made.decision == Decision.KEEP and made.line:
                outcome.moved[(made.kind, made.line, made.field, made.start)] = made.start + outcome.shift
            elif made and made.decision == Decision.REDACT:
                outcome.shift += len(KINDS[span.kind].placeholder) - (span.end - span.start)
        going = [span for span, made in spans if made and made.decision == Decision.REDACT]
        if going and not goes:
            place.inside[place.key] = finders.redacted(place.text, going)
    if goes:
        return Decision.DROP
    return Decision.REDACT if _any(decided, Decision.REDACT) else Decision.KEEP


def _any(decided: Decided, decision: str) -> bool:
    return any(made and made.decision == decision for _, spans in decided for _, made in spans)
