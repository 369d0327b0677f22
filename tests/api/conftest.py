"""A real Hone for the API tests: daphne, workers and trainer on a free port, driven by the official SDK."""

import json
import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from openai import AsyncOpenAI, OpenAI
from openai.types.fine_tuning import FineTuningJob

from tests.factories import chat_rows, tiny_model

ROOT = Path(__file__).resolve().parents[2]
START_SECONDS = 90
STOP_SECONDS = 30
JOB_SECONDS = 300
FINAL = {"succeeded", "failed", "cancelled"}


@dataclass
class Server:
    """Where it is and who may call. HONE_DATABASE_URL and HONE_REDIS_URL of the test run reach it unchanged."""

    url: str
    home: Path
    key: str = ""
    member_key: str = ""
    stranger_key: str = ""
    project: str = ""
    stranger_project: str = ""
    third_project: str = ""
    processes: "list[subprocess.Popen[bytes]]" = field(default_factory=list)

    @property
    def env(self) -> dict[str, str]:
        return {
            **os.environ,
            "HONE_HOME": str(self.home),
            "DJANGO_SETTINGS_MODULE": "dashboard.settings",
        }

    def client(self, key: str | None = None) -> OpenAI:
        return OpenAI(base_url=f"{self.url}/v1", api_key=key or self.key, max_retries=0, timeout=60)

    def async_client(self) -> AsyncOpenAI:
        return AsyncOpenAI(base_url=f"{self.url}/v1", api_key=self.key, max_retries=0, timeout=60)

    def start(self, name: str, command: list[str], **env: str) -> None:
        with (self.home / f"{name}.log").open("ab") as log:
            self.processes.append(subprocess.Popen(command, cwd=ROOT, env=self.env | env, stdout=log, stderr=log))

    def start_web(self, port: int, name: str = "web", **env: str) -> None:
        """daphne, as Hone starts it."""
        web = [sys.executable, "-m", "dashboard.serve_web", "-b", "127.0.0.1", "-p", str(port)]
        self.start(name, [*web, "dashboard.asgi:application"], **env)

    def run(self, *arguments: str) -> str:
        """A Python command on this server's data; returns what it prints."""
        command = [sys.executable, *arguments]
        done = subprocess.run(command, cwd=ROOT, env=self.env, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def stop(self) -> None:
        for process in self.processes:
            process.terminate()
        for process in self.processes:
            try:
                process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait(STOP_SECONDS)

    def logs(self) -> str:
        files = [*self.home.glob("*.log"), *self.home.glob("runs/*/trainer.log")]
        return "\n".join(f"== {file.name}\n{file.read_text(errors='replace')[-2000:]}" for file in files)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def await_answer(server: Server) -> None:
    """Fails fast when one of the processes has ended."""
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        assert all(process.poll() is None for process in server.processes), server.logs()
        try:
            urllib.request.urlopen(f"{server.url}/healthz", timeout=2).close()
            return
        except OSError:
            time.sleep(0.2)
    raise AssertionError(f"no answer after {START_SECONDS} s\n{server.logs()}")


@contextmanager
def running(home: Path) -> Iterator[Server]:
    """With the model `tiny`, two projects and three keys (tests/api/seed.py); ended by pid. The proofs use it, too."""
    from training.launcher import worker_processes

    port = free_port()
    server = Server(url=f"http://127.0.0.1:{port}", home=home)
    server.run("manage.py", "migrate", "--verbosity", "0")
    seeded = json.loads(server.run("-m", "tests.api.seed", str(tiny_model(server.home / "tiny"))))
    for name, value in seeded.items():
        setattr(server, name, value)
    try:
        server.start_web(port)
        for name, worker in worker_processes().items():
            server.start(name, worker.command, **worker.environment)
        await_answer(server)
        yield server
    finally:
        server.stop()


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with running(tmp_path_factory.mktemp("hone")) as server:
        yield server


@pytest.fixture
def client(server: Server) -> OpenAI:
    return server.client()


def jsonl(rows: list[dict]) -> bytes:
    return "".join(json.dumps(row) + "\n" for row in rows).encode()


@pytest.fixture(scope="session")
def training_file(server: Server) -> str:
    """Twelve good rows, uploaded once."""
    return server.client().files.create(file=("train.jsonl", jsonl(chat_rows(12))), purpose="fine-tune").id


@pytest.fixture(scope="session")
def validation_file(server: Server) -> str:
    content = jsonl(chat_rows(6, start=100))
    return server.client().files.create(file=("valid.jsonl", content), purpose="fine-tune").id


@pytest.fixture
def until(client: OpenAI, server: Server) -> Callable[..., FineTuningJob]:
    """Polls a job until it has one of these states; a job that ends otherwise fails the test with its reason."""

    def wait(job_id: str, *states: str) -> FineTuningJob:
        deadline = time.monotonic() + JOB_SECONDS
        while time.monotonic() < deadline:
            job = client.fine_tuning.jobs.retrieve(job_id)
            if job.status in states:
                return job
            assert job.status not in FINAL, f"{job.status}: {job.error}\n{server.logs()}"
            time.sleep(0.2)
        raise AssertionError(f"{job_id} is still {job.status} after {JOB_SECONDS} s\n{server.logs()}")

    return wait


@pytest.fixture(scope="session")
def finished(server: Server, training_file: str, validation_file: str) -> FineTuningJob:
    """A job that the real trainer ended well: two epochs of three steps."""
    client = server.client()
    job = client.fine_tuning.jobs.create(
        model="tiny",
        training_file=training_file,
        validation_file=validation_file,
        suffix="bot",
        seed=7,
        method={"type": "supervised", "supervised": {"hyperparameters": {"n_epochs": 2, "batch_size": 4}}},
        metadata={"team": "support", "empty": ""},
        extra_body={"lora": {"r": 4, "alpha": 8}, "training": {"max_length": 128}},
    )
    deadline = time.monotonic() + JOB_SECONDS
    while job.status not in FINAL and time.monotonic() < deadline:
        time.sleep(0.3)
        job = client.fine_tuning.jobs.retrieve(job.id)
    assert job.status == "succeeded", f"{job.status}: {job.error}\n{server.logs()}"
    return job
