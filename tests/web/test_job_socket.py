"""The live connection of a job's page: nothing lost, nothing for strangers."""

import asyncio
import re
import time
from typing import Any

import pytest
from channels.db import database_sync_to_async
from channels.testing import WebsocketCommunicator
from django.test import Client

from accounts.models import Project, User
from dashboard import consumers
from dashboard.asgi import application
from tests import makers
from training import notify
from training.models import Metric, TrainingJob

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.asyncio]


@pytest.fixture
def running_job(project: Project, owner: User) -> TrainingJob:
    return makers.make_job(project, steps=30, total_steps=4000)


def cookie(client: Client) -> bytes:
    return f"sessionid={client.cookies['sessionid'].value}".encode()


def socket(client: Client | None, path: str) -> WebsocketCommunicator:
    headers = [(b"host", b"localhost"), (b"origin", b"http://localhost")]
    return WebsocketCommunicator(application, path, headers + ([(b"cookie", cookie(client))] if client else []))


async def rows_until(link: WebsocketCommunicator, last_step: int) -> list[list[Any]]:
    """Everything that is sent until that step has come."""
    found: list[list[Any]] = []
    while not found or found[-1][STEP] != last_step:
        message = await link.receive_json_from(timeout=8)
        found += message.get("rows", [])
    return found


REVISION, STEP, LOSS = (consumers.ROW_FIELDS.index(name) for name in ("revision", "step", "train_loss"))


async def test_what_was_there_comes_first_then_what_is_new(owner_client: Client, running_job: TrainingJob) -> None:
    link = socket(owner_client, f"/ws/jobs/{running_job.id}/")
    assert (await link.connect())[0]
    assert [row[STEP] for row in await rows_until(link, 30)] == list(range(1, 31))
    await database_sync_to_async(makers.add_metrics)(running_job, 5, first=31)
    notify.job_changed(running_job.id)
    assert [row[STEP] for row in await rows_until(link, 35)] == [31, 32, 33, 34, 35]
    await link.disconnect()


async def test_after_a_break_nothing_is_lost_and_nothing_comes_twice(
    owner_client: Client, running_job: TrainingJob
) -> None:
    link = socket(owner_client, f"/ws/jobs/{running_job.id}/?after=20")
    await link.connect()
    first = await rows_until(link, 30)
    await link.disconnect()
    await database_sync_to_async(makers.add_metrics)(running_job, 1300, first=31)
    again = socket(owner_client, f"/ws/jobs/{running_job.id}/?after={first[-1][REVISION]}")
    await again.connect()
    steps = [row[STEP] for row in first + await rows_until(again, 1330)]
    assert steps == list(range(21, 1331))
    await again.disconnect()


async def test_without_any_ping_the_rows_come_by_themselves(owner_client: Client, running_job: TrainingJob) -> None:
    link = socket(owner_client, f"/ws/jobs/{running_job.id}/?after=30")
    await link.connect()
    await database_sync_to_async(makers.add_metrics)(running_job, 1, first=31)
    assert [row[STEP] for row in await rows_until(link, 31)] == [31]
    await link.disconnect()


async def test_a_replayed_step_comes_again_with_its_new_value(owner_client: Client, running_job: TrainingJob) -> None:
    link = socket(owner_client, f"/ws/jobs/{running_job.id}/?after=30")
    await link.connect()
    rewrite = Metric.objects.filter(job=running_job, step=25).update
    await database_sync_to_async(rewrite)(train_loss=9.75, revision=31)
    assert [(row[STEP], row[LOSS]) for row in await rows_until(link, 25)] == [(25, 9.75)]
    await link.disconnect()


async def test_what_changed_while_the_page_was_on_its_way_is_told(
    owner_client: Client, running_job: TrainingJob
) -> None:
    page = await database_sync_to_async(owner_client.get)(f"/jobs/{running_job.id}/")
    seen = re.search('data-seen="([^"]+)"', page.content.decode())
    assert seen
    await database_sync_to_async(makers.add_events)(running_job, "came in between")
    address = f"/ws/jobs/{running_job.id}/?after={running_job.revision}&seen={seen[1]}"
    link = socket(owner_client, address)
    assert (await link.connect())[0]
    assert "state" in await link.receive_json_from(timeout=5)
    assert await link.receive_json_from(timeout=5) == {"changed": ["events"]}
    await link.disconnect()
    again = socket(owner_client, address.replace(seen[1], "nothing.0"))
    assert (await again.connect())[0]
    assert "state" in await again.receive_json_from(timeout=5)
    told = (await again.receive_json_from(timeout=5))["changed"]
    assert told == ["header", "checkpoints", "film", "events"], "after a break the page asks for everything"
    await again.disconnect()


