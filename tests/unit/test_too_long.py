"""What vLLM says of a prompt that does not fit, in plain words."""

import json

import pytest

from playground import gateway, too_long

VLLM = "This model's maximum context length is 8192 tokens. However, "


@pytest.mark.parametrize(
    ("told", "said"),
    [
        (
            "your prompt contains at least 8193 input tokens, which exceeds this limit even without any output tokens. "
            "Please reduce the length of the input prompt. (parameter=input_tokens, value=8193)",
            "your prompt has at least 8,193 tokens. Shorten it.",
        ),
        ("your prompt contains 900000 characters (more than 90112)", "your prompt has 900,000 characters. Shorten it."),
        (
            "you requested 256 output tokens and your prompt contains at least 7937 input tokens, for a total of 8193.",
            "the prompt and an answer of 256 tokens are more. Shorten one of them.",
        ),
        ("you sent more.", "your prompt is longer. Shorten it."),
    ],
)
def test_a_prompt_that_does_not_fit_is_told_with_the_limit_and_what_to_do(told: str, said: str) -> None:
    assert too_long.plain(VLLM + told) == f"This model's maximum context length is 8,192 tokens: {said}"


def test_other_words_stay_without_vllms_names_of_its_fields() -> None:
    assert too_long.plain("top_p must be in (0, 1]. (parameter=top_p, value=3)") == "top_p must be in (0, 1]."


def test_the_error_of_a_prompt_that_does_not_fit_keeps_openais_code() -> None:
    body = (
        b'{"error": {"message": "This model\'s maximum context length is 10 tokens. More.", "param": "input_tokens"}}'
    )
    error = gateway.translate(400, body, "tiny", "tiny")
    assert (error.status, error.code, error.param) == (400, "context_length_exceeded", "input_tokens")
    assert error.message.endswith("Shorten it.")


def test_an_engine_that_died_under_an_answer_is_told_as_a_server_that_stopped() -> None:
    words = "EngineCore encountered an issue. See stack trace (above) for the root cause."
    body = json.dumps({"error": {"message": words, "type": "InternalServerError", "code": 500}}).encode()
    error = gateway.translate(500, body, "tiny", "tiny")
    assert (error.status, error.code) == (503, "server_stopped") and error.headers["Retry-After"]
