"""The tab of secrets and personal data: what it shows, what people decide there, and the version made of that."""

import json
import re

import pytest
from django.test import Client
from django.urls import reverse

from accounts.models import Project, User
from tests import makers
from training import files
from training.models import DatasetFile
from training.safety import reviewing, scanning
from training.safety.models import ModerationPolicy, SafetyDecision, SafetyScan

KEY = "ghp_" + "Ab3Cd5Ef7G" * 4
ADDRESS, OTHER = "jane.doe@acme-corp.io", "bob@acme-corp.io"


def content() -> bytes:
    answers = [f"It is {n}." for n in range(12)]
    answers[2], answers[4], answers[7] = f"Write to {ADDRESS}.", f"Take {KEY} or ask {OTHER}", f"Use {KEY}"
    rows = [
        {"messages": [{"role": "user", "content": f"What is {n}?"}, {"role": "assistant", "content": answer}]}
        for n, answer in enumerate(answers)
    ]
    return "".join(json.dumps(row) + "\n" for row in rows).encode()


@pytest.fixture
def dataset(project: Project) -> DatasetFile:
    return files.create_file(project, None, "mails.jsonl", "fine-tune", content())


def look(client: Client, file: DatasetFile, **query: str) -> str:
    return client.get(f"/datasets/{file.id}/", {"tab": "safety", **query}).content.decode()


def decide(client: Client, file: DatasetFile, decision: str, **what: object) -> None:
    assert client.post(f"/datasets/{file.id}/safety/decide", {"decision": decision, **what}).status_code == 302


def apply(client: Client, file: DatasetFile) -> DatasetFile:
    answer = client.post(f"/datasets/{file.id}/safety/apply")
    found = re.search(r"(file-\w+)", answer["Location"])
    assert found
    return DatasetFile.objects.get(pk=found[1])


def answers(file: DatasetFile) -> list[str]:
    return [json.loads(line)["messages"][1]["content"] for line in file.path.read_text().splitlines()]


def test_the_tab_counts_by_kind_and_shows_each_find_masked_with_its_place(
    owner_client: Client, dataset: DatasetFile
) -> None:
    page = look(owner_client, dataset)
    assert "4 found in 3 of 12 rows" in page
    assert "GitHub token" in page and "E-mail address" in page
    assert "Not looked for: names of people, street addresses" in page
    assert "j…@a….io" in page and "ghp_…" in page and "messages[1].content" in page and "line 3" in page
    stored = scanning.findings_path(dataset).read_text()
    for secret in (KEY, ADDRESS, OTHER):
        assert secret not in page and secret not in stored


def test_a_clean_dataset_says_so_and_what_was_looked_for(owner_client: Client, project: Project) -> None:
    clean = files.create_file(
        project, None, "clean.jsonl", "fine-tune", b'{"prompt": "1 + 1", "completion": " 2"}\n' * 12
    )
    page = look(owner_client, clean)
    assert "Nothing was found." in page and "IBAN" in page
    assert "Not looked for: names of people, street addresses" in page


def test_a_decision_about_a_kind_reaches_all_and_one_about_a_find_stands_above_it(
    owner_client: Client, owner: User, dataset: DatasetFile
) -> None:
    look(owner_client, dataset)
    decide(owner_client, dataset, "redact", kind="github_token")
    decide(owner_client, dataset, "redact", kind="email")
    [find] = [each for each in scanning.listed(dataset) if each.masked.startswith("b")]
    decide(owner_client, dataset, "keep", kind="email", line=find.line, field=find.field, start=find.start)
    page = look(owner_client, dataset)
    assert "<b>3</b> to redact" in page and "<b>1</b> to keep" in page and str(owner) in page
    assert SafetyDecision.objects.filter(decided_by=owner).count() == 3
    made = apply(owner_client, dataset)
    assert answers(made)[2] == "Write to [E-MAIL]."
    assert answers(made)[4] == f"Take [GITHUB-TOKEN] or ask {OTHER}"
    assert answers(made)[7] == "Use [GITHUB-TOKEN]"
    assert "<b>1</b> to keep, <b>0</b> undecided" in look(owner_client, made)  # though it stands elsewhere in its text


@pytest.mark.servers
def test_the_version_made_is_the_next_one_says_what_was_done_and_the_old_one_stays(
    owner_client: Client, dataset: DatasetFile
) -> None:
    look(owner_client, dataset)
    decide(owner_client, dataset, "drop", kind="github_token")
    decide(owner_client, dataset, "redact", kind="email")
    before = dataset.path.read_bytes()
    made = apply(owner_client, dataset)
    assert (made.rows, made.version, made.parent, made.family) == (10, 2, dataset, dataset.family)
    assert made.origin["kind"] == "redacted"
    assert made.origin["words"] == (
        "Redacted: 1 × E-mail address. Dropped the rows of: 2 × GitHub token, 1 × E-mail address."
    )
    assert dataset.path.read_bytes() == before
    lines = made.path.read_bytes().splitlines()
    assert lines[0] == before.splitlines()[0]  # rows without a find stay byte for byte
    assert "Nothing was found." in look(owner_client, made)


