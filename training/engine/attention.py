"""Causal attention on a CPU, faster backwards. B rows, H query heads, K key heads, G = H/K, T tokens, D head size.

Forward it is torch's own kernel, to the bit. That kernel's backward pass takes seven times as long as its forward pass
where rows are short; written as matrix products over blocks of queries it takes half, at the same accuracy. With
p = softmax(s), s = q k^T * scale, o = p v and do = dL/do,

    dv = p^T do,    ds = p * (do v^T - rowsum(do * o)),    dq = ds k * scale,    dk = ds^T q * scale,

where p is made anew from s and the row's log-sum-exp (Dao et al. 2022, https://arxiv.org/abs/2205.14135, appendix B).
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

BLOCK = 64  # queries at once; keys after a block's last query are skipped
LONGEST = 512  # tokens; above, torch's kernel is as fast


def causal_attention(query: Tensor, key: Tensor, value: Tensor, scale: float | None = None) -> Tensor:
    """query (B, H, T, D), key and value (B, K, T, D); returns (B, H, T, D)."""
    grouped = query.shape[1] != key.shape[1]
    if not _gains(query):
        return F.scaled_dot_product_attention(query, key, value, is_causal=True, scale=scale, enable_gqa=grouped)
    return _CausalAttention.apply(query, key, value, query.shape[-1] ** -0.5 if scale is None else scale)


def _gains(query: Tensor) -> bool:
    learns = torch.is_grad_enabled() and query.requires_grad
    return learns and query.device.type == "cpu" and query.dtype == torch.bfloat16 and query.shape[2] <= LONGEST


class _CausalAttention(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, q_BHTD, k_BKTD, v_BKTD, scale):  # type: ignore[no-untyped-def]
        G = q_BHTD.shape[1] // k_BKTD.shape[1]
        keys, values = (x.repeat_interleave(G, dim=1) if G > 1 else x for x in (k_BKTD, v_BKTD))
        kernel = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu
        o_BHTD, lse_BHT = kernel(q_BHTD, keys, values, 0.0, True, scale=scale)
        ctx.save_for_backward(q_BHTD, k_BKTD, v_BKTD, o_BHTD, lse_BHT)
        ctx.scale = scale
        return o_BHTD

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, do_BHTD):  # type: ignore[no-untyped-def]
        """N = B*K. The G query heads of a key head stand under each other, so that keys are never repeated. Scores
        are float32: in bfloat16 their rounding would be the largest error of the gradient."""
        q_BHTD, k_BKTD, v_BKTD, o_BHTD, lse_BHT = ctx.saved_tensors
        B, H, T, D = q_BHTD.shape
        N, G = B * k_BKTD.shape[1], H // k_BKTD.shape[1]
        o_rowsum_NGT = (do_BHTD * o_BHTD).sum(-1, dtype=torch.float32).neg_().reshape(N, G, T)
        lse_NGT = lse_BHT.reshape(N, G, T)
        q_NGTD, do_NGTD = (q_BHTD * ctx.scale).reshape(N, G, T, D), do_BHTD.reshape(N, G, T, D)
        k_NTD, v_NTD = k_BKTD.reshape(N, T, D), v_BKTD.reshape(N, T, D)
        k32_NDT = k_NTD.float().transpose(1, 2)
        dq_NGTD = torch.empty_like(q_NGTD)
        dk_NTD, dv_NTD = torch.zeros(N, T, D), torch.zeros(N, T, D)
        for start in range(0, T, BLOCK):
            end = min(T, start + BLOCK)

            def rows(x: Tensor, start: int = start, end: int = end) -> Tensor:
                return x[:, :, start:end].reshape(N, G * (end - start), -1)

            q, do = rows(q_NGTD), rows(do_NGTD)
            s = torch.bmm(q.float(), k32_NDT[:, :, :end]).sub_(rows(lse_NGT))
            s.view(N, G, end - start, end)[..., start:].add_(_after(end - start))
            p = s.exp_().to(q.dtype)
            ds = torch.baddbmm(rows(o_rowsum_NGT).to(q.dtype), do, v_NTD[:, :end].transpose(1, 2)).mul_(p)
            dq_NGTD[:, :, start:end] = torch.bmm(ds, k_NTD[:, :end]).view(N, G, end - start, D)
            dk_NTD[:, :end] += torch.bmm(ds.transpose(1, 2), q)
            dv_NTD[:, :end] += torch.bmm(p.transpose(1, 2), do)
        dq_BHTD = dq_NGTD.mul_(ctx.scale).view(B, H, T, D)
        return dq_BHTD, dk_NTD.to(q_BHTD.dtype).view_as(k_BKTD), dv_NTD.to(q_BHTD.dtype).view_as(v_BKTD), None


def _after(size: int) -> Tensor:
    """Minus infinity where a key comes after its query, in the block where they meet."""
    return torch.full((size, size), float("-inf")).triu_(1)
