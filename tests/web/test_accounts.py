"""Signing in and out, one-time links, forgotten passwords, the first start."""

import re
import stat
from datetime import timedelta
from pathlib import Path

import pytest
from django.core import mail
from django.core.cache import cache
from django.core.management import CommandError, call_command
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from accounts import actions, first_start, running, throttle
from accounts.audit import AuditEntry
from accounts.models import ApiKey, Membership, OneTimeLink, Project, User

GOOD = "a long password"


@pytest.fixture(autouse=True)
def no_earlier_failures():
    cache.clear()


def sign_in(client: Client, email: str, password: str, **more: str):
    return client.post(reverse("sign-in"), {"email": email, "password": password, **more})


def link_of(token: str) -> str:
    return reverse("link", args=[token])


# ---- signing in ----


def test_every_page_asks_a_stranger_to_sign_in_and_remembers_where_they_wanted_to_go(client):
    for name in ("overview", "datasets", "jobs", "models", "playground", "settings", "search", "device"):
        answer = client.get(reverse(name))
        assert answer.status_code == 302, name
        assert answer["Location"] == f"{reverse('sign-in')}?next={reverse(name)}"


def test_the_right_password_signs_in_and_goes_where_one_wanted(client, owner):
    answer = sign_in(client, "Owner@Example.com", GOOD, next="/models/")
    assert answer["Location"] == "/models/"
    assert client.get("/models/").status_code == 200


def test_a_next_address_of_another_site_is_not_followed(client, owner):
    assert sign_in(client, owner.email, GOOD, next="https://evil.example/")["Location"] == "/"
    client.logout()
    assert sign_in(client, owner.email, GOOD, next="//evil.example/")["Location"] == "/"


def test_a_wrong_password_and_an_unknown_person_get_the_same_answer(client, owner):
    wrong = sign_in(client, owner.email, "not this one")
    nobody = sign_in(client, "nobody@example.com", "not this one")
    assert wrong.status_code == nobody.status_code == 422
    assert b"do not belong together" in wrong.content and b"do not belong together" in nobody.content


def test_guessing_is_stopped_even_when_the_next_guess_is_right_and_others_are_not_locked_out(client, owner, teammate):
    for _ in range(throttle.TRIES_FROM_ONE_ADDRESS):
        sign_in(client, owner.email, "guess")
    assert sign_in(client, owner.email, GOOD).status_code == 429
    assert sign_in(client, teammate.email, GOOD).status_code == 302
    elsewhere = Client(REMOTE_ADDR="203.0.113.9")
    assert sign_in(elsewhere, owner.email, GOOD).status_code == 302


def test_signing_out_needs_a_post_and_ends_the_session(owner_client):
    assert owner_client.get(reverse("sign-out")).status_code == 405
    owner_client.post(reverse("sign-out"))
    assert owner_client.get("/").status_code == 302


def test_a_form_without_its_token_gets_a_page_that_says_what_to_do(owner):
    strict = Client(enforce_csrf_checks=True)
    answer = sign_in(strict, owner.email, GOOD)
    assert answer.status_code == 403
    assert b"open for too long" in answer.content


# ---- the first start ----


def test_a_start_offers_a_password_only_where_somebody_has_one(db: None) -> None:
    owner = first_start.first_owner()
    assert not first_start.somebody_has_a_password()
    owner.set_password("long enough for anybody")
    owner.save()
    assert first_start.somebody_has_a_password()


@pytest.mark.django_db
def test_the_first_start_makes_a_project_its_owner_and_a_link_until_somebody_signed_in(client):
    project, token = first_start.ensure_first_owner()
    again, second = first_start.ensure_first_owner()
    assert project == again and token and second and token != second
    assert (Project.objects.count(), User.objects.count(), Membership.objects.count()) == (1, 1, 1)
    assert client.get(link_of(token)).status_code == 410  # the newer link took its place
    answer = client.get(link_of(second))
    assert answer["Location"] == reverse("welcome")
    assert first_start.ensure_first_owner() == (project, None)


