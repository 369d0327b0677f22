"""A checkpoint as the trainer leaves one, made in a moment: python -m tests.made_checkpoint BASE OUT [SEED RANK SCALE].

An adapter with random weights in PEFT's own format, and probes.json computed from it by a plain transformers + peft
forward pass. Independent of the trainer, so that the parity gate is tested against something else than ourselves.
Runs as a process of its own, because it loads torch.
"""

import hashlib
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

TEXTS = [
    ("My invoice shows 49.90 instead of 39.90.", " Please look into this and tell me when it is done, thank you."),
    ("What is the capital of France?", " The capital of France is Paris, and the fox jumps over the lazy dog."),
    ("Order 12345?", " Order 12345 is done, thank you. Please tell me when it is done and ask for a refund."),
]
CHAT = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Order 12345?"}]


def make_checkpoint(base: Path, out: Path, seed: int = 0, rank: int = 8, scale: float = 0.05) -> Path:
    """In a subprocess; returns `out`. `scale` 0 leaves the adapter without effect."""
    words = [sys.executable, "-m", "tests.made_checkpoint", str(base), str(out), str(seed), str(rank), str(scale)]
    subprocess.run(words, check=True, cwd=Path(__file__).parent.parent)
    return out


MODULES = ["model.layers.0.self_attn.q_proj", "model.layers.0.mlp.up_proj"]


def write_checkpoint(out: Path, base: Path, *, apart: float = 1.0, modules: list[str] = MODULES, seed: int = 0) -> Path:
    """The same by hand, without torch, for the fake vLLM: its figures are invented but hang together.

    `apart`: how far the trained log-probabilities are from the base's.
    """
    import numpy as np
    from safetensors.numpy import save_file

    from training.engine.chat import ChatFormat

    out.mkdir(parents=True)
    random = np.random.default_rng(seed)
    tensors = {
        f"base_model.model.{module}.lora_{letter}.weight": random.standard_normal((8, 8)).astype(np.float32)
        for module in modules
        for letter in "AB"
    }
    save_file(tensors, out / "adapter_model.safetensors")
    (out / "adapter_config.json").write_text(json.dumps({"r": 8, "peft_type": "LORA"}))
    base_logprobs = [-1.5, -2.0, -0.5, -3.0]
    probe = {
        "token_ids": [10, 11, 12, 13, 14, 15, 16],
        "prompt_length": 3,
        "trained_logprobs": [value - apart for value in base_logprobs],
        "base_logprobs": base_logprobs,
    }
    format_ = ChatFormat.load(base)
    chat = CHAT if format_.has_template else []
    probes: dict[str, Any] = {
        "probes": [probe],
        "chat_messages": chat,
        "chat_token_ids": format_.encode_prompt(chat) if chat else [],
        "weights_sha256": hashlib.sha256((out / "adapter_model.safetensors").read_bytes()).hexdigest(),
        "modules": [f"base_model.model.{module}" for module in modules],
        "lora_r": 8,
    }
    (out / "probes.json").write_text(json.dumps(probes))
    return out


def main(base: Path, out: Path, seed: int = 0, rank: int = 8, scale: float = 0.05) -> None:
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from training.engine.spec import Probe, Probes

    torch.manual_seed(seed)
    tokenizer = AutoTokenizer.from_pretrained(base)
    plain = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    config = LoraConfig(r=rank, lora_alpha=2 * rank, target_modules="all-linear", task_type="CAUSAL_LM")
    model = get_peft_model(plain, config)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if "lora_B" in name:
                weight.normal_(0, scale) if scale else weight.zero_()
    model.eval()
    model.save_pretrained(out)

    def logprobs(ids: list[int], start: int) -> list[float]:
        with torch.no_grad():
            table = model(torch.tensor([ids])).logits[0].float().log_softmax(-1)
        return [table[i - 1, ids[i]].item() for i in range(start, len(ids))]

    probes = []
    for prompt, continuation in TEXTS:
        head = tokenizer(prompt, add_special_tokens=False)["input_ids"]
        ids = head + tokenizer(continuation, add_special_tokens=False)["input_ids"]
        trained = logprobs(ids, len(head))
        with model.disable_adapter():
            untrained = logprobs(ids, len(head))
        probes.append(Probe(token_ids=ids, prompt_length=len(head), trained_logprobs=trained, base_logprobs=untrained))
    chat = CHAT if tokenizer.chat_template else []
    written = Probes(
        probes=probes,
        chat_messages=chat,
        chat_token_ids=tokenizer.apply_chat_template(chat, add_generation_prompt=True, return_dict=False)
        if chat
        else [],
        weights_sha256=hashlib.sha256((out / "adapter_model.safetensors").read_bytes()).hexdigest(),
        modules=sorted({n.rsplit(".lora_A", 1)[0] for n, _ in model.named_parameters() if ".lora_A." in n}),
        lora_r=rank,
    )
    (out / "probes.json").write_text(written.model_dump_json(indent=1))


if __name__ == "__main__":
    arguments = sys.argv[1:]
    main(
        Path(arguments[0]),
        Path(arguments[1]),
        *(cast(x) for cast, x in zip((int, int, float), arguments[2:], strict=False)),
    )
