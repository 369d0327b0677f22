"""The settings page: oneself, people, API keys, this server."""

import re

import pytest
from django.core.cache import cache
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from accounts import actions
from accounts.models import ApiKey, Membership, OneTimeLink, Project, User

GOOD = "a long password"


@pytest.fixture(autouse=True)
def no_earlier_failures():
    cache.clear()


@pytest.fixture
def teammate_client(teammate: User) -> Client:
    client = Client()
    client.force_login(teammate)
    return client


def membership(user: User, project: Project) -> Membership:
    return Membership.objects.get(user=user, project=project)


def act(client: Client, member: Membership, action: str):
    return client.post(reverse("act-on-member", args=[member.pk, action]))


def test_the_page_shows_people_keys_and_the_server(owner_client, teammate, api_key, settings):
    page = owner_client.get(reverse("settings")).content.decode()
    assert "teammate@example.com" in page and str(settings.HONE_HOME) in page and "0.1.0" in page
    assert api_key not in page, "a key is never shown again"


def test_a_key_is_shown_once_and_works_until_it_is_revoked(owner_client, owner, project):
    page = owner_client.post(reverse("make-key"), {"name": "evaluation", "scopes": ["all"]}).content.decode()
    secret = re.search(r"sk-hone-[A-Za-z0-9]{40}", page).group()
    key = ApiKey.objects.for_secret(secret)
    assert (key.project, key.user, key.name) == (project, owner, "evaluation")
    assert secret not in owner_client.get(reverse("settings")).content.decode()
    owner_client.post(reverse("revoke-key", args=[key.pk]))
    assert ApiKey.objects.for_secret(secret) is None


def test_a_key_needs_a_name(owner_client):
    assert owner_client.post(reverse("make-key"), {"name": " "}).status_code == 422
    assert not ApiKey.objects.exists()


def test_nobody_revokes_keys_of_another_project_and_members_only_their_own(
    api_key, stranger_client, teammate_client, project, teammate
):
    key = ApiKey.objects.for_secret(api_key)
    assert stranger_client.post(reverse("revoke-key", args=[key.pk])).status_code == 404
    assert teammate_client.post(reverse("revoke-key", args=[key.pk])).status_code == 403
    assert ApiKey.objects.for_secret(api_key)
    own, secret = ApiKey.make(project=project, user=teammate, name="mine")
    teammate_client.post(reverse("revoke-key", args=[own.pk]))
    assert ApiKey.objects.for_secret(secret) is None


def test_an_owner_invites_with_a_link_that_is_shown_once(owner_client, project):
    page = owner_client.post(reverse("invite"), {"email": "new@example.com", "role": "owner"}).content.decode()
    path = re.search(r"http://testserver(/link/[\w-]+/)", page).group(1)
    link = OneTimeLink.objects.get()
    assert (link.kind, link.project, link.role, link.email) == ("invite", project, "owner", "new@example.com")
    assert path not in owner_client.get(reverse("settings")).content.decode()
    assert Client().get(path).status_code == 200


def test_an_invitation_is_listed_until_it_is_revoked_and_then_opens_nothing(owner_client, owner, client):
    page = owner_client.post(reverse("invite"), {"email": "new@example.com", "role": "member"}).content.decode()
    address = re.search(r"http://testserver(/link/[\w-]+/)", page).group(1)
    page = owner_client.get(reverse("settings")).content.decode()
    assert "Invitations not used yet" in page and "new@example.com" in page and f"by {owner}" in page
    assert address not in page, "the link itself is shown once"
    link = OneTimeLink.objects.get()
    assert owner_client.post(reverse("revoke-invitation", args=[link.pk])).status_code == 302
    assert client.get(address).status_code == 410
    assert "Invitations not used yet" not in owner_client.get(reverse("settings")).content.decode()


def test_an_invitation_that_was_used_or_has_ended_is_not_listed(owner_client, owner, project, stranger_client):
    actions.invite(project=project, by=owner, email="late@example.com")
    OneTimeLink.objects.update(expires_at=timezone.now())
    token = actions.invite(project=project, by=owner, email="used@example.com")
    stranger_client.post(reverse("link", args=[token]))
    page = owner_client.get(reverse("settings")).content.decode()
    assert "late@example.com" not in page and "used@example.com" not in page