def test_the_history_tells_what_was_done_and_what_was_knowingly_kept_by_whom(
    owner_client: Client, owner: User, dataset: DatasetFile
) -> None:
    look(owner_client, dataset)
    first, second = [each for each in scanning.listed(dataset) if each.kind == "github_token"]
    decide(owner_client, dataset, "redact", kind="email")  # one of them stands in the row that goes
    for find, decision in ((first, "drop"), (second, "keep")):
        decide(owner_client, dataset, decision, kind=find.kind, line=find.line, field=find.field, start=find.start)
    page = look(owner_client, dataset)
    assert "<b>1</b> to redact, <b>2</b> whose rows go, <b>1</b> to keep, <b>0</b> undecided" in page
    made = apply(owner_client, dataset)
    assert made.origin["words"] == (
        "Redacted: 1 × E-mail address. Dropped the rows of: 1 × GitHub token, 1 × E-mail address. "
        f"Kept: 1 × GitHub token (decided by {owner})."
    )
    assert answers(made)[2] == "Write to [E-MAIL]." and f"Use {KEY}" in answers(made) and made.rows == 11


def test_the_verdict_tells_what_is_undecided_and_what_still_stands_in_this_version(
    owner_client: Client, dataset: DatasetFile
) -> None:
    page = owner_client.get(f"/datasets/{dataset.id}/").text  # a small file is looked through for it
    assert "12 rows, ready; 4 secrets or personal data are undecided" in page and "notice--warn" in page
    assert 'href="?tab=safety&amp;show=open#finds">Decide about them' in page
    decide(owner_client, dataset, "keep", kind="email")
    assert "12 rows, ready; 2 secrets or personal data are undecided" in look(owner_client, dataset)
    decide(owner_client, dataset, "redact", kind="github_token")
    words = "2 secrets or personal data to be redacted or dropped still stand in this version"
    assert f"12 rows, ready; {words}" in look(owner_client, dataset)
    assert "12 rows, ready<" in look(owner_client, apply(owner_client, dataset))


def test_the_form_of_a_job_warns_of_what_nobody_has_decided_about(
    owner_client: Client, project: Project, dataset: DatasetFile
) -> None:
    makers.make_base_model()
    dataset.token_facts = makers.make_file(project).token_facts
    dataset.save()
    data = {"model": "base:tiny", "training_file": dataset.pk, "validation": "none", "adaptation": "lora"}
    card = owner_client.post(reverse("estimate-job"), data).text
    assert "mails.jsonl: 4 secrets or personal data are undecided." in card
    assert f"/datasets/{dataset.pk}/?tab=safety&amp;show=open#finds" in card
    for kind in ("email", "github_token"):
        decide(owner_client, dataset, "keep", kind=kind)
    assert "undecided" not in owner_client.post(reverse("estimate-job"), data).text


def test_pressing_the_same_decision_again_takes_it_back(owner_client: Client, dataset: DatasetFile) -> None:
    look(owner_client, dataset)
    decide(owner_client, dataset, "redact", kind="email")
    assert 'aria-pressed="true"' in look(owner_client, dataset)
    decide(owner_client, dataset, "", kind="email")
    assert 'aria-pressed="true"' not in look(owner_client, dataset)


def test_the_list_is_filtered_by_kind_and_by_decision(owner_client: Client, dataset: DatasetFile) -> None:
    look(owner_client, dataset)
    decide(owner_client, dataset, "keep", kind="email")
    tokens = look(owner_client, dataset, kind="github_token")
    assert tokens.count('class="find"') == 2
    assert look(owner_client, dataset, show="keep").count('class="find"') == 2
    assert look(owner_client, dataset, show="open", kind="email").count('class="find"') == 0


def test_without_a_decision_no_version_is_made(owner_client: Client, dataset: DatasetFile) -> None:
    look(owner_client, dataset)
    answer = owner_client.post(f"/datasets/{dataset.id}/safety/apply", follow=True)
    assert "Nothing is to be redacted or dropped yet" in answer.content.decode()
    assert DatasetFile.objects.filter(family=dataset.family).count() == 1


@pytest.mark.parametrize("wrong", [{"decision": "burn"}, {"kind": "nonsense"}, {"line": "x"}, {"line": "-1"}])
def test_a_decision_that_cannot_be_is_refused_with_words(
    owner_client: Client, dataset: DatasetFile, wrong: dict[str, str]
) -> None:
    given = {"decision": "keep", "kind": "email", **wrong}
    answer = owner_client.post(f"/datasets/{dataset.id}/safety/decide", given, follow=True)
    assert not SafetyDecision.objects.exists()
    assert "decided" in answer.content.decode() or "no such place" in answer.content.decode()


