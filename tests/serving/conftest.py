"""Rows and folders that the serving tests start from, and a fleet on the fake vLLM that works in the test's thread."""

import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import Executor, Future
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from django.utils import timezone
from openai import OpenAI

from accounts.models import Project
from playground import gateway, needs, tool_calls, vllm
from playground.fleet import Fleet
from playground.models import Deployment
from tests.factories import tiny_model
from tests.fakes.vllm import fake_python
from tests.made_checkpoint import make_checkpoint, write_checkpoint
from tests.serving.calling import Caller
from training.engine.facts import read_model_facts
from training.engine.weights import weights_sha256
from training.models import BaseModel, Checkpoint, TrainingJob

PATIENCE_SECONDS = 120  # of a machine with much else to do


class Inline(Executor):
    """Does the work at once, in the caller's thread."""

    def submit(self, work: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        future: Future[Any] = Future()
        try:
            future.set_result(work(*args, **kwargs))
        except BaseException as error:
            future.set_exception(error)
        return future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        pass


@dataclass
class Shelf:
    """Makes base models and checkpoints of one project."""

    project: Project
    folder: Path
    count: int = field(default=0)

    def base(self, name: str = "tiny", chat_template: bool = True) -> BaseModel:
        folder = tiny_model(self.folder / name, chat_template=chat_template)
        return BaseModel.objects.create(
            name=name,
            source="folder",
            source_id=str(folder),
            folder=str(folder),
            status="ready",
            facts_json={"has_chat_template": chat_template},
        )

    def checkpoint(
        self,
        base: BaseModel,
        make: Callable[[Path], Path] | None = None,
        kind: str = "lora",
        project: Project | None = None,
        **fields: Any,
    ) -> Checkpoint:
        self.count += 1
        project = project or self.project
        job = TrainingJob.objects.create(
            project=project, base_model=base, status="succeeded", finished_at=timezone.now()
        )
        folder = job.folder / "checkpoints" / "epoch-1-step-10"
        if make:
            make(folder)
        else:
            write_checkpoint(folder, base.path, seed=self.count)
        name = f"ft:{base.name}:hone:test:abcdef{self.count:02d}"
        given = {"step_name": f"{name}:ckpt-step-10", "sha256": weights_sha256(folder)} | fields
        return Checkpoint.objects.create(
            project=project,
            job=job,
            base_model=base,
            step=10,
            epoch=1,
            kind=kind,
            path_in_run="checkpoints/epoch-1-step-10",
            **given,
        )


@pytest.fixture
def shelf(project: Project, tmp_path: Path) -> Shelf:
    return Shelf(project, tmp_path)


@pytest.fixture
def base(shelf: Shelf) -> BaseModel:
    return shelf.base()


@pytest.fixture
async def connections() -> AsyncIterator[None]:
    """Of the gateway: closed with the test's event loop."""
    yield
    await gateway.close()


@pytest.fixture
def server(base: BaseModel, tmp_path: Path) -> Iterator[vllm.VllmServer]:
    """The fake vLLM, which holds that model."""
    plan = vllm.Plan(base.name, base.path, tmp_path / "vllm.log", lora_rank=16, context_tokens=512)
    server = vllm.VllmServer(plan, fake_python(tmp_path))
    server.start()
    server.wait_until_ready(PATIENCE_SECONDS)
    yield server
    server.stop()


@pytest.fixture
def caller(api_key: str, connections: None) -> Caller:
    return Caller(api_key)


@pytest.fixture
def fleet(db: None, tmp_path: Path) -> Iterator[Fleet]:
    fleet = Fleet(Inline(), fake_python(tmp_path))
    fleet.begin()
    yield fleet
    fleet.end()


def settle(fleet: Fleet, until: Callable[[], bool], seconds: float = PATIENCE_SECONDS) -> None:
    """Ticks until the condition holds."""
    deadline = time.monotonic() + seconds
    while not until():
        rows = list(Deployment.objects.values_list("state", "reason"))
        assert time.monotonic() < deadline, f"not settled: {rows}"
        fleet.tick()
        time.sleep(0.05)


def row_of(thing: BaseModel | Checkpoint) -> Deployment:
    which = {"checkpoint": thing} if isinstance(thing, Checkpoint) else {"base_model": thing}
    return Deployment.objects.get(**which)


def state_is(state: str, *things: BaseModel | Checkpoint) -> Callable[[], bool]:
    return lambda: all(row_of(thing).state == state for thing in things)


# ---- a server for the whole test session, fake and real ----


@dataclass
class Stand:
    """A server with what it was made from; `adapters` are folders with probes."""

    server: vllm.VllmServer
    base: Path
    adapters: list[Path]
    tolerance: float  # of log-probabilities, mean per token

    @property
    def client(self) -> OpenAI:
        return OpenAI(base_url=self.server.url + "/v1", api_key="none", max_retries=0, timeout=120)


def start(base: Path, adapters: list[Path], python: str, tolerance: float) -> Stand:
    plan = vllm.Plan(
        "tiny",
        base,
        base.parent / "vllm.log",
        lora_rank=16,
        lora_modules=tuple(read_model_facts(base, "tiny").linear_modules),
        context_tokens=needs.context_of(base),
        cache_gib=1,
        tool_parser=tool_calls.parser_for(base),
    )
    server = vllm.VllmServer(plan, python)
    server.start()
    server.wait_until_ready(300)
    return Stand(server, base, adapters, tolerance)


@pytest.fixture(scope="session")
def fake_stand(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stand]:
    folder = tmp_path_factory.mktemp("fake-vllm")
    base = tiny_model(folder / "base")
    adapters = [write_checkpoint(folder / f"adapter-{i}", base, seed=i) for i in range(3)]
    stand = start(base, adapters, fake_python(folder), tolerance=1e-9)
    yield stand
    stand.server.stop()


@pytest.fixture(scope="session")
def real_stand(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stand]:
    if vllm.find_build(sys.executable) is None:
        pytest.skip("vLLM is not installed for this Python")
    folder = tmp_path_factory.mktemp("real-vllm")
    base = tiny_model(folder / "base")
    adapters = [make_checkpoint(base, folder / f"adapter-{i}", seed=i) for i in range(3)]
    stand = start(base, adapters, sys.executable, tolerance=0.1)
    yield stand
    stand.server.stop()
