"""What the token view shows is what the trainer trains on: ids, mask and cut against the batches that it builds."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from accelerate import PartialState

from tests.factories import CHATML_TEMPLATE, chat_row, preference_row, tiny_model
from tests.unit.test_engine_tools import HERMES
from tests.unit.test_template_families import FAMILIES
from training.engine import dpo, pretrain, sft
from training.engine.chat import ChatFormat
from training.engine.control import Control
from training.engine.emit import EventWriter
from training.engine.errors import InvalidTrainingFile
from training.engine.method import Method
from training.engine.run import Run
from training.engine.spec import JobSpec
from training.token_view import RowView, Sequence, runs, view

TEMPLATES = {"ChatML": CHATML_TEMPLATE, "Llama 3": FAMILIES["Llama 3"].template, "native tools": HERMES}
TOOL = {
    "type": "function",
    "function": {"name": "weather", "description": "Says it.", "parameters": {"type": "object"}},
}
CALL = {"id": "call_1", "type": "function", "function": {"name": "weather", "arguments": '{"city": "Köln"}'}}


def said(role: str, content: str | None, **more: Any) -> dict[str, Any]:
    return {"role": role, "content": content, **more}


ROWS = {
    "one turn": chat_row("2 and 2?", "It is 4. 😀", system="Be brief."),
    "several turns": {
        "messages": [
            said("system", "Be brief."),
            said("user", "One?"),
            said("assistant", "One."),
            said("user", "And then?\n\n"),
            said("assistant", " Two, and after it three."),
        ]
    },
    "weight 0": {
        "messages": [
            said("user", "One?"),
            said("assistant", "A wrong answer.", weight=0),
            said("user", "Again."),
            said("assistant", "One.", weight=1),
        ]
    },
    "tools": {
        "messages": [
            said("user", "Köln?"),
            said("assistant", None, tool_calls=[CALL]),
            said("tool", "rain", tool_call_id="call_1"),
            said("assistant", "It rains in Köln."),
        ],
        "tools": [TOOL],
    },
    "an answer far behind": chat_row("a long question " * 30, "Yes."),
    "prompt and completion": {"prompt": "2 and 2 is", "completion": " four."},
}
PAIRS = [
    preference_row("Order 1?", "Order 1 is done, thank you.", "No."),
    {**preference_row("Köln?", "Rain.", "Sun, I think, and later some rain."), "input": {
        "messages": [said("user", "One?"), said("assistant", "One."), said("user", "Köln?")], "tools": [TOOL],
    }},
    {"prompt": "2 and 2 is", "chosen": " four", "rejected": " five or six or seven"},
    preference_row("a long question " * 30, "Yes.", "No."),
]  # fmt: skip
LENGTHS = [10_000, 128, 40, 17]


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("families")
    return {name: tiny_model(root / name.replace(" ", "-"), template) for name, template in TEMPLATES.items()}


Reads = Callable[..., Any]


@pytest.fixture
def read(make_run: Callable[..., Path]) -> Reads:
    """Rows as the trainer's own process reads them from its training file."""

    def read_by(by: Method, chat: ChatFormat, rows: list[dict[str, Any]], **changes: Any) -> Any:
        folder = make_run(rows=rows, **changes)
        spec = JobSpec.model_validate_json((folder / "spec.json").read_text())
        silent = EventWriter(folder / "none", enabled=False)
        run = Run(folder, spec, silent, Control(folder), PartialState(cpu=True), by)
        return by.read(run, chat, spec.training_file, lambda done, total: None)[0]

    return read_by


def trained_places(batch: Any) -> list[tuple[int, int]]:
    """(row, place) of every token that bears loss: the prediction stands one place before it."""
    width = batch.input_ids_BT.shape[1]
    return [divmod(int(place) + 1, width) for place in batch.picked_N]


def shown_places(sequence: Sequence, row: int) -> list[tuple[int, int]]:
    return [(row, at) for at in range(sequence.kept) if sequence.mask[at]]


