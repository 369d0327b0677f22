"""Where the server is and who asks, from the environment; what went wrong, in plain words."""

import os
import sys
from typing import Any, NoReturn

import openai

NO_KEY = """hone: no API key. Set HONE_API_KEY (or OPENAI_API_KEY) to a key from Settings, API keys, of your Hone;
on the server itself: export HONE_API_KEY=$(cat var/api-key)"""
NO_URL = (
    """hone: no server. Set HONE_URL (or OPENAI_BASE_URL) to the address of your Hone, such as http://127.0.0.1:8000"""
)
NO_SCHEME = "hone: HONE_URL (or OPENAI_BASE_URL) must begin with http:// or https://, and is %s"
WRONG_USE, REFUSED, UNREACHABLE, STOPPED, NOT_READ = 2, 1, 3, 130, 141  # exit codes; a job that failed is 1, too


def connect() -> openai.OpenAI:
    """The SDK's client. Ends the program where the environment does not say what is needed."""
    url = os.environ.get("HONE_URL") or os.environ.get("OPENAI_BASE_URL")
    key = os.environ.get("HONE_API_KEY") or os.environ.get("OPENAI_API_KEY")
    if not url:
        give_up(NO_URL)
    if not url.lower().startswith(("http://", "https://")):
        give_up(NO_SCHEME % url)
    if not key:
        give_up(NO_KEY)
    url = url.rstrip("/")
    return openai.OpenAI(base_url=url if url.endswith("/v1") else f"{url}/v1", api_key=key)


def give_up(text: str, code: int = WRONG_USE) -> NoReturn:
    print(text, file=sys.stderr)
    raise SystemExit(code)


def words_of(error: openai.APIError) -> str:
    """What the server said, without the SDK's wrapping."""
    body: Any = error.body
    if isinstance(body, dict) and body.get("message"):
        return str(body["message"])
    if isinstance(error, openai.APIConnectionError):
        return f"The server does not answer: {error.__cause__ or error}"
    return str(error)


def own(thing: Any, name: str) -> Any:
    """A field of an answer that the SDK has no attribute for."""
    return (thing.model_extra or {}).get(name)
