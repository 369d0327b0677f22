"""NEFTune: noise on the embeddings while training, so that a small dataset is learnt less by heart.

Jain et al., "NEFTune: Noisy Embeddings Improve Instruction Finetuning", 2023, https://arxiv.org/abs/2310.05914.
B batch, T tokens, D hidden size.
"""

from typing import Any

import torch
from torch import Tensor, nn


def add_noise(embeddings: nn.Module, alpha: float) -> None:
    """Uniform noise of +-alpha / sqrt(T D) on what `embeddings` gives in training mode; validation has none."""

    def noisy(module: nn.Module, _: Any, embedded_BTD: Tensor) -> Tensor:
        if not module.training:
            return embedded_BTD
        size = alpha / (embedded_BTD.shape[-2] * embedded_BTD.shape[-1]) ** 0.5
        return embedded_BTD + torch.empty_like(embedded_BTD).uniform_(-size, size)

    embeddings.register_forward_hook(noisy)
