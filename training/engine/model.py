"""Base weights, adapter, and the parts of a forward pass. B batch, T tokens, N positions, D hidden size, V vocabulary.

Only safetensors are read and no code out of a model folder is run.
"""

import json
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from peft import LoraConfig, PeftModel, get_peft_model
from peft.tuners.tuners_utils import BaseTunerLayer
from peft.utils.other import AuxiliaryTrainingWrapper
from safetensors import SafetensorError
from torch import Tensor, nn
from transformers import AutoModelForCausalLM, BitsAndBytesConfig, PreTrainedModel
from transformers.utils import logging as transformers_logging

from training.engine.adapters import adapted_layers, merged, ranks
from training.engine.errors import InvalidRecipe, ModelProblem
from training.engine.facts import read_model_facts, read_start_facts
from training.engine.lora import speed_up_adapters
from training.engine.memory import logit_rows
from training.engine.neftune import add_noise
from training.engine.norm import speed_up_norms
from training.engine.packing import Borders, prepare_packing, use_own_attention
from training.engine.sharding import Pass, in_step, shard
from training.engine.spec import Adaptation, JobSpec, merges
from training.engine.weights import is_adapter

Found = TypeVar("Found")
TRAINED, CONTINUED = "default", "continued"  # names of adapters: the one that learns, a frozen one before it
CPU = torch.device("cpu")
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}


@dataclass
class LanguageModel:
    """A causal language model in training: `network` is `causal`, or `causal` with an adapter around it."""

    network: nn.Module
    causal: PreTrainedModel
    device: torch.device
    on_full_weights: bool = False  # the weights under the adapter are a checkpoint's, not the base model's
    own_attention: bool = False  # packed rows are attended to by packing.packed_attention
    saves_merged: bool = False  # an adapter of a kind that vLLM does not serve
    whole: Pass | None = None  # around the network where it is shared out over processes

    @property
    def saved_kind(self) -> Adaptation:
        """An adapter can be served beside the base model only if that is what it was trained on."""
        return "lora" if self.adapter and not (self.on_full_weights or self.saves_merged) else "full"

    @property
    def saved_rank(self) -> int | None:
        return sum(ranks(self.adapter).values()) if self.adapter and self.saved_kind == "lora" else None

    @property
    def adapter(self) -> PeftModel | None:
        return self.network if isinstance(self.network, PeftModel) else None

    @property
    def trainable(self) -> dict[str, nn.Parameter]:
        return {name: p for name, p in self.network.named_parameters() if p.requires_grad}

    @property
    def rows_at_once(self) -> int:
        return logit_rows(self.causal.get_output_embeddings().weight.shape[0])

    @property
    def head_learns(self) -> bool:
        return any(parameter.requires_grad for parameter in self.causal.get_output_embeddings().parameters())

    def in_one_pass(self, work: Callable[[], Found]) -> Found:
        """The result of `work`, which calls `hidden` once and `logits` as often as it likes. Of a network that is
        shared out, every process has to do it the same number of times."""
        return self.whole(work) if self.whole else work()

    def in_step(self, passes: list[list[int]], filler: int) -> list[tuple[list[int], bool]]:
        """The rows of each pass of this process and whether they count: as many passes as in every other process,
        where they have to go together."""
        return in_step(passes, filler) if self.whole else [(rows, True) for rows in passes]

    def forward_only(self) -> AbstractContextManager[None]:
        """For passes that are not learnt from."""
        return torch.no_grad() if self.whole else torch.inference_mode()  # what is put together stays in use

    def hidden(self, input_ids_BT: Tensor, borders: Borders | None = None) -> Tensor:
        """Last hidden states (B, T, D), before the output layer; `borders` of a packed pass."""
        backbone = getattr(self.causal, self.causal.base_model_prefix)
        packed = borders.arguments(self.own_attention) if borders else {}
        return backbone(input_ids=input_ids_BT, use_cache=False, **packed).last_hidden_state

    def logits(self, hidden_ND: Tensor) -> Tensor:
        """The output layer with the scaling that some families put after it: (N, V)."""
        logits_NV = self.causal.get_output_embeddings()(hidden_ND)
        config = self.causal.config
        if scale := getattr(config, "logit_scale", None):  # Cohere
            logits_NV = logits_NV * scale
        if scale := getattr(config, "logits_scaling", None):  # Granite
            logits_NV = logits_NV / scale
        if cap := getattr(config, "final_logit_softcapping", None):  # Gemma
            logits_NV = torch.tanh(logits_NV / cap) * cap
        return logits_NV

    def log_probabilities(self, token_ids: list[int], prompt_length: int) -> list[float]:
        """Of token_ids[prompt_length:], in nats, each given all before it."""
        ids_T = torch.tensor(token_ids, device=self.device)

        def judge() -> Tensor:
            hidden_TD = self.hidden(ids_T[None])[0, prompt_length - 1 : -1]
            return self.logits(hidden_TD).float().log_softmax(dim=-1)

        with self.forward_only():
            logprobs_NV = self.in_one_pass(judge)
        return logprobs_NV.gather(1, ids_T[prompt_length:, None])[:, 0].tolist()

    @contextmanager
    def without_adapter(self) -> Iterator[None]:
        """The answers of the weights under the adapter, while it lasts."""
        layers: list[Any] = [
            m for m in self.network.modules() if isinstance(m, BaseTunerLayer | AuxiliaryTrainingWrapper)
        ]
        # peft's own way also changes which parameters are trained
        for layer in layers:
            layer._disable_adapters = True
        try:
            yield
        finally:
            for layer in layers:
                layer._disable_adapters = False

    @contextmanager
    def as_saved(self) -> Iterator[None]:
        """Answers as the saved checkpoint gives them: an adapter that is merged when saved is merged, with its rounding
        to the weights' type, while it lasts."""
        if self.adapter and self.saved_kind == "full":
            with merged(self.causal), self.without_adapter():
                yield
        else:
            yield

    def checkpoint_activations(self) -> None:
        """From now on activations are computed again in the backward pass instead of being kept."""
        self.causal.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})

    def adapted_modules(self) -> list[str]:
        """Full names of the layers that carry the adapter."""
        return sorted(adapted_layers(self.causal))


