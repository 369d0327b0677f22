"""A row as a base model will read it: its tokens, which of them are trained on, and where max_length cuts. Pure.

Ids and weights come from the code that the trainer encodes its rows with (training.engine.chat, pairs, text); tests
compare them with the batches that the trainer builds.
"""

import unicodedata
from dataclasses import dataclass
from functools import cached_property
from itertools import groupby
from typing import Any

from training.engine.chat import ChatFormat, Encoded
from training.engine.errors import InvalidTrainingFile
from training.engine.pairs import encode_pair, is_preference
from training.engine.text import document_pieces, tokenised

Row = dict[str, Any]


@dataclass(frozen=True)
class Token:
    at: int  # its place in the sequence, from 0
    id: int
    text: str
    shown: str  # the text with white space and what cannot be seen as signs
    weight: float
    special: bool
    note: str = ""  # what the sign stands for


@dataclass(frozen=True)
class Run:
    """Neighbours of one kind. `trained`: the model learns to predict them; `cut`: they stand behind max_length."""

    trained: bool
    cut: bool
    tokens: tuple[Token, ...]


@dataclass(frozen=True)
class Sequence:
    """One sequence that goes through the model. `kept` tokens of it do; those behind are cut away."""

    label: str
    ids: list[int]
    weights: list[float]
    kept: int

    @cached_property
    def mask(self) -> list[bool]:
        """Which tokens bear loss, those behind the cut as if it were not there. The first one never does: nothing
        stands before it to be predicted from."""
        return [at > 0 and weight != 0 for at, weight in enumerate(self.weights)]

    @property
    def trained(self) -> int:
        return sum(self.mask[: self.kept])

    @property
    def cut(self) -> int:
        return len(self.ids) - self.kept


@dataclass(frozen=True)
class RowView:
    sequences: tuple[Sequence, ...]
    is_text: bool = False  # raw text is never cut: what is too long goes on in the next block

    @property
    def tokens(self) -> int:
        return sum(len(each.ids) for each in self.sequences)

    @property
    def kept(self) -> int:
        return sum(each.kept for each in self.sequences)

    @property
    def trained(self) -> int:
        """Tokens that bear loss; 0 where one of two answers has none left, for then the row is left out."""
        counts = [each.trained for each in self.sequences]
        return sum(counts) if all(counts) else 0

    @property
    def read_only(self) -> int:
        """Prompts and what the template writes: read, not learnt."""
        return self.kept - self.trained

    @property
    def cut(self) -> int:
        return self.tokens - self.kept

    @property
    def lost(self) -> bool:
        """The cut leaves nothing to train on; without it there would be something."""
        return not self.trained and bool(self.cut) and all(any(each.mask) for each in self.sequences)


def view(chat: ChatFormat, row: Row, max_length: int | None = None) -> RowView:
    """A row of any format. Raises InvalidTrainingFile for a row that cannot be encoded."""
    try:
        return _view(chat, row, max_length)
    except (ValueError, TypeError, AttributeError, KeyError, RecursionError) as error:
        raise InvalidTrainingFile(f"This row is not usable: {error}") from error


def _view(chat: ChatFormat, row: Row, max_length: int | None) -> RowView:
    if is_preference(row):
        pair = encode_pair(chat, row)
        sides = (("preferred answer", pair.chosen), ("other answer", pair.rejected))
        return RowView(tuple(_sequence(label, side, max_length) for label, side in sides))
    if isinstance(row.get("text"), str) and "messages" not in row and "prompt" not in row:
        return RowView((_sequence("", encode_document(chat, row["text"]), None),), is_text=True)
    return RowView((_sequence("", chat.encode_row(row), max_length),))


def _sequence(label: str, encoded: Encoded, max_length: int | None) -> Sequence:
    length = len(encoded.token_ids)
    return Sequence(
        label, encoded.token_ids, encoded.weights, length if max_length is None else min(length, max_length)
    )


def encode_document(chat: ChatFormat, text: str) -> Encoded:
    """Raw text with the tokens at its edges; every token but the first is trained on."""
    ids = [token for part in tokenised(chat, document_pieces(text, 0)) for token in part.ids]
    return Encoded(ids, [0.0, *[1.0] * (len(ids) - 1)] if ids else [])


