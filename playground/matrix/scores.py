"""Scores that a program gives an answer: pure functions on texts, no database.

Each is between 0 and 1; None where there is nothing to compare with. What a person writes as a pattern or a schema is
run on what a model wrote, so both are bounded: a pattern by time, a schema by what it may refer to.
"""

import hashlib
import json
from functools import cached_property, lru_cache
from typing import Annotated, Any, Final, Literal

import regex
from jsonschema import Draft202012Validator
from jsonschema.exceptions import SchemaError
from jsonschema.validators import validator_for
from pydantic import BaseModel, ConfigDict, Field
from rapidfuzz.fuzz import ratio
from referencing.exceptions import Unresolvable

from accounts.errors import ApiError
from playground import patterns

Kind = Literal["exact", "contains", "regex", "schema", "similarity"]
LONGEST_COMPARED: Final = 20_000  # characters of each side of a similarity
LONGEST_VALUE: Final = 20_000


class Score(BaseModel):
    """What an answer is held against: the prompt's expected answer, or a value of the score's own."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: Kind
    value: Annotated[str, Field(max_length=LONGEST_VALUE)] = ""  # empty: the prompt's expected answer; of schema: any
    ignore_case: bool = False

    @cached_property
    def key(self) -> str:  # asked for each answer
        """The same for the same score."""
        return hashlib.sha256(self.model_dump_json().encode()).hexdigest()[:12]

    @property
    def title(self) -> str:
        """Short enough for a table."""
        value = self.value.strip()
        short = f"“{value[:28]}…”" if len(value) > 29 else f"“{value}”" if value else "the expected answer"
        case = ", any case" if self.ignore_case else ""
        return {
            "exact": f"Is {short}{case}",
            "contains": f"Contains {short}{case}",
            "regex": f"Matches {short}{case}",
            "schema": "Fits the JSON schema" if value else "Is JSON",
            "similarity": f"Like {short}{case}",
        }[self.kind]


def checked(score: Score) -> Score:
    """Raises ApiError for a pattern or schema that cannot be used."""
    if score.kind == "regex":
        if not score.value:
            raise ApiError("Write the pattern that an answer should match.", param="value")
        try:
            patterns.compiled(score.value, score.ignore_case)
        except regex.error as error:
            raise ApiError(f"The pattern is not a regular expression: {error}.", param="value") from error
    if score.kind == "schema" and score.value.strip():
        _check_schema(score.value)
    return score


def _check_schema(text: str) -> None:
    try:
        schema = json.loads(text)
        if not isinstance(schema, dict | bool):
            raise ApiError("This is not a JSON schema: a schema is an object.", param="value")
        validator_for(schema, default=Draft202012Validator).check_schema(schema)
    except SchemaError as error:
        raise ApiError(f"This is not a JSON schema: {error.message}", param="value") from error
    except (ValueError, RecursionError) as error:
        raise ApiError(f"The schema is not JSON: {error}", param="value") from error
    if not patterns.is_bounded(schema):
        raise ApiError("patternProperties are not supported here. Name the properties.", param="value")


def score_of(score: Score, answer: str, expected: str = "") -> float | None:
    """Raises patterns.TooSlow."""
    if score.kind == "regex":
        return float(patterns.matches(score.value, answer, ignore_case=score.ignore_case))
    if score.kind == "schema":
        return float(_fits(score.value.strip(), answer))
    wanted = (score.value or expected).strip()
    if not wanted:
        return None
    said = answer.strip()
    if score.ignore_case:
        said, wanted = said.casefold(), wanted.casefold()
    if score.kind == "exact":
        return float(said == wanted)
    if score.kind == "contains":
        return float(wanted in said)
    return ratio(said[:LONGEST_COMPARED], wanted[:LONGEST_COMPARED]) / 100


# ---- schemas ----


@lru_cache(maxsize=64)
def _validator(text: str) -> Any:
    return patterns.validator(json.loads(text))


def _fits(schema: str, answer: str) -> bool:
    """Whether the whole answer is JSON, and fits the schema where there is one."""
    try:
        value = json.loads(answer)
        with patterns.one_answer():
            return not schema or bool(_validator(schema).is_valid(value))
    except (ValueError, RecursionError, Unresolvable, regex.error):
        return False
