"""The loss of the same rows by plain transformers in several number types and by Hone's trainer, token by token.

    python -m benchmarks.precision [--rows 8] [--model FOLDER] [--data FILE.jsonl]

Printed for each way: the mean loss, its mean difference from plain float32 with the standard error of that mean, and
how far single tokens lie apart. A bias is a mean difference of several standard errors; the rest is noise.
"""

import json
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor
from transformers import AutoModelForCausalLM

from benchmarks.data import Data
from benchmarks.options import parser, prepared
from benchmarks.subjects import Recipe, spec_of
from training.engine.batches import Rows, collate, micro_batches
from training.engine.chat import Encoded
from training.engine.loss import token_losses
from training.engine.model import load_model
from training.engine.spec import JobSpec

TOKENS_A_PASS = 2048
Row = dict[str, list[int]]


@torch.inference_mode()
def by_transformers(model: Path, rows: list[Row], dtype: str, autocast: bool = False) -> Tensor:
    """Loss of every trained token, a row at a time."""
    network = AutoModelForCausalLM.from_pretrained(model, dtype=dtype).eval()
    losses = []
    with torch.autocast("cpu", torch.bfloat16) if autocast else nullcontext():
        for row in rows:
            ids_T, mask_T = torch.tensor(row["input_ids"]), torch.tensor(row["completion_mask"]).bool()[1:]
            logits_NV = network(input_ids=ids_T[None]).logits[0, :-1][mask_T].float()
            losses.append(F.cross_entropy(logits_NV, ids_T[1:][mask_T], reduction="none"))
    return torch.cat(losses)


def by_hone(spec: JobSpec, rows: list[Row], learns: bool) -> Tensor:
    """As the trainer's first step (`learns`) or its validation computes them: rows of like length in one pass."""
    device = torch.device("cpu")
    model = load_model(spec, device)
    model.network.train(learns)
    table = Rows([Encoded(row["input_ids"], [float(bears) for bears in row["completion_mask"]]) for row in rows])
    found: dict[int, Tensor] = {}
    for chosen in micro_batches(range(len(rows)), table.lengths, TOKENS_A_PASS):
        batch = collate(table, chosen, device)
        with nullcontext() if learns else torch.inference_mode():
            hidden_ND = model.hidden(batch.input_ids_BT).flatten(0, 1)[batch.picked_N]
            losses_N, _ = token_losses(hidden_ND, batch.targets_N, model.logits, 512, head_learns=False)
        found |= dict(zip(chosen, losses_N.detach().split(batch.trained_rows), strict=True))
    return torch.cat([found[row] for row in range(len(rows))])


def ways(recipe: Recipe, data: Data, rows: list[Row]) -> dict[str, Callable[[], Tensor]]:
    plain, exact, fast = recipe.model, spec_of(recipe, data, dtype="float32"), spec_of(recipe, data)
    return {
        "transformers, float32": lambda: by_transformers(plain, rows, "float32"),
        "transformers, float32 under bfloat16 autocast": lambda: by_transformers(plain, rows, "float32", autocast=True),
        "transformers, bfloat16": lambda: by_transformers(plain, rows, "bfloat16"),
        "Hone, float32, training": lambda: by_hone(exact, rows, learns=True),
        "Hone, bfloat16, training": lambda: by_hone(fast, rows, learns=True),
        "Hone, bfloat16, validation": lambda: by_hone(fast, rows, learns=False),
    }


def line(name: str, losses_N: Tensor, exact_N: Tensor) -> str:
    apart_N = (losses_N - exact_N).double()
    error = float(apart_N.std()) / len(apart_N) ** 0.5
    figures = f"{float(losses_N.double().mean()):.5f} | {float(apart_N.mean()):+.5f} ± {error:.5f}"
    return f"| {name} | {figures} | {float(apart_N.abs().mean()):.4f} | {float(apart_N.abs().max()):.3f} |"


def main() -> None:
    options = parser(__doc__, rows=8).parse_args()
    recipe, data = prepared(options, options.home / "bench" / "precision")
    rows = json.loads(data.tokens.read_text())["train"]
    print("\n| way | mean loss | mean difference | mean of its size | largest |\n|---|---|---|---|---|")
    exact_N = None
    for name, way in ways(recipe, data, rows).items():
        losses_N = way()
        exact_N = losses_N if exact_N is None else exact_N
        print(line(name, losses_N, exact_N), flush=True)


if __name__ == "__main__":
    main()
