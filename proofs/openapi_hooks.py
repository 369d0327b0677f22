"""Loaded by schemathesis (proofs/openapi.py), in an environment of its own: what each answer of Hone must have besides
what its OpenAPI says. Imports nothing of ours."""

import json
from collections import Counter
from os import environ
from pathlib import Path

import schemathesis

FOUR_KEYS = {"message", "type", "param", "code"}
TALLY = Path(environ["HONE_PROOF_TALLY"])
tally: Counter[str] = Counter()


@schemathesis.check
def openai_shape(ctx, response, case):
    """An error is OpenAI's object with its four keys and words in it; every answer has a request id."""
    count(response, case)
    assert response.headers.get("x-request-id", [""])[0].startswith("req_"), "no x-request-id"
    if response.status_code < 400 or case.operation.method == "head":
        return
    body = json.loads(response.content)
    assert set(body) == {"error"}, f"the error is not alone in its body: {sorted(body)}"
    assert set(body["error"]) == FOUR_KEYS, f"not the four keys: {sorted(body['error'])}"
    assert isinstance(body["error"]["message"], str) and body["error"]["message"].strip(), "an error without words"
    assert isinstance(body["error"]["type"], str)
    assert "detail" not in body


def count(response, case):
    tally["requests"] += 1
    tally[f"{response.status_code // 100}xx"] += 1
    tally["errors in shape"] += response.status_code >= 400 and case.operation.method != "head"
    tally[f"{case.operation.label} {response.status_code}"] += 1
    TALLY.write_text(json.dumps(tally))
