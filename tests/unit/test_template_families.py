"""What is trained on under the chat templates of the well-known families, to the character.

The templates are short forms of the published ones: the same marks in the same places.
"""

from dataclasses import dataclass

import pytest

from tests.factories import SPECIAL_TOKENS, tiny_tokenizer
from training.engine.chat import ChatFormat, Encoded
from training.engine.template import Template

TURNS = "{% for m in messages %}"
ASK = "{% if add_generation_prompt %}"


@dataclass(frozen=True)
class Family:
    template: str
    marks: tuple[str, ...]  # its special tokens; the last one ends an answer
    trained: tuple[str, str]  # of the two answers "4" and "9"


FAMILIES = {
    "ChatML": Family(
        TURNS + "<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
        + ASK + "<|im_start|>assistant\n{% endif %}",
        ("<|im_start|>", "<|im_end|>"),
        ("4<|im_end|>", "9<|im_end|>"),
    ),
    "Llama 3": Family(
        "{{ '<|begin_of_text|>' }}" + TURNS + "{{ '<|start_header_id|>' + m.role + '<|end_header_id|>\\n\\n' }}"
        "{{ m.content | trim }}<|eot_id|>{% endfor %}"
        + ASK + "{{ '<|start_header_id|>assistant<|end_header_id|>\\n\\n' }}{% endif %}",
        ("<|begin_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"),
        ("4<|eot_id|>", "9<|eot_id|>"),
    ),
    "Llama 2": Family(
        TURNS + "{% if m.role == 'user' %}{{ '<s>[INST] ' + m.content + ' [/INST]' }}"
        "{% else %}{{ ' ' + m.content + ' </s>' }}{% endif %}{% endfor %}",
        ("<s>", "</s>"),
        (" 4 </s>", " 9 </s>"),
    ),
    "Mistral": Family(
        "<s>" + TURNS + "{% if m.role == 'user' %}{{ '[INST] ' + m.content + '[/INST]' }}"
        "{% else %}{{ ' ' + m.content + '</s>' }}{% endif %}{% endfor %}",
        ("<s>", "[INST]", "[/INST]", "</s>"),
        (" 4</s>", " 9</s>"),
    ),
    "Gemma": Family(
        "<bos>" + TURNS + "{{ '<start_of_turn>' + ('model' if m.role == 'assistant' else m.role) + '\\n' }}"
        "{{ m.content | trim + '<end_of_turn>\\n' }}{% endfor %}" + ASK + "{{ '<start_of_turn>model\\n' }}{% endif %}",
        ("<bos>", "<start_of_turn>", "<end_of_turn>"),
        ("4<end_of_turn>", "9<end_of_turn>"),
    ),
    "Qwen 3": Family(
        TURNS + "{{ '<|im_start|>' + m.role + '\\n' }}"
        "{% if m.role == 'assistant' and loop.last %}{{ '<think>\\n\\n</think>\\n\\n' }}{% endif %}"
        "{{ m.content + '<|im_end|>\\n' }}{% endfor %}" + ASK + "{{ '<|im_start|>assistant\\n' }}{% endif %}",
        ("<|im_start|>", "<|im_end|>"),
        ("4<|im_end|>", "<think>\n\n</think>\n\n9<|im_end|>"),
    ),
    "Phi 3": Family(
        TURNS + "{{ '<|' + m.role + '|>\\n' + m.content + '<|end|>\\n' }}{% endfor %}"
        "{% if add_generation_prompt %}{{ '<|assistant|>\\n' }}{% else %}{{ '<|endoftext|>' }}{% endif %}",
        ("<|user|>", "<|assistant|>", "<|end|>"),
        ("4<|end|>", "9<|end|>"),
    ),
    "Zephyr": Family(
        TURNS + "{{ '<|' + m.role + '|>\\n' + m.content + '</s>\\n' }}{% endfor %}"
        + ASK + "{{ '<|assistant|>\\n' }}{% endif %}",
        ("</s>",),
        ("4</s>", "9</s>"),
    ),
    "DeepSeek": Family(
        "<begin>" + TURNS + "{% if m.role == 'user' %}{{ '<|User|>' + m.content }}"
        "{% else %}{{ '<|Assistant|>' + m.content + '<end>' }}{% endif %}{% endfor %}"
        + ASK + "<|Assistant|>{% endif %}",
        ("<begin>", "<|User|>", "<|Assistant|>", "<end>"),
        ("4<end>", "9<end>"),
    ),
}  # fmt: skip

MESSAGES = [
    {"role": "user", "content": "2+2?"},
    {"role": "assistant", "content": "4"},
    {"role": "user", "content": "4+5? Do not say 4."},
    {"role": "assistant", "content": "9"},
]


def chat_format(family: Family) -> ChatFormat:
    tokenizer = tiny_tokenizer()
    tokenizer.add_special_tokens([mark for mark in family.marks if mark not in SPECIAL_TOKENS])
    return ChatFormat(tokenizer, Template(family.template, {}), [tokenizer.token_to_id(family.marks[-1])])


def trained_texts(chat: ChatFormat, encoded: Encoded) -> list[str]:
    """Each run of trained tokens as text."""
    runs: list[list[int]] = []
    before = 0.0
    for token, weight in zip(encoded.token_ids, encoded.weights, strict=True):
        if weight and not before:
            runs.append([])
        if weight:
            runs[-1].append(token)
        before = weight
    return [chat.decode(run) for run in runs]


@pytest.mark.parametrize("name", FAMILIES)
def test_the_answers_and_their_end_marks_are_trained_on_and_nothing_else(name: str) -> None:
    chat = chat_format(FAMILIES[name])
    encoded = chat.encode_row({"messages": MESSAGES})
    assert chat.decode(encoded.token_ids) == chat.render(MESSAGES)
    assert trained_texts(chat, encoded) == list(FAMILIES[name].trained)


@pytest.mark.parametrize("name", FAMILIES)
def test_an_answer_of_weight_0_is_not_trained_on(name: str) -> None:
    chat = chat_format(FAMILIES[name])
    messages = [MESSAGES[0], {**MESSAGES[1], "weight": 0}, *MESSAGES[2:]]
    assert trained_texts(chat, chat.encode_row({"messages": messages})) == [FAMILIES[name].trained[1]]


@pytest.mark.parametrize("name", FAMILIES)
def test_what_is_given_and_what_is_trained_on_are_together_what_is_rendered(name: str) -> None:
    """The model is asked in serving for exactly the tokens that it was trained to give after these."""
    chat = chat_format(FAMILIES[name])
    encoded = chat.encode_row({"messages": [*MESSAGES[:3], MESSAGES[3]]})
    given = chat.encode_prompt(MESSAGES[:3])
    last = len(encoded.weights) - 1 - encoded.weights[::-1].index(1.0)
    assert encoded.token_ids[: len(given)] == given
    assert encoded.weights[len(given)] == 1.0 and all(encoded.weights[len(given) : last + 1])
