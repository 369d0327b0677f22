"""Small real things for tests: a tiny random Llama that trains on a CPU in milliseconds and that vLLM can load."""

import json
from pathlib import Path

import numpy as np
from safetensors.numpy import save_file
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

CHATML_TEMPLATE = (
    "{% for message in messages %}"
    "{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>' + '\\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)
SPECIAL_TOKENS = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
CORPUS = [
    "Answer with one JSON ticket: category, product, priority, sentiment, summary.",
    "The quick brown fox jumps over the lazy dog, then asks for a refund of order 12345.",
    "system user assistant What is the capital of France? The capital of France is Paris.",
    "My invoice shows 49.90 instead of 39.90. Please look into this and tell me when it is done.",
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen",
]


def tiny_tokenizer(vocabulary: int = 640) -> Tokenizer:
    """A byte-level BPE, so that it encodes any text; the same one every time."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        special_tokens=SPECIAL_TOKENS,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(CORPUS, trainer)
    return tokenizer


def tiny_model(folder: Path, chat_template: bool | str = True, layers: int = 2, seed: int = 0) -> Path:
    """Writes a random Llama (hidden 128, head size 64, context 8,192, fp32) with tokenizer to `folder` and returns it.

    `chat_template`: True for ChatML, a string for that template, False for a model that only completes text.
    """
    folder.mkdir(parents=True, exist_ok=True)
    hidden, inner, heads, kv_heads, head_size = 128, 256, 2, 1, 64
    vocabulary = _write_tokenizer(folder, chat_template)
    config = {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "attention_bias": False,
        "attention_dropout": 0.0,
        "bos_token_id": 1 if chat_template else 0,
        "eos_token_id": 2 if chat_template else 0,
        "pad_token_id": 0,
        "dtype": "float32",
        "head_dim": head_size,
        "hidden_act": "silu",
        "hidden_size": hidden,
        "initializer_range": 0.02,
        "intermediate_size": inner,
        "max_position_embeddings": 8192,
        "mlp_bias": False,
        "num_attention_heads": heads,
        "num_hidden_layers": layers,
        "num_key_value_heads": kv_heads,
        "rms_norm_eps": 1e-5,
        "rope_parameters": {"rope_theta": 10000.0, "rope_type": "default"},
        "tie_word_embeddings": True,
        "vocab_size": vocabulary,
    }
    (folder / "config.json").write_text(json.dumps(config, indent=2))
    eos = config["eos_token_id"]
    (folder / "generation_config.json").write_text(
        json.dumps({"bos_token_id": config["bos_token_id"], "eos_token_id": eos})
    )

    random = np.random.default_rng(seed)

    def matrix(rows: int, columns: int, scale: float = 0.08) -> np.ndarray:
        return (random.standard_normal((rows, columns)) * scale).astype(np.float32)

    weights = {"model.embed_tokens.weight": matrix(vocabulary, hidden, 0.1)}
    for index in range(layers):
        layer = f"model.layers.{index}"
        weights[f"{layer}.self_attn.q_proj.weight"] = matrix(heads * head_size, hidden)
        weights[f"{layer}.self_attn.k_proj.weight"] = matrix(kv_heads * head_size, hidden)
        weights[f"{layer}.self_attn.v_proj.weight"] = matrix(kv_heads * head_size, hidden)
        weights[f"{layer}.self_attn.o_proj.weight"] = matrix(hidden, heads * head_size)
        weights[f"{layer}.mlp.gate_proj.weight"] = matrix(inner, hidden)
        weights[f"{layer}.mlp.up_proj.weight"] = matrix(inner, hidden)
        weights[f"{layer}.mlp.down_proj.weight"] = matrix(hidden, inner)
        weights[f"{layer}.input_layernorm.weight"] = np.ones(hidden, np.float32)
        weights[f"{layer}.post_attention_layernorm.weight"] = np.ones(hidden, np.float32)
    weights["model.norm.weight"] = np.ones(hidden, np.float32)
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    return folder


def _write_tokenizer(folder: Path, chat_template: bool | str) -> int:
    tokenizer = tiny_tokenizer()
    tokenizer.save(str(folder / "tokenizer.json"))
    config = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "model_max_length": 8192,
        "clean_up_tokenization_spaces": False,
        "bos_token": "<|im_start|>" if chat_template else "<|endoftext|>",
        "eos_token": "<|im_end|>" if chat_template else "<|endoftext|>",
        "pad_token": "<|endoftext|>",
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(config, indent=2))
    if chat_template:
        text = CHATML_TEMPLATE if chat_template is True else chat_template
        (folder / "chat_template.jinja").write_text(text)
    return tokenizer.get_vocab_size()


def write_jsonl(path: Path, rows: list[dict]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    return path


def chat_row(user: str, assistant: str, system: str | None = None) -> dict:
    """One training row in OpenAI's chat format."""
    messages = [{"role": "system", "content": system}] if system else []
    messages += [{"role": "user", "content": user}, {"role": "assistant", "content": assistant}]
    return {"messages": messages}


def chat_rows(count: int, start: int = 0) -> list[dict]:
    """Rows that a tiny model can learn: a number in, the same number in a fixed sentence out."""
    return [chat_row(f"Order {n}?", f"Order {n} is done, thank you.") for n in range(start, start + count)]


def preference_row(user: str, preferred: str, other: str) -> dict:
    """One pair in OpenAI's preference format."""
    return {
        "input": {"messages": [{"role": "user", "content": user}]},
        "preferred_output": [{"role": "assistant", "content": preferred}],
        "non_preferred_output": [{"role": "assistant", "content": other}],
    }


def preference_rows(count: int, start: int = 0) -> list[dict]:
    """Pairs that a tiny model can learn: one phrase is always preferred; answers of many lengths."""
    return [
        preference_row(f"Order {n}?", f"Order {n} is done" + ", thank you" * (n % 4), "zero one two " * (1 + n % 3))
        for n in range(start, start + count)
    ]
