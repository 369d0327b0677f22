"""Every kind of training beside the plainest code there is: the same loss and the same gradient.

The plain side is transformers and peft as they are, in float32, one row at a time; its tokens come from transformers'
own template code, and what is trained on is written down here once more. Nothing of the engine is used there.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from accelerate import PartialState
from peft import LoraConfig, get_peft_model
from torch import Tensor, nn
from transformers import AutoModelForCausalLM, AutoTokenizer

from tests.engine.kinds import KINDS, PAIRS, TOOL, make_bases, write_run
from tests.engine.test_dpo import plain_loss as plain_preference_loss
from tests.engine.test_pretrain import plain_sequences
from training.engine import dpo
from training.engine.batches import micro_batches
from training.engine.chat import ChatFormat
from training.engine.control import Control
from training.engine.emit import EventWriter
from training.engine.model import LanguageModel, load_model
from training.engine.run import Run
from training.engine.spec import JobSpec

CPU = torch.device("cpu")
BETA = KINDS["dpo"].changes["beta"]
# docs/tools.md: what a template that knows no tools is given in their place.
TOOLS_TEXT = """# Tools

You may call one or more functions to assist with the user query.

You are provided with function signatures within <tools></tools> XML tags:
<tools>
%s
</tools>

For each function call, return a json object with function name and arguments within <tool_call></tool_call> XML tags:
<tool_call>
{"name": <function-name>, "arguments": <args-json-object>}
</tool_call>"""

Gradient = dict[str, Tensor]


@pytest.fixture(scope="module")
def bases(tmp_path_factory: pytest.TempPathFactory) -> dict[bool, Path]:
    return make_bases(tmp_path_factory.mktemp("references"))


# ---- the plain side ----


def plain_network(base: Path, adaptation: str) -> nn.Module:
    causal = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    if adaptation == "full":
        return causal
    kind = {"use_rslora": adaptation == "rslora", "use_dora": adaptation == "dora"}
    return get_peft_model(causal, LoraConfig(r=4, lora_alpha=8, target_modules="all-linear", **kind))


def written_out(row: dict[str, Any]) -> list[dict[str, Any]]:
    """A row with tools as plain messages, as docs/tools.md says."""
    messages = [{"role": "system", "content": TOOLS_TEXT % json.dumps(TOOL)}]
    for message in row["messages"]:
        role, text = message["role"], message.get("content")
        if message.get("tool_calls"):
            function = message["tool_calls"][0]["function"]
            call = {"name": function["name"], "arguments": json.loads(function["arguments"])}
            text = f"<tool_call>\n{json.dumps(call)}\n</tool_call>"
        if role == "tool":
            role, text = "user", f"<tool_response>\n{text}\n</tool_response>"
        messages.append({"role": role, "content": text})
    return messages


def plain_tokens(tokenizer: Any, row: dict[str, Any]) -> tuple[list[int], list[bool]]:
    """Ids, and which of them are trained on: answers with their end of turn; of prompt and completion the latter."""
    if "prompt" in row:
        head = tokenizer(row["prompt"])["input_ids"]
        tail = tokenizer(row["completion"], add_special_tokens=False)["input_ids"] + [tokenizer.eos_token_id]
        return head + tail, [False] * len(head) + [True] * len(tail)
    messages = written_out(row) if "tools" in row else row["messages"]
    ids = tokenizer.apply_chat_template(messages, return_dict=False)
    mask = [False] * len(ids)
    for index, message in enumerate(messages):
        if message["role"] == "assistant":
            start = len(tokenizer.apply_chat_template(messages[:index], add_generation_prompt=True, return_dict=False))
            end = ids.index(tokenizer.eos_token_id, start) + 1
            mask[start:end] = [True] * (end - start)
    return ids, mask


def plain_rows(name: str, base: Path, length: int) -> Iterator[tuple[list[int], list[bool]]]:
    tokenizer = AutoTokenizer.from_pretrained(base)
    if KINDS[name].method == "sft":
        yield from (plain_tokens(tokenizer, row) for row in KINDS[name].rows)
        return
    texts = [row["text"] for row in KINDS[name].rows]
    for ids in plain_sequences(base, length, texts, tokenizer.eos_token_id):
        yield ids, [True] * len(ids)


def plain_loss(network: nn.Module, name: str, base: Path, length: int) -> Tensor:
    """Mean over trained tokens; of preferences over pairs, against the base itself."""
    if name == "dpo":
        reference = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
        return plain_preference_loss(network, reference, AutoTokenizer.from_pretrained(base), KINDS[name].rows, BETA)
    total, count = torch.zeros(()), 0
    for ids, trained in plain_rows(name, base, length):
        if len(ids) == 1:
            continue
        logprobs = network(input_ids=torch.tensor([ids])).logits[0, :-1].log_softmax(-1)
        picked = torch.tensor(trained[1:])
        total = total - logprobs.gather(1, torch.tensor(ids[1:])[:, None])[:, 0][picked].sum()
        count += int(picked.sum())
    return total / count


def moved(network: nn.Module) -> None:
    """Away from where the training begins, by the same on both sides: an adapter that says nothing yet would hide half
    of its gradient."""
    random = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for name, parameter in sorted(network.named_parameters()):
            if parameter.requires_grad:
                noise = torch.randn(parameter.shape, generator=random)
                parameter.copy_(0.1 * noise if ".lora_A." in name or ".lora_B." in name else parameter + 0.03 * noise)


# ---- the engine's ----


def engine_loss(run: Run, model: LanguageModel, budget: int) -> tuple[float, Gradient]:
    """Of the whole file as one batch, in passes of at most `budget` tokens."""
    rows, left_out = run.method.read(run, ChatFormat.load(run.spec.base_path), run.spec.training_file, lambda *_: None)
    assert not left_out
    if isinstance(rows, dpo.PairRows):
        rows.reference = np.load(run.folder / "reference.npy")
    model.network.zero_grad()
    loss = weight = 0.0
    for chosen in micro_batches(range(len(rows)), rows.lengths, budget, run.spec.packing):
        if rows.trained[chosen].sum():
            sums = run.method.loss(model, run.method.collate(rows, chosen, CPU))
            sums.loss.backward()
            loss, weight = loss + sums.loss.item(), weight + sums.weight.item()
    return loss / weight, {name: p.grad / weight for name, p in model.trainable.items() if p.grad is not None}


def keep_reference(run: Run, model: LanguageModel) -> None:
    """Before anything is moved: what the weights that the job starts from think of each answer."""
    rows, _ = run.method.read(run, ChatFormat.load(run.spec.base_path), run.spec.training_file, lambda *_: None)
    if isinstance(rows, dpo.PairRows):
        with torch.no_grad():
            logps_S, _ = dpo.log_probabilities(model, dpo.collate(rows, list(range(len(rows))), CPU))
        np.save(run.folder / "reference.npy", logps_S.reshape(2, -1).T.numpy())


@pytest.mark.parametrize(("name", "adaptation"), PAIRS)
def test_loss_and_gradient_are_those_of_transformers_and_peft_one_row_at_a_time(
    bases: dict[bool, Path], tmp_path: Path, name: str, adaptation: str
) -> None:
    folder = write_run(tmp_path / "run", bases, name, adaptation)
    spec = JobSpec.model_validate_json((folder / "spec.json").read_text())
    events = EventWriter(folder / "events.jsonl", enabled=False)
    run = Run(folder, spec, events, Control(folder), PartialState(cpu=True), KINDS[name].code)
    model = load_model(spec, CPU)
    keep_reference(run, model)
    network = plain_network(spec.base_path, adaptation)
    moved(model.network)
    moved(network)

    expected = plain_loss(network, name, spec.base_path, spec.max_length)
    expected.backward()
    gradient = {key: p.grad for key, p in network.named_parameters() if p.grad is not None}
    model.network.train()
    for budget in (100_000, 1):
        loss, ours = engine_loss(run, model, budget)
        print(f"{name} {adaptation}, passes of {budget}: {loss:.7f}, plain code {expected.item():.7f}")
        assert loss == pytest.approx(expected.item(), rel=1e-5)
        assert ours.keys() == gradient.keys()
        for key, plain in gradient.items():
            scale = max(float(plain.abs().max()), 1e-2)
            assert torch.allclose(ours[key], plain, rtol=1e-3, atol=2e-5 * scale), key
