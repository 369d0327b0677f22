"""Parts with a backward pass of our own against the plain code they take the place of."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import AutoModelForCausalLM
from transformers.models.gemma.modeling_gemma import GemmaRMSNorm
from transformers.models.llama.modeling_llama import LlamaRMSNorm

from tests.factories import tiny_model
from training.engine.attention import LONGEST, causal_attention
from training.engine.loss import token_losses
from training.engine.norm import speed_up_norms
from training.engine.packing import use_own_attention


def gradients(compute: Callable[..., Tensor], upstream: Tensor, *inputs: Tensor) -> list[Tensor]:
    """The answer and its gradient by each input, all in float32."""
    leaves = [x.detach().clone().requires_grad_() for x in inputs]
    y = compute(*leaves)
    y.backward(upstream.to(y.dtype))
    return [y.detach().float(), *(leaf.grad.float() for leaf in leaves)]


def error(found: Tensor, exact: Tensor) -> float:
    return float((found - exact).norm() / exact.norm())


def plain_attention(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    group = query.shape[1] // key.shape[1]
    scores = query @ key.repeat_interleave(group, 1).transpose(-1, -2) * query.shape[-1] ** -0.5
    after = torch.ones(scores.shape[-2:], dtype=torch.bool).triu(1)
    return scores.masked_fill(after, float("-inf")).softmax(-1) @ value.repeat_interleave(group, 1)


@pytest.mark.parametrize(("heads", "key_heads"), [(4, 4), (6, 2)])
@pytest.mark.parametrize("tokens", [2, 63, 64, 150])
def test_attention_in_bfloat16_is_as_near_to_the_truth_as_torchs(tokens: int, heads: int, key_heads: int) -> None:
    random = torch.Generator().manual_seed(tokens)

    def states(count: int) -> Tensor:
        return torch.randn(2, tokens, count, 16, generator=random).transpose(1, 2).bfloat16()

    inputs, upstream = (states(heads), states(key_heads), states(key_heads)), states(heads)
    exact = gradients(plain_attention, upstream.double(), *(x.double() for x in inputs))
    torchs = gradients(
        lambda q, k, v: F.scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=True), upstream, *inputs
    )
    ours = gradients(causal_attention, upstream, *inputs)
    assert torch.equal(ours[0], torchs[0])
    for own, reference, truth in zip(ours, torchs, exact, strict=True):
        assert error(own, truth) <= 2 * error(reference, truth) + 2e-3


def test_long_rows_and_float32_take_torchs_kernel() -> None:
    for shape, dtype in (((1, 2, LONGEST + 1, 8), torch.bfloat16), ((1, 2, 9, 8), torch.float32)):
        inputs = [torch.randn(shape, dtype=dtype) for _ in range(3)]
        theirs = gradients(lambda q, k, v: F.scaled_dot_product_attention(q, k, v, is_causal=True), inputs[0], *inputs)
        ours = gradients(causal_attention, inputs[0], *inputs)
        assert all(torch.equal(own, reference) for own, reference in zip(ours, theirs, strict=True))


def test_a_model_in_our_parts_has_the_gradients_of_its_own(tmp_path: Path) -> None:
    folder = tiny_model(tmp_path / "tiny")
    ids = torch.randint(3, 300, (3, 70), generator=torch.Generator().manual_seed(1))

    def embedding_gradient(dtype: torch.dtype, ours: bool) -> Tensor:
        model = AutoModelForCausalLM.from_pretrained(folder, dtype=dtype).requires_grad_(False)
        if ours:
            assert speed_up_norms(model) == 5 and use_own_attention(model)
        embedded = model.get_input_embeddings()(ids).detach().requires_grad_()
        model(inputs_embeds=embedded, use_cache=False).logits.float().logsumexp(-1).mean().backward()
        return embedded.grad.float()

    exact = embedding_gradient(torch.float32, ours=False)
    assert error(embedding_gradient(torch.float32, ours=True), exact) < 1e-5
    assert error(embedding_gradient(torch.bfloat16, True), exact) < 1.2 * error(
        embedding_gradient(torch.bfloat16, False), exact
    )


def test_a_norm_that_computes_something_else_or_learns_is_left_alone() -> None:
    plain, learning, other = LlamaRMSNorm(8).requires_grad_(False), LlamaRMSNorm(8), GemmaRMSNorm(8)
    with torch.no_grad():
        other.weight.fill_(0.5)  # Gemma multiplies by 1 + weight
    assert speed_up_norms(nn.ModuleList([plain, learning, other.requires_grad_(False)])) == 1
    x = torch.randn(3, 8)
    assert torch.allclose(gradients(plain, x, x)[1], gradients(LlamaRMSNorm(8), x, x)[1], atol=1e-6)


@pytest.mark.parametrize("rows_at_once", [3, 100])
def test_a_frozen_output_layer_gives_the_loss_and_gradient_of_one_that_learns(rows_at_once: int) -> None:
    random = torch.Generator().manual_seed(2)
    head, hidden = torch.randn(50, 12, generator=random), torch.randn(10, 12, generator=random)
    targets, weights = torch.randint(0, 50, (10,), generator=random), torch.rand(10, generator=random)

    def capped(hidden_ND: Tensor) -> Tensor:
        return torch.tanh(hidden_ND @ head.t() / 5) * 5

    def loss(head_learns: bool) -> Callable[[Tensor], Tensor]:
        return lambda hidden_ND: token_losses(hidden_ND, targets, capped, rows_at_once, head_learns)[0] @ weights

    frozen, learning = (gradients(loss(learns), torch.tensor(1.0), hidden) for learns in (False, True))
    assert torch.allclose(frozen[0], learning[0], atol=1e-5)
    assert torch.allclose(frozen[1], learning[1], atol=1e-6)
    hits = [token_losses(hidden.requires_grad_(), targets, capped, rows_at_once, learns)[1] for learns in (False, True)]
    assert torch.equal(*hits)


def test_a_very_unlikely_target_has_a_finite_loss() -> None:
    hidden, targets = torch.tensor([[300.0, 0.0]], requires_grad=True), torch.tensor([1])
    losses, _ = token_losses(hidden, targets, lambda x: x * 1.0, 4, head_learns=False)
    losses.sum().backward()
    assert losses.item() == pytest.approx(300) and torch.allclose(hidden.grad, torch.tensor([[1.0, -1.0]]))
