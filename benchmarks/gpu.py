"""Hone's trainer on a GPU: random weights in the shapes of a 0.5B, a 3B and an 8B model, rows of three length profiles.

    python -m benchmarks.gpu [--shapes 0.5B 3B 8B] [--profiles short chat 2k]

MFU = useful FLOPs / (seconds x peak). Useful, of one step over rows of t_i tokens, s_i of them trained, with LoRA on
frozen weights (weight gradients only for the adapters; the input of the first layer needs no gradient, which is not
deducted):

    sum_i  4 t_i W  +  6 t_i A  +  6 layers (heads x head size) t_i^2  +  4 s_i hidden vocabulary

W: parameters of the linear layers, A: of the adapters. A product of m x k and k x n is 2mkn; attention is causal, so
half of its t_i^2 pairs count: 2 products forward, 4 backward. The output layer counts only where it is trained on;
padding, recomputed activations and elementwise work count nothing.
"""

import argparse
import json
import random
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

from benchmarks.data import prepare
from benchmarks.measured import WARM_STEPS, Measured
from benchmarks.subjects import ROOT, Recipe, run_hone

LINEAR = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
PEAK_FLOPS = {"H200": 989e12, "H100": 989e12, "A100": 312e12, "L40S": 362e12, "4090": 165e12}  # dense bfloat16
SPECIAL_TOKENS = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
TEMPLATE = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>\\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)


@dataclass(frozen=True)
class Shape:
    """Of a Llama; the figures are those of Qwen2.5-0.5B, Llama-3.2-3B and Llama-3.1-8B."""

    hidden: int
    inner: int
    layers: int
    heads: int
    key_heads: int
    vocabulary: int
    tied: bool

    @property
    def sides(self) -> dict[str, tuple[int, int]]:
        """Inputs and outputs of each linear layer."""
        keys = self.hidden // self.heads * self.key_heads
        square, inner = (self.hidden, self.hidden), (self.hidden, self.inner)
        return dict(
            zip(
                LINEAR,
                (square, (self.hidden, keys), (self.hidden, keys), square, inner, inner, inner[::-1]),
                strict=True,
            )
        )

    @property
    def linear_parameters(self) -> int:
        return self.layers * sum(a * b for a, b in self.sides.values())

    def adapter_parameters(self, rank: int) -> int:
        return self.layers * sum(rank * (a + b) for a, b in self.sides.values())

    def flops(self, lengths: Sequence[int], trained: Sequence[int], rank: int) -> float:
        """Useful ones of one step over these rows."""
        tokens = sum(lengths)
        products = tokens * (4 * self.linear_parameters + 6 * self.adapter_parameters(rank))
        attention = 6 * self.layers * self.hidden * sum(length * length for length in lengths)
        return products + attention + 4 * sum(trained) * self.hidden * self.vocabulary


SHAPES = {
    "0.5B": Shape(896, 4864, 24, 14, 2, 151_936, tied=True),
    "3B": Shape(3072, 8192, 28, 24, 8, 128_256, tied=True),
    "8B": Shape(4096, 14_336, 32, 32, 8, 128_256, tied=False),
}
# Words a row, drawn by seed: all short, most short with a long tail as in chats, all long.
PROFILES = {"short": (60, 0.3), "chat": (180, 0.9), "2k": (1450, 0.02)}


def main(folder: Path, shapes: Sequence[str] = tuple(SHAPES), profiles: Sequence[str] = tuple(PROFILES)) -> None:
    name = gpu_name()
    if name is None:
        print("GPU profile: not run: no GPU")
        return
    peak = next((flops for key, flops in PEAK_FLOPS.items() if key in name), None)
    print(f"GPU profile on {name}; MFU against {peak / 1e12:.0f} TFLOP/s" if peak else f"{name}: peak unknown, no MFU")
    for shape in shapes:
        model = write_model(folder / "models" / shape, SHAPES[shape])
        for profile in profiles:
            print(f"  {shape} {profile}: {measure(folder, model, SHAPES[shape], profile, peak)}", flush=True)
        shutil.rmtree(model)  # an 8B model is 16 GB