def test_who_looks_after_the_server_begins_projects_also_after_deleting_the_only_one(
    owner_client: Client, owner: User, project: Project
) -> None:
    owner_client.post(reverse("delete-project"), {"name": project.name})
    page = owner_client.get("/")
    assert page.status_code == 403 and reverse("new-project") in page.text
    assert owner_client.post(reverse("new-project"), {"name": " "}).status_code == 422
    owner_client.post(reverse("new-project"), {"name": "Support"})
    begun = Project.objects.get()
    assert begun.name == "Support" and begun.is_owned_by(owner) and owner_client.get("/").status_code == 200
    assert AuditEntry.objects.get(action="new-project", outcome="done").words == "Began project “Support”"


def test_nobody_else_begins_projects(stranger_client: Client, project: Project) -> None:
    before = Project.objects.count()
    assert stranger_client.post(reverse("new-project"), {"name": "Mine"}).status_code == 403
    assert Project.objects.count() == before


@pytest.mark.django_db
def test_the_owner_may_skip_the_password_and_choose_one_later(client):
    _, token = first_start.ensure_first_owner()
    client.get(link_of(token))
    assert client.get("/").status_code == 200
    answer = client.post(reverse("welcome"), {"email": "me@example.com", "name": "Ada", "password": "short"})
    assert answer.status_code == 422
    client.post(reverse("welcome"), {"email": "Me@Example.com", "name": "Ada", "password": GOOD})
    assert client.get("/").status_code == 200, "setting the password keeps this session"
    assert sign_in(Client(), "me@example.com", GOOD).status_code == 302
    assert client.get(reverse("welcome"))["Location"] == "/"


@pytest.mark.django_db
def test_the_local_key_is_made_once_readable_by_its_owner_only_and_again_when_it_was_revoked(settings, tmp_path: Path):
    settings.HONE_HOME = tmp_path
    project, _ = first_start.ensure_first_owner()
    path = first_start.ensure_local_key(project)
    secret = path.read_text().strip()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    key = ApiKey.objects.for_secret(secret)
    assert key and key.project == project
    assert first_start.ensure_local_key(project).read_text().strip() == secret
    actions.revoke_key(key=key)
    assert first_start.ensure_local_key(project).read_text().strip() != secret


def test_the_command_prints_a_link_that_works_once(owner, client, capsys):
    call_command("sign_in_link", email="OWNER@example.com")
    path = re.search(r"http://[^/]+(/link/\S+)", capsys.readouterr().out).group(1)
    assert client.head(path).status_code == 200  # a program that looks at the link does not use it up
    assert client.get(path)["Location"] == "/"
    assert Client().get(path).status_code == 410
    with pytest.raises(CommandError, match=r"owner@example\.com"):
        call_command("sign_in_link", email="typo@example.com")


def test_the_link_leads_to_the_server_that_runs_and_else_to_where_it_would(owner, capsys, settings, tmp_path):
    def printed() -> str:
        call_command("sign_in_link")
        return capsys.readouterr().out.partition("/link/")[0]

    settings.HONE_HOME, settings.HONE_HOST, settings.HONE_PORT, settings.HONE_URL = tmp_path, "0.0.0.0", 8000, ""
    assert printed() == "http://127.0.0.1:8000", "none was ever started"
    lock = running.hold(running.address_of("127.0.0.1", 8123))
    assert printed() == "http://127.0.0.1:8123"
    with pytest.raises(running.AlreadyRuns):
        running.hold("http://127.0.0.1:8124")
    assert printed() == "http://127.0.0.1:8123"
    settings.HONE_URL = "https://hone.example.com/"
    assert printed() == "https://hone.example.com"
    settings.HONE_URL = ""
    lock.close()
    assert (tmp_path / "up.lock").read_text() and printed() == "http://127.0.0.1:8000", "its file is left, its lock not"


# ---- invitations ----


def test_an_invited_person_makes_an_account_and_is_in_the_project_and_no_other(client, owner, project, stranger):
    token = actions.invite(project=project, by=owner, email="new@example.com")
    page = client.get(link_of(token))
    assert b"new@example.com" in page.content and b"Support" in page.content
    client.post(link_of(token), {"email": "new@example.com", "name": "Neu", "password": GOOD})
    user = User.objects.get(email="new@example.com")
    assert [m.project for m in user.memberships.all()] == [project]
    assert user.memberships.get().role == Membership.Role.MEMBER
    assert client.get("/").status_code == 200
    assert Client().get(link_of(token)).status_code == 410