async def test_the_page_is_told_which_parts_changed(owner_client: Client, running_job: TrainingJob) -> None:
    link = socket(owner_client, f"/ws/jobs/{running_job.id}/?after=30")
    await link.connect()
    state = await link.receive_json_from(timeout=5)
    assert state["state"]["status"] == "running"
    await database_sync_to_async(makers.add_events)(running_job, "Something happened")
    assert (await link.receive_json_from(timeout=5)) == {"changed": ["events"]}
    await link.disconnect()


async def test_a_deleted_job_ends_the_connection(owner_client: Client, running_job: TrainingJob) -> None:
    link = socket(owner_client, f"/ws/jobs/{running_job.id}/?after=30")
    await link.connect()
    await link.receive_json_from(timeout=5)
    await database_sync_to_async(running_job.delete)()
    assert (await link.receive_json_from(timeout=5)) == {"gone": True}
    assert (await link.receive_output(timeout=5))["code"] == consumers.NOT_FOUND


async def test_strangers_and_the_signed_out_are_refused(stranger_client: Client, running_job: TrainingJob) -> None:
    for client in (stranger_client, None):
        for path in (f"/ws/jobs/{running_job.id}/", "/ws/jobs/ftjob-none/"):
            assert await socket(client, path).connect() == (False, consumers.NOT_FOUND)
    assert await socket(None, "/ws/project/").connect() == (False, consumers.NOT_FOUND)


async def test_a_job_whose_project_has_no_members_is_nobodys(running_job: TrainingJob) -> None:
    await database_sync_to_async(running_job.project.memberships.all().delete)()
    assert await socket(None, f"/ws/jobs/{running_job.id}/").connect() == (False, consumers.NOT_FOUND)


async def test_an_odd_revision_counts_as_the_beginning(owner_client: Client, running_job: TrainingJob) -> None:
    link = socket(owner_client, f"/ws/jobs/{running_job.id}/?after=-1%27")
    assert (await link.connect())[0]
    assert len(await rows_until(link, 30)) == 30
    await link.disconnect()


async def test_the_project_socket_says_when_the_lists_change(owner_client: Client, running_job: TrainingJob) -> None:
    link = socket(owner_client, "/ws/project/")
    assert (await link.connect())[0]
    await asyncio.sleep(0.3)
    await database_sync_to_async(running_job.delete)()
    notify.project_changed(running_job.project_id)
    assert (await link.receive_json_from(timeout=5)) == {"changed": ["jobs"]}
    await link.disconnect()


async def test_points_do_not_wait_for_a_slow_look_at_the_other_parts(
    owner_client: Client, running_job: TrainingJob, monkeypatch: pytest.MonkeyPatch
) -> None:
    link = socket(owner_client, f"/ws/jobs/{running_job.id}/?after=30")
    await link.connect()
    assert "state" in await link.receive_json_from(timeout=8)
    looks, may_end = asyncio.Event(), asyncio.Event()

    async def slow(*_: Any) -> dict[str, Any] | None:
        looks.set()
        await may_end.wait()
        return None

    monkeypatch.setattr(consumers, "marks_for", slow)
    await asyncio.wait_for(looks.wait(), 10)
    await database_sync_to_async(makers.add_metrics)(running_job, 1, first=31)
    notify.job_changed(running_job.id)
    assert [row[STEP] for row in await rows_until(link, 31)] == [31], "the look has not ended yet"
    may_end.set()
    assert await link.receive_json_from(timeout=8) == {"gone": True}
    await link.disconnect()


async def test_a_look_that_breaks_ends_the_socket_so_that_the_page_connects_again(
    owner_client: Client, running_job: TrainingJob, monkeypatch: pytest.MonkeyPatch
) -> None:
    link = socket(owner_client, f"/ws/jobs/{running_job.id}/?after=30")
    await link.connect()
    assert "state" in await link.receive_json_from(timeout=8)

    async def broken(*_: Any) -> dict[str, Any] | None:
        raise OSError("the disk is gone")

    monkeypatch.setattr(consumers, "marks_for", broken)
    assert (await link.receive_output(timeout=10))["code"] == 1011


async def test_a_slow_look_is_followed_by_a_longer_rest() -> None:
    now = time.monotonic()
    assert consumers._next_look(now) >= now + 1
    assert consumers._next_look(now - 2) >= now + 8, "two seconds of looking are a fifth of ten at most"


async def test_what_a_program_sends_is_not_read_and_an_address_that_is_none_is_refused(
    owner_client: Client, running_job: TrainingJob
) -> None:
    link = socket(owner_client, f"/ws/jobs/{running_job.id}/")
    assert (await link.connect())[0]
    await link.send_to(text_data="no JSON")
    assert await rows_until(link, 30)
    await database_sync_to_async(makers.add_metrics)(running_job, 1, first=31)
    notify.job_changed(running_job.id)
    assert await rows_until(link, 31)
    await link.disconnect()
    assert not (await socket(owner_client, "/ws/nonsense/").connect())[0]
