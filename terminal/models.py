"""`hone models`: what can be trained or asked: base models, aliases, fine-tuned models and checkpoints. With words and
no model of such a name it ends with 1, as grep does."""

from argparse import Namespace
from datetime import datetime
from typing import Any

import openai

from terminal.client import REFUSED, own


def add_to(commands: Any) -> None:
    parser = commands.add_parser("models", help="list base models, aliases and fine-tuned models", description=__doc__)
    parser.add_argument("words", nargs="*", help="only those with each of these words in their names")
    parser.add_argument("--json", action="store_true", help="a model object a line")
    parser.set_defaults(run=run)


def run(client: openai.OpenAI, asked: Namespace) -> int:
    words = [word.lower() for word in asked.words]
    found = [model for model in client.models.list().data if all(word in model.id.lower() for word in words)]
    longest = max((len(model.id) for model in found), default=0)
    for model in found:
        print(model.to_json(indent=None) if asked.json else line(model, longest))
    if not found and not asked.json:
        print(f"No model is called “{' '.join(asked.words)}”." if words else "No model yet. Bring one: Models page.")
    return REFUSED if words and not found else 0  # as grep does


def line(model: Any, width: int) -> str:
    parent = own(model, "parent")
    kind = f"from {parent}" if parent else "base model"
    return f"{model.id:{width}}  {datetime.fromtimestamp(model.created):%Y-%m-%d}  {kind}"
