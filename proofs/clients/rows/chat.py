"""Chat and completions, plain and streamed, with everything that vLLM can; moderations."""

import asyncio
import json
from typing import Any, Literal

import openai
from openai import BadRequestError, NotFoundError
from pydantic import BaseModel

from proofs.clients.rows.stage import TOOL, Stage, chat_rows, jsonl, refused, row, when_loaded


@row("chat, stream, usage")
def chat(stage: Stage) -> None:
    """Base and fine-tuned names, echoed; the deltas are the whole text."""
    for name in (stage.model, stage.finished.fine_tuned_model):
        plain = stage.ask(name)
        assert (plain.object, plain.model) == ("chat.completion", name) and plain.id.startswith("chatcmpl-")
        message, usage = plain.choices[0].message, plain.usage
        assert message.role == "assistant" and plain.choices[0].finish_reason in ("stop", "length")
        assert usage.total_tokens == usage.prompt_tokens + usage.completion_tokens
        chunks = list(stage.ask(name, stream=True, stream_options={"include_usage": True}))
        assert {(chunk.object, chunk.model) for chunk in chunks} == {("chat.completion.chunk", name)}
        text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
        assert text == message.content, f"{text!r} in pieces, {message.content!r} in one"
        assert chunks[0].choices[0].delta.role == "assistant"
        assert chunks[-1].choices == [] and chunks[-1].usage.completion_tokens == usage.completion_tokens
        assert all(chunk.usage is None for chunk in chunks[:-1]), "usage before the end"
        assert all(chunk.usage is None for chunk in stage.ask(name, stream=True)), "usage that was not asked for"
    with stage.ask(stage.model, stream=True, max_tokens=500) as left_early:
        next(iter(left_early))


