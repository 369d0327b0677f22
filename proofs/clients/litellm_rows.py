"""The core rows with litellm: its chats, files and fine-tuning calls with `api_base` at Hone.

Needs one succeeded job with the metadata team=support in the project, which the rows of the Python SDK leave.
"""

from typing import Any

import litellm

from proofs.clients.rows.stage import HUB_ID, Stage, chat_rows, jsonl
from proofs.clients.told import tell

stage = Stage.from_environment()
HERE: Any = {"api_base": f"{stage.url}/v1", "api_key": stage.keys["key"]}
TUNING: Any = {"custom_llm_provider": "openai", **HERE}
ASKED: Any = {"messages": [{"role": "user", "content": "Order 3?"}], "temperature": 0, "max_tokens": 12, **HERE}


def tuned() -> str:
    found = stage.client.fine_tuning.jobs.list(metadata={"team": "support"})
    return next(job.fine_tuned_model for job in found if job.fine_tuned_model)


def chat() -> None:
    for name in (stage.model, tuned()):
        whole = stage.ask(name).choices[0].message.content
        answer = litellm.completion(model=f"openai/{name}", **ASKED)
        assert answer.choices[0].message.content == whole and answer.usage.completion_tokens > 0
        chunks = litellm.completion(model=f"openai/{name}", stream=True, **ASKED)
        text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks)
        assert text == whole, f"{text!r} in pieces, {whole!r} in one"


def slash() -> None:
    try:
        litellm.completion(model=f"openai/{HUB_ID}-none", **ASKED)
    except litellm.NotFoundError as error:
        assert f"{HUB_ID}-none" in str(error)
        return
    raise AssertionError("a model that does not exist answers")


def schema() -> None:
    properties = {"category": {"enum": ["refund", "delivery"]}, "urgent": {"type": "boolean"}}
    wanted = {"type": "object", "properties": properties, "required": [*properties], "additionalProperties": False}
    said = {"type": "json_schema", "json_schema": {"name": "ticket", "strict": True, "schema": wanted}}
    answer = litellm.completion(
        model=f"openai/{stage.model}", response_format=said, **{**ASKED, "max_tokens": 300, "frequency_penalty": 2}
    )
    assert "category" in answer.choices[0].message.content


def completions() -> None:
    asked = {"prompt": "Order 3", "max_tokens": 5, "temperature": 0, **HERE}
    answer = litellm.text_completion(model=f"text-completion-openai/{stage.model}", **asked)
    assert answer.object == "text_completion" and answer.choices[0].text


def files() -> None:
    content = jsonl(chat_rows(12))
    made = litellm.create_file(file=("t.jsonl", content), purpose="fine-tune", **TUNING)
    assert made.id.startswith("file-") and made.bytes == len(content)
    assert litellm.file_retrieve(file_id=made.id, **TUNING).id == made.id
    assert made.id in [each.id for each in litellm.file_list(purpose="fine-tune", **TUNING)]
    assert litellm.file_content(file_id=made.id, **TUNING).content == content
    assert litellm.file_delete(file_id=made.id, **TUNING).deleted


def jobs() -> None:
    asked = {"model": stage.model, "training_file": stage.training_file, "hyperparameters": {"n_epochs": 50}}
    job = litellm.create_fine_tuning_job(**asked, suffix="litellm", **TUNING)
    assert job.id.startswith("ftjob-") and job.status == "validating_files"
    assert litellm.retrieve_fine_tuning_job(fine_tuning_job_id=job.id, **TUNING).id == job.id
    assert job.id in [each.id for each in litellm.list_fine_tuning_jobs(limit=3, **TUNING).data]
    assert litellm.cancel_fine_tuning_job(fine_tuning_job_id=job.id, **TUNING).status == "cancelled"


def errors() -> None:
    for key, kind in (("sk-wrong", litellm.AuthenticationError), (HERE["api_key"], litellm.BadRequestError)):
        try:
            litellm.completion(model=f"openai/{stage.model}", **{**ASKED, "api_key": key, "temperature": 9})
        except kind:
            continue
        raise AssertionError("not refused")


if __name__ == "__main__":
    tell("content, delete", files)
    tell("create SFT", jobs)
    tell("chat, stream, usage", chat)
    tell("models with a slash", slash)
    tell("JSON schema", schema)
    tell("completions", completions)
    tell("errors", errors)
