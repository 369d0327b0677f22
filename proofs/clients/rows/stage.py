"""What each row of the table stands on: a running Hone, clients with its keys, and things made once for all rows.

Written against the `openai` package and the standard library alone, for every version of the package in the table.
"""

import json
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import openai
from openai import APIStatusError, OpenAI, RateLimitError

FINAL = ("succeeded", "failed", "cancelled")
JOB_SECONDS = 900
LOAD_SECONDS = 600
HUB_ID = "acme/tiny-hub"  # of a second base model


@dataclass
class Row:
    """A line of the table. `light` ones train nothing and ask no model."""

    name: str
    check: Callable[["Stage"], None]
    light: bool


ROWS: list[Row] = []


def row(name: str, *, light: bool = False) -> Callable[[Callable[["Stage"], None]], Callable[["Stage"], None]]:
    def add(check: Callable[["Stage"], None]) -> Callable[["Stage"], None]:
        ROWS.append(Row(name, check, light))
        return check

    return add


class Stage:
    """A Hone as a user sees it: an address and keys of two projects."""

    def __init__(self, url: str, keys: dict[str, str], model: str = "tiny") -> None:
        self.url, self.keys, self.model = url, keys, model
        self.client = self.client_of("key")

    @classmethod
    def from_environment(cls) -> "Stage":
        return cls(os.environ["HONE_URL"], json.loads(os.environ["HONE_KEYS"]))

    def client_of(self, name: str, **options: Any) -> OpenAI:
        return OpenAI(base_url=f"{self.url}/v1", api_key=self.keys[name], **options)

    def counted(self, name: str = "key", **options: Any) -> tuple[OpenAI, list[Any]]:
        """A client, and the list of the requests that it really sends."""
        sent: list[Any] = []
        http = openai.DefaultHttpxClient(event_hooks={"request": [sent.append]})
        return self.client_of(name, http_client=http, **options), sent

    # ---- files ----

    def upload(self, rows: "list[dict[str, Any]]", name: str = "rows.jsonl") -> Any:
        return self.client.files.create(file=(name, jsonl(rows)), purpose="fine-tune")

    @cached_property
    def training_file(self) -> str:
        return str(self.upload(chat_rows(12), "train.jsonl").id)

    @cached_property
    def validation_file(self) -> str:
        return str(self.upload(chat_rows(6, start=100), "valid.jsonl").id)

    @cached_property
    def preference_file(self) -> str:
        return str(self.upload(preference_rows(12), "pairs.jsonl").id)

    # ---- jobs ----

    def create(self, **fields: Any) -> Any:
        asked = {"model": self.model, "training_file": self.training_file, **fields}
        return self.client.fine_tuning.jobs.create(**asked)

    def until(self, job_id: str, *states: str) -> Any:
        """The job once it has one of these states; one that ends otherwise is a failure with its reason."""
        deadline = time.monotonic() + JOB_SECONDS
        while time.monotonic() < deadline:
            job = self.client.fine_tuning.jobs.retrieve(job_id)
            if job.status in states:
                return job
            assert job.status not in FINAL, f"{job_id} is {job.status}: {job.error}"
            time.sleep(0.2)
        raise AssertionError(f"{job_id} is still {job.status} after {JOB_SECONDS} s")

    @contextmanager
    def idle_job(self, **fields: Any) -> Iterator[Any]:
        """A job of 600 steps, cancelled afterwards where the row did not."""
        job = self.create(**{"hyperparameters": {"n_epochs": 50, "batch_size": 1}, **fields})
        try:
            yield job
        finally:
            if self.client.fine_tuning.jobs.retrieve(job.id).status not in FINAL:
                self.client.fine_tuning.jobs.cancel(job.id)

    def learned(self, name: str, **fields: Any) -> Any:
        """A job that ended well, found again under its name where its model is still there."""
        metadata = {"row": name, **fields.pop("metadata", {})}
        models = {model.id for model in self.client.models.list()}
        for job in self.client.fine_tuning.jobs.list(metadata=metadata):
            if job.status == "succeeded" and job.fine_tuned_model in models:
                return job
        ours = {"pinned_prompts": [], **fields.pop("extra_body", {})}  # no answers for a page that nobody looks at
        return self.until(self.create(metadata=metadata, extra_body=ours, **fields).id, "succeeded")

    def taught(self, name: str, **fields: Any) -> Any:
        """Two epochs of three steps on twelve rows, with validation, from a seed."""
        asked = {
            "validation_file": self.validation_file,
            "suffix": "bot",
            "seed": 7,
            "method": supervised(n_epochs=2, batch_size=4, learning_rate_multiplier=4),
            "extra_body": {"lora": {"r": 8, "alpha": 16}},
        }
        return self.learned(name, **asked, **fields)

    @cached_property
    def finished(self) -> Any:
        return self.taught("finished", metadata={"team": "support", "empty": ""})

    @cached_property
    def plainest(self) -> Any:
        """One step on rows with tools, from a base model under its hub id, without a suffix."""
        asked = {"model": HUB_ID, "training_file": self.upload(calls(12)).id}
        return self.learned("plainest", **asked, hyperparameters={"n_epochs": 1, "batch_size": 12})

    @cached_property
    def events(self) -> "list[Any]":
        """All of the finished job's, newest first."""
        return list(self.client.fine_tuning.jobs.list_events(self.finished.id, limit=5))

    @cached_property
    def checkpoints(self) -> "list[Any]":
        return list(self.client.fine_tuning.jobs.checkpoints.list(self.finished.id).data)

    # ---- models ----

    def ask(self, model: str, client: "OpenAI | None" = None, **options: Any) -> Any:
        """A chat, waiting where the model is still being loaded: more patiently than the SDK's two retries."""
        said = {"messages": [{"role": "user", "content": "Order 3?"}], "temperature": 0, "max_tokens": 12}
        asking = (client or self.client).chat.completions
        return when_loaded(lambda: asking.create(**{"model": model, **said, **options}))