def load_model(spec: JobSpec, device: torch.device, checkpoint_activations: bool = False) -> LanguageModel:
    """The weights a job starts from, with what is trained set to need gradients. Raises ModelProblem, InvalidRecipe."""
    start = spec.start_path
    weights_path = start if start and not is_adapter(start) else spec.base_path
    shares_out = spec.sharding == "fsdp" and dist.is_initialized() and dist.get_world_size() > 1
    causal = _load_base(weights_path, spec, CPU if shares_out else device)  # may be larger than the device
    if spec.adaptation == "full":
        if start and is_adapter(start):
            causal = PeftModel.from_pretrained(causal, str(start), autocast_adapter_dtype=False).merge_and_unload()
        causal.requires_grad_(True)
        network: nn.Module = causal
    else:
        causal.requires_grad_(False)
        network = _continue_adapter(causal, spec, start) if start and is_adapter(start) else _new_adapter(causal, spec)
    speed_up_adapters(network)
    speed_up_norms(network)
    if spec.neftune_alpha:
        add_noise(causal.get_input_embeddings(), spec.neftune_alpha)
    merges_when_saved = spec.adaptation == "lora" and merges(spec.lora_variant, spec.modules_to_save)
    own_attention = prepare_packing(causal, causal.device) if spec.packing else False
    if device.type == "cpu":
        use_own_attention(causal)
    model = LanguageModel(network, causal, device, weights_path != spec.base_path, own_attention, merges_when_saved)
    if checkpoint_activations:
        model.checkpoint_activations()
    _check_output_layer(model)
    if shares_out:
        model.whole = shard(network, _layers(causal), device)
    return model


def _layers(causal: PreTrainedModel) -> list[nn.Module]:
    """Its decoder layers, which transformers names as what must stay on one device."""
    names = causal._no_split_modules or []
    return [module for module in causal.modules() if type(module).__name__ in names]


