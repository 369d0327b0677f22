"""What may be asked of /v1/chat/completions and /v1/completions, looked at before vLLM gets it.

Everything said here is also what the served OpenAPI says. Null is absent.
"""

from typing import Annotated, Any

from ninja.errors import ValidationError as Invalid
from pydantic import ConfigDict, Field, ValidationError

from accounts.errors import ApiError
from playground.top_logprobs import MOST
from training.nulls import NullIsAbsent

# Fields of OpenAI's API that mean nothing here, and those of vLLM's that a caller must not set. Dropped, never refused.
DROPPED = {
    *(
        "audio",
        "best_of",
        "metadata",
        "modalities",
        "moderation",
        "prediction",
        "prompt_cache_key",
        "prompt_cache_options",
    ),
    *("prompt_cache_retention", "reasoning_effort", "safety_identifier", "service_tier", "store", "user", "verbosity"),
    *("web_search_options", "chat_template", "chat_template_kwargs", "kv_transfer_params", "priority", "request_id"),
    "vllm_xargs",
}
# What vLLM understands besides; a test holds it against the vLLM that is installed.
PASSED = {
    *("add_generation_prompt", "add_special_tokens", "allowed_token_ids", "bad_words", "cache_salt"),
    *("continue_final_message", "documents", "ignore_eos", "include_reasoning", "include_stop_str_in_output"),
    *("length_penalty", "logprob_token_ids", "min_p", "min_tokens", "prompt_logprobs", "repetition_detection"),
    *("repetition_penalty", "return_prompt_text", "return_token_ids", "return_token_offsets"),
    *("return_tokens_as_token_ids", "skip_special_tokens", "spaces_between_special_tokens", "stop_token_ids"),
    *("structured_outputs", "thinking_token_budget", "top_k", "truncate_prompt_tokens", "truncation_side"),
    *("echo", "response_format", "use_beam_search"),
}

Sampled = Annotated[float, Field(ge=0, le=2, description="0 is always the likeliest token")]
Share = Annotated[float, Field(gt=0, le=1, description="Tokens outside this share of probability are left out")]
Penalty = Annotated[float, Field(ge=-2, le=2)]
Count = Annotated[int, Field(ge=1, le=128, description="Answers to the same question")]
Tokens = Annotated[int, Field(ge=1, le=2**31 - 1)]
Seed = Annotated[int, Field(ge=-(2**63), le=2**63 - 1, description="The same seed draws the same tokens")]
Stop = Annotated[str | list[str], Field(description="The answer ends before this text, or one of these")]
Bias = Annotated[dict[str, Annotated[float, Field(ge=-100, le=100)]], Field(description="By token id")]


class StreamOptions(NullIsAbsent):
    model_config = ConfigDict(extra="allow", strict=True)

    include_usage: bool = Field(False, description="A last chunk without choices says the usage")


def _name_the_rest(schema: dict[str, Any]) -> None:
    words = dict.fromkeys(PASSED, "Passed to vLLM as it is") | dict.fromkeys(DROPPED, "Accepted and ignored")
    for name in sorted(words.keys() - schema["properties"].keys()):
        schema["properties"][name] = {"description": words[name]}
    schema["additionalProperties"] = False


class Asked(NullIsAbsent):
    """What both have."""

    model_config = ConfigDict(extra="allow", strict=True, json_schema_extra=_name_the_rest)

    model: Annotated[str, Field(min_length=1, description="Of GET /v1/models; a base model or a fine-tuned one")]
    temperature: Sampled = 1
    top_p: Share = 1
    n: Count = 1
    stop: Stop | None = None
    seed: Seed | None = None
    stream: bool = Field(False, description="The parts of the answer as server-sent events, as they come")
    stream_options: StreamOptions | None = None
    presence_penalty: Penalty = 0
    frequency_penalty: Penalty = 0
    logit_bias: Bias | None = None


class AskChat(Asked):
    """Body of POST /v1/chat/completions. What OpenAI has and vLLM lacks (`store`, `metadata`, `service_tier` ...) is
    taken and ignored; what vLLM has besides passes; any other field is refused."""

    messages: Annotated[
        list[dict[str, Any]],
        Field(min_length=1, description="`role`, `content` (a text or parts), `tool_calls`, `tool_call_id`, `name`"),
    ]
    max_completion_tokens: Tokens | None = None
    max_tokens: Tokens | None = Field(None, description="The older name of max_completion_tokens")
    logprobs: bool = False
    top_logprobs: Annotated[int, Field(ge=0, le=MOST)] | None = None
    tools: list[dict[str, Any]] | None = None
    tool_choice: str | dict[str, Any] | None = None
    parallel_tool_calls: bool = True
    response_format: dict[str, Any] | None = Field(
        None, description="`type`: text, json_object, or json_schema with `json_schema`"
    )
    functions: list[dict[str, Any]] | None = Field(None, description="The older words of tools")
    function_call: str | dict[str, Any] | None = Field(None, description="The older words of tool_choice")


class AskCompletion(Asked):
    """Body of POST /v1/completions, passed on like a chat."""

    prompt: Annotated[
        str | list[str] | list[int] | list[list[int]],
        Field(
            min_length=1,
            description="One text or several, or their tokens as numbers",
            json_schema_extra={"minItems": 1},  # of a list; pydantic only says it of a text
        ),
    ]
    max_tokens: Annotated[int, Field(ge=0, le=2**31 - 1)] = 16
    logprobs: Annotated[int, Field(ge=0, le=20)] | None = None
    echo: bool = Field(False, description="The prompt stands before the answer")
    suffix: str | None = None


def check(ask: type[Asked], payload: dict[str, Any]) -> None:
    """Raises ninja's error, which the API words and names the field in; ApiError for a field that nobody knows."""
    for name, value in payload.items():
        if value is not None and name not in ask.model_fields.keys() | PASSED | DROPPED:
            raise ApiError(f"Unrecognized request argument supplied: {name}", param=name, code="unknown_parameter")
    try:
        ask.model_validate(payload)
    except ValidationError as error:
        found = [dict(each) | {"loc": ("body", "payload", *each["loc"])} for each in error.errors(include_url=False)]
        raise Invalid(found) from error
