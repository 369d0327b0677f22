"""How a comparison is looked at: folded columns, differences, samples, calls, answer formats, what a column costs.

The same address brings the same view.
"""

import json
import re
from typing import Any

import pytest
from django.test import Client

from accounts.models import Project, User
from playground import comparisons, exporting
from playground.comparisons import Answer
from playground.forms import Setup
from playground.models import Comparison, Turn, Vote
from playground.preferences import Filters, gather
from tests.playground_cast import make_base, make_checkpoint

pytestmark = pytest.mark.django_db


@pytest.fixture
def models(project: Project) -> list[str]:
    """A base model and two epochs of one job."""
    base = make_base()
    return [base.name, *(make_checkpoint(project, base, epoch=epoch).name for epoch in (1, 2))]


def compared(project: Project, owner: User, models: list[str], *texts: str, **fields: object) -> Comparison:
    """An open comparison in which each model has answered with its text."""
    columns = [{"model": model} for model in models[: len(texts)]]
    setup = Setup.model_validate({"columns": columns, **fields})
    made = comparisons.start_comparison(project=project, user=owner, setup=setup)
    turn = comparisons.add_turn(comparison=made, prompt="Why?")
    for column, text in enumerate(texts):
        answer = Answer(text=text, stop_reason="stop")
        comparisons.record_response(turn=turn, column=column, answer=answer)
    return made


def blind_of(project: Project, owner: User, models: list[str], *answers: Answer, **fields: object) -> Comparison:
    """A blind comparison; the answers stand in the order of its columns."""
    columns = [{"model": model} for model in models[: len(answers)]]
    setup = Setup.model_validate({"columns": columns, **fields})
    made = comparisons.start_comparison(project=project, user=owner, setup=setup, blind=True)
    turn = comparisons.add_turn(comparison=made, prompt="Why?")
    for column, answer in enumerate(answers):
        comparisons.record_response(turn=turn, column=column, answer=answer)
    return made


def setup_in(page: str) -> dict[str, Any]:
    """What the page hands to its script."""
    found = re.search(r'<script id="playground-data" type="application/json">(.*?)</script>', page)
    assert found
    return json.loads(found[1])["setup"]


# ---- folding ----


def test_columns_that_the_address_names_are_folded(owner_client: Client, models: list[str]) -> None:
    page = owner_client.get("/playground/", {"models": ",".join(models), "fold": "B,C"}).content.decode()
    assert 'class="sheets columns-1 folded-2 fold-1 fold-2"' in page
    assert page.count('aria-expanded="false" aria-label="Column') == 2


@pytest.mark.parametrize("asked", ["", "D", "Z,9", "<b>", "BC"])
def test_an_address_that_folds_what_is_not_there_folds_nothing(
    owner_client: Client, models: list[str], asked: str
) -> None:
    page = owner_client.get("/playground/", {"models": ",".join(models), "fold": asked}).content.decode()
    assert 'class="sheets columns-3 folded-0"' in page


def test_a_part_of_the_page_is_fetched_as_the_page_around_it_is_looked_at(
    owner_client: Client, owner: User, project: Project, models: list[str]
) -> None:
    made = compared(project, owner, models, "one", "two")
    address = f"http://testserver/playground/{made.pk}/?fold=A"
    headers = {"HTTP_HX_REQUEST": "true", "HTTP_HX_CURRENT_URL": address}
    page = owner_client.get(f"/playground/{made.pk}/", **headers).content.decode()
    assert page.count('aria-expanded="false" aria-label="Column A') == 1


def test_a_lone_column_does_not_fold(owner_client: Client, models: list[str]) -> None:
    page = owner_client.get("/playground/", {"models": models[0]}).content.decode()
    assert "data-fold" not in page


# ---- differences ----


def test_differences_are_marked_in_every_other_column_and_what_is_hostile_stays_text(
    owner_client: Client, owner: User, project: Project, models: list[str]
) -> None:
    made = compared(project, owner, models, "The sky is blue.", "The sky is <img src=x onerror=alert(1)>.")
    page = owner_client.get(f"/playground/{made.pk}/?diff=A").content.decode()
    assert '<pre class="answer__raw">The sky is blue.</pre>' in page
    assert "The sky is <del>blue</del><ins>&lt;img src=x onerror=alert(1)&gt;</ins>." in page
    assert "Beside A: 12 added, 1 removed" in page and "<img src=x" not in page


