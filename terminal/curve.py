"""A curve in braille: each character holds two by four points. Pure functions on lists of (step, value)."""

import math
from collections.abc import Sequence

Points = Sequence[tuple[int, float]]
DOTS = ((0x01, 0x08), (0x02, 0x10), (0x04, 0x20), (0x40, 0x80))  # by row and column within a character
VALIDATION = "◆"
LABEL = 9  # characters at the left for the axis


def draw(training: Points, validation: Points, width: int, height: int) -> list[str]:
    """Lines of `width` characters: the training loss as dots, validation losses as marks on them; the axis at the left
    has the highest and the lowest value. Nothing to draw: no lines."""
    known = [(step, value) for step, value in (*training, *validation) if math.isfinite(value)]
    columns = width - LABEL - 1
    if not known or columns < 4 or height < 2:
        return []
    steps, values = [step for step, _ in known], [value for _, value in known]
    low, high, first, last = min(values), max(values), min(steps), max(steps)
    cells, marks = [[0] * columns for _ in range(height)], {}
    for step, value in _thinned(training, columns * 2):
        x = _place(step, first, last, columns * 2)
        y = _place(high - value, 0, high - low, height * 4)
        cells[y // 4][x // 2] |= DOTS[y % 4][x % 2]
    for step, value in validation:
        if math.isfinite(value):
            x, y = _place(step, first, last, columns), _place(high - value, 0, high - low, height)
            marks[y, x] = VALIDATION
    lines = []
    for y, row in enumerate(cells):
        label = f"{high:.4g}" if y == 0 else f"{low:.4g}" if y == height - 1 else ""
        drawn = "".join(marks.get((y, x)) or (chr(0x2800 + dots) if dots else " ") for x, dots in enumerate(row))
        lines.append(f"{label:>{LABEL - 1}} │{drawn}".rstrip())
    return [*lines, f"{'':{LABEL}}└{f' step {first:,} to {last:,} ':─<{columns}}"]


def _place(value: float, low: float, high: float, places: int) -> int:
    return min(places - 1, int((value - low) / (high - low) * places)) if high > low else 0


def _thinned(points: Points, most: int) -> Points:
    """Of many points the mean of each stretch that falls on one dot, so that noise does not fill the picture."""
    known = [(step, value) for step, value in points if math.isfinite(value)]
    if len(known) <= most:
        return known
    size = math.ceil(len(known) / most)
    groups = [known[at : at + size] for at in range(0, len(known), size)]
    return [(group[-1][0], sum(value for _, value in group) / len(group)) for group in groups]