@pytest.mark.parametrize("max_length", LENGTHS)
@pytest.mark.parametrize("template", TEMPLATES)
def test_chat_and_completion_rows_show_the_ids_and_the_mask_of_the_trainers_batch(
    models: dict[str, Path], read: Reads, template: str, max_length: int
) -> None:
    chat = ChatFormat.load(models[template])
    rows = read(sft.METHOD, chat, list(ROWS.values()), max_length=max_length)
    views = [view(chat, row, max_length) for row in ROWS.values()]
    left = [number for number, shown in enumerate(views, start=1) if shown.trained]
    assert list(rows.lines) == left
    assert [number for number, shown in enumerate(views, start=1) if not shown.trained] == [
        number for number, shown in enumerate(views, start=1) if shown.lost
    ]
    assert sum(bool(views[number - 1].cut) for number in left) == rows.truncated
    for at, number in enumerate(left):
        batch, (sequence,) = sft.METHOD.collate(rows, [at], PartialState(cpu=True).device), views[number - 1].sequences
        assert batch.input_ids_BT[0].tolist() == sequence.ids[: sequence.kept]
        assert trained_places(batch) == shown_places(sequence, 0)
        assert batch.weights_N.tolist() == [sequence.weights[place] for _, place in shown_places(sequence, 0)]
        assert views[number - 1].trained == batch.trained


@pytest.mark.parametrize("packing", [True, False])
def test_a_whole_batch_holds_what_the_views_of_its_rows_show_together(
    models: dict[str, Path], read: Reads, packing: bool
) -> None:
    chat = ChatFormat.load(models["ChatML"])
    rows = read(sft.METHOD, chat, list(ROWS.values()), max_length=4096, packing=packing)
    batch = sft.METHOD.collate(rows, list(range(len(ROWS))), PartialState(cpu=True).device)
    views = [view(chat, row, 4096) for row in ROWS.values()]
    assert batch.tokens == sum(shown.kept for shown in views)
    assert batch.trained == sum(shown.trained for shown in views)
    assert list(batch.trained_rows) == [shown.trained for shown in views]


@pytest.mark.parametrize("max_length", LENGTHS)
@pytest.mark.parametrize("template", TEMPLATES)
def test_both_answers_of_a_preference_row_show_the_ids_and_the_mask_of_the_trainers_batch(
    models: dict[str, Path], read: Reads, template: str, max_length: int
) -> None:
    chat = ChatFormat.load(models[template])
    views = [view(chat, row, max_length) for row in PAIRS]
    assert [shown.lost for shown in views] == [not shown.trained for shown in views]
    if not any(shown.trained for shown in views):
        with pytest.raises(InvalidTrainingFile, match="no row to train on"):
            read(dpo.METHOD, chat, PAIRS, max_length=max_length, method="dpo", beta=0.1)
        return
    rows = read(dpo.METHOD, chat, PAIRS, max_length=max_length, method="dpo", beta=0.1)
    left = [number for number, shown in enumerate(views, start=1) if shown.trained]
    assert list(rows.lines) == left
    for at, number in enumerate(left):
        batch = dpo.METHOD.collate(rows, [at], PartialState(cpu=True).device).sequences
        for side, sequence in enumerate(views[number - 1].sequences):
            assert batch.input_ids_BT[side].tolist()[: sequence.kept] == sequence.ids[: sequence.kept]
            assert [place for place in trained_places(batch) if place[0] == side] == shown_places(sequence, side)
        assert views[number - 1].trained == batch.trained


