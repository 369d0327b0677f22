"""Moderation: who judges, what a job does about flagged rows, what people decide about them, /v1/moderations."""

import json
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import timedelta
from threading import Event

import pytest
from django.db import connection
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from accounts.errors import ApiError
from accounts.models import Project, User
from tests import makers
from tests.stand_in import KEY, StandIn, standing
from training import files, home, preparing
from training.models import DatasetFile, TrainingJob
from training.safety import embedded, moderation
from training.safety.classifiers import classifier_of
from training.safety.embedded import CATEGORIES, Verdict
from training.safety.models import ModerationCheck, ModerationPolicy, SafetyDecision

INSULT = "You are a fucking idiot, shut up, bitch."
pytestmark = pytest.mark.django_db


@pytest.fixture(scope="module")
def server() -> Iterator[StandIn]:
    with standing() as server:
        yield server


def content(bad: dict[int, str], rows: int = 12) -> bytes:
    answers = [bad.get(line, f"It is {line}, and that is all there is to it.") for line in range(1, rows + 1)]
    chats = [[{"role": "user", "content": "How much?"}, {"role": "assistant", "content": answer}] for answer in answers]
    return "".join(json.dumps({"messages": chat}) + "\n" for chat in chats).encode()


@pytest.fixture
def dataset(project: Project) -> DatasetFile:
    return files.create_file(project, None, "rude.jsonl", "fine-tune", content({4: INSULT, 9: INSULT}))


def set_policy(project: Project, policy: str, **columns: str) -> ModerationPolicy:
    key = columns.pop("key", "")
    made = ModerationPolicy(project=project, policy=policy, **columns)
    made.keep_key(key)
    made.save()
    return made


def job_on(file: DatasetFile) -> TrainingJob:
    return makers.make_job(file.project, training_file=file, status="validating_files")


def told(job: TrainingJob) -> list[tuple[str, str]]:
    return list(job.events.filter(type="moderation_checks").values_list("level", "message"))


def look(client: Client, file: DatasetFile) -> str:
    """The tab, after the worker has done what opening it asked for."""
    page = client.get(f"/datasets/{file.id}/", {"tab": "safety"}).content.decode()
    waiting = ModerationCheck.objects.filter(file=file, status="waiting").first()
    if waiting is None:
        return page
    assert "Waiting for a worker" in page and "hx-get" in page
    moderation.run_in_worker(waiting.pk)
    moderation.run_in_worker(waiting.pk)  # a second delivery finds nothing to do
    return client.get(f"/datasets/{file.id}/", {"tab": "safety"}).content.decode()


# ---- the classifier that comes with Hone ----


def test_the_embedded_classifier_tells_an_insult_from_a_sum_and_names_one_category() -> None:
    bad, good = embedded.Embedded().judge([INSULT, "Twelve and two are fourteen."])
    assert bad.flagged and bad.categories == ("harassment",) and bad.scores["harassment"] > 0.9
    assert not good.flagged and good.scores["harassment"] < 0.2


# ---- jobs ----


def test_by_default_a_job_is_warned_with_lines_and_categories_and_goes_on(dataset: DatasetFile) -> None:
    job = job_on(dataset)
    assert moderation.refusal(job) is None
    [(level, message)] = told(job)
    assert level == "warn" and "2 of 12 examples for harassment" in message and message.endswith("Flagged lines: 4, 9")
    data = job.events.get(type="moderation_checks").data
    assert data["flagged_lines"] == [4, 9] and data["enforcement"] == "none" and data["categories"] == {"harassment": 2}
    moderation.refusal(job)
    assert len(told(job)) == 1, "prepared again after a crash, it says so once"


def test_the_page_of_a_job_says_what_was_flagged_and_leads_there(owner_client: Client, dataset: DatasetFile) -> None:
    job = job_on(dataset)
    moderation.refusal(job)
    page = owner_client.get(reverse("job", args=[job.pk])).content.decode()
    assert "Flagged lines: 4, 9" in page and f"/datasets/{dataset.id}/?tab=safety#moderated" in page