# ---- for people ----


def runs(chat: ChatFormat, sequence: Sequence, first: int = 0, count: int | None = None) -> list[Run]:
    """Up to `count` tokens from the `first` on, neighbours of one kind together."""
    end = len(sequence.ids) if count is None else min(len(sequence.ids), first + count)
    tokens = _tokens(chat, sequence, first, end)

    def kind(token: Token) -> tuple[bool, bool]:
        return sequence.mask[token.at], token.at >= sequence.kept

    return [Run(trained, cut, tuple(found)) for (trained, cut), found in groupby(tokens, kind)]


def _tokens(chat: ChatFormat, sequence: Sequence, first: int, end: int) -> list[Token]:
    before = max(0, first - 1)  # a token's text may depend on the one before it
    ids = sequence.ids[before:end]
    texts = chat.token_texts(ids)[first - before :]
    shown = _joined_bytes(chat, ids[first - before :], texts)
    return [
        Token(at, token, text, sign, sequence.weights[at], token in chat.special_ids, note)
        for at, token, text, (sign, note) in zip(range(first, end), sequence.ids[first:end], texts, shown, strict=True)
    ]


def _joined_bytes(chat: ChatFormat, ids: list[int], texts: list[str]) -> list[tuple[str, str]]:
    """(sign, note) of each token. Where several tokens make one character, the last of them shows it."""
    found: list[tuple[str, str]] = []
    held = b""
    for token, text in zip(ids, texts, strict=True):
        part = _bytes_of(chat, token)
        if part is None:
            held = b""
            found.append(_sign(text))
            continue
        held += part
        try:
            whole = held.decode()
        except UnicodeDecodeError as error:
            if error.reason == "unexpected end of data":
                found.append(("⋯", f"bytes {part.hex(' ').upper()}: the beginning of a character"))
                continue
            whole = held.decode(errors="replace")
        joined = len(held) > len(part)
        held = b""
        sign, note = _sign(whole)
        found.append((sign, f"bytes {part.hex(' ').upper()}: the end of a character" if joined else note))
    return found


def _bytes_of(chat: ChatFormat, token: int) -> bytes | None:
    """What a byte-level tokenizer (or byte fallback) writes for a token; None where a token is not made of bytes."""
    word = chat.vocabulary_word(token)
    if word.startswith("<0x") and word.endswith(">") and len(word) == 6:
        part = bytes.fromhex(word[3:5])
    elif all(letter in BYTE_OF for letter in word):
        part = bytes(BYTE_OF[letter] for letter in word)
    else:
        return None
    return part if part.decode(errors="replace") == chat.decode([token]) else None


def _byte_letters() -> dict[str, int]:
    """GPT-2's letters for bytes: printable ones stand for themselves, the others follow from U+0100 on."""
    plain = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(0x100) if byte not in plain]
    return {chr(byte): byte for byte in plain} | {chr(0x100 + at): byte for at, byte in enumerate(others)}


BYTE_OF = _byte_letters()
SPACES = {" ": "·", "\t": "→", "\n": "↵", "\r": "␍"}
NAMES = {" ": "space", "\t": "tab", "\n": "line break", "\r": "carriage return"}


def _sign(text: str) -> tuple[str, str]:
    """White space at a token's edge stays as it is beside words; a token of nothing else shows signs."""
    if not text:
        return "∅", "no text"
    if not text.strip():
        return "".join(_space(letter) for letter in text), _spaces(text)
    if all(unicodedata.category(letter) in ("Cc", "Cf", "Zs", "Co", "Cn") for letter in text):
        return " ".join(f"U+{ord(letter):04X}" for letter in text), "cannot be seen"
    return "".join(_space(letter) if letter in "\t\n\r" else letter for letter in text), ""


def _space(letter: str) -> str:
    """A line break is shown and made."""
    return "↵\n" if letter == "\n" else SPACES.get(letter, f"U+{ord(letter):04X}")


def _spaces(text: str) -> str:
    parts = [(NAMES.get(letter, f"U+{ord(letter):04X}"), len(list(same))) for letter, same in groupby(text)]
    return ", ".join(f"{count} {name}{'s' if count > 1 else ''}" for name, count in parts)
