"""Loss functions: pure functions of tensors. B batch, T tokens, N trained positions, D hidden size, V vocabulary,
P pairs, S sequences: the P preferred answers, then the P others."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.checkpoint import checkpoint

Logits = Callable[[Tensor], Tensor]


def token_losses(hidden_ND: Tensor, targets_N: Tensor, logits: Logits, rows_at_once: int) -> tuple[Tensor, Tensor]:
    """Cross-entropy of each target in nats (float32), and whether the most likely token is the target.

    loss_n = -log softmax(logits(hidden_n))[target_n]. The output layer sees `rows_at_once` positions at a time; with
    more than that its logits are computed again in the backward pass instead of being kept, so that memory is bounded.
    """
    if len(targets_N) <= rows_at_once:
        return _losses(hidden_ND, targets_N, logits)
    parts = []
    for start in range(0, len(targets_N), rows_at_once):
        chunk = hidden_ND[start : start + rows_at_once], targets_N[start : start + rows_at_once]
        if torch.is_grad_enabled():
            parts.append(checkpoint(_losses, *chunk, logits, use_reentrant=False))
        else:
            parts.append(_losses(*chunk, logits))
    losses, correct = zip(*parts, strict=True)
    return torch.cat(losses), torch.cat(correct)


def _losses(hidden_ND: Tensor, targets_N: Tensor, logits: Logits) -> tuple[Tensor, Tensor]:
    logits_NV = logits(hidden_ND)
    losses_N = F.cross_entropy(logits_NV.float(), targets_N, reduction="none")
    return losses_N, logits_NV.detach().argmax(dim=-1) == targets_N


def weighted_sums(losses_N: Tensor, correct_N: Tensor, weights_N: Tensor) -> tuple[Tensor, Tensor]:
    """Sum of losses and of right tokens, by weight. The loop divides by the weight of the whole global batch, so that
    the gradient is the same however the batch was cut into passes: L = sum_n w_n loss_n / sum_n w_n."""
    return (losses_N * weights_N).sum(), (correct_N * weights_N).sum()


def dpo_loss(logps_S: Tensor, reference_S: Tensor, beta: float) -> tuple[Tensor, Tensor, Tensor]:
    """Loss of each pair and the rewards of its preferred and its other answer, (P,) each.

    reward = beta (log p(answer) - log p_reference(answer)); L = -log sigmoid(reward_chosen - reward_rejected).
    Rafailov et al. 2023, https://arxiv.org/abs/2305.18290, equation 7.
    """
    chosen_P, rejected_P = (beta * (logps_S - reference_S)).chunk(2)
    return -F.logsigmoid(chosen_P - rejected_P), chosen_P, rejected_P
