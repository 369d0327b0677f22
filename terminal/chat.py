"""`hone chat MODEL`: a conversation. /reset begins anew, Ctrl-C stops an answer, Ctrl-D ends."""

import sys
from argparse import Namespace
from typing import Any

import openai

from terminal.client import REFUSED, words_of
from terminal.waiting import Waiting


def add_to(commands: Any) -> None:
    parser = commands.add_parser("chat", help="talk to a model", description=__doc__)
    parser.add_argument("model")
    parser.add_argument("--system", help="a system prompt")
    parser.add_argument("--temperature", type=float)
    parser.set_defaults(run=run)


def run(client: openai.OpenAI, asked: Namespace) -> int:
    begun: list[dict[str, str]] = [{"role": "system", "content": asked.system}] if asked.system else []
    messages, code = list(begun), 0
    refuse_unknown(client, asked.model)
    while (said := ask()) is not None:
        if said == "/reset":
            messages = list(begun)
            print("(a new conversation)")
        elif said:
            messages.append({"role": "user", "content": said})
            try:
                messages.append({"role": "assistant", "content": answer(client, asked, messages)})
                code = 0
            except openai.APIStatusError as error:
                print(f"hone: {words_of(error)}", file=sys.stderr)
                messages.pop()
                code = REFUSED
    return code


def refuse_unknown(client: openai.OpenAI, model: str) -> None:
    """Before anything is typed. Raises NotFoundError; what else is amiss the first answer tells."""
    try:
        client.models.retrieve(model)
    except openai.NotFoundError as error:
        if error.code == "model_not_found":  # another server than Hone may not tell of single models
            raise
    except openai.APIStatusError:
        pass


def ask() -> str | None:
    """None at the end of what comes in."""
    try:
        return input("> " if sys.stdin.isatty() else "").strip()
    except (EOFError, KeyboardInterrupt):
        print()
        return None


def answer(client: openai.OpenAI, asked: Namespace, messages: list[Any]) -> str:
    """As far as it came: Ctrl-C closes the stream, and the server stops generating."""
    given: dict[str, Any] = {} if asked.temperature is None else {"temperature": asked.temperature}
    text, waiting = "", Waiting(asked.model)
    try:
        with client.chat.completions.create(model=asked.model, messages=messages, stream=True, **given) as stream:
            try:
                for chunk in stream:
                    piece = (chunk.choices[0].delta.content or "") if chunk.choices else ""
                    if piece:
                        waiting.over()
                    text += piece
                    print(piece, end="", flush=True)
            except KeyboardInterrupt:
                waiting.over()
                print(" (stopped)", end="")
    finally:
        waiting.over()
    print()
    return text
