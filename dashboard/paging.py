"""Cursor paging in OpenAI's way: `?after=<id of the last item>&limit=n` -> `data` and `has_more`."""

from typing import Annotated, Any, Literal, TypeVar

from django.db.models import Model, Q, QuerySet
from ninja import Query

from accounts.errors import ApiError

Row = TypeVar("Row", bound=Model)
Limit = Annotated[int, Query(ge=1, le=10_000)]
Order = Annotated[Literal["asc", "desc", "ascending", "descending"], Query()]


def page(
    rows: "QuerySet[Row]", *, after: str | None, limit: int, order: str = "desc", id_field: str = "pk"
) -> tuple[list[Row], bool]:
    """The rows that follow `after` by (created_at, primary key), and whether there are more."""
    newest_first = order.startswith("desc")
    sign, side = ("-", "lt") if newest_first else ("", "gt")
    if after:
        last: Any = rows.filter(**{id_field: after}).first()
        if last is None:
            raise ApiError(f"There is no item '{after}' in this list.", param="after", code="invalid_value")
        rows = _beyond(rows, last, side)
    found = list(rows.order_by(f"{sign}created_at", f"{sign}pk")[: limit + 1])
    return found[:limit], len(found) > limit


def older(rows: "QuerySet[Row]", last: Any) -> "QuerySet[Row]":
    """Those that come after this one where the newest is first."""
    return _beyond(rows, last, "lt")


def _beyond(rows: "QuerySet[Row]", last: Any, side: str) -> "QuerySet[Row]":
    # the first condition follows from the second, and is the one that an index can begin at
    at, same = last.created_at, Q(created_at=last.created_at, **{f"pk__{side}": last.pk})
    return rows.filter(**{f"created_at__{side}e": at}).filter(Q(**{f"created_at__{side}": at}) | same)