def test_without_a_column_to_compare_with_nothing_is_marked(
    owner_client: Client, owner: User, project: Project, models: list[str]
) -> None:
    made = compared(project, owner, models, "one", "two")
    for query in ("", "?diff=", "?diff=H", "?diff=none"):
        page = owner_client.get(f"/playground/{made.pk}/{query}").content.decode()
        assert "<ins>" not in page and "<del>" not in page


def test_the_choice_of_differences_keeps_what_is_folded(
    owner_client: Client, owner: User, project: Project, models: list[str]
) -> None:
    made = compared(project, owner, models, "one", "two", "three")
    page = owner_client.get(f"/playground/{made.pk}/?fold=B&diff=C").content.decode()
    assert 'href="?fold=B&amp;diff=A" data-diff="A"' in page
    assert 'href="?fold=B&amp;diff=C" data-diff="C" aria-current="true"' in page


def test_differences_before_a_blind_vote_are_of_the_words_alone(
    owner_client: Client, owner: User, project: Project, models: list[str]
) -> None:
    made = blind_of(project, owner, models, Answer(text="red"), Answer(text="green", prompt_tokens=9, seconds=1.5))
    page = owner_client.get(f"/playground/blind/{made.pk}/?diff=B&fold=A").content.decode()
    assert "<del>green</del><ins>red</ins>" in page and "fold-0" in page
    assert not any(word in page for word in ("ticket", "SmolLM2", "prompt tokens", "in all", "Beside B: 1.", "run-"))


# ---- samples ----

SAMPLES = [{"text": f"sample {number}", "tool_calls": [], "stop_reason": "stop"} for number in (2, 3)]


def test_every_sample_is_shown_and_the_vote_says_which_it_is_about(
    owner_client: Client, owner: User, project: Project, models: list[str]
) -> None:
    made = compared(project, owner, models, "one", "two", settings={"n": 3})
    turn = made.turns.get()
    for column in (0, 1):
        answer = Answer(text="sample 1", more_samples=SAMPLES)
        comparisons.record_response(turn=turn, column=column, answer=answer)
    page = owner_client.get(f"/playground/{made.pk}/").content.decode()
    assert page.count("Sample 3 of 3") == 2 and page.count("sample 3") == 2
    assert "Your vote is about the sample marked “judged” in each column." in page
    assert page.count('value="0" form="votebar" checked') == 2 and page.count('form="votebar"') == 6
    assert setup_in(page)["settings"]["n"] == 3


def with_samples(project: Project, owner: User, models: list[str], blind: bool = False) -> Turn:
    """Two columns with three answers each."""
    setup = Setup.model_validate({"columns": [{"model": name} for name in models[:2]], "settings": {"n": 3}})
    comparison = comparisons.start_comparison(project=project, user=owner, setup=setup, blind=blind)
    turn = comparisons.add_turn(comparison=comparison, prompt="Why?")
    for column, letter in enumerate("AB"):
        others = [each | {"text": f"{letter} {each['text']}"} for each in SAMPLES]
        comparisons.record_response(turn=turn, column=column, answer=Answer(f"{letter} sample 1", more_samples=others))
    return turn


def test_the_sample_that_a_person_marks_is_the_one_that_the_vote_and_its_preference_are_about(
    owner_client: Client, owner: User, project: Project, models: list[str]
) -> None:
    turn = with_samples(project, owner, models)
    address = f"/playground/{turn.comparison_id}/"
    owner_client.post(f"{address}vote/", {"verdict": "1", "turn": 0, "sample-0": "0", "sample-1": "2"})
    assert Vote.objects.get().samples == [0, 2]
    page = owner_client.get(address).text
    assert "You chose B, sample 3." in page and 'name="sample-1" value="2" form="votebar" checked' in page
    (pair,) = gather(project, Filters()).pairs
    assert (pair.preferred, pair.other) == ("B sample 3", "A sample 1")
    assert exporting.as_markdown(turn.comparison, owner, "x").endswith("B is better (judged: A 1, B 3)\n")
    owner_client.post(f"{address}vote/", {"verdict": "1", "turn": 0, "sample-0": "0", "sample-1": "0"})
    assert Vote.objects.get().samples == [], "each first one"


@pytest.mark.parametrize("wrong", ["3", "99"])
def test_a_vote_about_a_sample_that_is_not_there_is_refused(
    owner_client: Client, owner: User, project: Project, models: list[str], wrong: str
) -> None:
    turn = with_samples(project, owner, models)
    answer = owner_client.post(
        f"/playground/{turn.comparison_id}/vote/", {"verdict": "0", "turn": 0, "sample-0": wrong}
    )
    assert "There is no such sample" in answer.text and not Vote.objects.exists()


