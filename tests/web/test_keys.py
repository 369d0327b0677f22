"""Keys: scopes, expiry, the person behind them, and the headers that name an organisation and a project."""

import datetime
import re
from typing import Any

import pytest
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from accounts.models import ApiKey, Membership, Project, User

Role = Membership.Role


def ask(secret: str, path: str, method: str = "GET", **headers: str) -> tuple[int, dict[str, Any]]:
    sent = {"Authorization": f"Bearer {secret}", **headers}
    answer = Client().generic(method, f"/v1/{path}", "{}", "application/json", headers=sent)
    return answer.status_code, answer.json()


def key_for(project: Project, user: User, *scopes: str, **columns: Any) -> str:
    return ApiKey.make(project=project, user=user, name="test", scopes=list(scopes), **columns)[1]


ALLOWED = [
    ("read", "GET", "files", True),
    ("read", "GET", "fine_tuning/jobs", True),
    ("read", "POST", "fine_tuning/jobs", False),
    ("read", "POST", "chat/completions", False),
    ("train", "GET", "fine_tuning/jobs", True),
    ("train", "POST", "fine_tuning/jobs", True),
    ("train", "POST", "chat/completions", False),
    ("train", "POST", "webhook_endpoints", False),
    ("serve", "POST", "chat/completions", True),
    ("serve", "GET", "models", True),
    ("serve", "GET", "files", False),
    ("serve", "POST", "fine_tuning/jobs", False),
]


@pytest.mark.parametrize(("scope", "method", "path", "allowed"), ALLOWED)
def test_a_scope_opens_its_own_part_and_the_answer_names_the_missing_one(
    owner: User, project: Project, scope: str, method: str, path: str, allowed: bool
) -> None:
    status, body = ask(key_for(project, owner, scope), path, method)
    if allowed:  # an empty body may still be refused, for what it says
        assert status in (200, 400)
    else:
        assert (status, body["error"]["code"]) == (403, "missing_scope")
        said = body["error"]["message"]
        assert said.startswith("You have insufficient permissions for this operation. Missing scopes: ")
        assert f"This key has: {scope}." in said


def test_several_scopes_add_up(owner: User, project: Project) -> None:
    secret = key_for(project, owner, "read", "serve")
    assert ask(secret, "files")[0] == 200
    assert ask(secret, "chat/completions", "POST")[0] == 400


def test_a_key_never_does_more_than_its_person_may_now(owner: User, teammate: User, project: Project) -> None:
    secret = key_for(project, teammate, "all")
    assert ask(secret, "fine_tuning/jobs", "POST")[0] == 400
    membership = Membership.objects.get(user=teammate)
    for role, path, method, expected in (
        (Role.MEMBER, "webhook_endpoints", "POST", "owner_required"),
        (Role.EVALUATOR, "fine_tuning/jobs", "POST", "insufficient_role"),
        (Role.READER, "chat/completions", "POST", "insufficient_role"),
    ):
        membership.role = role
        membership.save()
        status, body = ask(secret, path, method)
        assert (status, body["error"]["code"]) == (403, expected)
        assert "Ask an owner of the project" in body["error"]["message"]
        assert ask(secret, "files")[0] == 200
    membership.delete()
    status, body = ask(secret, "files")
    assert (status, body["error"]["code"]) == (401, "invalid_api_key")


def test_an_expired_key_says_when_and_what_to_do(owner: User, project: Project) -> None:
    secret = key_for(project, owner, "all", expires_at=timezone.now() + datetime.timedelta(days=1))
    assert ask(secret, "files")[0] == 200
    ApiKey.objects.update(expires_at=datetime.datetime(2026, 3, 1, tzinfo=datetime.UTC))
    status, body = ask(secret, "files")
    assert (status, body["error"]["code"]) == (401, "expired_api_key")
    assert body["error"]["message"].startswith("This API key expired on 1 March 2026. Make a new one")


def test_a_client_names_its_own_organisation_and_project_or_none(owner: User, project: Project, settings: Any) -> None:
    settings.HONE_ORG = "acme"
    secret = key_for(project, owner, "all")
    for right in ("acme", "org-acme"):
        assert ask(secret, "files", **{"OpenAI-Organization": right, "OpenAI-Project": project.pk})[0] == 200
    status, body = ask(secret, "files", **{"OpenAI-Organization": "org-other"})
    assert (status, body["error"]["code"]) == (401, "mismatched_organization")
    status, body = ask(secret, "files", **{"OpenAI-Project": "proj_other"})
    assert (status, body["error"]["code"]) == (401, "mismatched_project")


# ---- in the settings ----


def make(client: Client, **given: Any) -> Any:
    return client.post(reverse("make-key"), {"name": "script", "scopes": ["all"], "expires": "never", **given})


def test_scopes_and_an_end_are_chosen_and_shown(owner_client: Client) -> None:
    page = make(owner_client, scopes=["read", "serve"], expires="30").text
    key = ApiKey.objects.get()
    assert key.scopes == ["read", "serve"] and key.ends_in_days == 29
    assert re.search(r"read, serve.{0,200}expires in 29 days", page, re.S)
    ApiKey.objects.update(expires_at=timezone.now() - datetime.timedelta(days=1))
    assert re.search(r"expired \d", owner_client.get(reverse("settings")).text)


def test_all_makes_the_other_scopes_needless_and_none_is_refused(owner_client: Client) -> None:
    make(owner_client, scopes=["all", "read"])
    assert ApiKey.objects.get().scopes == ["all"]
    refused = make(owner_client, scopes=[])
    assert refused.status_code == 422 and "Choose at least one thing" in refused.text


def test_a_key_ends_with_the_chosen_day_which_must_be_to_come(owner_client: Client) -> None:
    day = timezone.localdate() + datetime.timedelta(days=3)
    make(owner_client, expires="date", date=day.isoformat())
    end = timezone.localtime(ApiKey.objects.get().expires_at)
    assert (end.date(), end.hour, end.minute) == (day, 23, 59)
    for date, words in (("2020-01-31", "This day is over"), ("", "Choose the last day"), ("soon", "year-month-day")):
        refused = make(owner_client, expires="date", date=date)
        assert refused.status_code == 422 and words in refused.text
    assert ApiKey.objects.count() == 1


@pytest.mark.django_db
def test_keys_made_before_scopes_were_there_may_do_all(owner: User, project: Project) -> None:
    key = ApiKey.objects.create(project=project, user=owner, name="old", hash="h", hint="sk")
    assert key.scopes == ["all"] and not key.has_expired
