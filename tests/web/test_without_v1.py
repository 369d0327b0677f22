"""A base_url without /v1 is said to be one, to whoever carries a key; a browser is sent to sign in as ever."""

import pytest

KEY = {"Authorization": "Bearer sk-hone-anything"}


@pytest.mark.parametrize(
    "path", ["/models", "/files", "/fine_tuning/jobs", "/fine_tuning/jobs/ftjob-1/events", "/models/a"]
)
def test_a_call_of_the_api_without_v1_is_told_where_it_is(db, client, path):
    answer = client.get(path, headers=KEY)
    assert answer.status_code == 404
    error = answer.json()["error"]
    assert error["code"] == "unknown_url" and "http://testserver/v1" in error["message"]


def test_a_chat_without_v1_is_told_too(db, client):
    answer = client.post("/chat/completions", {"model": "a"}, content_type="application/json", headers=KEY)
    assert answer.status_code == 404 and "/v1" in answer.json()["error"]["message"]


@pytest.mark.parametrize("path", ["/models/", "/jobs/"])
def test_a_page_without_a_key_leads_to_the_sign_in(db, client, path):
    assert client.get(path).status_code == 302


def test_what_the_api_does_not_have_is_no_matter_of_v1(db, client):
    assert client.get("/jobs/", headers=KEY).status_code == 302
