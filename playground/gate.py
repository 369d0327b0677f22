"""The parity gate: loads one model into its running server and proves that it answers as it was trained.

What is compared, and why, is in `playground.parity`; this file asks vLLM.
"""

import math
import time
from typing import Any

from playground import parity
from playground.models import Deployment
from playground.vllm import VllmServer
from training.engine.chat import ChatFormat
from training.engine.errors import EngineError
from training.engine.spec import Probes
from training.models import Checkpoint

BaseAnswers = dict[str, list[list[float]]]  # of one server, to probes; the epochs of a job share theirs
# A base has no trained probes. Umlauts and four turns show most ways in which a template can differ.
CHAT_EXAMPLE = [
    {"role": "system", "content": "You answer briefly."},
    {"role": "user", "content": "Is the café in Zürich open today?"},
    {"role": "assistant", "content": "Yes, until 18:00."},
    {"role": "user", "content": "And tomorrow?"},
]


def prove(server: VllmServer, row: Deployment, base_answers: BaseAnswers) -> dict[str, Any]:
    """Loads and compares; returns `proof`, `proof_json` and perhaps `reason` for the row.

    Raises Refused when it must not answer, VllmError when vLLM did not do what it was asked.
    """
    if row.checkpoint is None:
        return _prove_base(server, row)
    probes = parity.read_probes(row.checkpoint.path)
    if row.checkpoint.kind == Checkpoint.Kind.LORA:
        return _prove_adapter(server, row.served_name, row.checkpoint, probes, base_answers)
    parity.check_full_files(row.checkpoint.path, probes, row.checkpoint.sha256)
    return _compare(server, row.served_name, probes, 0.0, {"kind": "full"})


def _prove_base(server: VllmServer, row: Deployment) -> dict[str, Any]:
    """Its chat must come out as the tokens that the trainer makes of it."""
    try:
        chat = ChatFormat.load(row.family.path)
        expected = chat.encode_prompt(CHAT_EXAMPLE) if chat.has_template else []
    except EngineError as error:
        raise parity.Refused(str(error)) from error
    if row.served_name not in server.models():
        raise parity.Refused(f"vLLM does not list {row.served_name}.")
    if expected:
        parity.check_chat_ids(expected, server.tokenize_chat(row.served_name, CHAT_EXAMPLE))
    return {"proof": Deployment.Proof.VERIFIED, "proof_json": {"kind": "base", "chat_tokens": len(expected)}}


def _prove_adapter(
    server: VllmServer, name: str, checkpoint: Checkpoint, probes: Probes, base_answers: BaseAnswers
) -> dict[str, Any]:
    parity.check_adapter_files(checkpoint.path, probes, checkpoint.sha256)
    parity.check_modules_apply(probes.modules, server.plan.lora_modules)
    server.unload_adapter(name)
    started = time.monotonic()
    server.load_adapter(name, checkpoint.path)
    figures = {"kind": "lora", "load_ms": round(1000 * (time.monotonic() - started), 1)}
    questions = _continuations(probes)
    if str(questions) not in base_answers:
        base_answers[str(questions)] = server.prompt_logprobs(server.plan.name, questions)
    noise = parity.noise_of_base(probes, base_answers[str(questions)])
    return _compare(server, name, probes, noise, figures)


def _compare(server: VllmServer, name: str, probes: Probes, noise: float, figures: dict[str, Any]) -> dict[str, Any]:
    if name not in server.models():
        raise parity.Refused(f"vLLM took {name} but does not list it.")
    agreement = parity.compare(probes, server.prompt_logprobs(name, _continuations(probes)))
    verdict = parity.judge(agreement, noise)
    # what is no number is left out: JSON has none, and Postgres takes none
    figures |= {key: round(value, 5) for key, value in vars(agreement).items() if math.isfinite(value)}
    if verdict.proof == Deployment.Proof.REFUSED:
        raise parity.Refused(verdict.reason, figures)
    if probes.chat_messages:
        parity.check_chat_ids(probes.chat_token_ids, server.tokenize_chat(name, probes.chat_messages))
    figures |= {"noise": round(noise, 5), "chat_tokens": len(probes.chat_token_ids)}
    return {"proof": verdict.proof, "proof_json": figures, "reason": verdict.reason}


def _continuations(probes: Probes) -> list[tuple[list[int], int]]:
    return [(probe.token_ids, probe.prompt_length) for probe in probes.probes]
