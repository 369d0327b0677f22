"""Patterns and JSON schemas that a person writes, run on what a model wrote: pure functions, bounded in time.

`re` can take years for one line ("(a|aa)+$" does) and cannot be interrupted; nothing here uses it. A schema refers to
nothing outside itself, so nothing is fetched.
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import lru_cache
from typing import Any, Final

import regex
from jsonschema import Draft202012Validator
from jsonschema.exceptions import ValidationError
from jsonschema.validators import extend, validator_for
from referencing import Registry

SECONDS: Final = 0.1  # for one match
ANSWER_SECONDS: Final = 0.3  # for all matches on one answer; a schema may have many
NOT_BOUNDED: Final = "patternProperties"  # the one keyword whose patterns jsonschema matches by itself

_left: ContextVar[list[float] | None] = ContextVar("left", default=None)  # seconds of this answer, in a list of one


class TooSlow(Exception):
    """The pattern took too long on one answer: it would hold up every other."""


@contextmanager
def one_answer() -> Iterator[None]:
    """All patterns that are matched within share ANSWER_SECONDS of this thread's work."""
    token = _left.set([ANSWER_SECONDS])
    try:
        yield
    finally:
        _left.reset(token)


@lru_cache(maxsize=64)
def compiled(pattern: str, ignore_case: bool = False) -> "regex.Pattern[str]":
    """Raises regex.error."""
    return regex.compile(pattern, regex.IGNORECASE if ignore_case else 0)


def matches(pattern: str, text: str, *, ignore_case: bool = False) -> bool:
    """Whether it is found anywhere in the text. Raises TooSlow, regex.error."""
    left = _left.get() or [SECONDS]
    if left[0] <= 0:
        raise TooSlow(pattern)
    began = time.thread_time()
    try:
        return compiled(pattern, ignore_case).search(text, timeout=min(SECONDS, left[0])) is not None
    except TimeoutError as error:
        raise TooSlow(pattern) from error
    finally:
        left[0] -= time.thread_time() - began


def _bounded(validator: Any, pattern: str, instance: Any, schema: Any) -> Iterator[ValidationError]:
    """The keyword `pattern`, with our limit of time."""
    if isinstance(instance, str) and not matches(pattern, instance):
        yield ValidationError(f"{instance!r} does not match {pattern!r}")


@lru_cache(maxsize=8)
def _kind(known: type[Any]) -> type[Any]:
    return extend(known, {"pattern": _bounded})  # type: ignore[no-any-return]


def validator(schema: Any) -> Any:
    """Of jsonschema, by the draft that the schema names. Its checks raise TooSlow, regex.error."""
    return _kind(validator_for(schema, default=Draft202012Validator))(schema, registry=Registry())


def is_bounded(schema: Any) -> bool:
    """No pattern in it escapes the limit of time."""
    return NOT_BOUNDED not in _names(schema)


def _names(schema: Any) -> set[str]:
    """Every key that stands anywhere in it."""
    if isinstance(schema, list):
        return set().union(*map(_names, schema))
    return set(schema).union(*map(_names, schema.values())) if isinstance(schema, dict) else set()
