"""A few probe continuations whose log-probabilities prove later that what is served is what was trained."""

from dataclasses import dataclass

import numpy as np

from training.engine.chat import ChatFormat
from training.engine.errors import InvalidTrainingFile
from training.engine.method import TrainingRows
from training.engine.model import LanguageModel
from training.engine.spec import Probe, Probes

PROBES = 5
PROMPT_TOKENS = 64  # at most, before the continuation
CONTINUATION_TOKENS = 64  # at most

# A conversation that every template accepts: no system message, roles in turn.
CHAT_MESSAGES = [
    {"role": "user", "content": "Hello!"},
    {"role": "assistant", "content": "Hi, how can I help?"},
    {"role": "user", "content": "Write one line about the sea."},
]


@dataclass
class ProbeSet:
    """Chosen once a run; the base's log-probabilities are computed before anything is trained."""

    windows: list[tuple[list[int], int]]  # token ids and the length of their prompt
    base_logprobs: list[list[float]]
    chat_messages: list[dict[str, str]]
    chat_token_ids: list[int]


def choose_probes(model: LanguageModel, chat: ChatFormat, rows: TrainingRows) -> ProbeSet:
    """Evenly spread rows, each cut to a window around the beginning of what is trained on."""
    chosen = np.unique(np.linspace(0, len(rows) - 1, PROBES).astype(int))
    windows = [_window(rows, int(row)) for row in chosen if rows.trained[row]]
    with model.without_adapter():
        base = [model.log_probabilities(*window) for window in windows]
    messages = CHAT_MESSAGES if chat.has_template else []
    try:
        token_ids = chat.encode_prompt(messages) if messages else []
    except InvalidTrainingFile:  # a template with demands of its own
        messages, token_ids = [], []
    return ProbeSet(windows, base, messages, token_ids)


def _window(rows: TrainingRows, row: int) -> tuple[list[int], int]:
    trained = np.flatnonzero(rows.weights(row)[1:]) + 1
    first = int(trained[0])
    begin, end = max(0, first - PROMPT_TOKENS), min(int(trained[-1]) + 1, first + CONTINUATION_TOKENS)
    return rows.ids(row)[begin:end].tolist(), first - begin


def measure_probes(model: LanguageModel, chosen: ProbeSet) -> Probes:
    """The trained log-probabilities, from the weights as they are now; the hash is filled in when they are written."""
    probes = [
        Probe(
            token_ids=token_ids,
            prompt_length=prompt_length,
            trained_logprobs=model.log_probabilities(token_ids, prompt_length),
            base_logprobs=base,
        )
        for (token_ids, prompt_length), base in zip(chosen.windows, chosen.base_logprobs, strict=True)
    ]
    return Probes(
        probes=probes,
        chat_messages=chosen.chat_messages,
        chat_token_ids=chosen.chat_token_ids,
        weights_sha256="",
        modules=model.adapted_modules() if model.saved_kind == "lora" else [],
        lora_r=model.saved_rank,
    )
