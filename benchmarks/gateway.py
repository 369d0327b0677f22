"""What Hone's gateway adds to a streamed answer: the same requests straight to the model server and through /v1.

    python -m benchmarks.gateway [--servers daphne uvicorn] [--streams 1 8 100] [--rate 50] [--tokens 100] [--rounds 3]
                                 [--leavers 40] [--model FOLDER]

1. Against an upstream that writes a token at known times (a process of its own; `--rate` tokens a second for each
   stream), so that what is measured is the way, not the model: each token carries the time at which it was written.
   Straight and through Hone in alternation, with daphne and with uvicorn in front of it; printed are the first token's
   and each token's way and the time between two tokens in milliseconds, and the web process's processor time a token.
   The last three columns are shares of one processor that the web process, the upstream and the readers took while
   answers went through Hone: one near 100 % is what limits, and its waits are in the figures. All streams are let in at
   once (`HONE_REQUESTS_AT_ONCE`); as it is set by default, those beyond 32 wait for their turn.
2. `--leavers` clients one after the other, half of them in the middle of an answer and half before it begins: how long
   after a client closed its connection the upstream lost its own, which stops the generation.
3. With `--model`, against a real vLLM of that model: wall time of the same greedy answers, one after the other.
"""

import argparse
import asyncio
import json
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp
import psutil
from aiohttp import web

from proofs.live_curve import daphne, wait_for
from proofs.screen import Screen, table

ROOT = Path(__file__).resolve().parent.parent
MODEL = "upstream"


@dataclass
class Ways:
    """Milliseconds from written to read."""

    first: list[float] = field(default_factory=list)  # from the request to the first token
    each: list[float] = field(default_factory=list)
    between: list[float] = field(default_factory=list)  # one token and the next
    cpu_ms_per_token: list[float] = field(default_factory=list)
    shares: list[list[float]] = field(default_factory=list)  # of one processor: web process, upstream, readers


def main() -> None:
    wanted = _options()
    if wanted.child:
        {"upstream": upstream, "prepare": prepare}[wanted.child[0]](*wanted.child[1:])
        return
    screen = Screen()
    with tempfile.TemporaryDirectory(prefix="hone-bench-") as home:
        env = {**os.environ, "HONE_HOME": home, "DJANGO_SETTINGS_MODULE": "dashboard.settings"}
        env["HONE_REQUESTS_AT_ONCE"] = str(max(wanted.streams))
        with child(env, "upstream", str(wanted.rate)) as address:
            key = prepared(env, address, MODEL, "")
            rows, left = [], [leaving("straight", address, address, key, wanted.leavers)]
            for server in wanted.servers:
                with SERVERS[server](env) as hone:
                    rows += by_streams(screen, wanted, server, address, hone, key)
                    left.append(leaving(server, hone, address, key, wanted.leavers))
            screen.table(table(HEAD, rows))
            screen.table(table(["a client leaves", "in the answer, p50", "p95", "before it, p50", "p95"], left))
    if wanted.model:
        screen.table(with_vllm(screen, wanted.model.resolve(), wanted.rounds, wanted.tokens))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--servers", nargs="+", choices=list(SERVERS), default=list(SERVERS))
    parser.add_argument("--streams", type=int, nargs="+", default=[1, 8, 100])
    for name, value in (("rate", 50), ("tokens", 100), ("rounds", 3), ("leavers", 40)):
        parser.add_argument(f"--{name}", type=int, default=value)
    parser.add_argument("--model", type=Path, help="folder of a model for a real vLLM")
    parser.add_argument("child", nargs="*")
    return parser.parse_args()


# ---- against an upstream of known times ----


HEAD = [
    "server", "streams", "load", "first token straight", "through Hone", "added p50", "added p95",
    "a token's way straight", "through Hone", "added p50", "added p95", "between two, added p95", "processor a token",
    "web process", "upstream", "readers",
]  # fmt: skip


def by_streams(
    screen: Screen, wanted: argparse.Namespace, server: str, address: str, hone: str, key: str
) -> list[list[str]]:
    processes = [_process("dashboard.asgi:application"), _process("upstream"), psutil.Process()]
    rows = []
    for streams in wanted.streams:
        straight, through = Ways(), Ways()
        for number in range(wanted.rounds + 1):  # the first warms up
            for url, found in ((address, straight), (hone, through)):
                before, began = [_cpu_seconds(each) for each in processes], time.monotonic()
                ways = asyncio.run(ask(url, key, streams, wanted.tokens))
                seconds = time.monotonic() - began
                spent = [_cpu_seconds(each) - then for each, then in zip(processes, before, strict=True)]
                if number:
                    found.first += ways.first
                    found.each += ways.each
                    found.between += ways.between
                    found.cpu_ms_per_token.append(1000 * spent[0] / (streams * wanted.tokens))
                    found.shares.append([each / seconds for each in spent])
        screen.line(f"{server}, {streams} streams of {wanted.tokens} tokens, {wanted.rounds} rounds")
        rows.append([server, str(streams), f"{os.getloadavg()[0]:.1f}", *_row(straight, through)])
    return rows