def test_a_document_of_raw_text_shows_the_ids_and_the_mask_of_the_trainers_block(
    tmp_path: Path, read: Reads, base: Path
) -> None:
    """Unpacked, a document is a block of its own; too long for max_length, it goes on in the next one."""
    chat = ChatFormat.load(base)
    stories = ["The fox jumps.\nThe dog sleeps.", "One two three four.", "Order 12345 is done " * 40]
    rows = [{"text": story} for story in stories]
    changes = {"method": "pretrain", "packing": False, "base_path": base}
    blocks = read(pretrain.METHOD, chat, rows, max_length=10_000, **changes)
    for at, row in enumerate(rows):
        shown = view(chat, row, 16)
        batch = pretrain.METHOD.collate(blocks, [at], PartialState(cpu=True).device)
        assert batch.input_ids_BT[0].tolist() == shown.sequences[0].ids
        assert trained_places(batch) == shown_places(shown.sequences[0], 0)
        assert shown.is_text and not shown.cut and shown.trained == batch.trained


# ---- what people see ----


def shown_text(chat: ChatFormat, shown: RowView) -> list[tuple[bool, bool, str]]:
    found = runs(chat, shown.sequences[0])
    return [(run.trained, run.cut, "".join(token.shown for token in run.tokens)) for run in found]


def test_runs_show_every_character_of_the_template_with_signs_for_white_space(models: dict[str, Path]) -> None:
    chat = ChatFormat.load(models["ChatML"])
    messages = [said("user", "Two\n\tand  two?"), said("assistant", "It is four.")]
    found = shown_text(chat, view(chat, {"messages": messages}))
    text = "".join(part for _, _, part in found)
    assert "↵\n→" in text
    assert text.replace("↵\n", "\n").replace("→", "\t").replace("·", " ") == chat.render(messages)
    assert [(trained, part) for trained, _, part in found][1:] == [(True, "It is four.<|im_end|>"), (False, "↵\n")]


def test_a_character_of_several_tokens_stands_at_its_last_one(models: dict[str, Path]) -> None:
    chat = ChatFormat.load(models["ChatML"])
    (run, *_) = [run for run in runs(chat, view(chat, chat_row("?", "😀")).sequences[0]) if run.trained]
    assert [token.shown for token in run.tokens] == ["⋯", "⋯", "⋯", "😀", "<|im_end|>"]
    assert run.tokens[0].note == "bytes F0: the beginning of a character"
    assert run.tokens[3].note == "bytes 80: the end of a character"
    assert [token.special for token in run.tokens] == [False, False, False, False, True]


def test_what_stands_behind_the_cut_is_shown_as_cut_and_keeps_its_mark(models: dict[str, Path]) -> None:
    chat = ChatFormat.load(models["ChatML"])
    row = chat_row("2 and 2?", "It is four.")
    whole = view(chat, row)
    first = whole.sequences[0].mask.index(True)
    cut = view(chat, row, first + 2)
    assert (cut.kept, cut.trained, cut.cut) == (first + 2, 2, whole.tokens - first - 2)
    assert [(trained, behind) for trained, behind, _ in shown_text(chat, cut)] == [
        (False, False), (True, False), (True, True), (False, True),
    ]  # fmt: skip
    assert view(chat, row, first).lost and not cut.lost


def test_a_part_of_the_tokens_is_the_same_part_of_all(models: dict[str, Path]) -> None:
    chat = ChatFormat.load(models["Llama 3"])
    sequence = view(chat, ROWS["several turns"]).sequences[0]
    every = [token for run in runs(chat, sequence) for token in run.tokens]
    part = [token for run in runs(chat, sequence, 20, 15) for token in run.tokens]
    assert [token.id for token in every] == sequence.ids
    assert [(token.at, token.id) for token in part] == [(token.at, token.id) for token in every[20:35]]


BROKEN = [
    {},
    {"messages": "x"},
    {"messages": [1]},
    {"prompt": 1, "completion": "x"},
    PAIRS[0] | {"preferred_output": 0},
]


@pytest.mark.parametrize("row", BROKEN)
def test_a_row_that_cannot_be_encoded_says_so(models: dict[str, Path], row: dict[str, Any]) -> None:
    with pytest.raises(InvalidTrainingFile):
        view(ChatFormat.load(models["ChatML"]), row)
