"""`hone compare MODEL MODEL --prompt TEXT`: their answers side by side, streamed at once."""

import json
import shutil
import sys
import threading
import time
from argparse import Namespace
from typing import Any

import openai

from terminal import columns, waiting, watch
from terminal.client import REFUSED, words_of

FRAME_SECONDS = 0.1


class Answer(threading.Thread):
    """One model's answer as it grows."""

    def __init__(self, client: openai.OpenAI, model: str, asked: Namespace) -> None:
        super().__init__(daemon=True)
        self.client, self.model, self.asked = client, model, asked
        self.text, self.error = "", ""

    def run(self) -> None:
        try:
            stream = self.client.chat.completions.create(
                model=self.model,
                messages=[{"role": "user", "content": self.asked.prompt}],
                max_tokens=self.asked.max_tokens,
                temperature=self.asked.temperature,
                stream=True,
            )
            for chunk in stream:
                self.text += (chunk.choices[0].delta.content or "") if chunk.choices else ""
        except openai.APIError as error:
            self.error = words_of(error)


def add_to(commands: Any) -> None:
    parser = commands.add_parser("compare", help="answers of several models side by side", description=__doc__)
    parser.add_argument("models", nargs="+", metavar="MODEL")
    parser.add_argument("--prompt", help="without it: what comes in on standard input")
    parser.add_argument("--max-tokens", type=int, default=300)
    parser.add_argument("--temperature", type=float, default=0.0)
    parser.add_argument("--json", action="store_true", help='{"model", "text", "error"} a line')
    parser.set_defaults(run=run)


def run(client: openai.OpenAI, asked: Namespace) -> int:
    asked.prompt = asked.prompt or sys.stdin.read()
    answers = [Answer(client, model, asked) for model in asked.models]
    for answer in answers:
        answer.start()
    live, drawn, begun, told = sys.stdout.isatty() and not asked.json, 0, time.monotonic(), False
    while any(answer.is_alive() for answer in answers):
        silent = [answer for answer in answers if answer.is_alive() and not answer.text]
        quiet = bool(silent) and time.monotonic() - begun > waiting.QUIET_SECONDS
        if live:
            drawn = watch.redraw(shown(answers, quiet)[: shutil.get_terminal_size().lines - 1], drawn)
        elif quiet and not told and sys.stderr.isatty():
            told = True
            print(waiting.words(" and ".join(answer.model for answer in silent)), file=sys.stderr)
        for answer in answers:
            answer.join(FRAME_SECONDS / len(answers))
    if asked.json:
        for answer in answers:
            print(json.dumps({"model": answer.model, "text": answer.text, "error": answer.error or None}))
    elif live:
        watch.redraw(shown(answers), drawn)
    else:
        print("\n".join(shown(answers)))
    return REFUSED if any(answer.error for answer in answers) else 0


def shown(answers: list[Answer], quiet: bool = False) -> list[str]:
    """`quiet`: who has not begun to answer by now is waited for."""
    texts = [f"{answer.text}\n({answer.error})" if answer.error else answer.text for answer in answers]
    if quiet:
        texts = [
            text or (waiting.words(answer.model) if answer.is_alive() else "")
            for answer, text in zip(answers, texts, strict=True)
        ]
    return columns.beside([answer.model for answer in answers], texts, shutil.get_terminal_size().columns)
