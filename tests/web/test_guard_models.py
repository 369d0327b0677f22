"""A guard model that judges: rows of a file, /v1/moderations, the settings and a sentence that is tried there."""

import re
from collections.abc import Iterator

import pytest
from django.test import Client
from django.urls import reverse

from accounts.errors import ApiError
from accounts.models import Project, User
from tests.stand_in import KEY, StandIn, standing
from tests.web.test_moderation import ask, content, job_on, look, set_policy, told
from training import files
from training.models import BaseModel, DatasetFile
from training.safety import asking, moderation
from training.safety.classifiers import classifier_of
from training.safety.guard_model import PIECE
from training.safety.models import ModerationCheck, ModerationPolicy

pytestmark = pytest.mark.django_db


@pytest.fixture(scope="module")
def server() -> Iterator[StandIn]:
    with standing() as server:
        yield server


def use(project: Project, server: StandIn, model: str, guard: str = "llama-guard", policy: str = "warn"):
    return set_policy(project, policy, base_url=server.base_url, model=model, guard=guard, key=KEY)


def upload(project: Project, bad: dict[int, str]) -> DatasetFile:
    return files.create_file(project, None, "vile.jsonl", "fine-tune", content(bad))


# ---- rows ----


def test_a_guard_model_flags_rows_with_its_categories_and_scores(
    owner_client: Client, project: Project, server: StandIn
) -> None:
    use(project, server, "llama-guard")
    file = upload(project, {3: "Something vile."})
    assert moderation.refusal(job_on(file)) is None
    check = ModerationCheck.objects.get()
    [row] = moderation.flagged_rows(check)
    assert (row.line, row.categories, row.score) == (3, ["Defamation", "hate"], pytest.approx(0.9))
    assert "1 of 12 rows flagged by llama-guard at" in look(owner_client, file)


def test_an_answer_is_judged_with_its_question_and_what_repeats_is_asked_once(
    project: Project, server: StandIn
) -> None:
    use(project, server, "llama-guard")
    before = len(server.seen()["asked"])
    moderation.refusal(job_on(upload(project, dict.fromkeys(range(1, 13), "The same."))))
    asked = [body["messages"] for body in server.seen()["asked"][before:]]
    user = {"role": "user", "content": "How much?"}
    assert sorted(asked, key=len) == [[user], [user, {"role": "assistant", "content": "The same."}]]


def test_what_blocks_a_job_is_named_in_openais_words(project: Project, server: StandIn) -> None:
    use(project, server, "qwen-guard", "qwen3guard", "block")
    error = moderation.refusal(job_on(upload(project, {2: "A vile thing.", 7: "A rude thing."})))
    assert error and error.code == "invalid_training_file" and error.param == "training_file"
    assert "Flagged lines: 2. Flagged categories: Unethical Acts, violence" in error.message


@pytest.mark.parametrize("model", ["whole", "llama-guard"])
@pytest.mark.parametrize(("policy", "goes_on"), [("warn", True), ("block", False)])
def test_what_answers_no_verdict_leaves_the_file_not_judged_and_never_clean(
    owner_client: Client, project: Project, server: StandIn, model: str, policy: str, goes_on: bool
) -> None:
    use(project, server, model, "qwen3guard", policy)
    file = upload(project, {})
    job = job_on(file)
    error = moderation.refusal(job)
    words = told(job)[0][1] if goes_on else error and error.message
    assert (error is None) == goes_on and words
    assert re.match(r"Line \d+, messages\[[01]\]\.content: ", words) and "no verdict of Qwen3Guard-Gen." in words
    check = ModerationCheck.objects.get()
    assert (check.status, check.trouble) == ("failed", words.partition(" The project's policy")[0])
    page = look(owner_client, file)
    assert "no verdict" in page and "No row was flagged" not in page


