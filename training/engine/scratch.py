"""A new model: a tokenizer trained on the data, and random weights in Llama's shape. No torch.

A folder like any other base model's, so that whatever is trained from one can be trained from it. `hone-scratch.json`
beside the weights says that they are random; a checkpoint has no such file.
"""

import json
import math
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

from training.engine.errors import InvalidTrainingFile
from training.engine.spec import Strict
from training.engine.weights import SCRATCH_FILE

END_OF_TEXT, TURN_START, TURN_END = "<|endoftext|>", "<|im_start|>", "<|im_end|>"
# ChatML, so that the model can be taught to chat afterwards.
CHAT_TEMPLATE = (
    "{% for message in messages %}"
    "{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>' + '\\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)
HEAD_SIZE = 64
TOKENIZER_CHARACTERS = 200_000_000  # of the data that the tokenizer is trained on
PART_CHARACTERS = 1 << 16  # given to it at once
LARGEST_PARAMETERS = 2_000_000_000


class Shape(Strict):
    """How large a new model is."""

    layers: Annotated[int, Field(ge=1, le=64)] = 4
    width: Annotated[int, Field(ge=HEAD_SIZE, le=8192, multiple_of=HEAD_SIZE)] = 256
    vocabulary: Annotated[int, Field(ge=300, le=200_000)] = 4096  # at most; a small text has fewer words to offer
    context: Annotated[int, Field(ge=64, le=131_072)] = 1024

    @property
    def inner(self) -> int:
        """Of the feed-forward part: 8/3 of the width, as in Llama."""
        return HEAD_SIZE * math.ceil(self.width * 8 / 3 / HEAD_SIZE)

    @property
    def parameters(self) -> int:
        """The output layer is the embedding matrix."""
        layer = 4 * self.width**2 + 3 * self.width * self.inner + 2 * self.width
        return self.vocabulary * self.width + self.layers * layer + self.width


def write_model(folder: Path, shape: Shape, documents: Iterable[str], seed: int, say: Callable[[str], None]) -> None:
    """Writes everything but the mark that makes it complete: config.json comes last. Raises InvalidTrainingFile."""
    say("Training its tokenizer")
    tokenizer = train_tokenizer(documents, shape.vocabulary)
    shape = shape.model_copy(update={"vocabulary": tokenizer.get_vocab_size()})
    tokenizer.save(str(folder / "tokenizer.json"))
    _write(folder / "tokenizer_config.json", {
        "tokenizer_class": "PreTrainedTokenizerFast", "model_max_length": shape.context,
        "clean_up_tokenization_spaces": False, "eos_token": END_OF_TEXT, "pad_token": END_OF_TEXT,
    })  # fmt: skip
    (folder / "chat_template.jinja").write_text(CHAT_TEMPLATE)
    ends = [tokenizer.token_to_id(END_OF_TEXT), tokenizer.token_to_id(TURN_END)]
    _write(folder / "generation_config.json", {"eos_token_id": ends})
    _write(folder / SCRATCH_FILE, {"seed": seed, **shape.model_dump()})
    say("Writing random weights")
    _write_weights(folder / "model.safetensors", shape, seed)
    _write(folder / "config.json", _config(shape, ends[0]))


def train_tokenizer(documents: Iterable[str], vocabulary: int) -> Tokenizer:
    """Byte-level BPE: it can write any text, and what is frequent here takes few tokens."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        special_tokens=[END_OF_TEXT, TURN_START, TURN_END],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    parts = _parts(documents)
    first = next(parts, None)
    if first is None:
        raise InvalidTrainingFile("There is no text to train a tokenizer on. Choose a dataset of raw text.")
    tokenizer.train_from_iterator((part for found in ([first], parts) for part in found), trainer)
    return tokenizer


def _parts(documents: Iterable[str]) -> Iterator[str]:
    left = TOKENIZER_CHARACTERS
    for document in documents:
        for start in range(0, min(len(document), left), PART_CHARACTERS):
            yield document[start : start + PART_CHARACTERS]
        left -= len(document)
        if left <= 0:
            return


def _write(path: Path, value: dict[str, Any]) -> None:
    path.write_text(json.dumps(value, indent=2) + "\n", encoding="utf-8")


def _config(shape: Shape, end: int) -> dict[str, Any]:
    heads = shape.width // HEAD_SIZE
    return {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "attention_bias": False,
        "attention_dropout": 0.0,
        "bos_token_id": end,
        "eos_token_id": end,
        "pad_token_id": end,
        "dtype": "float32",
        "head_dim": HEAD_SIZE,
        "hidden_act": "silu",
        "hidden_size": shape.width,
        "initializer_range": 0.02,
        "intermediate_size": shape.inner,
        "max_position_embeddings": shape.context,
        "mlp_bias": False,
        "num_attention_heads": heads,
        "num_hidden_layers": shape.layers,
        "num_key_value_heads": heads,
        "rms_norm_eps": 1e-5,
        "rope_parameters": {"rope_theta": 10000.0, "rope_type": "default"},
        "tie_word_embeddings": True,
        "vocab_size": shape.vocabulary,
    }


def _write_weights(path: Path, shape: Shape, seed: int) -> None:
    """Normal with deviation 0.02; what writes into the residual stream is smaller by sqrt(2 layers) (GPT-2)."""
    import numpy as np
    from safetensors.numpy import save_file

    random = np.random.default_rng(seed)
    width, inner = shape.width, shape.inner

    def matrix(rows: int, columns: int, share: float = 1.0) -> Any:
        return random.standard_normal((rows, columns), dtype=np.float32) * np.float32(0.02 * share)

    residual = 1 / math.sqrt(2 * shape.layers)
    weights = {"model.embed_tokens.weight": matrix(shape.vocabulary, width)}
    for index in range(shape.layers):
        layer = f"model.layers.{index}"
        for name in "qkv":
            weights[f"{layer}.self_attn.{name}_proj.weight"] = matrix(width, width)
        weights[f"{layer}.self_attn.o_proj.weight"] = matrix(width, width, residual)
        weights[f"{layer}.mlp.gate_proj.weight"] = matrix(inner, width)
        weights[f"{layer}.mlp.up_proj.weight"] = matrix(inner, width)
        weights[f"{layer}.mlp.down_proj.weight"] = matrix(width, inner, residual)
        weights[f"{layer}.input_layernorm.weight"] = np.ones(width, np.float32)
        weights[f"{layer}.post_attention_layernorm.weight"] = np.ones(width, np.float32)
    weights["model.norm.weight"] = np.ones(width, np.float32)
    save_file(weights, path, metadata={"format": "pt"})
