"""Text, ids and what is trained on: against literal expectations and against transformers' own code."""

from pathlib import Path

import pytest

from tests.factories import CHATML_TEMPLATE, tiny_model
from training.engine.chat import ChatFormat, Encoded
from training.engine.errors import InvalidTrainingFile, ModelProblem

STARTER = Path(__file__).parents[2] / "var/models/SmolLM2-135M-Instruct"

# Headers, trimmed text and an end mark, in the manner of Llama 3; the end mark is one of the tiny tokenizer's own.
LLAMA_LIKE = (
    "{{ bos_token }}{% for m in messages %}"
    "{{ '[' + m['role'] + ']\n\n' + m['content'] | trim + '<|im_end|>' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '[assistant]\n\n' }}{% endif %}"
)
# Writes an empty thought before the last answer only, as Qwen 3 does: the same message renders differently in time.
THINKING = (
    "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\n' }}"
    "{% if m['role'] == 'assistant' and loop.last %}{{ '(thought)\n' }}{% endif %}"
    "{{ m['content'] + '<|im_end|>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
NO_END_MARK = (
    "{% for m in messages %}{{ m['role'] + ': ' + m['content'] + '\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ 'assistant: ' }}{% endif %}"
)
MARKED = (
    "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\n' }}"
    "{% generation %}{{ m['content'] }}{% endgeneration %}{{ '<|im_end|>\n' }}{% endfor %}"
)

CONVERSATION = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": "One?"},
    {"role": "assistant", "content": "One. 😀"},
    {"role": "user", "content": "assistant"},
    {"role": "assistant", "content": "Two."},
]


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("models")
    templates = {
        "chatml": CHATML_TEMPLATE,
        "llama": LLAMA_LIKE,
        "thinking": THINKING,
        "no end": NO_END_MARK,
        "marked": MARKED,
        "none": False,
    }
    return {name: tiny_model(root / name.replace(" ", "-"), template) for name, template in templates.items()}


def trained_text(chat: ChatFormat, encoded: Encoded) -> list[str]:
    """The runs of trained tokens, as text."""
    spans: list[list[int]] = []
    before = 0.0
    for token, weight in zip(encoded.token_ids, encoded.weights, strict=True):
        if weight:
            if not before:
                spans.append([])
            spans[-1].append(token)
        before = weight
    return [chat.decode(span) for span in spans]


@pytest.mark.parametrize("name", ["chatml", "llama"])
def test_answers_and_their_end_mark_are_trained_on(models: dict[str, Path], name: str) -> None:
    chat = ChatFormat.load(models[name])
    encoded = chat.encode_row({"messages": CONVERSATION})
    assert trained_text(chat, encoded) == ["One. 😀<|im_end|>", "Two.<|im_end|>"]
    assert not encoded.truncated


def test_what_is_trained_on_is_exact_to_the_token(models: dict[str, Path]) -> None:
    chat = ChatFormat.load(models["chatml"])
    encoded = chat.encode_row({"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]})
    assert chat.token_texts(encoded.token_ids)[-4:] == ["\n", "b", "<|im_end|>", "\n"]
    assert encoded.weights[-4:] == [0.0, 1.0, 1.0, 0.0]
    assert sum(encoded.weights) == encoded.trained_tokens == 2


def test_weight_0_masks_an_answer_and_other_keys_stay(models: dict[str, Path]) -> None:
    chat = ChatFormat.load(models["chatml"])
    masked = [{**message, "weight": 0} if message["content"] == "One. 😀" else message for message in CONVERSATION]
    encoded = chat.encode_row({"messages": masked})
    assert trained_text(chat, encoded) == ["Two.<|im_end|>"]
    assert encoded.token_ids == chat.encode_row({"messages": CONVERSATION}).token_ids


def test_a_template_that_writes_the_last_answer_differently_is_followed(models: dict[str, Path]) -> None:
    chat = ChatFormat.load(models["thinking"])
    encoded = chat.encode_row({"messages": CONVERSATION})
    assert trained_text(chat, encoded) == ["One. 😀<|im_end|>", "(thought)\nTwo.<|im_end|>"]


def test_without_an_end_mark_the_templates_whole_ending_is_trained_on(models: dict[str, Path]) -> None:
    chat = ChatFormat.load(models["no end"])
    assert trained_text(chat, chat.encode_row({"messages": CONVERSATION})) == ["One. 😀\n", "Two.\n"]


def test_generation_marks_of_a_template_write_nothing(models: dict[str, Path]) -> None:
    chat = ChatFormat.load(models["marked"])
    assert chat.render([{"role": "assistant", "content": "x"}]) == "<|im_start|>assistant\nx<|im_end|>\n"


def test_an_empty_answer_trains_its_end_mark(models: dict[str, Path]) -> None:
    chat = ChatFormat.load(models["chatml"])
    encoded = chat.encode_row({"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": ""}]})
    assert trained_text(chat, encoded) == ["<|im_end|>"]


