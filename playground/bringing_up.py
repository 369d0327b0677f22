"""The fleet's slow work, in threads: a deployment is loaded into its server and proven there, others are unloaded."""

import contextlib
import logging
import time

from django.utils import timezone

from playground import deployments, gate, parity
from playground.members import Member
from playground.models import Deployment
from playground.vllm import Refusal, VllmError

logger = logging.getLogger(__name__)
State, Proof = Deployment.State, Deployment.Proof


def bring_up(member: Member, row: Deployment, vllm_version: str) -> None:
    """In a thread: load, check, and only then ready."""
    try:
        started = time.monotonic()
        fields = gate.prove(member.server, row, member.base_answers)
        if "load_ms" in fields["proof_json"]:
            member.loaded[row.served_name] = row.pk
        fields["proof_json"] |= {
            "vllm": vllm_version,
            "at": timezone.now().isoformat(timespec="seconds"),
            "seconds": round(time.monotonic() - started, 3),
        }
    except parity.Refused as error:
        _withdraw(member, row)
        refused = {"proof": Proof.REFUSED, "proof_json": {**error.figures, "refused": str(error), "vllm": vllm_version}}
        deployments.remember_proof(row, reason=str(error), **refused)
        deployments.take_down(row, State.FAILED, str(error), **refused)
        return
    except Refusal as error:
        _withdraw(member, row)
        deployments.take_down(row, State.FAILED, f"vLLM refuses it: {error}")
        return
    except VllmError as error:  # its server is in trouble; the watch deals with that
        logger.warning("%s: %s", row.served_name, error)
        deployments.take_down(row, State.QUEUED, str(error))
        return
    except Exception as error:
        logger.exception("bringing up %s", row.served_name)
        _withdraw(member, row)
        deployments.take_down(row, State.FAILED, f"It could not be checked: {error!r}")
        return
    deployments.remember_proof(row, **fields)
    if not member.is_up:  # stopped or lost in the meantime
        return
    deployments.change(
        row,
        state=State.READY,
        reason=fields.pop("reason", ""),
        url=member.server.url,
        start_seconds=member.server.ready_seconds,
        load_seconds=time.monotonic() - started,
        server_pid=member.server.pid,
        **fields,
    )


def _withdraw(member: Member, row: Deployment) -> None:
    """What the gate refused must not stay under its name."""
    if row.checkpoint and member.server.plan.lora_rank:
        unload(member, [row.served_name])


def unload(member: Member, names: list[str]) -> None:
    for name in names:
        with contextlib.suppress(VllmError):
            member.server.unload_adapter(name)
        member.loaded.pop(name, None)
