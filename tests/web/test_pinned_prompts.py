"""Pinned prompts ride along: in the configuration, in the API, in a recipe's stages, in the form and its code."""

import ast
import html
import json
import re
from typing import Any

import pytest
import yaml
from django.test import Client
from django.urls import reverse

from accounts.models import Project, User
from dashboard import configuration
from playground.film import prompts, written
from playground.film.prompts import Pinned
from tests import makers
from tests.web.test_configuration import read, upload
from tests.web.test_new_job import HTMX, filled
from training import actions
from training.chains import following
from training.chains.models import Chain, Stage
from training.models import TrainingJob

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("present")]

CALL = {
    "messages": [{"role": "system", "content": "Be short."}, {"role": "user", "content": "Weather in Ulm?"}],
    "tools": [{"type": "function", "function": {"name": "weather", "strict": True}}],
    "expected": 'weather({"city": "Ulm"})',
}
WRITTEN: list[Any] = ["Where is my parcel?", "one line\nand another", CALL, {"prompt": "Once upon"}]


def asked_by_api(api_key: str, path: str, body: dict[str, Any]) -> Any:
    headers = {"Authorization": f"Bearer {api_key}"}
    return Client().post(f"/v1/fine_tuning/{path}", json.dumps(body), "application/json", headers=headers)


def test_the_api_pins_them_and_the_configuration_hands_them_on(
    api_key: str, owner_client: Client, project: Project
) -> None:
    file = makers.make_file(project)
    makers.make_base_model()
    body = {"model": "tiny", "training_file": file.pk, "pinned_prompts": WRITTEN}
    answer = asked_by_api(api_key, "jobs", body)
    assert answer.status_code == 200, answer.content
    job = TrainingJob.objects.get()
    asked = prompts.of(job)
    assert asked[0].ask == {"messages": [{"role": "user", "content": "Where is my parcel?"}]}
    assert asked[2].ask == {"messages": CALL["messages"], "tools": CALL["tools"]} and asked[2].expected
    as_json, as_yaml = json.loads(configuration.as_json(job)), yaml.safe_load(configuration.as_yaml(job))
    assert as_json["pinned_prompts"] == as_yaml["pinned_prompts"] == WRITTEN
    assert read(configuration.as_yaml(job).encode()).pinned_prompts == WRITTEN

    form = upload(owner_client, configuration.as_yaml(job)).context["form"]
    values = {name: value for name in form.fields if (value := form[name].value()) is not None}
    assert owner_client.post(reverse("new-job"), values).status_code == 302
    assert prompts.of(TrainingJob.objects.exclude(pk=job.pk).get()) == asked


def test_a_job_without_any_says_nothing_of_them_and_one_that_wants_none_says_so(project: Project) -> None:
    job = makers.make_job(project)
    assert "pinned_prompts" not in configuration.document(job)
    prompts.pin(job, [])
    assert configuration.document(job)["pinned_prompts"] == []


@pytest.mark.parametrize(
    ("entry", "said"),
    [
        ("", "1 to 8,000 characters"),
        ({"prompt": "a", "weight": 1}, "a pinned prompt has no field weight; leave it out."),
        ({"prompt": "a", "messages": []}, "either messages (a conversation) or prompt"),
        ({"messages": [{"role": "wizard", "content": "a"}]}, "messages must be a list of objects"),
        ({"messages": [{"role": "user", "content": 3}]}, "messages must be a list of objects"),
        ({"prompt": 3}, "prompt must be a text"),
        ({"prompt": "a", "expected": 3}, "expected must be a text"),
        ({"prompt": "a", "tools": "none"}, "tools must be a list"),
        ({"prompt": "a" * 40_000}, "longer than 32,000 characters"),
    ],
)
def test_one_that_nobody_could_be_asked_is_refused_by_its_place(
    api_key: str, project: Project, entry: Any, said: str
) -> None:
    file = makers.make_file(project)
    makers.make_base_model()
    job = {"training_file": file.pk, "pinned_prompts": ["fine", entry]}
    error = asked_by_api(api_key, "jobs", {"model": "tiny", **job}).json()["error"]
    assert error["param"] == "pinned_prompts.1" and said in error["message"]
    stages = [{"training_file": file.pk}, job]
    error = asked_by_api(api_key, "recipes", {"model": "tiny", "stages": stages}).json()["error"]
    assert error["param"] == "stages.1.pinned_prompts.1"
    assert not TrainingJob.objects.exists() and not Chain.objects.exists()


