"""Merge a checkpoint's adapter into its base; what comes out is kept only if it answers as the adapter does.

    python -m training.engine.export BASE CHECKPOINT OUT

Asked are the base and the adapter, loaded by plain peft, and then the written folder, loaded by plain transformers as
anybody would load it: the log-probabilities of the checkpoint's probes, in float32 on the CPU. All that differs is the
merge and the rounding to the type of the base's weights. OUT appears only when both agree; the last line printed is an
ExportReport as JSON. Takes about five bytes of main memory a parameter.
"""

import gc
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM, PreTrainedModel

from training.engine.checkpoint import complete_folder, copy_tokenizer
from training.engine.errors import EngineError, ModelProblem
from training.engine.spec import ExportReport, Probes
from training.engine.weights import weights_sha256

WORST_NATS = 0.1  # mean difference a token to the adapter's answers; the parity gate of serving allows as much
LOST_SHARE = 0.25  # of what training moved that the merge may lose
ROUNDING_NATS = 0.01  # allowed in any case: what rounding to bfloat16 makes of an adapter that moved nothing


class Refused(EngineError):
    """The merged weights are not the adapter's model."""

    code = "merge_differs"


def merge_by_peft(adapted: PeftModel) -> PreTrainedModel:
    """The base with the adapter added to its weights; raises when that makes them infinite."""
    return adapted.merge_and_unload(safe_merge=True)


def export(
    base: Path, checkpoint: Path, out: Path, merge: Callable[[PeftModel], PreTrainedModel] = merge_by_peft
) -> ExportReport:
    """Writes `out`, a model folder of its own. Raises Refused, and leaves nothing, when it does not answer alike."""
    probes = _probes(checkpoint)
    plain = AutoModelForCausalLM.from_pretrained(base, dtype="auto")
    dtype = plain.dtype
    plain = plain.float().eval()
    untrained = answers(plain, probes)
    adapted = PeftModel.from_pretrained(plain, checkpoint).eval()
    wanted = answers(adapted, probes)
    with complete_folder(out) as part:
        merge(adapted).to(dtype).save_pretrained(part)
        copy_tokenizer(base, part)
        del plain, adapted
        gc.collect()
        written = AutoModelForCausalLM.from_pretrained(part, dtype=torch.float32).eval()
        report = judge(wanted, answers(written, probes), untrained)
        report.dtype = str(dtype).removeprefix("torch.")
        report.sha256 = weights_sha256(part)
        report.size_bytes = sum(path.stat().st_size for path in part.iterdir())
    return report


def _probes(checkpoint: Path) -> Probes:
    try:
        probes = Probes.model_validate_json((checkpoint / "probes.json").read_text())
    except (OSError, ValueError) as error:
        raise ModelProblem(f"{checkpoint}/probes.json cannot be read: {str(error)[:200]}. Train again.") from error
    if weights_sha256(checkpoint) != probes.weights_sha256:
        raise ModelProblem(f"The weights in {checkpoint} are not those that were trained. Restore the folder.")
    if not probes.probes:
        raise ModelProblem(f"{checkpoint}/probes.json holds nothing to compare the merged weights by. Train again.")
    return probes


def answers(model: Any, probes: Probes) -> list[float]:
    """Log-probabilities (nats) of every continuation token of the probes, one list for all."""
    found: list[float] = []
    for probe in probes.probes:
        ids_T = torch.tensor(probe.token_ids)
        with torch.inference_mode():
            logprobs_TV = model(ids_T[None]).logits[0].float().log_softmax(-1)
        rows_C = torch.arange(probe.prompt_length - 1, len(ids_T) - 1)
        found += logprobs_TV[rows_C, ids_T[probe.prompt_length :]].tolist()
    return found


def judge(adapter: list[float], merged: list[float], base: list[float]) -> ExportReport:
    """Raises Refused when the merged weights' answers are not the adapter's. NaN is refused: it is never within."""
    apart = [abs(a - b) for a, b in zip(adapter, merged, strict=True)]
    mean, moved = sum(apart) / len(apart), _mean_difference(adapter, base)
    limit = min(WORST_NATS, max(ROUNDING_NATS, LOST_SHARE * moved))
    if not mean <= limit:
        raise Refused(
            f"The merged weights answer differently from the adapter: {mean:.4f} nats a token, at most {limit:.4f} is "
            f"allowed where training moved {moved:.4f}. They were not kept. Download the adapter instead."
        )
    return ExportReport(
        status="matches",
        tokens=len(apart),
        mean_to_adapter=mean,
        max_to_adapter=max(apart),
        adapter_to_base=moved,
    )


def _mean_difference(left: list[float], right: list[float]) -> float:
    return sum(abs(a - b) for a, b in zip(left, right, strict=True)) / len(left)


def main(base: Path, checkpoint: Path, out: Path) -> int:
    try:
        report = export(base, checkpoint, out)
    except Refused as error:
        report = ExportReport(status="refused", message=error.message)
    except EngineError as error:
        report = ExportReport(status="failed", message=error.message)
    except Exception as error:  # the process border: the site gets the reason, the log the rest
        print(report_line(ExportReport(status="failed", message=f"{type(error).__name__}: {error}")))
        raise
    print(report_line(report))
    return 0 if report.status == "matches" else 1


def report_line(report: ExportReport) -> str:
    return report.model_dump_json()


if __name__ == "__main__":
    sys.exit(main(*map(Path, sys.argv[1:])))
