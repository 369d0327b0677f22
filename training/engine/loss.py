"""Loss functions: pure functions of tensors. B batch, T tokens, N trained positions, D hidden size, V vocabulary,
P pairs, S sequences: the P preferred answers, then the P others."""

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.utils.checkpoint import checkpoint

Logits = Callable[[Tensor], Tensor]


def token_losses(
    hidden_ND: Tensor, targets_N: Tensor, logits: Logits, rows_at_once: int, head_learns: bool = True
) -> tuple[Tensor, Tensor]:
    """Cross-entropy of each target in nats (float32), and whether the most likely token is the target.

    loss_n = -log softmax(logits(hidden_n))[target_n]. The output layer sees `rows_at_once` positions at a time, so that
    memory is bounded. Where the layer learns, the logits of more than that are computed again in the backward pass;
    where it is frozen (not `head_learns`), each chunk's gradient is taken at once and nothing else is kept.
    """
    if torch.is_grad_enabled() and hidden_ND.requires_grad and not head_learns:
        return _FrozenHead.apply(hidden_ND, targets_N, logits, rows_at_once)  # type: ignore[return-value]
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
    return losses_N, logits_NV.detach().max(dim=-1).indices == targets_N


class _FrozenHead(torch.autograd.Function):
    """d loss_n / d hidden_n is a vector that does not depend on what the loss is used for: it is computed beside the
    loss, chunk by chunk, and multiplied by the loss's own gradient later."""

    @staticmethod
    def forward(ctx: Any, hidden_ND, targets_N, logits, rows_at_once):  # type: ignore[no-untyped-def]
        losses_N = torch.empty(len(targets_N), dtype=torch.float32, device=hidden_ND.device)
        correct_N = torch.empty(len(targets_N), dtype=torch.bool, device=hidden_ND.device)
        slopes_ND = torch.empty_like(hidden_ND)
        for start in range(0, len(targets_N), rows_at_once):
            chunk = slice(start, start + rows_at_once)
            losses_N[chunk], correct_N[chunk], slopes_ND[chunk] = _slopes(hidden_ND[chunk], targets_N[chunk], logits)
        ctx.save_for_backward(slopes_ND)
        ctx.mark_non_differentiable(correct_N)
        return losses_N, correct_N

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dlosses_N, _):  # type: ignore[no-untyped-def]
        (slopes_ND,) = ctx.saved_tensors
        return slopes_ND * dlosses_N[:, None].to(slopes_ND.dtype), None, None, None


def _slopes(hidden_ND: Tensor, targets_N: Tensor, logits: Logits) -> tuple[Tensor, Tensor, Tensor]:
    """Losses, hits, and each loss's gradient by its hidden state: (softmax - one-hot) through the output layer."""
    hidden_ND = hidden_ND.detach().requires_grad_()
    with torch.enable_grad():
        logits_NV = logits(hidden_ND)
    found_NV = logits_NV.detach()
    top_N, best_N = found_NV.max(dim=-1)
    p_NV = torch.softmax(found_NV, dim=-1, dtype=torch.float32)
    lse_N = top_N.float() - p_NV.gather(1, best_N[:, None])[:, 0].log()  # the largest p is never too small for a log
    losses_N = lse_N - found_NV.gather(1, targets_N[:, None])[:, 0].float()
    p_NV[torch.arange(len(targets_N), device=targets_N.device), targets_N] -= 1
    (slopes_ND,) = torch.autograd.grad(logits_NV, hidden_ND, p_NV.to(logits_NV.dtype))
    return losses_N, best_N == targets_N, slopes_ND


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
