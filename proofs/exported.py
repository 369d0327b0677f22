"""What was exported, loaded by plain transformers and peft: does it answer as it was trained?

The log-probabilities that the trainer noted for a few continuations (`probes.json`, which stays on the
server) are computed again from the downloaded folder, in float32, and judged as the parity gate of serving does.
"""

import gc
import tarfile
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
from openai import OpenAI

from playground import parity
from proofs.server import Hone
from training.engine.spec import Probes

EXPORT_SECONDS = 600


@dataclass(frozen=True)
class Loaded:
    """Nats a token: from what was trained, and how far training had moved these answers."""

    what: str
    difference: float
    moved: float
    verdict: str  # verified | too_close | refused
    reason: str

    @property
    def words(self) -> str:
        return f"{self.what} {self.difference:.3f}" + ("" if self.verdict == "verified" else f" ({self.reason})")


def exported(hone: Hone, client: OpenAI, name: str, checkpoint: Path, base: Path) -> list[Loaded]:
    """The adapter and the merged weights of this model, or its full weights; each downloaded and loaded."""
    probes = Probes.model_validate_json((checkpoint / "probes.json").read_text())
    is_adapter = (checkpoint / "adapter_config.json").exists()
    with downloaded(hone, f"/checkpoints/{name}/content") as folder:
        found = [judged("adapter" if is_adapter else "weights", folder, base if is_adapter else None, probes)]
    if is_adapter:
        with downloaded(hone, f"/exports/{merged(client, name)}/content") as folder:
            found.append(judged("merged", folder, None, probes))
    return found


def merged(client: OpenAI, name: str) -> str:
    """The id of the export with the merged weights, once it is there."""
    export: dict[str, Any] = client.post("/exports", cast_to=dict, body={"model": name})
    deadline = time.monotonic() + EXPORT_SECONDS
    while export["status"] in ("queued", "running") and time.monotonic() < deadline:
        time.sleep(0.5)
        export = client.get(f"/exports/{export['id']}", cast_to=dict)
    if export["status"] != "succeeded":
        raise RuntimeError(f"merging {name}: {export['status']}: {export['message']}")
    return str(export["id"])


@contextmanager
def downloaded(hone: Hone, path: str) -> Iterator[Path]:
    """The one folder that the tar unpacks into."""
    with tempfile.TemporaryDirectory(prefix="hone-exported-") as folder:
        tar = Path(folder) / "it.tar"
        headers = {"Authorization": f"Bearer {hone.key}"}
        with httpx2.stream("GET", f"{hone.api}{path}", headers=headers, timeout=120) as answer, tar.open("wb") as file:
            answer.raise_for_status()
            for chunk in answer.iter_bytes():
                file.write(chunk)
        with tarfile.open(tar) as content:
            content.extractall(Path(folder) / "out", filter="data")
        tar.unlink()
        (found,) = (Path(folder) / "out").iterdir()
        yield found


def judged(what: str, folder: Path, base: Path | None, probes: Probes) -> Loaded:
    """`base`: what an adapter is put on; None for a folder that needs none."""
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(base or folder, dtype=torch.float32)
    if base:
        model = PeftModel.from_pretrained(model, str(folder)).float()
    answers = [log_probabilities(model.eval(), probe.token_ids, probe.prompt_length) for probe in probes.probes]
    del model
    gc.collect()
    agreement = parity.compare(probes, answers)
    verdict = parity.judge(agreement)
    return Loaded(what, agreement.mean_to_trained, agreement.trained_to_base, verdict.proof, verdict.reason)


def log_probabilities(model: Any, token_ids: list[int], prompt_length: int) -> list[float]:
    """Of the tokens after the prompt, in nats."""
    import torch

    with torch.inference_mode():
        table = model(torch.tensor([token_ids])).logits[0].log_softmax(-1)
    return [table[at - 1, token_ids[at]].item() for at in range(prompt_length, len(token_ids))]
