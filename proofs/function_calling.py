"""Function calling, through the public API with the official SDK:

    python -m proofs.function_calling [--model SmolLM2-135M-Instruct]

Trains on the sample `calls`, then asks the base model and the trained one the held-out questions with two functions at
hand. Counted is which answers are the right one: the named call with its arguments, or none where none is needed.
One conversation is carried to its end: question, call, result, answer. Ends with 1 when training taught too little.
"""

import argparse
import json
import sys
import time
from typing import Any

from openai import OpenAI, RateLimitError

from proofs.demo import BASE, DemoFailed, train, upload
from proofs.screen import Screen
from proofs.server import NoServer, find_or_start
from training.samples import pieces_calls, score

HELD_OUT = score.HERE / "calls" / "heldout.jsonl"
NEEDED_SHARE = 0.7
SHOWN = 4


def ask(client: OpenAI, model: str, messages: list[Any], tools: list[Any]) -> Any:
    """The message that comes back; waits for a model that is still being loaded."""
    while True:
        try:
            answer = client.chat.completions.create(
                model=model, messages=messages, tools=tools, temperature=0, max_tokens=80
            )
        except RateLimitError:
            time.sleep(2)
        else:
            return answer.choices[0].message


def called(message: Any) -> dict[str, Any]:
    """Name and arguments of its only call; nothing when there is none or several."""
    calls = message.tool_calls or []
    if len(calls) != 1:
        return {"name": None, "arguments": None}
    try:
        return {"name": calls[0].function.name, "arguments": json.loads(calls[0].function.arguments)}
    except ValueError:
        return {"name": calls[0].function.name, "arguments": calls[0].function.arguments}


def share_right(client: OpenAI, screen: Screen, model: str, rows: list[dict[str, Any]]) -> float:
    right = 0
    for number, row in enumerate(rows):
        message = ask(client, model, row["messages"], row["tools"])
        right += called(message) == row["expected"]
        if number < SHOWN or number == len(rows) - 1:
            calls = [call.model_dump() for call in message.tool_calls or []]
            screen.line(f"{row['messages'][-1]['content']}  ->  {json.dumps(calls) if calls else message.content!r}")
    screen.line(f"{model}: {right} of {len(rows)} right")
    return right / len(rows)


def whole_conversation(client: OpenAI, screen: Screen, model: str, row: dict[str, Any]) -> str:
    """The answer after the function's result came back."""
    message = ask(client, model, row["messages"], row["tools"])
    if not message.tool_calls:
        raise DemoFailed(f"no call came back: {message.content}")
    result = {"place": "in Hull", "arrives": "today"}
    messages = [*row["messages"], message.model_dump(exclude_none=True)]
    messages += [{"role": "tool", "tool_call_id": message.tool_calls[0].id, "content": json.dumps(result)}]
    content: str = ask(client, model, messages, row["tools"]).content or ""
    screen.line(f"result {json.dumps(result)}  ->  {content!r}")
    return content


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default=BASE)
    model = parser.parse_args().model
    screen = Screen()
    rows = [json.loads(line) for line in HELD_OUT.read_text().splitlines()]
    assert rows[0]["tools"] == pieces_calls.TOOLS
    try:
        with find_or_start(screen) as hone:
            client = OpenAI(base_url=hone.api, api_key=hone.key, timeout=600, max_retries=0)
            tuned = train(client, screen, "calls", model, upload(client, screen, "calls")).fine_tuned_model
            before = share_right(client, screen, model, rows)
            after = share_right(client, screen, str(tuned), rows)
            answer = whole_conversation(client, screen, str(tuned), rows[0])
    except (DemoFailed, NoServer) as error:
        print(error, file=sys.stderr)
        return 1
    passed = after >= max(NEEDED_SHARE, before) and "Hull" in answer
    screen.line(f"base {before:.0%}, trained {after:.0%}: {'proven' if passed else 'NOT PROVEN'}")
    return 0 if passed else 1


if __name__ == "__main__":
    sys.exit(main())