def test_the_job_of_a_stage_is_asked_what_its_stage_says(project: Project, owner: User) -> None:
    file = makers.make_file(project)
    stages = [Stage(training_file=file.pk, pinned_prompts=["Hello?", CALL]), Stage(training_file=file.pk)]
    chain = following.start_chain(project=project, user=owner, base_model=makers.make_base_model(), stages=stages)
    job = chain.job_of(1)
    assert [each.text for each in prompts.of(job)] == ["Hello?", "Weather in Ulm?"]
    assert configuration.document(job)["pinned_prompts"] == ["Hello?", CALL]
    assert prompts.begin(job).prompts[1]["expected"] == CALL["expected"]
    again = actions.create_job(project=project, user=owner, base_model=job.base_model, training_file=file)
    prompts.keep_from(job, again)
    assert prompts.of(again) == prompts.of(job), "a rerun is asked the same"


def test_the_form_names_the_one_that_is_wrong_and_its_code_has_them_all(owner_client: Client, project: Project) -> None:
    lines = written.lines(["true story", CALL])
    page = owner_client.post(reverse("estimate-job"), filled(project, pinned_prompts=lines), headers=HTMX)
    assert extra_body(page.text) == {"pinned_prompts": ["true story", CALL]}
    wrong = filled(project, pinned_prompts='fine\n{"messages": []}')
    refused = owner_client.post(reverse("new-job"), wrong)
    assert refused.status_code == 400 and "Prompt 2: messages must be a list of objects" in refused.text


def extra_body(page: str) -> Any:
    """Of the code for the openai SDK beside the form."""
    found = re.search(r'<pre class="code" id="code-text-1"[^>]*>(.*?)</pre>', page, re.DOTALL)
    assert found
    shown = html.unescape(found[1])
    call = next(node for node in ast.walk(ast.parse(shown)) if isinstance(node, ast.Call) and len(node.keywords) > 2)
    extra = next((keyword.value for keyword in call.keywords if keyword.arg == "extra_body"), None)
    return ast.literal_eval(extra) if extra else None


def test_a_rerun_shows_what_its_parent_is_asked_and_hands_it_on_in_the_form_and_as_code(
    owner_client: Client, project: Project
) -> None:
    owner_client.post(reverse("new-job"), filled(project, pinned_prompts=written.lines(["Where is it?", CALL])))
    parent = TrainingJob.objects.get()
    page = owner_client.get(reverse("new-job"), {"from": parent.pk})
    form = page.context["form"]
    assert form.film_is == "drawn" and written.entries(form["pinned_prompts"].value()) == ["Where is it?", CALL]
    assert page.context["parent_prompts"] == ["Where is it?", "Weather in Ulm?"]
    values = {name: value for name in form.fields if (value := form[name].value()) is not None}
    card = owner_client.post(reverse("estimate-job"), values, headers=HTMX)
    assert extra_body(card.text)["pinned_prompts"] == ["Where is it?", CALL]
    assert owner_client.post(reverse("new-job"), values).status_code == 302
    assert prompts.of(TrainingJob.objects.exclude(pk=parent.pk).get()) == prompts.of(parent)


def test_the_code_of_a_rerun_names_drawn_prompts_only_where_others_would_be_drawn(
    owner_client: Client, project: Project
) -> None:
    valid, other = (makers.make_file(project, name) for name in ("valid.jsonl", "other.jsonl"))
    parent = makers.make_job(project, status="succeeded", seed=7, validation_file=valid)
    assert prompts.begin(parent).pk
    assert prompts.of_rerun(parent, valid, 7) is None
    asked = prompts.of_rerun(parent, other, 7)
    assert asked == prompts.of_rerun(parent, valid, 8) == prompts.as_written(parent) and asked


@pytest.mark.parametrize("line", ['{"messages": [}', "[urgent] Where is it?", "{" + '"a":{' * 5_000])
def test_a_line_that_begins_like_json_and_is_none_is_refused_by_its_number(
    owner_client: Client, project: Project, line: str
) -> None:
    refused = owner_client.post(reverse("new-job"), filled(project, pinned_prompts=f"fine\n\n{line}"))
    assert refused.status_code == 400 and "Line 3 begins like JSON but is" in refused.text
    assert "Expecting" not in refused.text, "in words for people"
    assert not TrainingJob.objects.exists()
    created = owner_client.post(reverse("new-job"), filled(project, pinned_prompts=written.lines([line[:100]])))
    assert created.status_code == 302, "the same as a JSON string is a text"
    assert prompts.of(TrainingJob.objects.get())[0].text == line[:100]


def test_lines_and_entries_are_each_other_the_other_way_round() -> None:
    odd = ['"quoted"', '{"city": "Ulm"}', "{half", 'a "b"', "two\nlines", '{"prompt": "told as text"}']
    assert written.entries(written.lines(WRITTEN)) == WRITTEN
    assert written.entries(written.lines(odd))[:5] == odd[:5]
    assert not written.line_fault(written.lines(odd))
    bare = Pinned(*written.ask_of("Once", True))
    assert bare.ask == {"prompt": "Once"} and written.entry_of(bare.ask, "", True) == "Once"
    assert written.entry_of({"prompt": "Once"}, "", False) == {"prompt": "Once"}, "another job would ask it as a chat"
