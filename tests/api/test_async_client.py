"""The core again with AsyncOpenAI."""

import pytest
from openai import NotFoundError

from tests.api.conftest import Server, jsonl
from tests.factories import chat_rows


async def test_the_async_client_uploads_creates_lists_and_cancels(server: Server):
    async with server.async_client() as client:
        file = await client.files.create(file=("a.jsonl", jsonl(chat_rows(10))), purpose="fine-tune")
        assert (await client.files.content(file.id)).read() == jsonl(chat_rows(10))
        job = await client.fine_tuning.jobs.create(model="tiny", training_file=file.id)
        assert job.id in [row.id async for row in client.fine_tuning.jobs.list(limit=1)]
        assert (await client.fine_tuning.jobs.cancel(job.id)).status == "cancelled"
        messages = [event.message async for event in client.fine_tuning.jobs.list_events(job.id)]
        assert f"Created fine-tuning job: {job.id}" in messages
        with pytest.raises(NotFoundError) as caught:
            await client.fine_tuning.jobs.retrieve("ftjob-x")
        assert caught.value.request_id