def test_an_invitation_with_a_weak_password_or_a_taken_e_mail_is_not_used_up(client, owner, project):
    token = actions.invite(project=project, by=owner)
    weak = client.post(link_of(token), {"email": "new@example.com", "password": "password12"})
    assert weak.status_code == 422 and b"too common" in weak.content
    taken = client.post(link_of(token), {"email": "owner@example.com", "password": GOOD})
    assert taken.status_code == 422 and b"already has an account" in taken.content
    assert client.get(link_of(token)).status_code == 200


def test_somebody_signed_in_joins_with_one_press(stranger_client, stranger, owner, project):
    token = actions.invite(project=project, by=owner)
    assert b"stranger@example.com" in stranger_client.get(link_of(token)).content
    stranger_client.post(link_of(token))
    assert set(Project.objects.of(stranger).values_list("name", flat=True)) == {"Support", "Elsewhere"}
    assert stranger_client.get("/").context["project"] == project


@pytest.mark.parametrize("kind", ["sign_in", "invite", "reset"])
def test_an_expired_link_of_any_kind_says_so(client, owner, project, kind):
    link, token = OneTimeLink.make(kind, user=owner, project=project)
    OneTimeLink.objects.filter(pk=link.pk).update(expires_at=timezone.now() - timedelta(seconds=1))
    answer = client.get(link_of(token))
    assert answer.status_code == 410 and b"does not work any more" in answer.content


@pytest.mark.django_db
def test_an_unknown_link_says_the_same(client):
    assert client.get(link_of("made-up")).status_code == 410


# ---- passwords ----


def test_a_reset_link_sets_the_password_once_and_ends_other_sessions(client, owner, owner_client):
    token = actions.reset_link(user=owner)
    assert client.post(link_of(token), {"password": "short"}).status_code == 422
    assert client.post(link_of(token), {"password": "quite another password"})["Location"] == "/"
    assert owner_client.get("/").status_code == 302, "the old session is over"
    assert sign_in(Client(), owner.email, "quite another password").status_code == 302
    assert Client().get(link_of(token)).status_code == 410


def test_a_forgotten_password_comes_by_mail_and_the_page_does_not_tell_who_is_known(client, owner):
    known = client.post(reverse("forgotten-password"), {"email": owner.email})
    unknown = client.post(reverse("forgotten-password"), {"email": "nobody@example.com"})
    assert re.sub(rb"[A-Za-z0-9]{32,}", b"", known.content) == re.sub(rb"[A-Za-z0-9]{32,}", b"", unknown.content)
    assert [letter.to for letter in mail.outbox] == [[owner.email]]
    path = re.search(r"http://testserver(/link/\S+)", mail.outbox[0].body).group(1)
    assert client.get(path).status_code == 200


@pytest.mark.django_db
def test_without_a_mail_server_the_page_says_who_can_help(client, settings):
    settings.EMAIL_BACKEND = "django.core.mail.backends.console.EmailBackend"
    page = client.get(reverse("forgotten-password")).content
    assert b"sign_in_link" in page and b"sends no e-mail" in page


# ---- projects ----


def test_one_changes_only_into_ones_own_projects(owner_client, owner, stranger):
    other = Project.objects.create(name="Second")
    Membership.objects.create(user=owner, project=other)
    owner_client.post(reverse("choose-project"), {"project": other.pk})
    assert owner_client.get("/").context["project"] == other
    elsewhere = Project.objects.of(stranger).get()
    assert owner_client.post(reverse("choose-project"), {"project": elsewhere.pk}).status_code == 404
    assert owner_client.get("/").context["project"] == other


def test_somebody_without_any_project_sees_what_to_do_on_every_page(owner_client, owner):
    owner.memberships.all().delete()
    for address in ("/", "/models/", "/settings/", "/device/"):
        answer = owner_client.get(address)
        assert answer.status_code == 403 and b"belong to no project" in answer.content, address
    assert owner_client.post(reverse("sign-out")).status_code == 302