def _load_base(folder: Path, spec: JobSpec, device: torch.device) -> PreTrainedModel:
    config_path = folder / "config.json"
    if not config_path.exists():
        raise ModelProblem(f"The model's folder {folder} is gone or incomplete. Add the base model again.")
    if not list(folder.glob("*.safetensors")):
        raise ModelProblem(f"{folder} has no .safetensors weights. Other weight formats are not read.")
    transformers_logging.disable_progress_bar()
    try:
        model = AutoModelForCausalLM.from_pretrained(
            folder,
            dtype=DTYPES[spec.dtype],
            use_safetensors=True,
            trust_remote_code=False,
            local_files_only=True,
            **_quantized(spec, device),
        )
    except SafetensorError as error:
        raise ModelProblem(f"The weights in {folder} are damaged: {error}. Add the base model again.") from error
    except (OSError, ValueError, KeyError, RuntimeError) as error:
        architecture = json.loads(config_path.read_text()).get("architectures")
        raise ModelProblem(f"The model in {folder} ({architecture}) cannot be loaded: {error}") from error
    return model if spec.quantization == "4bit" else model.to(device)  # type: ignore[arg-type]  # its wrapper hides it


def _quantized(spec: JobSpec, device: torch.device) -> dict[str, Any]:
    """QLoRA: the frozen weights in 4-bit NormalFloat, computed with in the job's type (Dettmers et al., 2023)."""
    if spec.quantization == "none":
        return {}
    config = BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=DTYPES[spec.dtype],
    )
    return {"quantization_config": config, "device_map": {"": device}}


def _new_adapter(network: PreTrainedModel | PeftModel, spec: JobSpec) -> PeftModel:
    """A fresh adapter; where there is one already, beside it."""
    config = LoraConfig(
        r=spec.lora_r or 0,
        lora_alpha=spec.lora_alpha or 0,
        lora_dropout=spec.lora_dropout,
        target_modules=spec.target_modules or read_model_facts(spec.base_path, spec.base_model).linear_modules,
        bias="none",
        use_rslora=spec.lora_variant == "rslora",
        use_dora=spec.lora_variant == "dora",
        modules_to_save=spec.modules_to_save or None,
        task_type="CAUSAL_LM",
        base_model_name_or_path=str(spec.base_path),
    )
    names = [name for name, _ in network.named_modules()]
    for asked in spec.modules_to_save:
        if not any(name.endswith(asked) for name in names):  # peft would pass over it
            text = f"{spec.base_model} has no module named {asked} to train in full. Choose another name, such as norm."
            raise InvalidRecipe(text, param="modules_to_save")
    try:
        # Adapter weights have the base's type, so that nothing is converted around every layer; what the optimizer
        # updates is a float32 copy (optimizer.py).
        if not isinstance(network, PeftModel):
            return get_peft_model(network, config, TRAINED, autocast_adapter_dtype=False)
        network.add_adapter(TRAINED, config, autocast_adapter_dtype=False)
        return network
    except ValueError as error:
        param = "modules_to_save" if "modules_to_save" in str(error) else "target_modules"
        raise InvalidRecipe(f"The adapter does not fit the model: {error}", param=param) from error


def _continue_adapter(causal: PreTrainedModel, spec: JobSpec, start: Path) -> PeftModel:
    """The same adapter goes on when the job asks for its shape. Else it stays as it is and a new one learns beside it:
    the same as training on merged weights, without their rounding; both are saved as one (adapters.py)."""
    found = read_start_facts(start)
    same = found.has_shape(spec.lora_r, spec.lora_alpha, spec.target_modules or found.target_modules, spec.lora_variant)
    config = LoraConfig.from_pretrained(str(start))
    config.lora_dropout = spec.lora_dropout if same else 0.0
    config.inference_mode = not same
    name = TRAINED if same else CONTINUED
    network = PeftModel.from_pretrained(
        causal, str(start), name, is_trainable=same, config=config, autocast_adapter_dtype=False
    )
    if same:
        return network
    network = _new_adapter(network, spec)
    network.base_model.set_adapter([CONTINUED, TRAINED])  # type: ignore[operator]  # a module to mypy
    for parameter_name, parameter in network.named_parameters():
        parameter.requires_grad_(f".{TRAINED}." in parameter_name)
    return network


def _check_output_layer(model: LanguageModel) -> None:
    """Our split into body and output layer gives the model's own logits, proven on a few tokens at each load."""
    ids_BT = torch.arange(2, 10, device=model.causal.device)[None]
    model.network.eval()
    with torch.inference_mode():
        own = model.causal(input_ids=ids_BT, use_cache=False).logits.float()
        ours = model.logits(model.hidden(ids_BT)).float()
    if not torch.allclose(own, ours, atol=0.05, rtol=0.02):
        raise ModelProblem(
            "This model does something to its logits that the trainer does not know. It is not supported."
        )
