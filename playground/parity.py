"""Is the served thing the trained thing? Nothing answers as `ready` before this says so.

vLLM can load an adapter, list it, and answer with the base under its name. So the trainer stores with each checkpoint
the log-probabilities of a few continuations under the weights it trained and under the base, and which file with which
modules it wrote (`training.engine.spec.Probes`). Before a load the file is compared with that; after it the answers.
docs/serving.md has the figures behind the two thresholds.
"""

import json
import re
import struct
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from training.engine.spec import Probes
from training.engine.weights import weight_files, weights_sha256

TOLERANCE_NATS = 0.1  # mean difference per token to the trained weights; 0.02 to 0.04 is what rounding makes
TOLERANCE_SHARE = 0.1  # of how far training moved them, where that is more: rounding to bf16 grows with it
TOLERANCE_AT_MOST = 1.0
APART_NATS = 0.05  # trained and base must differ by this much per token before nearness means anything
TENSOR_NAME = re.compile(r"^(?:base_model\.model\.)?(?P<module>.+)\.lora_(?:A|B|embedding_A|embedding_B)(?:\.\w+)?\.?")


class Refused(Exception):
    """The checkpoint must not answer; the message says what is wrong and what to do. `figures`: what was measured."""

    def __init__(self, message: str, figures: dict[str, Any] | None = None) -> None:
        super().__init__(message)
        self.figures = figures or {}


# ---- before the load: is this the file the trainer wrote? ----


def read_probes(folder: Path) -> Probes:
    path = folder / "probes.json"
    try:
        return Probes.model_validate_json(path.read_text())
    except FileNotFoundError as error:
        raise Refused(
            f"{path} is missing, so nobody can tell whether the served weights are the trained ones. "
            "Restore the checkpoint folder or train again."
        ) from error
    except (OSError, ValidationError) as error:
        raise Refused(f"{path} cannot be read: {str(error)[:200]}") from error


def tensor_names(path: Path) -> list[str]:
    """Names in the header of a safetensors file; its weights are not read."""
    try:
        with path.open("rb") as file:
            (length,) = struct.unpack("<Q", file.read(8))
            header = json.loads(file.read(length))
    except FileNotFoundError as error:
        raise Refused(f"{path} is missing. Restore the checkpoint folder or train again.") from error
    except (OSError, struct.error, ValueError, MemoryError, OverflowError) as error:
        raise Refused(f"{path} is not a safetensors file: {error}") from error
    return [name for name in header if name != "__metadata__"]


def module_name(name: str) -> str:
    """A module as the model itself calls it: PEFT puts `base_model.model.` before it."""
    return name.removeprefix("base_model.model.")


def adapted_modules(names: Iterable[str]) -> set[str]:
    found = (TENSOR_NAME.match(name) for name in names)
    return {match["module"] for match in found if match}


def check_adapter_files(folder: Path, probes: Probes, recorded_sha256: str) -> None:
    """Raises Refused when the adapter is empty, has other modules, or is another adapter than the one trained."""
    weights = folder / "adapter_model.safetensors"
    names = tensor_names(weights)
    if not names:
        raise Refused(f"The adapter is empty: {weights} holds no weights, so the base would answer in its name.")
    expected = {module_name(name) for name in probes.modules}
    found = adapted_modules(names)
    if found != expected:
        raise Refused(_module_difference(expected, found, folder))
    _check_sha256(folder, probes.weights_sha256, recorded_sha256)


def check_modules_apply(modules: list[str], applied: tuple[str, ...]) -> None:
    """Raises Refused when the server leaves some of the trained modules alone. `applied`: short names; empty: all."""
    left_out = sorted({name for name in modules if applied and name.rpartition(".")[2] not in applied})
    if left_out:
        raise Refused(
            f"{len(left_out)} of its {len(modules)} trained modules (such as {module_name(left_out[0])}) cannot be "
            "applied while serving, so it would not answer as it was trained. Train the usual linear layers instead."
        )


def check_full_files(folder: Path, probes: Probes, recorded_sha256: str) -> None:
    """Raises Refused when the weights are missing or not those that were trained."""
    if not any(tensor_names(path) for path in weight_files(folder)):
        raise Refused(f"{folder} holds no weights. Restore the checkpoint folder or train again.")
    _check_sha256(folder, probes.weights_sha256, recorded_sha256)


