"""Every answer that is not 2xx is OpenAI's error object, and every answer carries OpenAI's headers."""

import re

import httpx2
import pytest
from openai import AuthenticationError, BadRequestError, NotFoundError

from tests.api.conftest import Server

FOUR_KEYS = {"message", "type", "param", "code"}


def call(server: Server, method: str, path: str, **options) -> httpx2.Response:
    headers = {"Authorization": f"Bearer {server.key}", **options.pop("headers", {})}
    return httpx2.request(method, server.url + path, headers=headers, timeout=30, **options)


@pytest.mark.parametrize(
    ("method", "path", "options", "status"),
    [
        ("GET", "/v1/", {}, 404),
        ("GET", "/v1/nothing", {}, 404),
        ("POST", "/v1/nothing/there", {"json": {}}, 404),
        ("GET", "/v1/files/", {}, 404),
        ("GET", "/v1/files", {"headers": {"Authorization": "Bearer wrong"}}, 401),
        ("GET", "/v1/files", {"headers": {"Authorization": ""}}, 401),
        ("GET", "/v1/files", {"headers": {"OpenAI-Project": "proj_other"}}, 401),
        ("PUT", "/v1/files", {"json": {}}, 405),
        ("DELETE", "/v1/fine_tuning/jobs", {}, 405),
        ("POST", "/v1/fine_tuning/jobs", {"content": b"{", "headers": {"Content-Type": "application/json"}}, 400),
        ("POST", "/v1/fine_tuning/jobs", {"json": []}, 400),
        ("POST", "/v1/fine_tuning/jobs", {"json": {}}, 400),
        ("POST", "/v1/fine_tuning/jobs", {"json": {"model": "x" * (17 << 20)}}, 413),
        ("POST", "/v1/files", {"content": b"x", "headers": {"Content-Type": "multipart/form-data"}}, 400),
        ("GET", "/v1/fine_tuning/jobs?limit=many", {}, 400),
        ("GET", "/v1/fine_tuning/jobs/ftjob-x", {}, 404),
        ("GET", "/v1/models/ft:a:b:c:12345678", {}, 404),
        ("POST", "/v1/responses", {"json": {}}, 404),
        ("POST", "/v1/fine-tunes", {"json": {}}, 410),
    ],
)
def test_an_error_has_the_shape_and_the_headers(server, method, path, options, status):
    answer = call(server, method, path, **options)
    assert answer.status_code == status, answer.text[:500]
    assert set(answer.json()) == {"error"} and set(answer.json()["error"]) == FOUR_KEYS
    assert answer.json()["error"]["message"]
    assert answer.headers["x-request-id"].startswith("req_")
    assert answer.headers["openai-version"] == "2020-10-01"


def test_a_good_answer_carries_the_headers_too(server):
    answer = call(server, "GET", "/v1/models")
    assert answer.status_code == 200
    assert answer.headers["x-request-id"].startswith("req_")
    assert answer.headers["openai-organization"] == "hone"
    assert int(answer.headers["openai-processing-ms"]) >= 0


def test_a_wrong_key_raises_authentication_error_without_showing_the_key(server):
    with pytest.raises(AuthenticationError) as caught:
        server.client("sk-hone-0123456789abcdef").models.list()
    assert caught.value.code == "invalid_api_key"
    assert caught.value.request_id.startswith("req_")
    assert "0123456789" not in caught.value.message


GRADER = {"type": "string_check", "name": "g", "input": "x", "reference": "x", "operation": "eq"}
NOT_SERVED = {
    "embeddings": lambda client: client.embeddings.create(model="tiny", input="x"),
    "batches": lambda client: client.batches.list(),
    "a batch": lambda client: client.batches.create(
        completion_window="24h", endpoint="/v1/chat/completions", input_file_id="file-x"
    ),
    "the end of a batch": lambda client: client.batches.cancel("batch_x"),
    "evals": lambda client: client.evals.list(),
    "runs of an eval": lambda client: client.evals.runs.list("eval_x"),
    "the end of an eval": lambda client: client.evals.delete("eval_x"),
    "responses": lambda client: client.responses.create(model="tiny", input="x"),
    "a response": lambda client: client.responses.retrieve("resp_x"),
    "a grader": lambda client: client.fine_tuning.alpha.graders.run(grader=GRADER, model_sample="x"),
    "whether a grader is one": lambda client: client.fine_tuning.alpha.graders.validate(grader=GRADER),
    "a stored chat": lambda client: client.chat.completions.retrieve("chatcmpl-x"),
    "an image": lambda client: client.images.generate(prompt="x"),
    "vector stores": lambda client: client.vector_stores.list(),
}


@pytest.mark.parametrize("what", NOT_SERVED)
def test_what_is_not_served_yet_says_so_and_what_to_do_instead(server, what):
    for key in (server.key, "sk-hone-nobody"):
        with pytest.raises(NotFoundError) as caught:
            NOT_SERVED[what](server.client(key))
        assert caught.value.code == "not_served"
        assert re.search(r"not served yet by Hone\. \w.+\.", caught.value.message)


def test_reinforcement_is_refused_with_the_methods_that_there_are(client, training_file):
    method = {"type": "reinforcement", "reinforcement": {"grader": GRADER}}
    with pytest.raises(BadRequestError) as caught:
        client.fine_tuning.jobs.create(model="tiny", training_file=training_file, method=method)
    assert (caught.value.param, caught.value.code) == ("method.type", "not_served")
    assert "supervised, dpo, pretrain" in caught.value.message


@pytest.mark.parametrize(
    ("method", "path"),
    [("POST", ""), ("GET", ""), ("GET", "/ft-x"), ("GET", "/ft-x/events?stream=true"), ("POST", "/ft-x/cancel")],
)
def test_the_legacy_endpoint_is_gone_and_names_the_new_one(server, method, path):
    for headers in ({}, {"Authorization": ""}):
        answer = call(server, method, f"/v1/fine-tunes{path}", headers=headers)
        assert answer.status_code == 410
        assert "/v1/fine_tuning/jobs" in answer.json()["error"]["message"]


def test_a_missing_field_is_named(server):
    error = call(server, "POST", "/v1/fine_tuning/jobs", json={"model": "tiny"}).json()["error"]
    assert (error["param"], error["code"]) == ("training_file", "missing_required_parameter")


def test_an_unknown_field_is_named_with_its_path(client, training_file):
    wrong = {"lora": {"rank": 4}, "training": {"warmup": 1}, "nonsense": 1}
    paths = {"lora": "lora.rank", "training": "training.warmup", "nonsense": "nonsense"}
    for field, value in wrong.items():
        with pytest.raises(BadRequestError) as caught:
            client.fine_tuning.jobs.create(model="tiny", training_file=training_file, extra_body={field: value})
        assert (caught.value.param, caught.value.code) == (paths[field], "unknown_parameter")


def test_the_served_openapi_names_every_route_with_its_refusals(server):
    schema = httpx2.get(f"{server.url}/v1/openapi.json").json()
    assert schema["openapi"].startswith("3.1")
    assert {"/v1/files", "/v1/fine_tuning/jobs/{job_id}/checkpoints", "/v1/models/{model}"} <= set(schema["paths"])
    operations = [each for methods in schema["paths"].values() for each in methods.values()]
    assert len({each["operationId"] for each in operations}) == len(operations)
    for operation in operations:
        assert {"400", "401", "429", "500"} <= set(operation["responses"])
        assert operation["security"] == [{"BearerKey": []}]