def test_another_sample_chosen_after_a_blind_vote_makes_it_an_open_one(
    owner_client: Client, owner: User, project: Project, models: list[str]
) -> None:
    turn = with_samples(project, owner, models, blind=True)
    address = f"/playground/{turn.comparison_id}/vote/"
    owner_client.post(address, {"verdict": "0", "turn": 0, "sample-0": "1"})
    assert Vote.objects.get().blind
    owner_client.post(address, {"verdict": "0", "turn": 0, "sample-0": "2"})
    assert not Vote.objects.get().blind


def test_a_column_that_gave_fewer_samples_says_so(
    owner_client: Client, owner: User, project: Project, models: list[str]
) -> None:
    full, fewer = Answer(text="one", more_samples=SAMPLES), Answer(text="one", more_samples=SAMPLES[:1])
    made = comparisons.start_comparison(
        project=project,
        user=owner,
        setup=Setup.model_validate({"columns": [{"model": name} for name in models[:2]], "settings": {"n": 3}}),
    )
    turn = comparisons.add_turn(comparison=made, prompt="Why?")
    for column, answer in enumerate((full, fewer)):
        comparisons.record_response(turn=turn, column=column, answer=answer)
    assert owner_client.get(f"/playground/{made.pk}/").text.count("of the 3 samples that were asked for came") == 1


def test_one_that_gave_fewer_samples_does_not_tell_itself_before_a_blind_vote(
    owner_client: Client, owner: User, project: Project, models: list[str]
) -> None:
    full, alone = Answer(text="sample 1", more_samples=SAMPLES), Answer(text="the only one")
    made = blind_of(project, owner, models, full, alone, settings={"n": 3})
    page = owner_client.get(f"/playground/blind/{made.pk}/").content.decode()
    assert "3 samples each" in page and "sample 2" not in page and "Sample 1 of" not in page
    owner_client.post(f"/playground/{made.pk}/vote/", {"verdict": "tie", "turn": 0})
    assert "sample 2" in owner_client.get(f"/playground/blind/{made.pk}/").content.decode()


@pytest.mark.parametrize(
    ("settings", "column", "said"),
    [
        ({"n": 6}, {}, "Samples: input should be less than or equal to 5"),
        ({"n": 0}, {}, "Samples: input should be greater than or equal to 1"),
        ({"n": 2, "temperature": 0}, {}, "at temperature 0 the samples are all the same"),
    ],
)
def test_samples_that_cannot_be_are_refused_with_the_reason(
    owner_client: Client, models: list[str], settings: dict[str, Any], column: dict[str, Any], said: str
) -> None:
    setup = {"columns": [{"model": models[0]}, {"model": models[1], **column}], "settings": settings}
    page = owner_client.post("/playground/blind/", {"setup": json.dumps(setup)}).content.decode()
    assert said in page and not Comparison.objects.exists()


def test_a_column_of_its_own_at_temperature_zero_gives_one_sample_beside_others_that_give_several(
    owner: User, project: Project, models: list[str]
) -> None:
    columns = [{"model": models[0]}, {"model": models[1], "settings": {"temperature": 0}}]
    setup = Setup.model_validate({"columns": columns, "settings": {"n": 2}})
    made = comparisons.start_comparison(project=project, user=owner, setup=setup)
    assert [comparisons.sampling_of(made, column).n for column in (0, 1)] == [2, 1]


# ---- tools and answer formats ----

TOOLS = [{"type": "function", "function": {"name": "get_weather", "parameters": {"type": "object"}}}]
SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}


def test_calls_are_shown_as_name_and_arguments_and_are_no_empty_answer(
    owner_client: Client, owner: User, project: Project, models: list[str]
) -> None:
    made = compared(project, owner, models, "", "two", tools=TOOLS)
    answer = Answer(
        tool_calls=[{"name": "get_weather", "arguments": '{"city": "<b>Ulm</b>"}'}], stop_reason="tool_calls"
    )
    comparisons.record_response(turn=made.turns.get(), column=0, answer=answer)
    page = owner_client.get(f"/playground/{made.pk}/").content.decode()
    assert "<b>get_weather</b>({\n  &quot;city&quot;: &quot;&lt;b&gt;Ulm&lt;/b&gt;&quot;\n})" in page
    assert "called a tool" in page and page.count('class="cell__waiting muted" hidden') >= 2
    assert json.loads(setup_in(page)["tools"]) == TOOLS