def _module_difference(expected: set[str], found: set[str], folder: Path) -> str:
    missing, extra = sorted(expected - found), sorted(found - expected)
    said = [f"{len(missing)} missing (such as {missing[0]})"] if missing else []
    said += [f"{len(extra)} never trained (such as {extra[0]})"] if extra else []
    return (
        f"The modules in {folder.name}/adapter_model.safetensors are not the {len(expected)} that were trained: "
        + ", ".join(said)
        + ". vLLM would leave out what it cannot place. Restore the checkpoint folder."
    )


def _check_sha256(folder: Path, trained: str, recorded: str) -> None:
    actual = weights_sha256(folder)
    if actual != trained or (recorded and actual != recorded):
        raise Refused(
            f"The weights are not the ones that were trained: sha256 {actual[:12]}… on disk, "
            f"{(recorded if actual == trained else trained)[:12]}… recorded. Restore the checkpoint folder."
        )


# ---- after the load: does it answer as the trained weights do? ----


@dataclass(frozen=True)
class Agreement:
    """Absolute differences of log-probabilities (nats), over all probe tokens."""

    tokens: int
    mean_to_trained: float
    max_to_trained: float
    mean_to_base: float
    max_to_base: float
    trained_to_base: float  # mean; how far training moved the model on these tokens


@dataclass(frozen=True)
class Verdict:
    proof: str  # a Deployment.Proof
    reason: str  # for people; empty when verified


def compare(probes: Probes, served: list[list[float]]) -> Agreement:
    """`served`: for each probe what vLLM gives its continuation tokens, in the same order."""
    to_trained: list[float] = []
    to_base: list[float] = []
    apart: list[float] = []
    for probe, given in zip(probes.probes, served, strict=True):
        for now, trained, base in zip(given, probe.trained_logprobs, probe.base_logprobs, strict=True):
            to_trained.append(abs(now - trained))
            to_base.append(abs(now - base))
            apart.append(abs(trained - base))
    if not to_trained:
        raise Refused("The checkpoint's probes.json holds no tokens to compare. Train again.")
    count = len(to_trained)
    return Agreement(
        tokens=count,
        mean_to_trained=sum(to_trained) / count,
        max_to_trained=max(to_trained),
        mean_to_base=sum(to_base) / count,
        max_to_base=max(to_base),
        trained_to_base=sum(apart) / count,
    )


def judge(agreement: Agreement, noise: float = 0.0) -> Verdict:
    """`noise`: how far the same server's base is from the trainer's base, when that was measured.

    NaN fails every comparison here, so it is refused.
    """
    near, far = agreement.mean_to_trained, agreement.mean_to_base
    allowed = min(TOLERANCE_AT_MOST, max(TOLERANCE_NATS, TOLERANCE_SHARE * agreement.trained_to_base))
    if not near <= allowed:
        looks = " It answers like the base model: the adapter has no effect." if far <= TOLERANCE_NATS else ""
        return Verdict(
            "refused",
            f"vLLM's answers differ from the trained weights' by {near:.3f} per token; at most {allowed:.3g} is "
            f"allowed.{looks}",
        )
    if agreement.trained_to_base <= max(APART_NATS, 2 * noise):
        return Verdict(
            "too_close", "Too close to the base to tell: training moved these answers by less than rounding."
        )
    if not near < far:
        return Verdict(
            "refused",
            f"vLLM's answers are nearer to the base ({far:.3f} per token) than to the trained weights ({near:.3f}).",
        )
    return Verdict("verified", "")


def check_chat_ids(expected: list[int], served: list[int]) -> None:
    """Raises Refused when vLLM would put other tokens before the answer than the engine trained on."""
    if expected == served:
        return
    at = next(
        (i for i, (a, b) in enumerate(zip(expected, served, strict=False)) if a != b), min(len(expected), len(served))
    )
    raise Refused(
        f"vLLM renders a chat to other tokens than the trainer: {len(served)} against {len(expected)}, different from "
        f"position {at}. The chat template or tokenizer in the model folder was changed after training."
    )


def noise_of_base(probes: Probes, served_base: list[list[float]]) -> float:
    """Mean difference between the served base and the trainer's base: what rounding alone makes."""
    pairs = [
        abs(now - base)
        for probe, given in zip(probes.probes, served_base, strict=True)
        for now, base in zip(given, probe.base_logprobs, strict=True)
    ]
    return sum(pairs) / len(pairs) if pairs else 0.0
