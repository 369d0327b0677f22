"""Somebody else's server with OpenAI's API, as a process of its own: `python -m tests.stand_in` prints its port.

It wants the key KEY. The model that is asked decides what it does:
    parrot      says what it heard, word by word, then its usage, then [DONE]
    endless     one word each 20 ms until the caller leaves; `GET /seen` counts those who left
    slow        is silent for a while before its first word
    whole       cannot stream and answers in one piece
    old         does not know stream_options
    new         calls max_tokens max_completion_tokens
    single      refuses n, and gives the seed as its answer; the others do not know n and give one answer
    fickle      ends in mid-stream without [DONE];  angry: with an error event
    garbage     answers with things that are no chunks;  page: with a page of HTML
    busy, broke, ill, away: 429 with Retry-After, 429 without quota, 500, a redirect to /seen
    telltale    repeats the key in its error
    biased      judges: what stands first is always better
    careful     judges: the answer that says "thank you" is better, whichever side it stands on
    llama-guard, qwen-guard: guard models on vLLM, with log-probabilities; what says "vile" is unsafe, "rude" is
                controversial; deaf-guard keeps its log-probabilities to itself; shy-guard is busy the first time

POST /v1/moderations flags what says "vile".
"""

import json
import math
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.request import urlopen

KEY = "sk-stand-in-0123456789abcdef"
SLOW_SECONDS = 3.0
MODELS = {
    *("parrot", "endless", "slow", "whole", "old", "new", "single", "fickle", "angry"),
    *("garbage", "page", "busy", "broke", "ill", "away", "telltale"),
    *("biased", "careful"),
    *("llama-guard", "qwen-guard", "deaf-guard", "shy-guard"),
}


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    seen: list[dict[str, Any]] = []
    left = 0

    def do_GET(self) -> None:
        assert self.path == "/seen"
        self.answer(200, {"asked": Handler.seen, "left": Handler.left})

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        Handler.seen.append(body)
        model = body.get("model")
        if self.path == "/v1/moderations" and self.headers.get("Authorization") == f"Bearer {KEY}":
            return self.moderate(body)
        if self.path not in ("/v1/chat/completions", "/v1/moderations"):
            return self.answer(404, {"detail": "Not Found"})
        if self.headers.get("Authorization") != f"Bearer {KEY}":
            return self.refuse(401, "Incorrect API key provided.", code="invalid_api_key")
        if model not in MODELS:
            return self.refuse(404, f"The model `{model}` does not exist.", code="model_not_found")
        return getattr(self, f"be_{model.replace('-', '_')}", self.be_parrot)(body)

    def moderate(self, body: dict[str, Any]) -> None:
        """What says "vile" is flagged; the model named stiff answers in a shape of its own."""
        found = [
            {
                "flagged": "vile" in text,
                "categories": {"hate": "vile" in text, "sexual": False, "spam": False},
                "category_scores": {"hate": 0.9 if "vile" in text else 0.01, "sexual": 0.0, "spam": 0.2},
            }
            for text in body["input"]
        ]
        self.answer(200, {"verdict": "fine"} if body.get("model") == "stiff" else {"id": "modr-1", "results": found})

    # ---- what each model does ----

    def be_parrot(self, body: dict[str, Any], heard: str = "heard ") -> None:
        self.begin()
        words = self.words(body, heard)
        for word in words:
            self.say({"choices": [{"index": 0, "delta": {"content": word}, "finish_reason": None}]})
        self.say({"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]})
        if (body.get("stream_options") or {}).get("include_usage"):
            self.say({"choices": [], "usage": {"prompt_tokens": 7, "completion_tokens": len(words), "total_tokens": 9}})
        self.say("[DONE]")

    def be_endless(self, body: dict[str, Any]) -> None:
        self.begin()
        try:
            while True:
                self.say({"choices": [{"index": 0, "delta": {"content": "on "}}]})
                time.sleep(0.02)
        except OSError:
            Handler.left += 1

    def be_slow(self, body: dict[str, Any]) -> None:
        time.sleep(SLOW_SECONDS)
        self.be_parrot(body)

    def be_biased(self, body: dict[str, Any]) -> None:
        self.be_parrot(body | {"messages": [{"content": '{"better": "A"}'}]}, heard="")

    def be_careful(self, body: dict[str, Any]) -> None:
        first, _, second = body["messages"][-1]["content"].partition("<answer_b>")
        kind = ["thank you" in text for text in (first.partition("<answer_a>")[2], second)]
        better = "tie" if kind[0] == kind[1] else "A" if kind[0] else "B"
        self.be_parrot(body | {"messages": [{"content": json.dumps({"better": better})}]}, heard="")

    def be_llama_guard(self, body: dict[str, Any]) -> None:
        vile = self.is_vile(body)
        words = ["\n\n", "unsafe", "\n", "S", "10", ",", "S", "5"] if vile else ["\n\n", "safe"]
        self.judge(body, words, 1, {"unsafe": 0.9 if vile else 0.03, "safe": 0.1 if vile else 0.96})

    def be_qwen_guard(self, body: dict[str, Any]) -> None:
        vile, rude = self.is_vile(body), "rude" in body["messages"][-1]["content"]
        chances = {"Unsafe": 0.8, "Controversial": 0.15} if vile else {"Unsafe": 0.02, "Controversial": 0.01}
        chances = {"Unsafe": 0.3, "Controversial": 0.6} if rude else chances
        word = max(chances | {"Safe": 1 - sum(chances.values())}, key=(chances | {"Safe": 0.5}).__getitem__)
        named = "Violent, Unethical Acts" if word != "Safe" else "None"
        words = ["Safety", ":", f" {word}", "\n", "Categories", ":", f" {named}"]
        self.judge(body, words, 2, {f" {name}": chance for name, chance in chances.items()})

    def be_deaf_guard(self, body: dict[str, Any]) -> None:
        if "logprobs" in body:
            return self.refuse(400, "Requesting logprobs is not supported here.")
        return self.be_llama_guard(body)

    def be_shy_guard(self, body: dict[str, Any]) -> None:
        if len([each for each in Handler.seen if each == body]) < 2:
            return self.refuse(503, "Not yet.", headers={"Retry-After": "0"})
        return self.be_llama_guard(body)

    def is_vile(self, body: dict[str, Any]) -> bool:
        return "vile" in body["messages"][-1]["content"]

    def judge(self, body: dict[str, Any], words: list[str], at: int, chances: dict[str, float]) -> None:
        """As vLLM answers with `logprobs`: `chances` are those of the word at `at`."""
        told = None
        if body.get("logprobs"):
            tokens: list[dict[str, Any]] = [{"token": word, "logprob": -0.01, "top_logprobs": []} for word in words]
            others = [{"token": word, "logprob": math.log(chance)} for word, chance in chances.items()]
            tokens[at] |= {"logprob": math.log(chances.get(words[at], 0.97)), "top_logprobs": others}
            told = {"content": tokens}
        message = {"role": "assistant", "content": "".join(words)}
        choice = {"index": 0, "message": message, "logprobs": told, "finish_reason": "stop"}
        with suppress(OSError):  # whoever asked for many at once leaves at the first that fails
            self.answer(200, {"choices": [choice]})

    def be_whole(self, body: dict[str, Any]) -> None:
        message = {"role": "assistant", "content": "".join(self.words(body))}
        choices = [{"index": 0, "message": message, "finish_reason": "stop"}]
        self.answer(200, {"choices": choices, "usage": {"prompt_tokens": 7, "completion_tokens": 2}})

    def be_old(self, body: dict[str, Any]) -> None:
        if "stream_options" in body:
            return self.refuse(400, "Unrecognized request argument supplied: stream_options")
        return self.be_parrot(body)

    def be_new(self, body: dict[str, Any]) -> None:
        if "max_tokens" in body:
            return self.refuse(400, "Unsupported parameter: 'max_tokens'. Use 'max_completion_tokens' instead.")
        return self.be_parrot(body)

    def be_single(self, body: dict[str, Any]) -> None:
        if "n" in body:
            return self.refuse(400, "Only n=1 is supported.")
        return self.be_parrot(body | {"messages": [{"content": str(body.get("seed"))}]}, heard="")

    def be_fickle(self, body: dict[str, Any]) -> None:
        self.begin()
        self.say({"choices": [{"index": 0, "delta": {"content": "I was about to"}}]})

    def be_angry(self, body: dict[str, Any]) -> None:
        self.be_fickle(body)
        self.say({"error": {"message": "out of memory", "type": "server_error"}})

    def be_garbage(self, body: dict[str, Any]) -> None:
        self.begin()
        self.say(
            {
                "choices": [{"index": "x", "delta": {"content": ["a", "list"]}}, 5, None],
                "usage": {"prompt_tokens": "many"},
            }
        )
        self.say({"choices": [{"delta": {"content": "still\0here"}, "finish_reason": 3}]})
        self.say("{half")

    def be_page(self, body: dict[str, Any]) -> None:
        self.send(200, b"<html>hello</html>", "text/html")

    def be_busy(self, body: dict[str, Any]) -> None:
        self.refuse(429, "Rate limit reached.", headers={"Retry-After": "20"})

    def be_broke(self, body: dict[str, Any]) -> None:
        self.refuse(429, "You exceeded your current quota.", code="insufficient_quota")

    def be_ill(self, body: dict[str, Any]) -> None:
        self.send(500, b"<html><b>stack trace</b></html>", "text/html")

    def be_away(self, body: dict[str, Any]) -> None:
        self.send(307, b"", "text/plain", {"Location": "/seen"})

    def be_telltale(self, body: dict[str, Any]) -> None:
        self.refuse(401, f"{self.headers['Authorization']} is not welcome")

    # ---- saying it ----

    def words(self, body: dict[str, Any], heard: str = "heard ") -> list[str]:
        return [word + " " for word in f"{heard}{body['messages'][-1]['content']}".split()]

    def begin(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Connection", "close")
        self.end_headers()
        self.close_connection = True

    def say(self, event: dict[str, Any] | str) -> None:
        text = event if isinstance(event, str) else json.dumps(event)
        self.wfile.write(f"data: {text}\n\n".encode())
        self.wfile.flush()

    def refuse(self, status: int, message: str, code: str = "", headers: dict[str, str] | None = None) -> None:
        error = {"error": {"message": message, "type": "invalid_request_error", "code": code or None}}
        self.send(status, json.dumps(error).encode(), "application/json", headers)

    def answer(self, status: int, body: dict[str, Any]) -> None:
        self.send(status, json.dumps(body).encode(), "application/json")

    def send(self, status: int, content: bytes, kind: str, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in {"Content-Type": kind, "Content-Length": str(len(content)), **(headers or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *args: Any) -> None:
        pass


class StandIn:
    """The server as its tests see it."""

    def __init__(self, port: int) -> None:
        self.address = f"http://127.0.0.1:{port}"
        self.base_url = f"{self.address}/v1"

    def seen(self) -> dict[str, Any]:
        """`asked`: the bodies in order; `left`: callers who went away in mid-stream."""
        with urlopen(f"{self.address}/seen", timeout=10) as answer:
            return json.load(answer)


@contextmanager
def standing() -> Iterator[StandIn]:
    """One in a process of its own, ended with the block."""
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.stand_in"], cwd=Path(__file__).parent.parent, stdout=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout
        yield StandIn(int(process.stdout.readline()))
    finally:
        process.kill()
        process.communicate()


def main() -> None:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    print(server.server_port, flush=True)
    server.serve_forever()


if __name__ == "__main__":
    main()
