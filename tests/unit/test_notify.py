import asyncio

import pytest
from channels.layers import get_channel_layer
from django.db import transaction

from training import notify


async def listener(group: str):
    layer = get_channel_layer()
    channel = await layer.new_channel()
    await layer.group_add(group, channel)
    return lambda seconds=5.0: asyncio.wait_for(layer.receive(channel), seconds)


async def test_a_ping_from_async_code_reaches_the_pages_of_the_job():
    receive = await listener("job.ftjob-1")
    notify.job_changed("ftjob-1")
    assert await receive() == {"type": "news"}


@pytest.mark.django_db(transaction=True)
async def test_a_ping_waits_for_the_commit_and_is_not_sent_after_a_rollback():
    receive = await listener("project.proj_1")

    def change(fail: bool) -> None:
        with transaction.atomic():
            notify.project_changed("proj_1")
            if fail:
                raise RuntimeError

    with pytest.raises(RuntimeError):
        await asyncio.to_thread(change, True)
    with pytest.raises(asyncio.TimeoutError):
        await receive(0.5)
    await asyncio.to_thread(change, False)
    assert await receive() == {"type": "news"}


def test_a_broken_channel_layer_never_reaches_the_caller(monkeypatch: pytest.MonkeyPatch):
    def broken():
        raise ConnectionError("no server")

    monkeypatch.setattr(notify, "_running_loop", broken)
    notify._ping("job.1")
