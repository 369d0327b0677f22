"""How a comparison is looked at: what of it is in the page's address, so that the address reopens the same view.

?fold=B,E folds columns B and E to strips; ?diff=A marks in every other column how its words differ from those of A.
"""

from dataclasses import dataclass, field
from urllib.parse import parse_qs, urlencode, urlsplit

from django.http import HttpRequest

from playground.forms import LETTERS


@dataclass(frozen=True)
class Look:
    """Indexes of columns; what an address says of a column that is not there counts for nothing."""

    columns: int
    folded: frozenset[int] = field(default_factory=frozenset)
    against: int | None = None  # the column that the others are compared with

    @property
    def classes(self) -> str:
        """Of the sheets: how many columns are open and folded, and which are folded."""
        folded = " ".join(f"fold-{index}" for index in sorted(self.folded))
        return f"columns-{self.columns - len(self.folded)} folded-{len(self.folded)} {folded}".rstrip()

    @property
    def choices(self) -> list[tuple[str, str, bool]]:
        """Each column that the others can be compared with: its letter, the query of its address, whether it is it."""
        folded = [LETTERS[index] for index in sorted(self.folded)]
        chosen = [None, *range(self.columns)]
        return [(self._name(index), self._query(folded, index), index == self.against) for index in chosen]

    @staticmethod
    def _name(index: int | None) -> str:
        return "none" if index is None else LETTERS[index]

    @staticmethod
    def _query(folded: list[str], against: int | None) -> str:
        asked = {"fold": ",".join(folded), "diff": "" if against is None else LETTERS[against]}
        return "?" + urlencode({name: value for name, value in asked.items() if value}, safe=",")


def look_of(request: HttpRequest, columns: int) -> Look:
    """What the address in the person's browser says; for a part that htmx fetches, that of the page around it."""
    query = request.META["QUERY_STRING"]
    if request.htmx and request.htmx.current_url:  # type: ignore[attr-defined]
        query = urlsplit(request.htmx.current_url).query  # type: ignore[attr-defined]
    asked = parse_qs(query)
    against = min(_indexes(asked.get("diff", [""])[0], columns), default=None)
    return Look(columns, _indexes(asked.get("fold", [""])[0], columns), against)


def _indexes(letters: str, columns: int) -> frozenset[int]:
    return frozenset(index for index, letter in enumerate(LETTERS[:columns]) if letter in letters.upper().split(","))
