"""Texts side by side, each in a column of its own."""

import textwrap
from collections.abc import Sequence
from itertools import zip_longest

NARROWEST = 24
GAP = "  "


def beside(titles: Sequence[str], texts: Sequence[str], width: int) -> list[str]:
    """Lines of at most `width` characters. Where columns would be too narrow the texts follow each other."""
    each = (width - len(GAP) * (len(texts) - 1)) // max(1, len(texts))
    if each < NARROWEST:
        return [line for title, text in zip(titles, texts, strict=True) for line in _column(title, text, width)]
    columns = [_column(title, text, each) for title, text in zip(titles, texts, strict=True)]
    return [GAP.join(f"{cell:{each}}" for cell in row).rstrip() for row in zip_longest(*columns, fillvalue="")]


def _column(title: str, text: str, width: int) -> list[str]:
    short = title if len(title) <= width else f"…{title[-(width - 1) :]}"
    lines = [line for part in text.splitlines() for line in textwrap.wrap(part, width) or [""]]
    return [short, "─" * width, *lines, ""]
