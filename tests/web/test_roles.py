"""Four roles: what pages, sockets and the settings allow to whom, and what they say when they do not."""

import asyncio
import json
import re
from typing import Any

import pytest
from asgiref.sync import async_to_sync
from channels.db import database_sync_to_async
from channels.testing import WebsocketCommunicator
from django.test import Client
from django.urls import reverse

from accounts.models import Membership, OneTimeLink, Project, User
from dashboard import walls
from dashboard.asgi import application
from tests import makers

Role = Membership.Role


def client_of(project: Project, role: str) -> Client:
    user = User.objects.create_user(f"{role}@example.com", "a long password")
    Membership.objects.create(user=user, project=project, role=role)
    client = Client()
    client.force_login(user)
    return client


def test_a_refused_page_says_which_role_it_needs_and_who_can_give_it(project: Project, owner: User) -> None:
    answer = client_of(project, Role.READER).get(reverse("new-job"))
    assert answer.status_code == 403
    assert "This is for a member of Support, and you are a reader there." in answer.text
    assert "An owner can change your role under Settings, People." in answer.text


def test_a_part_of_a_page_is_refused_in_plain_words(project: Project, owner: User) -> None:
    reader = client_of(project, Role.READER)
    answer = reader.post(reverse("load-samples"), headers={"HX-Request": "true"})
    assert (answer.status_code, answer["Content-Type"].split(";")[0]) == (403, "text/plain")
    assert answer.text.startswith("This is for a member of Support")


def test_a_route_that_nobody_wrote_down_is_closed_to_evaluators_and_readers() -> None:
    assert walls.needed("brand-new", "POST") == Role.MEMBER
    assert walls.needed(None, "DELETE") == Role.MEMBER
    assert walls.needed("brand-new", "GET") == Role.READER
    rule = walls.rule_for("POST", "v1/brand_new")
    assert (rule.role, rule.scopes) == (Role.MEMBER, ()), "and only a key that may do all"


def test_the_table_names_no_route_that_is_gone() -> None:
    names = {name for name, _ in walls.page_routes()}
    written = set.union(walls.WITHOUT_ROLE, *walls.CHANGES.values(), *walls.LOOKS.values())
    assert written <= names


def test_an_owner_invites_to_every_role_and_each_is_explained(owner_client: Client, owner: User) -> None:
    page = owner_client.get(reverse("settings")).text
    for role in Role:
        assert owner_client.post(reverse("invite"), {"role": role}).status_code == 200
        assert role.label in page
    assert set(OneTimeLink.objects.values_list("role", flat=True)) == set(Role.values)
    assert "Sees everything in the project and changes nothing" in page


def test_a_changed_role_counts_from_the_next_request_on(owner_client: Client, project: Project) -> None:
    member = client_of(project, Role.MEMBER)
    assert member.get(reverse("new-prompt-set")).status_code == 200
    row = Membership.objects.get(user__email="member@example.com")
    owner_client.post(reverse("act-on-member", args=[row.pk, "reader"]))
    assert member.get(reverse("new-prompt-set")).status_code == 403
    assert member.get(reverse("prompt-sets")).status_code == 200


@pytest.mark.parametrize("role", [Role.MEMBER, Role.EVALUATOR, Role.READER])
def test_the_only_owner_takes_no_smaller_role_but_others_change_freely(
    owner_client: Client, owner: User, project: Project, role: str
) -> None:
    own = Membership.objects.get(user=owner)
    answer = owner_client.post(reverse("act-on-member", args=[own.pk, role]))
    assert answer.status_code == 409 and "only owner" in answer.text
    client_of(project, Role.MEMBER)
    other = Membership.objects.get(user__email="member@example.com")
    owner_client.post(reverse("act-on-member", args=[other.pk, role]))
    other.refresh_from_db()
    assert other.role == role


def test_a_reader_leaves_and_an_evaluator_changes_nobody(project: Project, owner: User) -> None:
    reader, evaluator = client_of(project, Role.READER), client_of(project, Role.EVALUATOR)
    row = Membership.objects.get(user__email="reader@example.com")
    assert evaluator.post(reverse("act-on-member", args=[row.pk, "owner"])).status_code == 403
    assert evaluator.post(reverse("act-on-member", args=[row.pk, "remove"])).status_code == 403
    assert reader.post(reverse("act-on-member", args=[row.pk, "remove"])).status_code == 302
    assert not Membership.objects.filter(pk=row.pk).exists()


# ---- sockets ----


def open_socket(user: User, path: str) -> WebsocketCommunicator:
    client = Client()
    client.force_login(user)
    cookie = f"sessionid={client.cookies['sessionid'].value}".encode()
    headers = [(b"cookie", cookie), (b"host", b"testserver"), (b"origin", b"http://testserver")]
    return WebsocketCommunicator(application, path, headers=headers)


def said_to(user: User, frame: dict[str, Any]) -> dict[str, Any]:
    async def ask() -> dict[str, Any]:
        socket = await database_sync_to_async(open_socket)(user, "/ws/playground/")
        assert (await socket.connect())[0]
        await socket.send_json_to(frame)
        said = await socket.receive_json_from()
        await socket.disconnect()
        return said

    return async_to_sync(ask)()


@pytest.mark.django_db(transaction=True)
def test_a_reader_asks_nothing_in_the_playground_and_starts_no_model(project: Project) -> None:
    client_of(project, Role.READER)
    reader = User.objects.get(email="reader@example.com")
    base = makers.make_base_model()
    said = said_to(reader, {"type": "send", "prompt": "Hello?", "setup": {"columns": [{"model": base.name}]}})
    assert said["type"] == "error" and said["message"].startswith("This is for an evaluator of Support")
    assert said_to(reader, {"type": "open", "models": [base.name]})["type"] == "states"
    assert not base.__class__.objects.filter(deployment__wanted=True).exists()


@pytest.mark.django_db(transaction=True)
def test_sockets_of_somebody_who_was_removed_are_closed(project: Project) -> None:
    client_of(project, Role.MEMBER)
    member = User.objects.get(email="member@example.com")

    async def removed_meanwhile(path: str, frame: dict[str, Any] | None) -> int:
        socket = await database_sync_to_async(open_socket)(member, path)
        assert (await socket.connect())[0]
        await Membership.objects.filter(user=member).adelete()
        if frame:
            await socket.send_json_to(frame)
        while (event := await asyncio.wait_for(socket.receive_output(10), 10))["type"] != "websocket.close":
            pass
        await socket.disconnect()
        await Membership.objects.acreate(user=member, project=project)
        return event["code"]

    assert async_to_sync(removed_meanwhile)("/ws/playground/", {"type": "open", "models": []}) == 4403
    assert async_to_sync(removed_meanwhile)("/ws/project/", None) == 4404


def test_a_page_comes_with_the_paths_that_are_closed_to_its_reader(owner_client: Client, project: Project) -> None:
    assert 'id="closed"' not in owner_client.get(reverse("jobs")).text
    page = client_of(project, Role.READER).get(reverse("jobs")).text
    closed = json.loads(re.search(r'<script id="closed"[^>]*>(.*?)</script>', page).group(1))  # type: ignore[union-attr]
    assert re.match(closed["looks"], reverse("new-job")) and not re.match(closed["looks"], reverse("jobs"))
    assert re.match(closed["changes"], reverse("delete-dataset", args=["file-1"]))
    assert not re.match(closed["changes"], reverse("change-password"))
    evaluator = walls.closed_to(Role.EVALUATOR)["changes"]
    assert re.match(evaluator, reverse("load-samples")) and not re.match(evaluator, reverse("start-blind"))
