"""Asking /v1 in a test: a model that a server holds, a caller with a key, and what was counted."""

import json
from typing import Any

from django.test import AsyncClient

from playground import deployments, vllm
from playground.limits import reserving
from playground.limits.windows import Rates, Taken
from playground.models import Deployment
from training.models import BaseModel, Checkpoint

ASK = [{"role": "user", "content": "one two three"}]


def make_ready(thing: BaseModel | Checkpoint, server: vllm.VllmServer) -> Deployment:
    deployment = deployments.want_target(thing)
    if isinstance(thing, Checkpoint):
        server.load_adapter(deployment.served_name, thing.path)
    deployments.change(deployment, state="ready", url=server.url)
    return deployment


class Caller:
    def __init__(self, key: str) -> None:
        self.client = AsyncClient()
        self.headers = {"Authorization": f"Bearer {key}"}

    async def post(self, path: str, body: Any) -> Any:
        content = body if isinstance(body, bytes) else json.dumps(body)
        return await self.client.post(f"/v1{path}", content, content_type="application/json", headers=self.headers)

    async def events(self, path: str, body: dict[str, Any]) -> list[Any]:
        response = await self.post(path, body | {"stream": True})
        assert response.status_code == 200, response.content
        assert response["Content-Type"] == "text/event-stream"
        text = b"".join([part async for part in response.streaming_content]).decode()
        lines = [line.removeprefix("data: ") for line in text.split("\n\n") if line]
        assert lines[-1] == "[DONE]"
        return [json.loads(line) for line in lines[:-1]]


def counted(base: BaseModel, project: Any) -> Taken:
    """What the window holds once all corrections are in."""
    reserving._afterwards.submit(int).result()
    return reserving.windows().take(f"{project.pk}:{base.name}", Rates(0, 0), 0)