@pytest.mark.parametrize("address", ["safety", "safety/decide", "safety/apply", "safety/again"])
def test_a_stranger_finds_none_of_it(stranger_client: Client, dataset: DatasetFile, address: str) -> None:
    send = stranger_client.get if address == "safety" else stranger_client.post
    assert send(f"/datasets/{dataset.id}/{address}", {"decision": "keep", "kind": "email"}).status_code == 404
    assert not SafetyDecision.objects.exists()


def test_a_file_with_problems_is_sent_to_them_before_it_can_be_cleaned(owner_client: Client, project: Project) -> None:
    broken = files.create_file(project, None, "broken.jsonl", "fine-tune", content() + b"{no row\n")
    page = look(owner_client, broken)
    assert (
        'Correct its problems first: rows that cannot be read cannot be rewritten. <a href="?tab=problems#tabs">1'
        in page
    )


def test_a_large_file_is_looked_through_and_rewritten_by_the_worker(
    owner_client: Client, owner: User, dataset: DatasetFile, monkeypatch: pytest.MonkeyPatch,
    django_capture_on_commit_callbacks,
) -> None:  # fmt: skip
    ModerationPolicy.objects.create(project=dataset.project, policy="off")  # it has a worker of its own to wake
    sent: list[tuple] = []
    monkeypatch.setattr(scanning, "AT_ONCE_BYTES", 10)
    monkeypatch.setattr("training.tasks.wake", lambda actor, *arguments: sent.append((actor.actor_name, *arguments)))
    with django_capture_on_commit_callbacks(execute=True):
        page = look(owner_client, dataset)
    assert "Waiting for a worker" in page and sent == [("look_for_secrets", dataset.id)]
    scanning.scan(dataset.id)
    scanning.scan(dataset.id)  # a second delivery finds nothing to do
    assert "4 found" in look(owner_client, dataset)
    decide(owner_client, dataset, "redact", kind="email")
    with django_capture_on_commit_callbacks(execute=True):
        owner_client.post(f"/datasets/{dataset.id}/safety/apply")
    assert sent[1] == ("redact", dataset.id, owner.pk)
    assert "A worker makes the version" in look(owner_client, dataset)
    reviewing.make_in_worker(dataset.id, owner.pk)
    reviewing.make_in_worker(dataset.id, owner.pk)
    [made] = DatasetFile.objects.filter(parent=dataset)
    assert (made.created_by, made.rows) == (owner, 12)
    assert "A worker makes the version" not in look(owner_client, dataset)


def test_newer_finders_look_again_by_themselves(owner_client: Client, dataset: DatasetFile) -> None:
    look(owner_client, dataset)
    SafetyScan.objects.update(finders="0", counts={"card": 99})
    assert "4 found" in look(owner_client, dataset)


def test_a_file_that_is_gone_says_so(owner_client: Client, dataset: DatasetFile) -> None:
    dataset.path.unlink()
    assert "gone from the disk" in look(owner_client, dataset)


def test_raw_text_is_looked_through_by_document_and_redacted_into_rows(owner_client: Client, project: Project) -> None:
    text = f"One.\n<|endoftext|>\nAsk {ADDRESS} now.\n".encode()
    raw = files.create_file(project, None, "book.txt", "fine-tune", text)
    assert "line 2" in look(owner_client, raw)
    decide(owner_client, raw, "redact", kind="email")
    made = apply(owner_client, raw)
    assert made.filename == "book.jsonl"
    assert "Ask [E-MAIL] now." in made.path.read_text()


def test_a_long_document_is_read_and_written_in_pieces(
    owner_client: Client, project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("training.engine.text.PIECE_CHARACTERS", 300)
    lines = [f'Line {n} says "nothing" of note.' for n in range(60)]
    lines[5], lines[50] = f"Ask {ADDRESS} now.", f"Or ask {OTHER} later."
    text = "\n".join(lines) + f"\n<|endoftext|>\nShort: {ADDRESS}\n<|endoftext|>\nClean.\n"
    raw = files.create_file(project, None, "book.txt", "fine-tune", text.encode())
    assert "3 found in 2 of 3 rows" in look(owner_client, raw)
    [kept] = [each for each in scanning.listed(raw) if each.masked.startswith("b")]
    assert kept.start == text.index(OTHER)
    decide(owner_client, raw, "redact", kind="email")
    decide(owner_client, raw, "keep", kind="email", line=1, field="text", start=kept.start)
    made = [json.loads(line)["text"] for line in apply(owner_client, raw).path.read_text().splitlines()]
    assert made[0] == "\n".join(lines).replace(ADDRESS, "[E-MAIL]")
    assert made[1] == "Short: [E-MAIL]" and len(made) == 3
    [still] = SafetyDecision.objects.filter(file__parent=raw)
    assert (still.line, still.start) == (1, made[0].index(OTHER))
    decide(owner_client, raw, "drop", kind="email", line=2, field="text", start=len("Short: "))
    again = [json.loads(line)["text"] for line in apply(owner_client, raw).path.read_text().splitlines()]
    assert again == [made[0], "Clean.\n"]