@row("logprobs, n, stop, seed")
def sampling(stage: Stage) -> None:
    name = stage.model
    answer = stage.ask(name, logprobs=True, top_logprobs=3)
    content = answer.choices[0].logprobs.content
    assert len(content) == answer.usage.completion_tokens
    for token in content:
        assert token.logprob <= 0 and len(token.top_logprobs) == 3 and isinstance(token.bytes, list)
    several = stage.ask(name, n=3, temperature=1)
    assert [choice.index for choice in several.choices] == [0, 1, 2]
    one, same = (stage.ask(name, temperature=1, seed=5).choices[0].message.content for _ in range(2))
    assert one == same != stage.ask(name, temperature=1, seed=6).choices[0].message.content
    whole = stage.ask(name).choices[0].message.content
    stopper = whole[len(whole) // 2 :][:2]
    cut = stage.ask(name, stop=[stopper]).choices[0]
    assert cut.finish_reason == "stop" and whole.startswith(cut.message.content) and stopper not in cut.message.content
    assert stage.ask(name, max_tokens=None, max_completion_tokens=4).usage.completion_tokens <= 4
    ignored = {"store": True, "metadata": {"t": "1"}, "user": "u", "service_tier": "auto", "parallel_tool_calls": True}
    assert stage.ask(name, **ignored, logit_bias={"5": -100}, presence_penalty=0.5).choices
    assert stage.ask(name, messages=[{"role": "developer", "content": "Be brief."}, *ONE_QUESTION]).choices


ONE_QUESTION = [{"role": "user", "content": "Order 3?"}]


# Random weights would write blanks between two words of JSON for ever.
TO_AN_END = {"temperature": 0, "max_tokens": 300, "frequency_penalty": 2}


class Ticket(BaseModel):
    category: Literal["refund", "delivery"]
    urgent: bool


@row("JSON schema")
def schema(stage: Stage) -> None:
    """`chat.completions.parse` with a pydantic model; the older name is `beta.chat.completions.parse`."""
    asked: dict[str, Any] = {"model": stage.model, "messages": ONE_QUESTION, **TO_AN_END}
    parsed = stage.client.chat.completions.parse(response_format=Ticket, **asked).choices[0].message.parsed
    assert isinstance(parsed, Ticket), parsed
    with stage.client.chat.completions.stream(response_format=Ticket, **asked) as stream:
        last = stream.get_final_completion()
    assert last.choices[0].message.parsed == parsed
    wrong = {"type": "json_schema", "json_schema": {"name": "t", "schema": {"type": "nonsense"}}}
    refused(lambda: stage.ask(stage.model, response_format=wrong), BadRequestError)


@row("tools")
def tools(stage: Stage) -> None:
    """A call that must be made is made, plain and streamed, with arguments of the schema that is strict."""
    strict = {"type": "function", "function": {**TOOL["function"], "strict": True}}
    asked: dict[str, Any] = {"tools": [strict], **TO_AN_END}
    named = {"type": "function", "function": {"name": "track"}}
    for choice in (named, "required"):
        (call,) = stage.ask(stage.model, tool_choice=choice, **asked).choices[0].message.tool_calls[:1]
        assert (call.type, call.function.name) == ("function", "track") and call.id
        assert json.loads(call.function.arguments)["order"] in (3, 4), call.function.arguments
    streamed = {"name": "", "arguments": ""}
    for chunk in stage.ask(stage.model, tool_choice=named, stream=True, **asked):
        for delta in (part for choice in chunk.choices for part in choice.delta.tool_calls or []):
            streamed["name"] = streamed["name"] or delta.function.name or ""
            streamed["arguments"] += delta.function.arguments or ""
    plain = stage.ask(stage.model, tool_choice=named, **asked).choices[0].message.tool_calls[0].function
    assert streamed["name"] == "track" and json.loads(streamed["arguments"]) == json.loads(plain.arguments), streamed
    answered = [
        *ONE_QUESTION,
        {"role": "assistant", "content": None, "tool_calls": [call.model_dump(exclude_none=True)]},
        {"role": "tool", "tool_call_id": call.id, "content": "on its way"},
    ]
    assert stage.ask(stage.model, messages=answered, tools=[TOOL]).choices


@row("wrong chats")
def wrong_chats(stage: Stage) -> None:
    ask, name = stage.ask, stage.model
    refused(lambda: ask("gpt-none"), NotFoundError, "model", "model_not_found")
    refused(lambda: ask(name, messages=[]), BadRequestError, "messages")
    refused(lambda: ask(name, temperature=2.5), BadRequestError)
    refused(lambda: ask(name, max_tokens=1_000_000), BadRequestError)
    refused(lambda: ask(name, messages=[{"role": "user", "content": "a " * 20_000}]), BadRequestError,
            code="context_length_exceeded")  # fmt: skip
    refused(lambda: ask(name, messages=[{"role": "nobody", "content": "a"}]), BadRequestError, "messages.0.role")
    refused(lambda: ask(name, n=0), BadRequestError)
    refused(lambda: ask(name, top_logprobs=3), BadRequestError)


@row("completions")
def completions(stage: Stage) -> None:
    def complete(**options: Any) -> Any:
        asked = {"model": stage.model, "prompt": "Order 3", "max_tokens": 5, "temperature": 0, **options}
        return when_loaded(lambda: stage.client.completions.create(**asked))

    plain = complete(logprobs=2)
    assert (plain.object, plain.model) == ("text_completion", stage.model) and plain.id.startswith("cmpl-")
    assert len(plain.choices[0].logprobs.tokens) == plain.usage.completion_tokens <= 5
    text = "".join(chunk.choices[0].text for chunk in complete(stream=True) if chunk.choices)
    assert text == plain.choices[0].text
    assert [choice.index for choice in complete(prompt=["Order 3", "Order 4"]).choices] == [0, 1]
    assert complete(prompt=[5, 6, 7]).choices and complete(echo=True).choices[0].text.startswith("Order 3")
    refused(lambda: complete(prompt=""), BadRequestError, "prompt")


@row("raw answers and their headers")
def raw(stage: Stage) -> None:
    plain = stage.ask(stage.model)
    assert plain._request_id.startswith("req_")
    answer = stage.client.chat.completions.with_raw_response.create(model=stage.model, messages=ONE_QUESTION)
    assert answer.headers["x-request-id"].startswith("req_") and answer.headers["openai-version"] == "2020-10-01"
    assert answer.headers["openai-organization"] and int(answer.headers["openai-processing-ms"]) >= 0
    assert answer.parse().model == stage.model
    with stage.client.chat.completions.with_streaming_response.create(
        model=stage.model, messages=ONE_QUESTION, stream=True, max_tokens=4
    ) as stream:
        assert stream.headers["content-type"].startswith("text/event-stream")
        lines = [line for line in stream.iter_lines() if line]
    assert all(line.startswith("data: ") for line in lines) and lines[-1] == "data: [DONE]"


@row("moderations", light=True)
def moderations(stage: Stage) -> None:
    answer = stage.client.moderations.create(model="omni-moderation-latest", input=["You are a stupid bitch", "Hello"])
    assert [result.flagged for result in answer.results] == [True, False]
    assert answer.results[0].categories.harassment and answer.results[0].category_scores.harassment > 0.5
    assert len(answer.results[0].categories.model_dump(by_alias=True)) >= 13
    assert stage.client.moderations.create(input=[{"type": "text", "text": "Hello"}]).results[0].flagged is False


@row("async client")
def asynchronous(stage: Stage) -> None:
    asyncio.run(core(stage))


async def core(stage: Stage) -> None:
    async with openai.AsyncOpenAI(base_url=f"{stage.url}/v1", api_key=stage.keys["key"]) as client:
        content = jsonl(chat_rows(12))
        file = await client.files.create(file=("t.jsonl", content), purpose="fine-tune")
        assert (await client.files.wait_for_processing(file.id, poll_interval=0.1)).status == "processed"
        assert (await client.files.content(file.id)).read() == content
        job = await client.fine_tuning.jobs.create(model=stage.model, training_file=file.id)
        assert job.id in [each.id async for each in client.fine_tuning.jobs.list(limit=2)]
        assert (await client.fine_tuning.jobs.cancel(job.id)).status == "cancelled"
        said = [event.message async for event in client.fine_tuning.jobs.list_events(job.id, limit=1)]
        assert said[-1] == f"Created fine-tuning job: {job.id}"
        assert stage.model in [model.id async for model in client.models.list()]
        plain = stage.ask(stage.model).choices[0].message.content
        asked: dict[str, Any] = {"model": stage.model, "messages": ONE_QUESTION, "temperature": 0, "max_tokens": 12}
        stream = await client.chat.completions.create(stream=True, **asked)
        assert "".join([chunk.choices[0].delta.content or "" async for chunk in stream]) == plain
        answers = await asyncio.gather(*(client.chat.completions.create(**asked) for _ in range(4)))
        assert {answer.choices[0].message.content for answer in answers} == {plain}
