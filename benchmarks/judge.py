"""The loss of validation rows under saved adapters, by the plainest code: transformers and peft in float32, a row at a
time. None of the subjects' own figures are trusted for it.

    python -m benchmarks.judge MODEL TOKENS ADAPTER...     prints one JSON list of losses, "-" for no adapter
"""

import json
import sys
from pathlib import Path

import torch
import torch.nn.functional as F
from peft import PeftModel
from transformers import AutoModelForCausalLM


@torch.inference_mode()
def loss(model: torch.nn.Module, rows: list[dict[str, list[int]]], device: str) -> float:
    """Mean over the trained tokens of all rows, in nats."""
    total = count = 0.0
    for row in rows:
        ids_T = torch.tensor(row["input_ids"], device=device)
        mask_T = torch.tensor(row["completion_mask"], device=device, dtype=torch.bool)[1:]
        logits_TV = model(input_ids=ids_T[None]).logits[0, :-1].float()
        total += float(F.cross_entropy(logits_TV[mask_T], ids_T[1:][mask_T], reduction="sum"))
        count += int(mask_T.sum())
    return total / count


def main(model_folder: str, tokens: str, adapters: list[str]) -> None:
    device = "cuda" if torch.cuda.is_available() else "cpu"
    dtype = torch.bfloat16 if device == "cuda" else torch.float32
    rows = json.loads(Path(tokens).read_text())["valid"]
    losses = []
    for adapter in adapters:
        model = AutoModelForCausalLM.from_pretrained(model_folder, dtype=dtype).to(device).eval()
        if adapter != "-":
            model = PeftModel.from_pretrained(model, adapter).eval()
        losses.append(loss(model, rows, device))
    print(json.dumps(losses))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], sys.argv[3:])
