"""The audit log: every change leaves a row that says who, what, from where and how it ended, and never a secret."""

import json
import re
from datetime import timedelta
from typing import Any

import pytest
from django.core.cache import cache
from django.core.management import call_command
from django.db import DatabaseError
from django.test import Client
from django.urls import URLPattern, URLResolver, get_resolver, reverse
from django.utils import timezone

from accounts import audit
from accounts.audit import AuditEntry
from accounts.models import ApiKey, Membership, Project, User
from accounts.roles import ARTICLE
from dashboard.audit import objects
from dashboard.audit.middleware import SAFE
from dashboard.audit.routes import NOT_RECORDED, WORDS, operations
from dashboard.audit.told import agent, tense
from tests import makers
from training import files, tasks
from training.models import DatasetFile

pytestmark = pytest.mark.filterwarnings("ignore:StreamingHttpResponse must consume asynchronous iterators")


@pytest.fixture
def file(project: Project) -> DatasetFile:
    return makers.make_file(project, "train.jsonl")


def last(**conditions: Any) -> AuditEntry:
    found = AuditEntry.objects.filter(**conditions).newest().first()
    assert found is not None
    return found


# ---- the net ----


def routes(resolver: URLResolver | None = None) -> list[URLPattern]:
    found: list[URLPattern] = []
    for each in (resolver or get_resolver()).url_patterns:
        found += [each] if isinstance(each, URLPattern) else routes(each)
    return found


def unsafe_names(route: URLPattern) -> set[str]:
    """By which names requests that change something come to this route; none where its view takes no such method."""
    if found := operations(route.callback):
        return {f"api:{each.view_func.__name__}" for each in found if set(each.methods) - SAFE}
    for cell in getattr(route.callback, "__closure__", None) or ():
        held = cell.cell_contents
        if isinstance(held, list | tuple) and held and all(isinstance(each, str) and each.isupper() for each in held):
            return {str(route.name)} if set(held) - SAFE else set()
    return {f"api:{route.name}" if str(route.name).startswith(("api-", "openapi-")) else str(route.name)}


def test_every_route_that_can_change_something_has_words_or_a_reason_to_have_none() -> None:
    names = {name for route in routes() for name in unsafe_names(route)}
    assert len(names) > 100
    missing = {name for name in names if name not in WORDS and not NOT_RECORDED.get(name)}
    assert not missing, "say in dashboard/audit/routes.py what they do, or why the audit log need not know"


def test_no_route_is_named_that_is_not_there_or_named_twice() -> None:
    names = {str(route.name) for route in routes()} | {name for route in routes() for name in unsafe_names(route)}
    names |= {f"api:{operation.view_func.__name__}" for route in routes() for operation in operations(route.callback)}
    assert not (set(WORDS) | set(NOT_RECORDED)) - names
    assert not set(WORDS) & set(NOT_RECORDED)
    assert {words.kind for words in WORDS.values()} <= set(objects.KINDS)


def test_no_sentence_names_a_field_that_holds_a_secret() -> None:
    sentences = [text for words in WORDS.values() for text in (words.sentence, *dict(words.by).values())]
    assert not [text for text in sentences if any(word in text for word in ("[key]", "password]", "secret]", "[url]"))]


# ---- what a row says ----


def test_a_deleted_dataset_is_still_named(owner_client: Client, owner: User, file: DatasetFile) -> None:
    owner_client.post(
        reverse("delete-dataset", args=[file.pk]),
        HTTP_USER_AGENT="Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0",
    )
    row = last()
    assert row.words == "Deleted dataset train.jsonl" and row.object_id == file.pk and row.kind == "dataset"
    assert (row.who, row.user, row.project) == (owner.email, owner, file.project)
    assert (row.address, row.agent, row.outcome) == ("127.0.0.1", "Firefox on Linux", "done")


def test_a_key_is_named_with_the_person_behind_it(client: Client, owner: User, api_key: str, file: DatasetFile) -> None:
    client.delete(f"/v1/files/{file.pk}", headers={"Authorization": f"Bearer {api_key}", "User-Agent": "OpenAI/Python"})
    row = last()
    key = ApiKey.objects.get()
    assert (row.words, row.who) == ("Deleted file train.jsonl", owner.email)
    assert (row.key_hint, row.key_name, row.agent) == (key.hint, "test", "OpenAI/Python")