def test_only_an_owner_of_the_project_revokes_its_invitations(teammate_client, stranger_client, owner, project):
    actions.invite(project=project, by=owner, email="new@example.com")
    address = reverse("revoke-invitation", args=[OneTimeLink.objects.get().pk])
    assert stranger_client.post(address).status_code == 404
    assert teammate_client.post(address).status_code == 403
    assert "new@example.com" not in teammate_client.get(reverse("settings")).content.decode()
    assert OneTimeLink.objects.exists()


def test_a_member_can_neither_invite_nor_change_people(teammate_client, owner, project):
    assert teammate_client.post(reverse("invite"), {"role": "member"}).status_code == 403
    for action in ("remove", "reset", "member"):
        assert act(teammate_client, membership(owner, project), action).status_code == 403
    assert not OneTimeLink.objects.exists()
    assert b"Invite somebody" not in teammate_client.get(reverse("settings")).content


def test_a_stranger_cannot_touch_anybody(stranger_client, teammate, project):
    for action in ("remove", "reset", "owner"):
        assert act(stranger_client, membership(teammate, project), action).status_code == 404


def test_a_removed_person_is_out_at_once_with_their_keys(owner_client, teammate_client, teammate, project):
    _, secret = ApiKey.make(project=project, user=teammate, name="theirs")
    assert teammate_client.get("/").status_code == 200
    act(owner_client, membership(teammate, project), "remove")
    assert teammate_client.get("/").status_code == 403
    assert ApiKey.objects.for_secret(secret) is None


def test_the_only_owner_can_neither_leave_nor_step_down(owner_client, owner, teammate, project):
    for action in ("remove", "member"):
        answer = act(owner_client, membership(owner, project), action)
        assert answer.status_code == 409 and b"only owner" in answer.content
    act(owner_client, membership(teammate, project), "owner")
    act(owner_client, membership(owner, project), "member")
    assert membership(owner, project).role == "member"


def test_a_reset_link_for_a_member_works_but_not_into_projects_of_others(owner_client, teammate, project):
    page = act(owner_client, membership(teammate, project), "reset").content.decode()
    path = re.search(r"http://testserver(/link/[\w-]+/)", page).group(1)
    assert Client().get(path).status_code == 200
    Membership.objects.create(user=teammate, project=Project.objects.create(name="Not the owner's"))
    refused = act(owner_client, membership(teammate, project), "reset")
    assert refused.status_code == 403 and b"not yours" in refused.content


def test_an_owner_gets_no_link_into_the_account_of_who_looks_after_the_server(teammate, owner, project):
    actions.change_role(membership=membership(teammate, project), role="owner")
    client = Client()
    client.force_login(teammate)
    refused = act(client, membership(owner, project), "reset")
    assert refused.status_code == 403 and b"looks after the server" in refused.content


def test_a_new_password_needs_the_old_one_and_ends_other_sessions(owner_client, owner):
    other = Client()
    other.force_login(owner)
    wrong = owner_client.post(reverse("change-password"), {"current": "no", "password": "another long one"})
    assert wrong.status_code == 422 and b"not your current password" in wrong.content
    owner_client.post(reverse("change-password"), {"current": GOOD, "password": "another long one"})
    assert owner_client.get("/").status_code == 200
    assert other.get("/").status_code == 302
    owner.refresh_from_db()
    assert owner.check_password("another long one")


def test_one_signs_out_everywhere_else(owner_client, owner, teammate_client):
    other = Client()
    other.force_login(owner)
    owner_client.post(reverse("end-sessions"))
    assert owner_client.get("/").status_code == 200
    assert other.get("/").status_code == 302
    assert teammate_client.get("/").status_code == 200


def test_an_e_mail_that_somebody_else_has_is_refused(owner_client, teammate, owner):
    assert owner_client.post(reverse("change-profile"), {"email": "Teammate@example.com"}).status_code == 422
    owner_client.post(reverse("change-profile"), {"email": "ada@example.com", "name": "Ada"})
    owner.refresh_from_db()
    assert (owner.email, owner.name) == ("ada@example.com", "Ada")


def test_an_owner_renames_the_project_and_a_member_does_not(owner_client, teammate_client, project):
    teammate_client.post(reverse("rename-project"), {"name": "Mine now"})
    project.refresh_from_db()
    assert project.name == "Support"
    owner_client.post(reverse("rename-project"), {"name": "Help desk"})
    project.refresh_from_db()
    assert project.name == "Help desk"
