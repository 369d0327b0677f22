"""What vLLM answers, for the served description; the answers themselves are passed on as they come. vLLM adds fields of
its own, so none of these is closed."""

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

Ended = Literal["stop", "length", "tool_calls", "content_filter", "function_call"]


class Open(BaseModel):
    model_config = ConfigDict(extra="allow")


class Usage(Open):
    prompt_tokens: int
    completion_tokens: int = 0
    total_tokens: int


class Message(Open):
    role: Literal["assistant"]
    content: str | None = None
    refusal: str | None = None
    tool_calls: list[dict[str, Any]] | None = None


class ChatChoice(Open):
    index: int
    message: Message
    logprobs: dict[str, Any] | None = None
    finish_reason: Ended | None


class ChatCompletion(Open):
    """A whole answer."""

    id: str
    object: Literal["chat.completion"]
    created: int
    model: str = Field(description="As it was asked for")
    choices: list[ChatChoice]
    usage: Usage


class ChunkChoice(Open):
    index: int
    delta: dict[str, Any] = Field(description="`role` and `content` of the first part, then `content`, or `tool_calls`")
    logprobs: dict[str, Any] | None = None
    finish_reason: Ended | None = None


class ChatCompletionChunk(Open):
    """A part of a streamed answer."""

    id: str
    object: Literal["chat.completion.chunk"]
    created: int
    model: str
    choices: list[ChunkChoice] = Field(description="Empty in the last chunk with `include_usage`")
    usage: Usage | None = None


class TextChoice(Open):
    index: int
    text: str
    logprobs: dict[str, Any] | None = None
    finish_reason: Ended | None


class Completion(Open):
    """A whole answer, or a part of a streamed one."""

    id: str
    object: Literal["text_completion"]
    created: int
    model: str
    choices: list[TextChoice]
    usage: Usage | None = None