def test_a_warning_about_a_very_large_file_holds_no_job_up(
    dataset: DatasetFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(moderation, "HELD_UP_BYTES", 100)
    job = job_on(dataset)
    assert moderation.refusal(job) is None and "was not moderated" in told(job)[0][1]
    assert not ModerationCheck.objects.exists()
    set_policy(dataset.project, "block")
    assert moderation.refusal(job_on(dataset)) is not None, "a policy that blocks judges whatever it takes"


def test_a_policy_that_blocks_fails_the_job_before_training_in_openais_words(
    owner_client: Client, dataset: DatasetFile, present: None, api_key: str
) -> None:
    set_policy(dataset.project, "block")
    job = job_on(dataset)
    preparing.prepare(job.pk)
    job.refresh_from_db()
    assert (job.status, job.error_code, job.error_param) == ("failed", "invalid_training_file", "training_file")
    assert job.error_message.startswith("The job failed due to an invalid training file.")
    assert "Flagged lines: 4, 9. Flagged categories: harassment" in job.error_message
    assert job.queued_at is None or job.started_json is None or job.step == 0
    assert told(job)[0][0] == "error"
    page = owner_client.get(reverse("job", args=[job.pk])).content.decode()
    assert "Flagged lines: 4, 9. Flagged categories: harassment" in page
    assert f'/datasets/{dataset.id}/?tab=safety#moderated">Decide about the flagged rows of rude.jsonl' in page
    key = {"Authorization": f"Bearer {api_key}"}
    said = Client().get(f"/v1/fine_tuning/jobs/{job.pk}", headers=key).json()
    assert said["status"] == "failed" and said["error"]["message"] == job.error_message
    assert (said["error"]["code"], said["error"]["param"]) == ("invalid_training_file", "training_file")
    events = Client().get(f"/v1/fine_tuning/jobs/{job.pk}/events", headers=key).json()["data"]
    [told_there] = [event for event in events if event["type"] == "moderation_checks"]
    assert told_there["level"] == "error" and told_there["data"]["flagged_lines"] == [4, 9]
    assert told_there["data"]["categories"] == {"harassment": 2} and told_there["data"]["enforcement"] == "blocked"


class Slow:
    """Stops in the middle of a file until it may go on, and keeps what it was given."""

    batch, key, name = 4, "slow", "Slow"

    def __init__(self) -> None:
        self.judged: list[str] = []
        self.began, self.may_go_on = Event(), Event()

    def judge(self, texts: Sequence[str], questions: Sequence[str] = ()) -> list[Verdict]:
        self.judged += texts
        self.began.set()
        assert self.may_go_on.wait(30)
        return [Verdict(text == INSULT, {"harassment": 0.9}, ("harassment",)) for text in texts]


@pytest.fixture
def slow(monkeypatch: pytest.MonkeyPatch) -> Slow:
    made = Slow()
    monkeypatch.setattr(moderation, "classifier_of", lambda policy: made)
    return made


def in_a_thread(job: TrainingJob) -> Future[ApiError | None]:
    """What moderation says of it, as another worker asks."""

    def ask() -> ApiError | None:
        try:
            return moderation.refusal(job)
        finally:
            connection.close()

    return ThreadPoolExecutor(1).submit(ask)


@pytest.mark.django_db(transaction=True)
def test_jobs_on_one_new_file_share_one_look_and_all_are_blocked(dataset: DatasetFile, slow: Slow) -> None:
    set_policy(dataset.project, "block")
    first, *others = [in_a_thread(job_on(dataset)) for _ in range(4)]
    assert slow.began.wait(30)
    slow.may_go_on.set()
    said = [each.result(30) for each in (first, *others)]
    assert all(error and error.code == "invalid_training_file" for error in said), said
    check = ModerationCheck.objects.get()
    assert (check.status, check.flagged) == ("done", 2)
    assert slow.judged.count("How much?") == 12, "no row was judged twice"
    assert [path.name for path in home.file_folder(dataset.pk).glob("*.part")] == []


@pytest.mark.django_db(transaction=True)
def test_a_job_that_is_cancelled_ends_no_other_jobs_look(
    dataset: DatasetFile, slow: Slow, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(moderation, "PROGRESS_SECONDS", -1.0)
    set_policy(dataset.project, "block")
    cancelled, other = job_on(dataset), job_on(dataset)
    first = in_a_thread(cancelled)
    assert slow.began.wait(30)
    second = in_a_thread(other)
    TrainingJob.objects.filter(pk=cancelled.pk).update(status="cancelled", finished_at=timezone.now())
    slow.may_go_on.set()
    first.result(30)
    error = second.result(30)
    assert error and error.code == "invalid_training_file" and ModerationCheck.objects.get().status == "done"


def test_a_look_that_fell_silent_is_taken_over(dataset: DatasetFile) -> None:
    policy = set_policy(dataset.project, "block")
    long_ago = timezone.now() - timedelta(minutes=2)
    key = classifier_of(policy).key
    ModerationCheck.objects.create(file=dataset, classifier=key, status="running", changed_at=long_ago)
    error = moderation.refusal(job_on(dataset))
    assert error and error.code == "invalid_training_file"


def test_switched_off_nothing_is_judged(owner_client: Client, dataset: DatasetFile) -> None:
    set_policy(dataset.project, "off")
    assert moderation.refusal(job_on(dataset)) is None
    assert "nobody has judged these rows" in look(owner_client, dataset)
    assert not ModerationCheck.objects.exists()


def test_undecided_flagged_rows_are_counted_on_the_tab_and_before_a_version_is_made(
    owner_client: Client, dataset: DatasetFile
) -> None:
    look(owner_client, dataset)
    page = look(owner_client, dataset)
    assert 'Safety <span class="tab__count">2</span>' in page
    assert "<b>2</b> flagged rows are undecided and stay." in page
    owner_client.post(f"/datasets/{dataset.id}/safety/decide", {"kind": "flagged", "line": 4, "decision": "keep"})
    assert "<b>1</b> flagged row is undecided and stays." in look(owner_client, dataset)


def test_rows_that_somebody_kept_block_nothing(owner_client: Client, owner: User, dataset: DatasetFile) -> None:
    set_policy(dataset.project, "block")
    page = look(owner_client, dataset)
    told = "No job can train on this version until each of these rows is kept or gone."
    assert "12 rows, sound; moderation flagged 2 rows" in page and page.count(told) == 2, "the first line and the tab"
    makers.make_base_model()
    DatasetFile.objects.filter(pk=dataset.pk).update(token_facts=makers.make_file(dataset.project).token_facts)
    data = {"model": "base:tiny", "training_file": dataset.pk, "validation": "none", "adaptation": "lora"}
    card = owner_client.post(reverse("estimate-job"), data).text
    assert f"rude.jsonl: moderation flagged 2 rows. {told}" in card
    owner_client.post(f"/datasets/{dataset.id}/safety/decide", {"kind": "flagged", "line": 4, "decision": "keep"})
    error = moderation.refusal(job_on(dataset))
    assert error and "Flagged lines: 9." in error.message
    owner_client.post(f"/datasets/{dataset.id}/safety/decide", {"kind": "flagged", "decision": "keep"})
    assert moderation.refusal(job_on(dataset)) is None
    assert SafetyDecision.objects.filter(decided_by=owner).count() == 2


@pytest.mark.servers
def test_flagged_rows_are_dropped_into_a_new_version_in_which_kept_ones_stay_kept(
    owner_client: Client, dataset: DatasetFile
) -> None:
    look(owner_client, dataset)
    for line, decision in ((4, "drop"), (9, "keep")):
        owner_client.post(
            f"/datasets/{dataset.id}/safety/decide", {"kind": "flagged", "line": line, "decision": decision}
        )
    assert "<b>1</b> flagged row goes" in look(owner_client, dataset)
    owner_client.post(f"/datasets/{dataset.id}/safety/apply")
    made = DatasetFile.objects.get(parent=dataset)
    assert made.rows == 11 and made.origin["words"] == "Dropped 1 row that moderation had flagged."
    set_policy(dataset.project, "block")
    assert moderation.refusal(job_on(made)) is None


def test_a_flagged_row_cannot_be_redacted(owner_client: Client, dataset: DatasetFile) -> None:
    owner_client.post(f"/datasets/{dataset.id}/safety/decide", {"kind": "flagged", "line": 4, "decision": "redact"})
    assert not SafetyDecision.objects.exists()


def test_a_file_is_judged_once_and_again_only_by_another_classifier(
    dataset: DatasetFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[int] = []
    judge = embedded.Embedded.judge

    def counting(self: embedded.Embedded, texts: list[str], questions: list[str]) -> list[Verdict]:
        asked.append(len(texts))
        return judge(self, texts, questions)

    monkeypatch.setattr(embedded.Embedded, "judge", counting)
    moderation.refusal(job_on(dataset))
    moderation.refusal(job_on(dataset))
    assert sum(asked) == 24
    monkeypatch.setattr(embedded, "THRESHOLD", 0.9)
    moderation.refusal(job_on(dataset))
    assert sum(asked) == 48


def test_the_page_masks_secrets_in_what_it_shows_of_a_flagged_row(owner_client: Client, project: Project) -> None:
    rows = content({2: f"{INSULT} Write jane@acme-corp.io"}).replace(b"How much?", INSULT.encode(), 2)
    rows = rows.replace(INSULT.encode(), b"How much?", 1)
    rude = files.create_file(project, None, "x.jsonl", "fine-tune", rows)
    page = look(owner_client, rude)
    assert "1 of 12 rows flagged" in page and "jane@acme" not in page
    also = page.partition("Flagged in this row, too:")[2][:80]
    assert ("messages[0].content" in also) != ("messages[1].content" in also), "the one that is not shown"
    assert "Finds abuse only" in page and "misses about half" in page and "wrong about every fourth row" in page


# ---- an endpoint ----


def test_an_endpoint_judges_in_place_of_it_with_its_own_categories(dataset: DatasetFile, server: StandIn) -> None:
    policy = set_policy(dataset.project, "warn", base_url=server.base_url, model="guard", key=KEY)
    vile = files.create_file(dataset.project, None, "vile.jsonl", "fine-tune", content({3: "Something vile."}))
    job = job_on(vile)
    assert moderation.refusal(job) is None
    assert "1 of 12 examples for hate" in told(job)[0][1] and KEY not in policy.sealed
    assert [row.line for row in moderation.flagged_rows(ModerationCheck.objects.get(file=vile))] == [3]


@pytest.mark.parametrize(("policy", "goes_on"), [("warn", True), ("block", False)])
@pytest.mark.parametrize(("model", "key"), [("stiff", KEY), ("guard", "sk-wrong-key-0123456789")])
def test_an_endpoint_that_does_not_judge_holds_up_only_a_policy_that_blocks(
    dataset: DatasetFile, server: StandIn, policy: str, goes_on: bool, model: str, key: str
) -> None:
    set_policy(dataset.project, policy, base_url=server.base_url, model=model, key=key)
    job = job_on(dataset)
    error = moderation.refusal(job)
    words = told(job)[0][1] if goes_on else error and error.message
    assert (error is None) == goes_on
    assert words and "did not judge" in words and key not in words


def test_a_page_sends_nothing_to_an_endpoint_unasked(
    owner_client: Client, dataset: DatasetFile, server: StandIn
) -> None:
    set_policy(dataset.project, "warn", base_url=server.base_url, model="guard", key=KEY)
    assert "Have every row judged" in look(owner_client, dataset)
    assert not ModerationCheck.objects.exists()


# ---- settings ----


def test_an_owner_sets_the_policy_and_a_key_that_is_never_shown(
    owner_client: Client, project: Project, server: StandIn
) -> None:
    given = {"policy": "block", "judge": "endpoint", "base_url": server.base_url, "model": "guard", "key": KEY}
    owner_client.post(reverse("change-moderation"), given)
    stored = ModerationPolicy.objects.get(project=project)
    assert (stored.policy, stored.model, stored.key) == ("block", "guard", KEY)
    page = owner_client.get(reverse("settings")).content.decode()
    assert KEY not in page and stored.hint in page and "guard at" in page
    owner_client.post(reverse("change-moderation"), {**given, "key": "", "policy": "warn"})
    stored.refresh_from_db()
    assert (stored.policy, stored.key) == ("warn", KEY), "an empty field keeps the key"
    owner_client.post(reverse("change-moderation"), {**given, "key": "", "base_url": "http://127.0.0.1:9/v1"})
    stored.refresh_from_db()
    assert stored.key == "", "a key goes to no other server than the one it was entered for"


def test_an_endpoint_that_does_not_answer_is_stored_and_said(owner_client: Client, server: StandIn) -> None:
    wrong = "sk-wrong-key-0123456789"
    given = {"policy": "warn", "judge": "endpoint", "base_url": server.base_url, "model": "guard", "key": wrong}
    page = owner_client.post(reverse("change-moderation"), given, follow=True).content.decode()
    assert "Stored, but it did not answer" in page and "401" in page and given["key"] not in page


@pytest.mark.parametrize("address", ["ftp://x.org", "http://169.254.169.254/v1", "http://u:p@x.org/v1"])
def test_an_address_that_may_not_be_asked_is_refused(owner_client: Client, address: str) -> None:
    answer = owner_client.post(
        reverse("change-moderation"), {"policy": "warn", "judge": "endpoint", "base_url": address}
    )
    assert answer.status_code == 422 and not ModerationPolicy.objects.exists()


def test_a_member_sees_the_policy_and_cannot_change_it(teammate: User, project: Project) -> None:
    client = Client()
    client.force_login(teammate)
    assert "An owner of the project changes it" in client.get(reverse("settings")).content.decode()
    assert client.post(reverse("change-moderation"), {"policy": "off"}).status_code == 403
    assert not ModerationPolicy.objects.exists()


def test_a_stranger_can_have_nothing_judged(stranger_client: Client, dataset: DatasetFile) -> None:
    assert stranger_client.post(f"/datasets/{dataset.id}/safety/moderate").status_code == 404


# ---- /v1/moderations ----


def ask(client: Client, key: str, **body: object):
    headers = {"Authorization": f"Bearer {key}"}
    return client.post("/v1/moderations", json.dumps(body), content_type="application/json", headers=headers)


def test_the_api_answers_with_the_13_categories_for_a_text_a_list_and_parts(client: Client, api_key: str) -> None:
    one = ask(client, api_key, input=INSULT, model="omni-moderation-latest").json()
    [result] = one["results"]
    assert result["flagged"] and set(result["categories"]) == set(CATEGORIES) == set(result["category_scores"])
    assert [name for name, yes in result["categories"].items() if yes] == ["harassment"]
    assert result["category_applied_input_types"]["harassment"] == ["text"]
    assert result["category_scores"]["violence"] == 0 and result["category_applied_input_types"]["violence"] == []
    assert one["model"].startswith("alt-profanity-check")
    several = ask(client, api_key, input=["Good morning.", INSULT]).json()["results"]
    assert [each["flagged"] for each in several] == [False, True]
    parts = [{"type": "text", "text": "Good morning."}, {"type": "text", "text": INSULT}]
    assert [each["flagged"] for each in ask(client, api_key, input=parts).json()["results"]] == [True]


@pytest.mark.parametrize("wrong", [None, [], 3, [{"type": "image_url", "image_url": {"url": "x"}}], [["a"]]])
def test_the_api_refuses_what_it_cannot_judge_with_the_field(client: Client, api_key: str, wrong: object) -> None:
    answer = ask(client, api_key, input=wrong)
    assert answer.status_code == 400 and answer.json()["error"]["param"].startswith("input")


def test_the_api_asks_the_projects_endpoint(client: Client, api_key: str, project: Project, server: StandIn) -> None:
    set_policy(project, "warn", base_url=server.base_url, model="guard", key=KEY)
    [result] = ask(client, api_key, input="so vile").json()["results"]
    assert result["categories"]["hate"] and result["category_scores"]["spam"] == 0.2
    assert result["category_applied_input_types"]["hate"] == ["text"]