def test_text_parts_are_joined(models: dict[str, Path]) -> None:
    chat = ChatFormat.load(models["chatml"])
    parts = [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]
    assert chat.render([{"role": "user", "content": parts}]) == "<|im_start|>user\nab<|im_end|>\n"


def test_a_long_row_is_cut_from_the_end_and_flagged(models: dict[str, Path]) -> None:
    chat = ChatFormat.load(models["chatml"])
    whole = chat.encode_row({"messages": CONVERSATION})
    cut = chat.encode_row({"messages": CONVERSATION}, max_length=20)
    assert cut.truncated
    assert (cut.token_ids, cut.weights) == (whole.token_ids[:20], whole.weights[:20])


def test_prompt_and_completion_train_the_completion_and_an_end_token(models: dict[str, Path]) -> None:
    for name in ("none", "chatml"):
        chat = ChatFormat.load(models[name])
        encoded = chat.encode_row({"prompt": "The capital of France is", "completion": " Paris."})
        assert chat.decode(encoded.token_ids[:-1]) == "The capital of France is Paris."
        assert encoded.token_ids[-1] == chat.eos_ids[0]
        assert trained_text(chat, encoded) == [" Paris." + chat.decode(chat.eos_ids[:1])]


def test_a_model_without_template_refuses_chat_rows(models: dict[str, Path]) -> None:
    chat = ChatFormat.load(models["none"])
    assert not chat.has_template
    with pytest.raises(InvalidTrainingFile, match="no chat template"):
        chat.encode_row({"messages": CONVERSATION})


def test_rows_of_another_shape_and_half_characters_are_refused(models: dict[str, Path]) -> None:
    chat = ChatFormat.load(models["chatml"])
    with pytest.raises(InvalidTrainingFile, match="prompt/completion pairs or chat messages"):
        chat.encode_row({"text": "x"})
    with pytest.raises(InvalidTrainingFile, match="half a character"):
        chat.encode_row({"messages": [{"role": "user", "content": "\ud800"}]})
    with pytest.raises(InvalidTrainingFile, match="chat template refuses"):
        chat.encode_row({"messages": [{"role": "user", "content": None}]})


def test_a_template_cannot_reach_out_of_its_sandbox(tmp_path: Path) -> None:
    evil = "{{ messages.__class__.__mro__[1].__subclasses__() }}"
    chat = ChatFormat.load(tiny_model(tmp_path / "evil", evil))
    with pytest.raises(InvalidTrainingFile, match="unsafe"):
        chat.render(CONVERSATION)


def test_a_folder_without_tokenizer_is_told(tmp_path: Path) -> None:
    with pytest.raises(ModelProblem, match=r"no tokenizer\.json"):
        ChatFormat.load(tmp_path)


@pytest.mark.parametrize("name", ["chatml", "llama", "thinking", "no end"])
def test_text_and_ids_are_those_of_transformers(models: dict[str, Path], name: str) -> None:
    same_as_transformers(models[name])


def test_text_and_ids_are_those_of_transformers_for_the_starter_model() -> None:
    if not (STARTER / "tokenizer.json").exists():
        pytest.skip(f"the starter model is not at {STARTER}: run `make run` once")
    same_as_transformers(STARTER)
    chat = ChatFormat.load(STARTER)
    assert trained_text(chat, chat.encode_row({"messages": CONVERSATION[1:]})) == [
        "One. 😀<|im_end|>",
        "Two.<|im_end|>",
    ]


def same_as_transformers(folder: Path) -> None:
    from transformers import AutoTokenizer

    theirs, ours = AutoTokenizer.from_pretrained(folder), ChatFormat.load(folder)
    for messages in (CONVERSATION, CONVERSATION[1:4], CONVERSATION[1:2]):
        for ask in (False, True):
            assert ours.render(messages, ask) == theirs.apply_chat_template(
                messages, add_generation_prompt=ask, tokenize=False
            )
        assert ours.encode_row({"messages": messages}).token_ids == _ids(theirs, messages, False)
        assert ours.encode_prompt(messages) == _ids(theirs, messages, True)
    assert ours.encode_text("Hello  there") == theirs("Hello  there")["input_ids"]


def _ids(tokenizer: object, messages: list, ask: bool) -> list[int]:
    return tokenizer.apply_chat_template(messages, add_generation_prompt=ask, return_dict=True)["input_ids"]  # type: ignore[attr-defined]