@pytest.mark.usefixtures("present")
def test_a_new_job_is_told_with_its_model_and_file(client: Client, api_key: str, file: DatasetFile) -> None:
    model = makers.make_base_model()
    body = json.dumps({"model": model.name, "training_file": file.pk})
    bearer = {"Authorization": f"Bearer {api_key}"}
    made = client.post("/v1/fine_tuning/jobs", body, content_type="application/json", headers=bearer).json()
    assert last().words == f"Made job {made['id']} on {model.name}, file train.jsonl"
    assert (last().kind, last().object_id) == ("job", made["id"])


@pytest.mark.usefixtures("present")
@pytest.mark.parametrize("repeated_by", [{"x-stainless-retry-count": "1"}, {"Idempotency-Key": "nightly"}])
def test_a_create_that_is_repeated_leaves_one_row(
    client: Client, api_key: str, file: DatasetFile, repeated_by: dict[str, str]
) -> None:
    body = json.dumps({"model": makers.make_base_model().name, "training_file": file.pk})
    headers = {"Authorization": f"Bearer {api_key}", **repeated_by}
    for _ in range(2):
        made = client.post("/v1/fine_tuning/jobs", body, content_type="application/json", headers=headers)
        assert made.status_code == 200 and last().object_id == made.json()["id"]
    assert AuditEntry.objects.count() == 1


def test_a_refusal_is_told_with_its_code(client: Client, api_key: str) -> None:
    bearer = {"Authorization": f"Bearer {api_key}"}
    body = json.dumps({"model": "nothing", "training_file": "file-nothing"})
    client.post("/v1/fine_tuning/jobs", body, content_type="application/json", headers=bearer)
    assert last().words == "Tried to make a job" and last().outcome == "refused" and last().reason


def test_a_refusal_that_a_page_tells_by_a_message_is_one(owner_client: Client, file: DatasetFile) -> None:
    owner_client.post(reverse("rename-dataset", args=[file.pk]), {"filename": ""})
    assert (last().outcome, last().reason) == ("refused", "refused")
    owner_client.post(reverse("rename-dataset", args=[file.pk]), {"filename": "better.jsonl"})
    assert (last().outcome, last().words) == ("done", "Renamed dataset train.jsonl to “better.jsonl”")


def test_of_marked_jobs_each_leaves_a_row_done_or_refused(owner_client: Client, project: Project) -> None:
    jobs = [makers.make_job(project, status=status) for status in ("failed", "running", "cancelled")]
    ids = [job.pk for job in jobs]
    owner_client.post(reverse("act-on-jobs"), {"ids": ids, "action": "compare"})
    assert not AuditEntry.objects.exists(), "it only shows something"
    owner_client.post(reverse("act-on-jobs"), {"ids": ids, "action": "delete"})
    rows = AuditEntry.objects.all()
    assert {row.object_id: (row.words, row.outcome, row.reason) for row in rows} == {
        ids[0]: (f"Deleted job {ids[0]}", "done", ""),
        ids[1]: (f"Tried to delete job {ids[1]}", "refused", "job_not_finished"),
        ids[2]: (f"Deleted job {ids[2]}", "done", ""),
    }


def test_every_role_that_somebody_gets_is_told(owner_client: Client, project: Project, teammate: User) -> None:
    row = Membership.objects.get(user=teammate)
    for role, article in ARTICLE.items():
        owner_client.post(reverse("act-on-member", args=[row.pk, role]))
        assert last().words == f"Made {teammate.email} {article}"
    assert set(ARTICLE) == set(Membership.Role.values)


def test_a_strangers_try_is_told_in_the_strangers_project_and_without_the_name(
    stranger_client: Client, stranger: User, file: DatasetFile
) -> None:
    stranger_client.post(reverse("delete-dataset", args=[file.pk]))
    row = last()
    assert row.project != file.project and row.words == f"Tried to delete dataset {file.pk}"
    assert (row.outcome, row.reason) == ("refused", "not_found")


