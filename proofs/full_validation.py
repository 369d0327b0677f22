"""Is the validation loss of each checkpoint true? Computed again by the plainest code there is.

    python proofs/full_validation.py RUN_FOLDER

transformers + peft, one row at a time, float32, nothing of our engine: ids and masks come from transformers' own chat
template code. Prints told and recomputed figures for every checkpoint of the run; exits 1 when they differ by more than
1e-3 (float32 run) or 1e-2 (bfloat16 run).
"""

import json
import sys
from dataclasses import dataclass
from pathlib import Path

import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer

TOLERANCE = {"float32": 1e-3, "bfloat16": 1e-2}


@dataclass
class Check:
    """One checkpoint: what the trainer told and what came out here."""

    name: str
    told_loss: float
    own_loss: float
    told_accuracy: float
    own_accuracy: float
    tokens: int
    tolerance: float

    @property
    def agrees(self) -> bool:
        differences = (self.told_loss - self.own_loss, self.told_accuracy - self.own_accuracy)
        return all(abs(difference) <= self.tolerance for difference in differences)


def recompute(run_folder: Path) -> list[Check]:
    """Every checkpoint with figures over the whole validation set, oldest first."""
    spec = json.loads((run_folder / "spec.json").read_text())
    checks = []
    for path in sorted(
        run_folder.glob("checkpoints/*/meta.json"), key=lambda path: json.loads(path.read_text())["step"]
    ):
        told = json.loads(path.read_text())
        if told.get("full_valid_loss") is None:
            continue
        loss, accuracy, tokens = _validate(path.parent, spec, told["kind"])
        checks.append(
            Check(
                name=path.parent.name,
                told_loss=told["full_valid_loss"],
                own_loss=loss,
                told_accuracy=told["full_valid_accuracy"],
                own_accuracy=accuracy,
                tokens=tokens,
                tolerance=TOLERANCE[spec["dtype"]],
            )
        )
    return checks


def _validate(checkpoint: Path, spec: dict, kind: str) -> tuple[float, float, int]:
    tokenizer = AutoTokenizer.from_pretrained(checkpoint)
    weights = spec["base_path"] if kind == "lora" else checkpoint
    model = AutoModelForCausalLM.from_pretrained(weights, dtype=torch.float32)
    if kind == "lora":
        model = PeftModel.from_pretrained(model, str(checkpoint)).float()
    model.eval()
    loss, right, tokens = 0.0, 0, 0
    for line in Path(spec["validation_file"]).read_text(encoding="utf-8").splitlines():
        if not line.strip():
            continue
        ids, trained = _ids_and_mask(tokenizer, json.loads(line))
        ids, trained = ids[: spec["max_length"]], trained[: spec["max_length"]]
        with torch.no_grad():
            logits = model(torch.tensor([ids])).logits[0].float()
        for position in range(1, len(ids)):
            if trained[position]:
                logprobs = logits[position - 1].log_softmax(dim=-1)
                loss -= logprobs[ids[position]].item()
                right += int(logprobs.argmax().item() == ids[position])
                tokens += 1
    return loss / tokens, right / tokens, tokens


def _ids_and_mask(tokenizer, row: dict) -> tuple[list[int], list[bool]]:
    """Assistant messages of weight 1 up to their first end token; of prompt/completion rows the completion."""
    if "messages" not in row:
        head = tokenizer(row["prompt"])["input_ids"]
        tail = [*tokenizer(row["completion"], add_special_tokens=False)["input_ids"], tokenizer.eos_token_id]
        return head + tail, [False] * len(head) + [True] * len(tail)
    messages = [{k: v for k, v in message.items() if k != "weight"} for message in row["messages"]]
    ids = _template_ids(tokenizer, messages, False)
    mask = [False] * len(ids)
    for index, message in enumerate(row["messages"]):
        if message["role"] == "assistant" and message.get("weight", 1) != 0:
            start = len(_template_ids(tokenizer, messages[:index], True))
            end = len(_template_ids(tokenizer, messages[: index + 1], False))
            if tokenizer.eos_token_id in ids[start:end]:
                end = start + ids[start:end].index(tokenizer.eos_token_id) + 1
            mask[start:end] = [True] * (end - start)
    return ids, mask


def _template_ids(tokenizer, messages: list[dict], ask: bool) -> list[int]:
    return tokenizer.apply_chat_template(messages, add_generation_prompt=ask, return_dict=True)["input_ids"]


def main() -> int:
    if len(sys.argv) != 2:
        print(__doc__, file=sys.stderr)
        return 2
    checks = recompute(Path(sys.argv[1]))
    print(
        f"{'checkpoint':24} {'tokens':>8} {'loss told':>11} {'recomputed':>11} {'differs':>9} "
        f"{'acc. told':>9} {'recomp.':>9}"
    )
    for check in checks:
        print(
            f"{check.name:24} {check.tokens:8,} {check.told_loss:11.5f} {check.own_loss:11.5f} "
            f"{check.told_loss - check.own_loss:+9.5f} {check.told_accuracy:9.5f} {check.own_accuracy:9.5f} "
            f"{'agrees' if check.agrees else 'DIFFERS'} (within {check.tolerance:g})"
        )
    return 0 if checks and all(check.agrees for check in checks) else 1


if __name__ == "__main__":
    sys.exit(main())
