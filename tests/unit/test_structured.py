"""Tools and answer formats as people paste them, and answers beside them."""

import json
import time
from typing import Any

import pytest

from playground.structured import check, format_from, pretty_arguments, tools_from

WEATHER = {"type": "function", "function": {"name": "get_weather", "parameters": {"type": "object"}}}
TICKET = {
    "type": "object",
    "properties": {"items": {"type": "array", "items": {"type": "number"}}},
    "required": ["kind"],
}


def test_tools_come_as_text_or_as_they_are_and_nothing_is_none() -> None:
    assert tools_from(json.dumps([WEATHER])) == tools_from([WEATHER]) == [WEATHER]
    assert [tools_from(value) for value in ("", "  ", None, [], "[]")] == [None] * 5


@pytest.mark.parametrize(
    ("pasted", "said"),
    [
        ('[{"type": "function",}]', "not JSON, line 1, column 22"),
        ("[" * 100_000, "nested too deeply"),
        ('{"name": "x"}', "must be a JSON array"),
        (json.dumps([WEATHER, {"type": "function"}]), "number 2 must look like"),
        (json.dumps([{"type": "function", "function": {"name": "get weather"}}]), "number 1 needs function.name"),
        (json.dumps([WEATHER, WEATHER]), "two of them are called 'get_weather'"),
        (json.dumps([WEATHER] * 65), "65 are too many"),
        (
            json.dumps([{"type": "function", "function": {"name": "f", "parameters": {"type": "strin"}}}]),
            "function.parameters of 'f', at type: 'strin'",
        ),
        (json.dumps([{"type": "function", "function": {"name": "f", "parameters": []}}]), "must be a JSON schema"),
    ],
)
def test_tools_that_are_none_are_refused_with_what_and_where(pasted: str, said: str) -> None:
    with pytest.raises(ValueError) as caught:
        tools_from(pasted)
    assert said in str(caught.value)


def test_a_bare_schema_becomes_a_response_format_and_a_response_format_stays() -> None:
    made = format_from(json.dumps(TICKET))
    assert made == {"type": "json_schema", "json_schema": {"name": "answer", "schema": TICKET, "strict": True}}
    assert format_from(made) == made
    assert format_from('{"type": "json_object"}') == {"type": "json_object"}
    assert [format_from(value) for value in ("", None, {"type": "text"}, "{}")] == [None] * 4


@pytest.mark.parametrize(
    ("pasted", "said"),
    [
        ("{", "not JSON, line 1"),
        ("[1]", "must be a JSON schema or a response_format"),
        ('{"type": "json_schema"}', "json_schema.schema is missing"),
        ('{"type": "object", "properties": {"a": {"type": "int"}}}', "json_schema.schema, at properties.a.type: 'int'"),
    ],
)
def test_a_format_that_is_none_is_refused_with_what_and_where(pasted: str, said: str) -> None:
    with pytest.raises(ValueError) as caught:
        format_from(pasted)
    assert said in str(caught.value)


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        ('{"kind": "x", "items": [1, 2]}', "Matches the schema"),
        ('{"kind": "x", "items": [1, "two"]}', "Does not match the schema: at items[1]: 'two' is not of type 'number'"),
        ("{}", "Does not match the schema: 'kind' is a required property"),
        ('{"kind": "x"', "Does not match the schema: not JSON, line 1, column 13"),
        ("Sure! {}", "Does not match the schema: not JSON, line 1, column 1"),
    ],
)
def test_an_answer_matches_its_schema_or_it_is_said_where_it_does_not(answer: str, words: str) -> None:
    found = check(answer, format_from(TICKET))
    assert found and found.words == words


def test_an_answer_that_is_json_is_indented_and_one_that_is_not_stays_as_it_is() -> None:
    found, other = check('{"a":1}', {"type": "json_object"}), check("no", {"type": "json_object"})
    assert found and found.text == '{\n  "a": 1\n}' and not found.fault
    assert other and other.text == "no" and other.fault
    assert check("anything", None) is None


@pytest.mark.parametrize(
    "schema",
    [
        {"$ref": "http://127.0.0.1:9/never-fetched.json"},
        {"$ref": "file:///etc/hostname"},
        {"$ref": "#/$defs/loop", "$defs": {"loop": {"$ref": "#/$defs/loop"}}},
    ],
)
def test_a_schema_that_points_elsewhere_or_at_itself_is_neither_fetched_nor_followed_for_ever(schema: Any) -> None:
    found = check("{}", {"type": "json_schema", "json_schema": {"schema": schema}})
    assert found and "could not be checked" in found.fault


def test_the_arguments_of_a_call_are_indented_where_they_are_json() -> None:
    assert pretty_arguments('{"city":"Zürich"}') == '{\n  "city": "Zürich"\n}'
    assert pretty_arguments("{cut") == "{cut"


def wanting(schema: dict[str, Any]) -> dict[str, Any]:
    return {"type": "json_schema", "json_schema": {"name": "answer", "schema": schema}}


def test_a_catastrophic_pattern_in_an_answer_format_is_given_up_and_said() -> None:
    slow = wanting({"type": "array", "items": {"pattern": r"^(a|aa)+$"}})
    began = time.process_time()
    for number in range(40):  # as many samples as a page can show
        found = check(json.dumps(["a" * 3000 + "!"] * 50 + [number]), slow)
        assert found and found.words.startswith("Not checked: a pattern of the schema takes too long")
    assert time.process_time() - began < 10


def test_a_pattern_that_is_quick_is_checked() -> None:
    plain = wanting({"type": "string", "pattern": "^[A-Z]{2}$"})
    assert check('"DE"', plain).words == "Matches the schema"  # type: ignore[union-attr]
    assert check('"de"', plain).words == "Does not match the schema: 'de' does not match '^[A-Z]{2}$'"  # type: ignore[union-attr]


def test_pattern_properties_are_refused_and_those_of_before_are_not_checked() -> None:
    schema = {"type": "object", "patternProperties": {"^(a|aa)+$": {}}}
    with pytest.raises(ValueError, match="patternProperties are not supported"):
        format_from(schema)
    assert check(json.dumps({"a" * 3000 + "!": 1}), wanting(schema)).unknown  # type: ignore[union-attr]
