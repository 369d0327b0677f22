"""Null means absent in what is asked of the API, as OpenAI's SDK sends it; the description says so of each field."""

from typing import Any, Self

from pydantic import BaseModel, GetJsonSchemaHandler, ModelWrapValidatorHandler, model_validator
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema

NULL = {"type": "null"}
WORDS = ("default", "description", "title")  # of a field, not of its type


class NullIsAbsent(BaseModel):
    # "wrap", because ninja's own wraps what comes in an object of its own, and a "before" would only see that
    @model_validator(mode="wrap")
    @classmethod
    def null_is_absent(cls, data: Any, handler: ModelWrapValidatorHandler[Self]) -> Self:
        given = {key: value for key, value in data.items() if value is not None} if isinstance(data, dict) else data
        return handler(given)

    @classmethod
    def __get_pydantic_json_schema__(cls, core_schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        described = handler(core_schema)
        whole = handler.resolve_ref_schema(described)
        fields = whole.get("properties", {})
        for name in set(fields) - set(whole.get("required", ())):
            fields[name] = or_null(fields[name])
        return described


def or_null(field: JsonSchemaValue) -> JsonSchemaValue:
    """The description of a field that may also be null."""
    kinds = field.get("anyOf")
    if kinds is None:
        kinds = [{key: value for key, value in field.items() if key not in WORDS}]
    if NULL in kinds:
        return field
    return {**{key: field[key] for key in WORDS if key in field}, "anyOf": [*kinds, NULL]}
