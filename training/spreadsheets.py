"""Cells of a CSV that somebody opens in a spreadsheet."""

from typing import Final

FORMULA: Final = ("=", "+", "-", "@", "\t", "\r")  # what begins so would be computed


def plain(text: str) -> str:
    """No cell is a formula: names and answers are written by strangers."""
    return f"'{text}" if text.startswith(FORMULA) else text
