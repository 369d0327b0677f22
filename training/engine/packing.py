"""Several rows in one sequence: positions start anew at each border and attention never looks across it.

Where the model's attention is plain causal attention (`plans_own`), each row is attended to by itself: on a GPU by
torch's variable-length kernel, on a CPU row by row, so that no time and memory goes into pairs of tokens of different
rows. Other models get transformers' own mask, which reads the borders off the positions. Either way `check_borders`
proves at each start that a packed row's answers are those of the row alone.
"""

import logging
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor
from transformers import AttentionInterface, PreTrainedModel
from transformers.integrations.sdpa_attention import sdpa_attention_forward

from training.engine.attention import causal_attention
from training.engine.errors import InvalidRecipe

logger = logging.getLogger(__name__)

OWN_ATTENTION = "hone_packed"
PROOF_LENGTHS = (7, 1, 12, 5)
TOLERANCE = {torch.float32: 1e-3, torch.bfloat16: 0.05}  # of the largest hidden value


@dataclass
class Borders:
    """Where sequences begin and end in a batch of one row. S sequences."""

    position_ids_BT: Tensor
    starts_S1: Tensor  # int32, the end of the last one included
    longest: int

    def arguments(self, own_attention: bool) -> dict[str, Any]:
        """For a model's forward pass, in the words of transformers."""
        given: dict[str, Any] = {"position_ids": self.position_ids_BT}
        if own_attention:
            given |= {"cu_seq_lens_q": self.starts_S1, "max_length_q": self.longest}
        return given


def borders_of(lengths: list[int], device: torch.device) -> Borders:
    """Of sequences of these lengths that lie one after another."""
    starts = torch.tensor([0, *lengths], dtype=torch.int32).cumsum(0, dtype=torch.int32)
    positions = torch.cat([torch.arange(length) for length in lengths])
    return Borders(positions[None].to(device), starts.to(device), max(lengths))


# ---- attention ----


def packed_attention(
    module: torch.nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float | None = None,
    dropout: float = 0.0,
    cu_seq_lens_q: Tensor | None = None,
    max_length_q: int | None = None,
    **others: Any,
) -> tuple[Tensor, None]:
    """Causal attention within each sequence. query (1, H, T, D), key and value (1, H/G, T, D); returns (1, T, H, D).

    Without borders it is transformers' own attention over whole rows.
    """
    if cu_seq_lens_q is None and _is_whole_and_causal(module, query, key, attention_mask, dropout):
        return causal_attention(query, key, value, scaling).transpose(1, 2).contiguous(), None
    if cu_seq_lens_q is None:
        return sdpa_attention_forward(
            module, query, key, value, attention_mask, dropout=dropout, scaling=scaling, **others
        )
    grouped = query.shape[1] != key.shape[1]
    if query.is_cuda and query.dtype != torch.float32:
        from torch.nn.attention.varlen import varlen_attn

        flat = (part[0].transpose(0, 1) for part in (query, key, value))
        borders = cu_seq_lens_q, cu_seq_lens_q, max_length_q, max_length_q
        found = varlen_attn(*flat, *borders, scale=scaling, window_size=(-1, 0), enable_gqa=grouped)
        return found[None], None  # type: ignore[index]
    parts = [
        causal_attention(query[:, :, start:end], key[:, :, start:end], value[:, :, start:end], scaling)
        for start, end in pairwise(cu_seq_lens_q.tolist())
    ]
    return torch.cat(parts, dim=2).transpose(1, 2).contiguous(), None


def _is_whole_and_causal(
    module: torch.nn.Module, query: Tensor, key: Tensor, attention_mask: Tensor | None, dropout: float
) -> bool:
    """Rows from their first token on, on a CPU: what attention.py is for."""
    plain = attention_mask is None and not dropout and getattr(module, "is_causal", True)
    return plain and query.device.type == "cpu" and query.shape[2] == key.shape[2]


def use_own_attention(causal: PreTrainedModel) -> bool:
    """Where the model's attention is plain causal attention, ours takes its place; returns whether."""
    if plans_own(causal):
        AttentionInterface.register(OWN_ATTENTION, packed_attention)
        causal.set_attn_implementation(OWN_ATTENTION)
        return True
    return False


def plans_own(causal: PreTrainedModel) -> bool:
    """Whether every layer is plain causal attention as transformers' sdpa path computes it."""
    config = causal.config.get_text_config()
    kinds = set(getattr(config, "layer_types", None) or ["full_attention"])
    windowed = getattr(config, "sliding_window", None) and getattr(config, "use_sliding_window", True)
    return (
        causal.config._attn_implementation in ("sdpa", OWN_ATTENTION)
        and kinds == {"full_attention"}
        and not windowed
        and not getattr(config, "attention_dropout", 0)
        and not getattr(config, "attn_pdrop", 0)
    )


def prepare_packing(causal: PreTrainedModel, device: torch.device) -> bool:
    """Makes the model ready for packed rows; True when it uses our attention. Raises InvalidRecipe when its layers look
    across borders whatever we do."""
    if use_own_attention(causal):
        if keeps_borders(causal, device, own_attention=True):
            return True
        logger.warning("attention by row does not give this model's answers; a mask is used instead")
        causal.set_attn_implementation("sdpa")
    if keeps_borders(causal, device, own_attention=False):
        return False
    raise InvalidRecipe(
        "This model's layers look across the borders of packed rows, which would mix them. Choose packing: off.",
        param="packing",
    )


@torch.inference_mode()
def keeps_borders(causal: PreTrainedModel, device: torch.device, own_attention: bool) -> bool:
    """Whether a few packed rows get the hidden states that each gets alone."""
    was_training = causal.training
    causal.eval()
    backbone = getattr(causal, causal.base_model_prefix)
    vocabulary = causal.get_input_embeddings().weight.shape[0]
    ids_T = torch.arange(sum(PROOF_LENGTHS), device=device) * 7 % (vocabulary - 1) + 1
    borders = borders_of(list(PROOF_LENGTHS), device)
    try:
        packed = backbone(input_ids=ids_T[None], use_cache=False, **borders.arguments(own_attention))
    except (TypeError, RuntimeError, NotImplementedError, ImportError) as error:
        logger.warning("packed rows are refused by the model: %s", error)
        return False
    finally:
        causal.train(was_training)
    alone = [backbone(input_ids=part[None], use_cache=False) for part in ids_T.split(PROOF_LENGTHS)]
    expected = torch.cat([found.last_hidden_state for found in alone], dim=1).float()
    difference = (packed.last_hidden_state.float() - expected).abs().max()
    tolerance = TOLERANCE.get(causal.dtype, 0.05)
    return bool(difference <= tolerance * expected.abs().max())