def test_people_keys_and_sign_ins_are_told_and_secrets_are_not(
    client: Client, owner_client: Client, owner: User, project: Project
) -> None:
    owner_client.post(reverse("invite"), {"email": "kim@example.com", "role": "member"})
    assert last().words == "Invited kim@example.com as member"
    page = owner_client.post(reverse("make-key"), {"name": "evaluation", "scopes": ["all"]}).content.decode()
    key = ApiKey.objects.get()
    assert last().words == f"Made API key “evaluation” ({key.hint})" and last().object_id == str(key.pk)
    owner_client.post(reverse("store-tracker-key"), {"wandb_key": "w" * 40})
    client.post(reverse("sign-in"), {"email": owner.email, "password": "not the password"})
    assert (last().words, last().outcome) == (f"Tried to sign in as {owner.email}", "refused")
    assert (last().who, last().project) == ("Nobody", project)
    client.post(reverse("sign-in"), {"email": "Secret-Typed-In-The-Wrong-Box", "password": "x"})
    client.post(reverse("sign-in"), {"email": owner.email, "password": "a long password"})
    assert (last().words, last().who, last().project) == ("Signed in", owner.email, project)
    client.post(reverse("sign-out"))
    assert (last().words, last().who) == ("Signed out", owner.email)
    everything = json.dumps(list(AuditEntry.objects.values()), default=str)
    secret = re.search(r"sk-hone-[A-Za-z0-9]{40}", page).group()  # type: ignore[union-attr]
    for word in (secret, "w" * 40, "not the password", "a long password", "wrong-box"):
        assert word not in everything and word not in everything.lower()


def test_downloads_of_data_are_told_and_looking_is_not(owner_client: Client, file: DatasetFile) -> None:
    for name in ("datasets", "jobs", "settings", "audit"):
        owner_client.get(reverse(name))
    owner_client.get(reverse("dataset", args=[file.pk]))
    assert not AuditEntry.objects.exists()
    owner_client.get(reverse("dataset-content", args=[file.pk]))
    assert last().words == "Downloaded dataset train.jsonl"
    owner_client.get(reverse("usage-csv"))
    assert last().words == "Downloaded the usage of the project"


def test_nobody_leaves_no_row(client: Client, file: DatasetFile) -> None:
    client.post(reverse("delete-dataset", args=[file.pk]))
    client.delete(f"/v1/files/{file.pk}", headers={"Authorization": "Bearer sk-hone-wrong"})
    assert not AuditEntry.objects.exists()


def test_what_the_server_does_by_itself_is_told_as_hone(file: DatasetFile, owner: User, tmp_path: Any) -> None:
    DatasetFile.objects.filter(pk=file.pk).update(expires_at=timezone.now() - timedelta(days=1))
    files.remove_stale()
    assert (last().who, last().words) == ("Hone", "Deleted dataset train.jsonl: its time was up")
    call_command("sign_in_link", "--email", owner.email)
    assert last().action == "manage.py sign_in_link" and owner.email in last().words


# ---- when it goes wrong, and when it is over ----