def _row(straight: Ways, through: Ways) -> list[str]:
    cells = []
    for kind in ("first", "each"):
        one, other = sorted(getattr(straight, kind)), sorted(getattr(through, kind))
        added = [_at(other, share) - _at(one, share) for share in (0.5, 0.95)]
        cells += [f"{value:.2f} ms" for value in (_at(one, 0.5), _at(other, 0.5), *added)]
    between = _at(sorted(through.between), 0.95) - _at(sorted(straight.between), 0.95)
    shares = [f"{100 * statistics.median(each):.0f} %" for each in zip(*through.shares, strict=True)]
    return [*cells, f"{between:.2f} ms", f"{statistics.median(through.cpu_ms_per_token):.3f} ms", *shares]


def _at(ordered: list[float], share: float) -> float:
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def _process(word: str) -> psutil.Process:
    """The one that this has started with that word."""
    return next(found for found in psutil.Process().children(recursive=True) if word in found.cmdline())


def _cpu_seconds(process: psutil.Process) -> float:
    times = process.cpu_times()
    return times.user + times.system


async def ask(url: str, key: str, streams: int, tokens: int) -> Ways:
    """That many answers at once; raises when one does not come whole."""
    found = Ways()
    async with aiohttp.ClientSession(
        headers={"Authorization": f"Bearer {key}"}, connector=aiohttp.TCPConnector(limit=0)
    ) as session:
        await asyncio.gather(*(_one(session, url, tokens, found) for _ in range(streams)))
    return found


async def _one(session: aiohttp.ClientSession, url: str, tokens: int, found: Ways) -> None:
    messages = [{"role": "user", "content": "Go on."}]
    body = {"model": MODEL, "messages": messages, "stream": True, "max_tokens": tokens}
    asked, read, before = time.time(), 0, 0.0
    async with session.post(f"{url}/v1/chat/completions", json=body) as response:
        response.raise_for_status()
        async for line in response.content:
            if not line.startswith(b"data: {"):
                continue
            written = json.loads(line[6:])["choices"][0]["delta"].get("content")
            if written is None:
                continue
            now = time.time()
            read += 1
            if read == 1:
                found.first.append(1000 * (now - asked))
            else:
                found.between.append(1000 * (now - before))
            before = now
            found.each.append(1000 * (now - float(written)))
    if read != tokens:
        raise SystemExit(f"{read} of {tokens} tokens came from {url}")