def test_an_answer_under_a_schema_is_indented_and_marked(
    owner_client: Client, owner: User, project: Project, models: list[str]
) -> None:
    made = compared(project, owner, models, '{"city":"Ulm"}', '{"city":7}', "Ulm", response_format=SCHEMA)
    page = owner_client.get(f"/playground/{made.pk}/").content.decode()
    assert "{\n  &quot;city&quot;: &quot;Ulm&quot;\n}" in page and page.count("Matches the schema") == 1
    assert "Does not match the schema: at city: 7 is not of type &#x27;string&#x27;" in page
    assert "Does not match the schema: not JSON, line 1, column 1" in page
    assert json.loads(setup_in(page)["response_format"])["json_schema"]["schema"] == SCHEMA


def test_what_all_columns_are_given_is_said_on_the_blind_page_and_goes_on_with_the_next_prompt(
    owner_client: Client, owner: User, project: Project, models: list[str]
) -> None:
    setup = Setup.model_validate(
        {"columns": [{"model": model} for model in models], "tools": TOOLS, "response_format": SCHEMA}
    )
    made = comparisons.start_comparison(project=project, user=owner, setup=setup, blind=True)
    page = owner_client.get(f"/playground/blind/{made.pk}/").content.decode()
    assert "tools: get_weather" in page and "answers by a JSON schema" in page
    owner_client.post(f"/playground/blind/{made.pk}/next/")
    following = Comparison.objects.exclude(pk=made.pk).get()
    assert (following.tools, following.response_format) == (made.tools, made.response_format)


def test_a_pasted_tool_that_is_none_is_refused_with_its_place(owner_client: Client, models: list[str]) -> None:
    setup = {"columns": [{"model": model} for model in models[:2]], "tools": '[{"type": "function",}]'}
    page = owner_client.post("/playground/blind/", {"setup": json.dumps(setup)}).content.decode()
    assert "Tools: not JSON, line 1, column 22" in page


# ---- what a column has otherwise, and what it costs ----


def test_a_column_says_what_it_has_otherwise_than_all(
    owner_client: Client, owner: User, project: Project, models: list[str]
) -> None:
    columns = [
        {"model": models[0]},
        {"model": models[1], "system": "Ticket.", "settings": {"temperature": 0.0, "seed": 7}},
    ]
    setup = Setup.model_validate({"columns": columns, "system": "word " * 1200, "settings": {"seed": None}})
    made = comparisons.start_comparison(project=project, user=owner, setup=setup)
    page = owner_client.get(f"/playground/{made.pk}/").content.decode()
    assert "system prompt 1 word (all: 1,200 words) · temperature 0 (all: 0.7) · seed 7 (all: new)" in page


def test_the_difference_of_two_system_prompts_is_shown_on_demand(owner_client: Client) -> None:
    asked = {"shared": "Answer as a ticket.", "own": "Answer <b>briefly</b>."}
    page = owner_client.post("/playground/difference/", asked).content.decode()
    assert "<del>as a ticket</del><ins>&lt;b&gt;briefly&lt;/b&gt;</ins>" in page
    assert "3 removed" in page
    assert owner_client.get("/playground/difference/").status_code == 405


def test_each_column_says_what_takes_how_many_times_as_much_as_in_the_first_or_the_chosen_one(
    owner_client: Client, owner: User, project: Project, models: list[str]
) -> None:
    made = compared(project, owner, models, "long", "short")
    for column, tokens in enumerate((900, 300)):
        answer = Answer(text="x", prompt_tokens=tokens, seconds=tokens / 300)
        comparisons.record_response(turn=made.turns.get(), column=column, answer=answer)
    page = owner_client.get(f"/playground/{made.pk}/").content.decode()
    assert "Beside A: 3.0× fewer prompt tokens · done 3.0× sooner" in page and "Beside B" not in page
    page = owner_client.get(f"/playground/{made.pk}/?diff=B").content.decode()
    assert "Beside B: 3.0× as many prompt tokens · done 3.0× later" in page


# ---- long prompts ----


def test_a_prompt_of_a_hundred_thousand_characters_is_folded_and_whole(
    owner_client: Client, owner: User, project: Project, models: list[str]
) -> None:
    made = compared(project, owner, models, "one")
    comparisons.add_turn(comparison=made, prompt="<i>" + "word " * 20_000)
    page = owner_client.get(f"/playground/{made.pk}/").content.decode()
    assert "100,003 characters: show or hide all" in page and page.count("word word word") > 6_000
    assert "<i>word" not in page