def test_a_row_that_cannot_be_written_breaks_nothing(
    owner_client: Client, file: DatasetFile, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def full(**columns: Any) -> None:
        raise DatabaseError("database or disk is full")

    monkeypatch.setattr(AuditEntry.objects, "create", full)
    answer = owner_client.post(reverse("delete-dataset", args=[file.pk]))
    assert answer.status_code == 302 and not DatasetFile.objects.filter(pk=file.pk).exists()
    assert "not in the audit log" in caplog.text


def test_old_rows_go_and_that_is_told(project: Project, settings: Any) -> None:
    for days in (399, 402):
        audit.by_hone(f"{days} days old", project=project)
        AuditEntry.objects.filter(words=f"{days} days old").update(created_at=timezone.now() - timedelta(days=days))
    cache.clear()  # it is done once an hour
    tasks.send_missing_wake_ups({"default"})
    assert set(AuditEntry.objects.values_list("words", flat=True)) == {
        "399 days old",
        "Removed 1 rows of this log that were older than 400 days",
    }
    settings.HONE_AUDIT_DAYS = 0
    assert audit.remove_old(timezone.now() + timedelta(days=9999)) == 0


def test_the_log_of_a_project_goes_with_it_and_the_server_keeps_who_did_it(
    owner_client: Client, owner: User, project: Project, file: DatasetFile
) -> None:
    owner_client.post(reverse("rename-dataset", args=[file.pk]), {"filename": "zanzibar.jsonl"})
    owner_client.post(reverse("delete-project"), {"name": project.name})
    assert not Project.objects.filter(pk=project.pk).exists()
    [row] = AuditEntry.objects.all()
    assert (row.words, row.project, row.who) == (f"Deleted project {project.pk}", None, owner.email)


# ---- the page ----


@pytest.fixture
def busy(owner_client: Client, project: Project) -> Client:
    """A project with some rows."""
    for number in range(60):
        audit.write(
            project=project,
            who="owner@example.com" if number % 2 else "kim@example.com",
            words=f"Deleted dataset number-{number:02}.jsonl",
            kind="dataset" if number % 3 else "job",
        )
    return owner_client


def shown(client: Client, **query: Any) -> list[str]:
    return [row["entry"].words for row in client.get(reverse("audit"), query).context["rows"]]


def test_the_newest_come_first_and_the_older_by_a_cursor(busy: Client) -> None:
    first = busy.get(reverse("audit"))
    assert "number-59" in first.context["rows"][0]["entry"].words and len(first.context["rows"]) == 50
    audit.write(project=None, who="Hone", words="another", kind="server")
    rest = shown(busy, before=first.context["next"])
    assert len(rest) == 10 and rest[-1] == "Deleted dataset number-00.jsonl"


def test_rows_are_found_by_person_kind_words_and_dates(busy: Client) -> None:
    assert len(shown(busy, who="kim@example.com")) == 30
    assert len(shown(busy, kind="job")) == 20
    assert shown(busy, text="dataset number-17") == ["Deleted dataset number-17.jsonl"]
    AuditEntry.objects.filter(words__contains="-05").update(created_at=timezone.now() - timedelta(days=10))
    until = (timezone.now() - timedelta(days=9)).date().isoformat()
    assert shown(busy, until=until) == ["Deleted dataset number-05.jsonl"]
    page = busy.get(reverse("audit"), {"since": "yesterday-ish"}).content.decode()
    assert "Enter a valid date" in page
    assert "Nothing fits" in busy.get(reverse("audit"), {"text": "unheard"}).content.decode()


def test_a_person_whose_address_changed_is_one_person_in_the_filter(
    busy: Client, owner: User, project: Project
) -> None:
    for who in ("before@example.com", "between@example.com", owner.email):
        audit.write(project=project, user=owner, who=who, words=f"Renamed it as {who}", kind="job")
    choices = [value for value, _ in busy.get(reverse("audit")).context["chosen"].fields["who"].choices]
    assert "before@example.com" not in choices and choices.count(owner.email) == 1
    assert len([words for words in shown(busy, who=owner.email) if words.startswith("Renamed")]) == 3


def test_a_row_leads_to_what_it_speaks_of_while_that_exists(owner_client: Client, file: DatasetFile) -> None:
    owner_client.post(reverse("rename-dataset", args=[file.pk]), {"filename": "b.jsonl"})
    address = reverse("dataset", args=[file.pk])
    assert f'href="{address}"' in owner_client.get(reverse("audit")).content.decode()
    files.delete(file)
    assert f'href="{address}"' not in owner_client.get(reverse("audit")).content.decode()


def test_the_figures_of_a_job_lead_to_the_job_since_they_have_no_page_of_their_own(
    api: Client, owner_client: Client, project: Project
) -> None:
    figures = DatasetFile.objects.create(project=project, filename="step_metrics.csv", purpose=files.RESULTS)
    figures.path.parent.mkdir(parents=True)
    figures.path.write_text("step\n1\n")
    job = makers.make_job(project, status="succeeded")
    assert api.get(f"/v1/files/{figures.pk}/content").status_code == 200
    for address in ("", reverse("job", args=[job.pk])):
        page = owner_client.get(reverse("audit"))
        assert last().words == "Downloaded file step_metrics.csv" and page.context["rows"][0]["page"] == address
        type(job).objects.filter(pk=job.pk).update(result_file=figures)


def test_a_row_never_tells_that_another_project_has_what_was_guessed(
    stranger_client: Client, file: DatasetFile
) -> None:
    stranger_client.post(reverse("delete-dataset", args=[file.pk]))
    page = stranger_client.get(reverse("audit")).content.decode()
    assert file.pk in page and reverse("dataset", args=[file.pk]) not in page


def test_the_download_holds_what_the_filters_leave_and_no_formula(busy: Client, project: Project) -> None:
    audit.write(project=project, who="kim@example.com", words="=HYPERLINK(1)", kind="key", agent="+bad")
    answer = busy.get(reverse("audit-csv"), {"who": "kim@example.com"})
    lines = b"".join(answer).decode().splitlines()
    assert len(lines) == 1 + 31 and lines[0].startswith("time,who,key,what")
    assert "'=HYPERLINK(1)" in lines[1] and "'+bad" in lines[1]


def test_only_owners_see_it_and_only_their_own(
    owner_client: Client, stranger_client: Client, teammate: User, project: Project, stranger: User
) -> None:
    audit.write(project=project, who="kim@example.com", words="Deleted dataset ours.jsonl", kind="dataset")
    audit.write(project=None, who="Hone", words="Of the server", kind="server")
    member = Client()
    member.force_login(teammate)
    for name in ("audit", "audit-csv"):
        assert member.get(reverse(name)).status_code == 403
    assert "ours.jsonl" not in stranger_client.get(reverse("audit")).content.decode()
    assert stranger_client.get(reverse("audit"), {"where": "server"}).status_code == 403
    assert shown(owner_client, where="server") == ["Of the server"], "whoever started the server looks after it"
    assert Membership.objects.filter(user=stranger).exists()


def test_an_empty_log_says_what_it_is_for(owner_client: Client) -> None:
    text = owner_client.get(reverse("audit")).text
    assert "Nothing has happened yet" in text and "The next change to this project" in text
    text = owner_client.get(reverse("audit"), {"where": "server"}).text
    assert "no single project" in text and "this project is the first row" not in text
    assert "Nothing fits" in owner_client.get(reverse("audit"), {"where": "server", "kind": "job"}).text


def test_what_makes_no_sense_in_the_address_is_told_beside_its_field_and_filters_nothing(busy: Client) -> None:
    wrong = {"where": "moon", "who": "nobody", "kind": "zzz", "text": "x" * 201, "since": "2026-13-99", "until": "x"}
    page = busy.get(reverse("audit"), wrong)
    errors = dict(
        re.findall(r'aria-describedby="id_(\w+)_error".*?id="id_\1_error" role="alert">(.*?)</p>', page.text, re.S)
    )
    assert set(errors) == set(wrong) and all(errors.values()) and len(page.context["rows"]) == 50


@pytest.mark.parametrize(
    ("text", "done", "tried"),
    [
        ("delete dataset x", "Deleted dataset x", "Tried to delete dataset x"),
        ("make job y", "Made job y", "Tried to make job y"),
        ("sign in", "Signed in", "Tried to sign in"),
        ("cancel job z", "Cancelled job z", "Tried to cancel job z"),
        ("retry it", "Retried it", "Tried to retry it"),
    ],
)
def test_sentences_are_told_in_the_past(text: str, done: str, tried: str) -> None:
    assert (tense(text, done=True), tense(text, done=False)) == (done, tried)


def test_programs_are_told_in_short() -> None:
    mac = "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/537.36 Chrome/140.0 Safari/537.36"
    assert (
        agent(mac) == "Chrome on macOS" and agent("OpenAI/Python 3.54.0") == "OpenAI/Python 3.54.0" and agent("") == ""
    )
