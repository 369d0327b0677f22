"""Our adapted linear layer against peft's own: the same answers and gradients, in every case that peft knows."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model, get_peft_model_state_dict
from torch import Tensor, nn
from transformers import AutoModelForCausalLM

from tests.factories import tiny_model
from training.engine.lora import AdaptedLinear, adapted_linear, speed_up_adapters

Gradients = dict[str, Tensor]


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_model(tmp_path_factory.mktemp("base") / "tiny")


def adapted(base: Path, dtype: torch.dtype, fast: bool, dropout: float = 0.0, adapters: int = 1) -> PeftModel:
    """The tiny model with adapters that already say something (B is not zero), peft's or ours."""
    model = AutoModelForCausalLM.from_pretrained(base, dtype=dtype)
    names = [f"adapter{number}" for number in range(adapters)]

    def config(rank: int, modules: str | list[str]) -> LoraConfig:
        return LoraConfig(r=rank, lora_alpha=12, lora_dropout=dropout, target_modules=modules)

    network = get_peft_model(model, config(4, "all-linear"), names[0], autocast_adapter_dtype=False)
    for name in names[1:]:
        network.add_adapter(name, config(5, ["q_proj", "v_proj", "down_proj"]), autocast_adapter_dtype=False)
    network.base_model.set_adapter(names)
    random = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            parameter.requires_grad_(".lora_" in name)
            if ".lora_" in name:
                parameter.copy_(torch.randn(parameter.shape, generator=random) * 0.1)
    assert not fast or speed_up_adapters(network) == 14
    return network.train()


def loss_and_gradients(network: PeftModel, seed: int = 5) -> tuple[float, Gradients]:
    ids = torch.randint(0, 300, (3, 21), generator=torch.Generator().manual_seed(seed))
    torch.manual_seed(seed)  # dropout
    loss = network(input_ids=ids, labels=ids).loss.float()
    loss.backward()
    return loss.item(), {n: p.grad.float() for n, p in network.named_parameters() if p.grad is not None}


def distance(ours: Gradients, reference: Gradients) -> float:
    """Of all gradients together, as a share of the reference's length."""
    assert ours.keys() == reference.keys()
    difference = sum((ours[name] - reference[name]).square().sum() for name in reference)
    return float((difference / sum(gradient.square().sum() for gradient in reference.values())).sqrt())


@pytest.mark.parametrize("adapters", [1, 2])
@pytest.mark.parametrize("dropout", [0.0, 0.3])
def test_loss_and_gradients_are_pefts_in_float32(base: Path, dropout: float, adapters: int) -> None:
    own = loss_and_gradients(adapted(base, torch.float32, True, dropout, adapters))
    reference = loss_and_gradients(adapted(base, torch.float32, False, dropout, adapters))
    assert own[0] == pytest.approx(reference[0], abs=1e-6)
    assert len(own[1]) == (28 if adapters == 1 else 28 + 12)
    assert distance(own[1], reference[1]) < 1e-5


def test_bfloat16_is_at_least_as_close_to_float32_as_pefts(base: Path) -> None:
    exact = loss_and_gradients(adapted(base, torch.float32, False))
    own = loss_and_gradients(adapted(base, torch.bfloat16, True))
    theirs = loss_and_gradients(adapted(base, torch.bfloat16, False))
    assert abs(own[0] - exact[0]) <= abs(theirs[0] - exact[0]) + 2e-3
    assert distance(own[1], exact[1]) <= 1.1 * distance(theirs[1], exact[1])


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("drops", [True, False])
def test_the_backward_pass_is_that_of_finite_differences(bias: bool, drops: bool) -> None:
    def tensor(*shape: int, learns: bool = True) -> Tensor:
        return torch.randn(*shape, dtype=torch.float64, requires_grad=learns)

    torch.manual_seed(0)
    x, weight, offset = tensor(2, 3, 5), tensor(4, 5, learns=False), tensor(4, learns=False) if bias else None
    dropped = tensor(2, 3, 5) if drops else None
    assert torch.autograd.gradcheck(adapted_linear, (x, weight, offset, tensor(2, 5), tensor(4, 2), 0.7, dropped))


def test_without_adapter_and_saved_it_is_what_peft_makes_of_it(base: Path) -> None:
    own, theirs = adapted(base, torch.float32, True), adapted(base, torch.float32, False)
    ids = torch.arange(2, 12)[None]
    with own.disable_adapter(), theirs.disable_adapter():
        assert torch.equal(own(ids).logits, theirs(ids).logits)
    states = [get_peft_model_state_dict(network, adapter_name="adapter0") for network in (own, theirs)]
    assert states[0].keys() == states[1].keys()
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])


@pytest.mark.filterwarnings("ignore::UserWarning")  # peft's, on merging such adapters
@pytest.mark.parametrize("changes", [{"use_dora": True}, {"lora_bias": True}, {"modules_to_save": ["lm_head"]}])
def test_what_is_not_plain_lora_stays_right(base: Path, changes: dict) -> None:
    def network(fast: bool) -> PeftModel:
        torch.manual_seed(1)
        model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
        config = LoraConfig(r=4, target_modules=["q_proj", "up_proj"], init_lora_weights=False, **changes)
        made = get_peft_model(model, config)
        if fast:
            speed_up_adapters(made)
        return made.train()

    own, reference = loss_and_gradients(network(True)), loss_and_gradients(network(False))
    assert own[0] == pytest.approx(reference[0], abs=1e-6)
    assert distance(own[1], reference[1]) < 1e-5


def test_a_layer_whose_input_needs_no_gradient_computes_none() -> None:
    config = LoraConfig(r=2, target_modules=["0"], init_lora_weights=False)
    network = get_peft_model(nn.Sequential(nn.Linear(6, 4)), config)
    assert speed_up_adapters(network) == 1
    layer: Callable[[Tensor], Tensor] = network.base_model.model[0]
    assert isinstance(layer, AdaptedLinear)
    x = torch.randn(3, 6)
    layer(x).sum().backward()
    assert x.grad is None and layer.lora_A["default"].weight.grad is not None