def leaving(server: str, url: str, upstream: str, key: str, clients: int) -> list[str]:
    """A row: milliseconds from the close of a client's connection to that of the upstream's."""
    cells = [server]
    for when in ("in the answer", "before it"):
        waits = sorted(asyncio.run(leave(url, upstream, key, when, max(2, clients // 2))))
        cells += [f"{_at(waits, share):.1f} ms" for share in (0.5, 0.95)]
    return cells


async def leave(url: str, upstream: str, key: str, when: str, clients: int) -> list[float]:
    left = {}
    for number in range(clients):
        word = f"{when} {url} {number}"
        body = {"model": MODEL, "messages": [{"role": "user", "content": word}], "stream": True, "max_tokens": 1000}
        async with aiohttp.ClientSession(headers={"Authorization": f"Bearer {key}"}) as session:
            asked = asyncio.create_task(session.post(f"{url}/v1/chat/completions", json=body))
            if when == "in the answer":
                async with await asked as response:
                    await response.content.readline()
            else:
                await asyncio.sleep(0.3)  # it has arrived by then
                asked.cancel()
        left[word] = time.time()  # the session is closed, and with it its connections
        await asyncio.sleep(0.05)
    await asyncio.sleep(2)
    async with aiohttp.ClientSession() as session, session.get(f"{upstream}/left") as response:
        lost = await response.json()
    return [1000 * (lost[word] - at) for word, at in left.items()]


def upstream(rate: str) -> None:
    """Says its address, then answers until it is ended: each token is the time at which it is written.

    /left: by what was asked, when the connection of an answer that was not at its end was lost.
    """
    left: dict[str, float] = {}

    async def asked(request: web.Request) -> web.StreamResponse:
        said = (await request.json())["messages"][-1]["content"]
        try:
            if said.startswith("before it"):
                await asyncio.sleep(60)
            return await answer(request)
        except (asyncio.CancelledError, ConnectionError):
            left[said] = time.time()
            raise

    async def tell(request: web.Request) -> web.Response:
        return web.json_response(left)

    async def answer(request: web.Request) -> web.StreamResponse:
        count = (await request.json())["max_tokens"]
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        began = time.monotonic()
        for number in range(count):
            await asyncio.sleep(max(0.0, began + number / int(rate) - time.monotonic()))
            choice = {"index": 0, "delta": {"content": f"{time.time():.6f}"}, "finish_reason": None}
            chunk = {"id": "1", "object": "chat.completion.chunk", "model": MODEL, "choices": [choice]}
            await response.write(b"data: " + json.dumps(chunk, separators=(",", ":")).encode() + b"\n\n")
        await response.write(b"data: [DONE]\n\n")
        return response

    async def serve() -> None:
        application = web.Application()
        application.router.add_post("/v1/chat/completions", asked)
        application.router.add_get("/left", tell)
        runner = web.AppRunner(application, access_log=None, handler_cancellation=True)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        assert site._server and site._server.sockets  # type: ignore[attr-defined]
        print(site._server.sockets[0].getsockname()[1], flush=True)  # type: ignore[attr-defined]
        await asyncio.Event().wait()

    asyncio.run(serve())


# ---- with a real vLLM ----


def with_vllm(screen: Screen, folder: Path, rounds: int, tokens: int) -> list[str]:
    """Seconds of one greedy answer after another, straight and through Hone in alternation."""
    from playground.vllm import Plan, VllmServer

    taken: dict[str, list[float]] = {"straight": [], "through Hone": []}
    with tempfile.TemporaryDirectory(prefix="hone-bench-") as home:
        server = VllmServer(Plan(MODEL, folder, Path(home) / "vllm.log", context_tokens=2048))
        server.start()
        try:
            server.wait_until_ready()
            screen.line("vLLM is ready")
            env = {**os.environ, "HONE_HOME": home, "DJANGO_SETTINGS_MODULE": "dashboard.settings"}
            key = prepared(env, server.url, MODEL, str(folder))
            with daphne(env) as hone:
                for number in range(rounds + 1):  # the first warms up
                    for name, url in (("straight", server.url), ("through Hone", hone)):
                        seconds = asyncio.run(_seconds(url, key, tokens))
                        if number:
                            taken[name].append(seconds)
        finally:
            server.stop()
    medians = {name: statistics.median(found) for name, found in taken.items()}
    ratio = medians["through Hone"] / medians["straight"] - 1
    rows = [[name, f"{value:.3f} s", f"{1000 * value / tokens:.2f} ms"] for name, value in medians.items()]
    return table(
        [f"{tokens} tokens of vLLM", "whole answer", "a token"], [*rows, ["added", f"{100 * ratio:+.1f} %", ""]]
    )


async def _seconds(url: str, key: str, tokens: int) -> float:
    prompt = [{"role": "user", "content": "Tell a long story about a river."}]
    body = {"model": MODEL, "messages": prompt, "stream": True, "max_tokens": tokens, "temperature": 0}
    async with aiohttp.ClientSession(headers={"Authorization": f"Bearer {key}"}) as session:
        began = time.perf_counter()
        async with session.post(f"{url}/v1/chat/completions", json=body | {"ignore_eos": True}) as response:
            response.raise_for_status()
            await response.read()
        return time.perf_counter() - began


# ---- the processes ----


def prepared(env: dict[str, str], url: str, name: str, folder: str) -> str:
    """A database in which that server holds a model of this name; the key to ask it with."""
    words = [sys.executable, "-m", "benchmarks.gateway", "prepare", url, name, folder]
    return subprocess.run(words, cwd=ROOT, env=env, check=True, capture_output=True, text=True).stdout.split()[-1]


def prepare(url: str, name: str, folder: str = "") -> None:
    import django

    django.setup()
    from django.core.management import call_command

    from accounts.models import ApiKey, Membership, Project, User
    from playground.models import Deployment
    from training.models import BaseModel

    call_command("migrate", verbosity=0)
    project = Project.objects.create(name="Benchmark")
    user = User.objects.create_user("bench@example.com", "a long password")
    Membership.objects.create(user=user, project=project, role="owner")
    base = BaseModel.objects.create(
        name=name, source="folder", source_id=folder or "/nowhere", folder=folder, status="ready"
    )
    Deployment.objects.create(base_model=base, state=Deployment.State.READY, url=url)
    print(ApiKey.make(project=project, user=user, name="benchmark")[1])


@contextmanager
def child(env: dict[str, str], *words: str) -> Iterator[str]:
    """Its address."""
    command = [sys.executable, "-m", "benchmarks.gateway", *words]
    process = subprocess.Popen(command, cwd=ROOT, env=env, stdout=subprocess.PIPE, text=True)
    assert process.stdout
    try:
        yield f"http://127.0.0.1:{int(process.stdout.readline())}"
    finally:
        process.terminate()
        process.wait()


@contextmanager
def uvicorn(env: dict[str, str]) -> Iterator[str]:
    """The same application behind uvicorn, its limits on bodies left out. Its address."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    words = ["uvicorn", "dashboard.asgi:application", "--port", str(port), "--log-level", "warning", "--no-access-log"]
    process = subprocess.Popen([sys.executable, "-m", *words], cwd=ROOT, env=env)
    try:
        wait_for(f"http://127.0.0.1:{port}")
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait()


SERVERS = {"daphne": daphne, "uvicorn": uvicorn}

if __name__ == "__main__":
    main()