def when_loaded(call: Callable[[], Any]) -> Any:
    deadline = time.monotonic() + LOAD_SECONDS
    while True:
        try:
            return call()
        except RateLimitError as error:
            if "the model is still being loaded" not in error.message or time.monotonic() > deadline:
                raise
            time.sleep(float(error.response.headers["retry-after"]) / 5)


# ---- rows of files ----


def jsonl(rows: "list[dict[str, Any]]") -> bytes:
    return "".join(json.dumps(each) + "\n" for each in rows).encode()


def chat_rows(count: int, start: int = 0) -> "list[dict[str, Any]]":
    return [chat_row(f"Order {number}?", f"It is number {number}.") for number in range(start, start + count)]


def chat_row(question: str, *answers: str, weights: "tuple[int, ...]" = ()) -> "dict[str, Any]":
    """One question, asked again for each answer."""
    messages: list[dict[str, Any]] = []
    for place, answer in enumerate(answers):
        said: dict[str, Any] = {"role": "assistant", "content": answer}
        messages += [{"role": "user", "content": question}, said | ({"weight": weights[place]} if weights else {})]
    return {"messages": messages}


TOOL = {
    "type": "function",
    "function": {
        "name": "track",
        "description": "Where an order is",
        "parameters": {"type": "object", "properties": {"order": {"enum": [3, 4]}}, "required": ["order"]},
    },
}


def calls(count: int) -> "list[dict[str, Any]]":
    """Rows in which a tool is called and answers."""
    rows = chat_rows(count)
    for number, each in enumerate(rows):
        call = {"name": "track", "arguments": json.dumps({"order": 3 + number % 2})}
        asked = {"id": "call_1", "type": "function", "function": call}
        each["messages"][1:1] = [
            {"role": "assistant", "content": None, "tool_calls": [asked]},
            {"role": "tool", "tool_call_id": "call_1", "content": "on its way"},
        ]
        each["tools"] = [TOOL]
    return rows


def preference_rows(count: int, spelling: str = "output") -> "list[dict[str, Any]]":
    return [
        {
            "input": {"messages": [{"role": "user", "content": f"Order {number}?"}]},
            f"preferred_{spelling}": [{"role": "assistant", "content": f"It is number {number}."}],
            f"non_preferred_{spelling}": [{"role": "assistant", "content": "No idea."}],
        }
        for number in range(count)
    ]


def supervised(**hyperparameters: Any) -> "dict[str, Any]":
    return {"type": "supervised", "supervised": {"hyperparameters": hyperparameters}}


def dpo(**hyperparameters: Any) -> "dict[str, Any]":
    return {"type": "dpo", "dpo": {"hyperparameters": hyperparameters}}


# ---- refusals ----


def refused(call: Callable[[], Any], kind: type[APIStatusError], param: "str | None" = None, code: str = "") -> Any:
    """The error that this call must raise, in OpenAI's shape."""
    try:
        answer = call()
    except APIStatusError as error:
        assert type(error) is kind, f"{type(error).__name__} instead of {kind.__name__}: {error.message}"
        assert isinstance(error.body, dict) and {"message", "type", "param", "code"} <= set(error.body), error.body
        assert error.message and (error.request_id or "").startswith("req_"), "no message, or no request id"
        assert param is None or error.param == param, f"param is {error.param}, not {param}: {error.message}"
        assert not code or error.code == code, f"code is {error.code}, not {code}: {error.message}"
        return error
    raise AssertionError(f"not refused, but answered: {answer!r:.200}")
