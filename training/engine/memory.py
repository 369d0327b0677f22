"""Peak memory of a job, part by part, and how a batch is cut so that it fits. No torch."""

from dataclasses import dataclass

from training.engine.spec import DeviceFacts, MemoryParts, ModelFacts, Resolved

OWN_BYTES = 700 << 20  # interpreter and libraries on a CPU, kernels and caches on a GPU


@dataclass(frozen=True)
class MemoryPlan:
    """How a job is put into memory. Tokens are padded ones of one forward pass."""

    micro_batch_tokens: int
    checkpoint_activations: bool
    peak_bytes: int


def plan_memory(
    model: ModelFacts,
    trainable: int,
    dtype: str,
    max_length: int,
    rows: int,
    device: DeviceFacts,
    checkpointing: str = "auto",
    quantization: str = "none",
    optimizer: str = "adamw",
    shards: int = 1,
) -> MemoryPlan:
    """Chooses the size of a forward pass; `rows` are those of the batch that this device takes, `shards` the devices
    that share out weights and optimizer (FSDP).

    A row of any length up to max_length has to fit alone; activations are recomputed when it would not otherwise, or as
    `checkpointing` (on, off) says.
    """
    fixed = OWN_BYTES + held_bytes(model, trainable, dtype, quantization, shards)
    fixed += state_bytes(trainable, dtype, optimizer) // shards
    room = max(0, int(device.free_bytes * 0.85) - fixed)
    recompute = max_length * activation_bytes(model, dtype, recompute=False) > room
    recompute = checkpointing == "on" or (recompute and checkpointing != "off")
    cap = 2048 if device.kind == "cpu" else 16_384
    tokens = max(max_length, min(cap, room // max(1, activation_bytes(model, dtype, recompute=recompute))))
    parts = memory_parts(
        model,
        trainable,
        dtype,
        min(tokens, max_length * rows),
        recompute=recompute,
        quantization=quantization,
        optimizer=optimizer,
        shards=shards,
    )
    return MemoryPlan(tokens, recompute, parts.total)


def memory_parts(
    model: ModelFacts,
    trainable: int,
    dtype: str,
    tokens: int,
    *,
    recompute: bool,
    quantization: str = "none",
    optimizer: str = "adamw",
    shards: int = 1,
) -> MemoryParts:
    """The peak of a pass over `tokens` padded tokens, on each device."""
    return MemoryParts(
        own=OWN_BYTES,
        weights=held_bytes(model, trainable, dtype, quantization, shards),
        optimizer=state_bytes(trainable, dtype, optimizer) // shards,
        activations=tokens * activation_bytes(model, dtype, recompute=recompute),
        logits=min(tokens, logit_rows(model.vocabulary)) * model.vocabulary * 12,  # logits, softmax, their gradient
    )


def activation_bytes(model: ModelFacts, dtype: str, *, recompute: bool) -> int:
    """A token, kept for the backward pass: per layer 16 vectors of the hidden and 6 of the inner size (norms,
    attention, gate, up and down projections and their inputs). Recomputed: each layer's input, and one layer in full.
    """
    layer = (16 * model.hidden_size + 6 * model.intermediate_size) * bytes_of(dtype)
    return model.layers * model.hidden_size * bytes_of(dtype) + layer if recompute else model.layers * layer


def bytes_of(dtype: str) -> int:
    return 2 if dtype == "bfloat16" else 4


def weight_bytes(model: ModelFacts, dtype: str, quantization: str = "none") -> int:
    """4-bit: the layers' matrices take half a byte and 1/64 for their scales; embedding and output layer stay whole."""
    if quantization == "none":
        return model.parameters * bytes_of(dtype)
    whole = model.vocabulary * model.hidden_size * (1 if model.tied_embeddings else 2)
    return round((model.parameters - whole) * (0.5 + 1 / 64)) + whole * bytes_of(dtype)


def held_bytes(model: ModelFacts, trainable: int, dtype: str, quantization: str, shards: int) -> int:
    """Weights on each device. Shared out: its slice, and what is whole during a pass: embedding and output layer, and
    two layers, one that computes and one that is put together meanwhile; with full weights their gradients too."""
    everything = weight_bytes(model, dtype, quantization)
    if shards == 1:
        return everything
    ends = model.vocabulary * model.hidden_size * (1 if model.tied_embeddings else 2)
    together = (ends + 2 * (model.parameters - ends) // max(1, model.layers)) * bytes_of(dtype)
    return everything // shards + together * (2 if trainable >= model.parameters else 1)


def state_bytes(trainable: int, dtype: str, optimizer: str = "adamw") -> int:
    """Gradients, Adam's two averages (a byte each in 8 bits) and, for bfloat16, float32 copies of what is trained."""
    return trainable * ((18 if dtype == "bfloat16" else 12) - (6 if optimizer == "adamw_8bit" else 0))


def logit_rows(vocabulary: int) -> int:
    """How many positions go through the output layer at once: about 32 MiB of float32 logits. More is not faster on a
    CPU, where larger tensors leave the caches and are mapped anew each time, and hardly on a GPU."""
    return max(128, (1 << 25) // (4 * vocabulary))


def trainable_parameters(resolved: Resolved, model: ModelFacts) -> int:
    """Adapters: r x (inputs + outputs) for each matrix; the split between module kinds follows Llama's shapes."""
    if resolved.adaptation == "full":
        return model.parameters
    head = model.hidden_size // model.heads
    kv = model.kv_heads * head
    hidden, inner = model.hidden_size, model.intermediate_size
    sides = {"k_proj": hidden + kv, "v_proj": hidden + kv, "gate_proj": hidden + inner, "up_proj": hidden + inner}
    sides["down_proj"] = inner + hidden
    widths = sum(sides.get(name, 2 * hidden) for name in resolved.target_modules)
    return (resolved.lora_r or 0) * widths * model.layers
