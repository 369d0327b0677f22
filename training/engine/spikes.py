"""A loss far above the last ones: named with the lines of its batch."""

from collections import deque
from statistics import median

from training.engine.method import TrainingRows

REMEMBERED = 20
SETTLED = 5  # losses whose median is the usual one; before, the largest of them stands for it
TIMES, NATS = 2.0, 0.5  # of the median, and above it
QUIET_STEPS = 10  # after a spike that was told
LINES_NAMED = 20


class Spikes:
    """The last losses of this process."""

    def __init__(self) -> None:
        self._losses: deque[float] = deque(maxlen=REMEMBERED)
        self._quiet = 0

    def usual(self, loss: float) -> float | None:
        """The loss that `loss` is far above; None when it is nothing special, or was told just now. The first loss of a
        start has none before it."""
        middle = (median if len(self._losses) >= SETTLED else max)(self._losses) if self._losses else None
        self._losses.append(loss)
        self._quiet = max(0, self._quiet - 1)
        if middle is None or self._quiet or loss <= TIMES * middle or loss <= middle + NATS:
            return None
        self._quiet = QUIET_STEPS
        return middle


def named_lines(rows: TrainingRows, chosen: list[int]) -> str:
    """Where these rows stand in their file, for people; empty for rows that stand on no line of their own."""
    lines = getattr(rows, "lines", None)
    if lines is None or not len(chosen):
        return ""
    numbers = sorted({int(lines[row]) for row in chosen})
    shown = ", ".join(str(number) for number in numbers[:LINES_NAMED])
    more = f" and {len(numbers) - LINES_NAMED:,} more" if len(numbers) > LINES_NAMED else ""
    return f"line{'s' if len(numbers) > 1 else ''} {shown}{more} of the training file"
