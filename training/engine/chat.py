"""Chat template and what is trained on, without torch and without transformers.

Text is rendered by the model's own Jinja template in a sandbox and tokenised by its own tokenizer.json, exactly as
transformers' apply_chat_template and vLLM do it (tests compare the ids). Which tokens are trained on is computed from
the template itself, for each assistant message:
- it starts where the rendering of the messages before it, with the generation prompt, ends: what the model is given
  when it has to answer;
- its text ends where the rendering stops depending on the text (seen by rendering another text in its place);
- its end-of-turn token is the first special token that the template writes after the text.
No marker strings are searched for, so a new template family needs no code here.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tokenizers import Encoding, Tokenizer

from training.engine import tools as tool_words
from training.engine.errors import InvalidTrainingFile, ModelProblem
from training.engine.template import Template, read_json, read_special_tokens

# Stands in for an assistant's text while we look where the template puts it; private-use characters, in no real text.
STAND_IN = "\ue0f1stand in\ue0f2"

Message = dict[str, Any]


@dataclass(frozen=True)
class Encoded:
    """A row as the trainer sees it. `weights[i]` is 1.0 where the model is trained to predict `token_ids[i]`."""

    token_ids: list[int]
    weights: list[float]
    truncated: bool = False

    @property
    def trained_tokens(self) -> int:
        """Tokens that bear loss: the first token of a row has nothing before it to be predicted from."""
        return sum(1 for weight in self.weights[1:] if weight)


class ChatFormat:
    """A model's tokenizer and chat template."""

    def __init__(self, tokenizer: Tokenizer, template: Template | None, eos_ids: list[int]):
        self._tokenizer = tokenizer
        # Byte-level post-processors trim white space off the offsets, which would blur the edges of what is trained on.
        self._plain = Tokenizer.from_str(tokenizer.to_str())
        self._plain.post_processor = None
        self.special_ids = {i for i, token in tokenizer.get_added_tokens_decoder().items() if token.special}
        self.special_ids |= set(eos_ids)
        self.eos_ids = eos_ids
        self.has_template = template is not None
        self._template = template

    @classmethod
    def load(cls, folder: Path) -> "ChatFormat":
        """Reads tokenizer.json, tokenizer_config.json and the template from a model folder. Raises ModelProblem."""
        path = folder / "tokenizer.json"
        if not path.exists():
            raise ModelProblem(f"{folder} has no tokenizer.json. Use a model with a fast tokenizer.")
        try:
            tokenizer = Tokenizer.from_file(str(path))
        except Exception as error:  # tokenizers raises bare Exception
            raise ModelProblem(f"{path} cannot be read: {error}") from error
        tokenizer.no_truncation()
        tokenizer.no_padding()
        special_tokens = read_special_tokens(folder)
        return cls(tokenizer, Template.load(folder), _eos_ids(folder, tokenizer, special_tokens))

    # ---- text ----

    def render(
        self, messages: list[Message], add_generation_prompt: bool = False, tools: list[Any] | None = None
    ) -> str:
        """The conversation as the model's template writes it. Raises InvalidTrainingFile when the template refuses."""
        if self._template is None:
            raise InvalidTrainingFile(
                "This base model has no chat template, so it cannot be used with chat messages. "
                "Use rows of prompt and completion, or another base model."
            )
        return self._template.render(messages, add_generation_prompt, tools)

    def encode_prompt(self, messages: list[Message], tools: list[Any] | None = None) -> list[int]:
        """The ids a model is given when it has to answer these messages."""
        return self._encode(self.render(messages, add_generation_prompt=True, tools=tools)).ids

    def encode_text(self, text: str) -> list[int]:
        """A plain prompt with the tokenizer's own special tokens (such as a beginning of text), none at its end."""
        ids = _encode_with(self._tokenizer, text, add_special_tokens=True).ids
        while ids and ids[-1] in self.eos_ids and not text.endswith(self._tokenizer.id_to_token(ids[-1]) or "\0"):
            ids.pop()
        return ids

    def encode_texts(self, texts: list[str]) -> list[list[int]]:
        """Plain texts without any token around them, on all processor cores where TOKENIZERS_PARALLELISM allows it."""
        try:
            return [found.ids for found in self._plain.encode_batch_fast(texts, add_special_tokens=False)]
        except (TypeError, UnicodeEncodeError) as error:
            raise InvalidTrainingFile("A text holds half a character (a lone surrogate). Write it as UTF-8.") from error

    def document_edges(self) -> tuple[list[int], list[int]]:
        """The tokens before and after a document of raw text: what the tokenizer itself writes first, and the end of
        text."""
        encoding = _encode_with(self._tokenizer, "a", add_special_tokens=True)
        before = [token for token, special in zip(encoding.ids, encoding.special_tokens_mask, strict=True) if special]
        first = encoding.special_tokens_mask.index(0)
        return before[:first], self.eos_ids[:1]

    def decode(self, ids: list[int]) -> str:
        return self._tokenizer.decode(ids, skip_special_tokens=False)

    def token_texts(self, ids: list[int]) -> list[str]:
        """The visible text of each token; bytes that are no character by themselves show as the replacement sign."""
        texts = []
        for i, token in enumerate(ids):
            before = ids[max(0, i - 1) : i]
            head, both = self.decode(before), self.decode([*before, token])
            texts.append(both[len(head) :] if both.startswith(head) else self.decode([token]))
        return texts

    def vocabulary_word(self, token: int) -> str:
        """As the vocabulary spells it; of a byte-level tokenizer, one character for each byte."""
        return self._tokenizer.id_to_token(token) or ""

    def _encode(self, text: str) -> Encoding:
        return _encode_with(self._plain, text, add_special_tokens=False)

    # ---- rows ----

    def encode_row(self, row: dict[str, Any], max_length: int | None = None) -> Encoded:
        """Ids and what is trained on, of a chat row or a prompt/completion row, cut from the end at `max_length`.

        Raises InvalidTrainingFile for rows that are neither, or that the template refuses.
        """
        if "messages" in row:
            encoded = self._encode_chat(row["messages"], tool_words.tools_of(row))
        elif "prompt" in row and "completion" in row:
            encoded = self._encode_completion(row["prompt"], row["completion"])
        else:
            raise InvalidTrainingFile(
                "Unexpected file format, expected either prompt/completion pairs or chat messages."
            )
        if max_length is None or len(encoded.token_ids) <= max_length:
            return encoded
        return Encoded(encoded.token_ids[:max_length], encoded.weights[:max_length], truncated=True)

    def _encode_chat(self, messages: list[Message], tools: list[Any] | None) -> Encoded:
        text = self.render(messages, tools=tools)
        encoding = self._encode(text)
        weights = [0.0] * len(encoding.ids)
        for index, message in enumerate(messages):
            if message.get("role") == "assistant" and message.get("weight", 1) != 0:
                self._mark(weights, encoding, *self._answer_span(text, messages, index, tools))
        return Encoded(encoding.ids, weights)

    def _answer_span(
        self, text: str, messages: list[Message], index: int, tools: list[Any] | None
    ) -> tuple[int, int, int]:
        """Where in `text` the answer starts, where its words end, and where the template's ending of the turn ends."""
        swapped: list[Message] = [*messages]
        swapped[index] = {"role": "assistant", "content": STAND_IN}
        other = self.render(swapped, tools=tools)
        text_end = len(text) - _shared(text[::-1], other[::-1])
        start = min(_shared(text, other), text_end)
        given = self._given(messages[:index], tools)
        if given and text.startswith(given) and len(given) <= text_end:
            start = len(given)
        alone = self.render(swapped[: index + 1], tools=tools)
        ending = alone[alone.rindex(STAND_IN) + len(STAND_IN) :] if STAND_IN in alone else ""
        return start, text_end, text_end + _shared(text[text_end:], ending)

    def _given(self, before: list[Message], tools: list[Any] | None) -> str | None:
        """What the model is given before this answer; None when the template cannot write it (no message before)."""
        try:
            return self.render(before, add_generation_prompt=True, tools=tools)
        except InvalidTrainingFile:
            return None

    def _mark(self, weights: list[float], encoding: Encoding, start: int, text_end: int, turn_end: int) -> None:
        """Sets to 1 the answer's tokens and its ending's up to the first special token (all of it without one)."""
        for token, (first, end) in enumerate(encoding.offsets):
            if end <= start:
                continue
            if first >= turn_end:
                break
            weights[token] = 1.0
            if first >= text_end and encoding.ids[token] in self.special_ids:
                break

    def _encode_completion(self, prompt: str, completion: str) -> Encoded:
        """Prompt and completion joined; the completion and an end-of-text token are trained on."""
        head = self.encode_text(prompt)
        alone = self._encode(prompt).ids
        joined = self._encode(prompt + completion).ids
        # Where joining does not change the prompt's tokens, take the joined ones: some tokenizers write a space before
        # every text that they start. Else tokenise the completion alone, as it will be met in serving.
        joins = joined[: len(alone)] == alone
        tail = joined[len(alone) :] if joins else self._encode(completion).ids
        if self.eos_ids and (not tail or tail[-1] not in self.eos_ids):
            tail = [*tail, self.eos_ids[0]]
        return Encoded(head + tail, [0.0] * len(head) + [1.0] * len(tail))


def _shared(left: str, right: str) -> int:
    """How many characters both begin with."""
    return next((i for i, (a, b) in enumerate(zip(left, right, strict=False)) if a != b), min(len(left), len(right)))


def _encode_with(tokenizer: Tokenizer, text: str, add_special_tokens: bool) -> Encoding:
    try:
        return tokenizer.encode(text, add_special_tokens=add_special_tokens)
    except (TypeError, UnicodeEncodeError) as error:  # half of a surrogate pair, possible in JSON escapes
        raise InvalidTrainingFile("The text holds half a character (a lone surrogate). Write it as UTF-8.") from error


# ---- reading a model folder ----


def _eos_ids(folder: Path, tokenizer: Tokenizer, special_tokens: dict[str, str]) -> list[int]:
    """All ids that end a text, the tokenizer's own first."""
    ids: list[int] = []
    own = tokenizer.token_to_id(special_tokens.get("eos_token", "")) if special_tokens.get("eos_token") else None
    if own is not None:
        ids.append(own)
    for name in ("generation_config.json", "config.json"):
        value = read_json(folder / name).get("eos_token_id")
        for entry in value if isinstance(value, list) else [value]:
            if isinstance(entry, int) and entry not in ids:
                ids.append(entry)
    return ids