def gpu_name() -> str | None:
    try:
        listed = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True, timeout=20, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return listed.stdout.splitlines()[0] if listed.returncode == 0 and "GPU" in listed.stdout else None


def measure(folder: Path, model: Path, shape: Shape, profile: str, peak: float | None, rows: int = 256) -> str:
    source = write_rows(folder / "rows" / f"{profile}.jsonl", profile, rows + 16)
    recipe = Recipe(model, LINEAR, batch_size=32, max_length=4096)
    data = prepare(source, model, folder / "data-gpu", rows, 16, recipe.max_length, recipe.seed)
    run_folder = folder / "runs-gpu"
    shutil.rmtree(run_folder, ignore_errors=True)
    run = run_hone(recipe, data, run_folder)
    line = f"{run.figures['tokens/s']:,.0f} tokens/s, {run.figures['trained/s']:,.0f} trained/s, "
    line += f"validation {run.figures['valid tokens/s']:,.0f} tokens/s, peak {run.figures['peak GiB']:.1f} GiB"
    return f"{line}, MFU {mfu(run, shape, data.lengths, data.trained, recipe.lora_r, peak):.1%}" if peak else line


def mfu(run: Measured, shape: Shape, lengths: Sequence[int], trained: Sequence[int], rank: int, peak: float) -> float:
    """Of the steady state. A step's share of the pass's FLOPs is its share of the tokens."""
    steady = run.step_ends[-1] - run.step_ends[WARM_STEPS - 1]
    share = sum(run.tokens[WARM_STEPS:]) / sum(run.tokens)
    return shape.flops(lengths, trained, rank) * share / steady / peak


def write_rows(path: Path, profile: str, rows: int, seed: int = 5) -> Path:
    middle, spread = PROFILES[profile]
    draw = random.Random(seed)
    words = sorted({word for row in (ROOT / "README.md").read_text().split() for word in [row] if word.isalpha()})

    def text(count: int) -> str:
        return " ".join(draw.choice(words) for _ in range(max(4, count)))

    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as file:
        for _ in range(rows):
            count = min(2000, round(draw.lognormvariate(0, spread) * middle))
            asked, answered = text(count // 3), text(count - count // 3)
            messages = [{"role": "user", "content": asked}, {"role": "assistant", "content": answered}]
            file.write(json.dumps({"messages": messages}) + "\n")
    return path


def write_model(folder: Path, shape: Shape, seed: int = 0) -> Path:
    """A Llama of random bfloat16 weights, with a tokenizer made from the README; the vocabulary is only as wide."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(seed)
    config = LlamaConfig(
        hidden_size=shape.hidden,
        intermediate_size=shape.inner,
        num_hidden_layers=shape.layers,
        num_attention_heads=shape.heads,
        num_key_value_heads=shape.key_heads,
        vocab_size=shape.vocabulary,
        tie_word_embeddings=shape.tied,
        max_position_embeddings=8192,
        bos_token_id=0,
        eos_token_id=2,
        dtype="bfloat16",
    )
    with torch.device("cuda" if torch.cuda.is_available() else "cpu"):
        torch.set_default_dtype(torch.bfloat16)
        model = LlamaForCausalLM(config)
        torch.set_default_dtype(torch.float32)
    model.save_pretrained(folder)
    _write_tokenizer(folder)
    return folder


def _write_tokenizer(folder: Path) -> None:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=4000,
        special_tokens=SPECIAL_TOKENS,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator([(ROOT / "README.md").read_text()], trainer)
    tokenizer.save(str(folder / "tokenizer.json"))
    settings = {"tokenizer_class": "PreTrainedTokenizerFast", "eos_token": "<|im_end|>", "pad_token": "<|endoftext|>"}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings | {"chat_template": TEMPLATE}))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shapes", nargs="+", choices=SHAPES, default=list(SHAPES))
    parser.add_argument("--profiles", nargs="+", choices=PROFILES, default=list(PROFILES))
    options = parser.parse_args()
    main(ROOT / "var" / "bench", options.shapes, options.profiles)