def test_a_server_that_is_away_or_refuses_is_said(
    project: Project, server: StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(asking, "LONGEST_WAIT_SECONDS", 0.0)
    policy = use(project, server, "llama-guard")
    for base_url, model, words in (
        ("http://127.0.0.1:9/v1", "llama-guard", "nothing answers there"),
        (server.base_url, "no-such-guard", "404: “The model `no-such-guard` does not exist.”"),
        (server.base_url, "page", "not that of OpenAI's chat completions"),
        (server.base_url, "ill", "answered 500"),
        ("http://169.254.169.254/v1", "llama-guard", "link-local"),
    ):
        policy.base_url, policy.model = base_url, model
        with pytest.raises(ApiError, match="did not judge") as error:
            classifier_of(policy).judge(["Good morning."])
        assert words in error.value.message and error.value.code == "moderation_unavailable"


def test_a_guard_that_is_busy_is_asked_again(project: Project, server: StandIn) -> None:
    policy = use(project, server, "shy-guard")
    assert [each.flagged for each in classifier_of(policy).judge(["shy and vile", "shy"])] == [True, False]


def test_a_long_text_is_judged_in_pieces_to_its_end(project: Project, server: StandIn) -> None:
    guard = classifier_of(use(project, server, "llama-guard"))
    long = "word " * (PIECE // 2)
    [bad, good] = guard.judge([f"{long} vile", long])
    assert bad.flagged and bad.score == pytest.approx(0.9) and not good.flagged


def test_a_warning_by_a_guard_holds_no_job_up_for_a_file_that_would_take_it_long(
    project: Project, server: StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    use(project, server, "llama-guard")
    monkeypatch.setattr(moderation, "BY_A_GUARD_BYTES", 100)
    job = job_on(upload(project, {}))
    assert moderation.refusal(job) is None and "was not moderated" in told(job)[0][1]


def test_a_job_that_is_cancelled_meanwhile_has_nothing_more_judged(
    project: Project, server: StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(moderation, "PROGRESS_SECONDS", -1.0)
    use(project, server, "llama-guard")
    job = job_on(upload(project, {}))
    job.__class__.objects.filter(pk=job.pk).update(status="cancelled", finished_at="2026-01-01T00:00:00Z")
    moderation.refusal(job)
    assert "Nobody waits for it" in ModerationCheck.objects.get().trouble


# ---- /v1/moderations ----


def test_the_api_has_openais_categories_and_the_guards_own(
    client: Client, api_key: str, project: Project, server: StandIn
) -> None:
    use(project, server, "llama-guard")
    [bad, good] = ask(client, api_key, input=["so vile", "so kind"]).json()["results"]
    assert bad["flagged"] and bad["scored"] and bad["categories"]["hate"] and bad["categories"]["Defamation"]
    assert bad["category_scores"]["hate"] == pytest.approx(0.9) and bad["category_scores"]["sexual"] == 0
    assert bad["category_applied_input_types"]["sexual"] == ["text"]
    assert bad["category_applied_input_types"]["harassment"] == [], "Llama Guard has no such category"
    assert not good["flagged"] and not any(good["categories"].values())


def test_a_guard_without_log_probabilities_gives_its_word_and_says_that_it_is_no_figure(
    client: Client, api_key: str, project: Project, server: StandIn
) -> None:
    use(project, server, "deaf-guard")
    [result] = ask(client, api_key, input="so vile").json()["results"]
    assert result["flagged"] and not result["scored"] and result["category_scores"]["hate"] == 1
    file = upload(project, {3: "Something vile."})
    moderation.refusal(job_on(file))
    assert [row.score for row in moderation.flagged_rows(ModerationCheck.objects.get())] == [None]


def test_the_api_says_that_nobody_judged(client: Client, api_key: str, project: Project, server: StandIn) -> None:
    use(project, server, "whole")
    answer = ask(client, api_key, input="so vile")
    assert answer.status_code == 502 and answer.json()["error"]["code"] == "moderation_unavailable"


# ---- settings ----


def save(client: Client, **given: str) -> str:
    return client.post(reverse("change-moderation"), {"policy": "warn", **given}, follow=True).content.decode()


def test_an_owner_chooses_a_guard_model_and_tries_a_sentence(
    owner_client: Client, project: Project, server: StandIn, teammate: User
) -> None:
    page = save(
        owner_client, judge="guard", base_url=server.base_url, model="qwen-guard", key=KEY, guard="qwen3guard-strict"
    )
    stored = ModerationPolicy.objects.get(project=project)
    assert (stored.guard, stored.model, stored.key) == ("qwen3guard-strict", "qwen-guard", KEY)
    assert "Stored." in page and 'value="guard" checked' in page and KEY not in page
    tried = owner_client.post(reverse("try-moderation"), {"sentence": "How vile."}).content.decode()
    assert "Flagged: violence, Unethical Acts." in tried and "score of 0.950" in tried
    member = Client()
    member.force_login(teammate)
    kind = member.post(reverse("try-moderation"), {"sentence": "<b>How kind.</b>"}).content.decode()
    assert "Not flagged." in kind and "&lt;b&gt;How kind" in kind and "score of 0.030" in kind


def test_a_sentence_that_nobody_judged_says_why(owner_client: Client, project: Project, server: StandIn) -> None:
    use(project, server, "whole")
    page = owner_client.post(reverse("try-moderation"), {"sentence": "Hello."}).content.decode()
    assert "Not judged." in page and "no verdict of Llama Guard 3 or 4" in page and "Not flagged" not in page
    assert owner_client.post(reverse("try-moderation"), {"sentence": " "}).status_code == 422


@pytest.mark.parametrize(
    ("given", "field"),
    [
        ({"judge": "guard", "base_url": "http://127.0.0.1:9/v1", "model": "g"}, "guard"),
        ({"judge": "guard", "base_url": "http://127.0.0.1:9/v1", "guard": "llama-guard"}, "model"),
        ({"judge": "endpoint"}, "base_url"),
        ({"judge": "own", "guard": "llama-guard"}, "own"),
        ({"judge": "own", "guard": "llama-guard", "own": "not-there"}, "own"),
        ({}, "judge"),
    ],
)
def test_what_a_judge_needs_is_asked_for_at_its_field(owner_client: Client, given: dict[str, str], field: str) -> None:
    answer = owner_client.post(reverse("change-moderation"), {"policy": "warn", **given})
    assert answer.status_code == 422 and list(answer.context["moderation_form"].errors) == [field]
    assert not ModerationPolicy.objects.exists()


def test_a_model_of_hones_list_is_chosen_and_the_built_in_classifier_comes_back(
    owner_client: Client, project: Project, server: StandIn
) -> None:
    for name in ("plain", "my-guard"):
        BaseModel.objects.create(name=name, source="folder", source_id=name, status="ready", folder=name)
    page = owner_client.get(reverse("settings")).content.decode()
    assert page.index('value="my-guard"') < page.index('value="plain"')
    use(project, server, "llama-guard")
    page = save(owner_client, judge="own", own="my-guard", guard="qwen3guard", base_url="http://127.0.0.1:9/v1")
    stored = ModerationPolicy.objects.get(project=project)
    assert (stored.base_url, stored.model, stored.guard, stored.sealed) == ("", "my-guard", "qwen3guard", "")
    assert "my-guard, served by Hone" in page and '<option value="my-guard" selected>' in page
    assert "built-in" in save(owner_client, judge="embedded")
    stored.refresh_from_db()
    assert stored.is_embedded and stored.model == ""


def test_a_model_that_is_not_served_is_said_and_opening_a_page_loads_none(
    owner_client: Client, project: Project
) -> None:
    set_policy(project, "warn", model="gone", guard="llama-guard")
    file = upload(project, {})
    assert "Have every row judged" in look(owner_client, file) and not ModerationCheck.objects.exists()
    with pytest.raises(ApiError, match="The guard model gone did not judge: The model `gone` does not exist"):
        classifier_of(ModerationPolicy.of(project)).judge(["Hello."])
