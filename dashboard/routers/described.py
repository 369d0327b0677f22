"""Parameters and answers of job routes that ninja cannot read off their functions, as OpenAPI has them."""

from typing import Any

IDEMPOTENCY_KEY: dict[str, Any] = {
    "name": "Idempotency-Key",
    "in": "header",
    "schema": {"type": "string"},
    "description": "A name for this create: sent again within a day, it gives back the job that was made.",
}
BY_METADATA: dict[str, Any] = {
    "name": "metadata",
    "in": "query",
    "style": "deepObject",
    "explode": True,
    "schema": {"type": "object", "additionalProperties": {"type": "string"}},
    "description": "`metadata[key]=value`: jobs that have these pairs; `metadata=null`: those without any.",
}
WRITTEN: dict[int, Any] = {
    200: {"content": {"application/json": {"schema": {"type": "object"}}, "application/yaml": {"schema": {}}}},
}
