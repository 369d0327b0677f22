"""What a person sees while a proof runs: parts with their times, one line that moves, tables."""

import shutil
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

QUIET_SECONDS = 15.0  # without a terminal the moving line is printed this often
BLOCKS = " ▏▎▍▌▋▊▉█"


class Screen:
    """Prints to stdout; on a terminal the last line moves."""

    def __init__(self) -> None:
        self.began = time.monotonic()
        self.parts: list[tuple[str, float]] = []
        self.terminal = sys.stdout.isatty()
        self.status_shown = ""
        self.status_at = 0.0

    def heading(self, text: str) -> None:
        self._write(f"\n{text}\n{'─' * len(text)}")

    def line(self, text: str) -> None:
        """One line with the time since the start."""
        passed = int(time.monotonic() - self.began)
        self._write(f"{passed // 60:3}:{passed % 60:02}  {text}")

    def table(self, lines: Sequence[str]) -> None:
        self._write("\n" + "\n".join(f"        {line}" for line in lines) + "\n")

    def status(self, text: str) -> None:
        """The line that moves; empty takes it away."""
        if self.terminal:
            width = shutil.get_terminal_size().columns - 9
            sys.stdout.write(f"\r\x1b[2K{'        ' + text[:width] if text else ''}")
            sys.stdout.flush()
        elif text and text != self.status_shown and time.monotonic() - self.status_at > QUIET_SECONDS:
            self.status_at = time.monotonic()
            self.line(text)
        self.status_shown = text

    @contextmanager
    def part(self, what: str) -> Iterator[None]:
        began = time.monotonic()
        yield
        seconds = time.monotonic() - began
        self.parts.append((what, seconds))
        self.line(f"✓ {what} in {duration(seconds)}")

    def times(self) -> None:
        """Minutes of each part and in all."""
        rows = [[what, f"{seconds / 60:.1f} min"] for what, seconds in self.parts]
        rows.append(["in all", f"{(time.monotonic() - self.began) / 60:.1f} min"])
        self.table(table(["part", "time"], rows))

    def _write(self, text: str) -> None:
        if self.terminal and self.status_shown:
            sys.stdout.write("\r\x1b[2K")
        sys.stdout.write(text + "\n")
        if self.terminal and self.status_shown:
            self.status(self.status_shown)
        sys.stdout.flush()


def bar(share: float, width: int = 24) -> str:
    """A bar in eighths of a character."""
    eighths = round(max(0.0, min(1.0, share)) * width * 8)
    full, rest = divmod(eighths, 8)
    drawn = "█" * full + (BLOCKS[rest] if rest else "")
    return f"▕{drawn:<{width}}▏{max(0.0, min(1.0, share)) * 100:3.0f} %"


def duration(seconds: float) -> str:
    seconds = max(0.0, seconds)
    if seconds < 60:
        return f"{seconds:.0f} s" if seconds >= 10 else f"{seconds:.1f} s"
    return f"{int(seconds // 60)} min {int(seconds % 60):02} s"


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Lines of a table; cells that hold figures stand at the right."""
    widths = [max(len(row[i]) for row in [head, *rows]) for i in range(len(head))]
    figures = [all(row[i][:1] in "0123456789+-" for row in rows if row[i]) for i in range(len(head))]

    def drawn(row: Sequence[str]) -> str:
        cells = (
            cell.rjust(width) if figure else cell.ljust(width)
            for cell, width, figure in zip(row, widths, figures, strict=True)
        )
        return "  ".join(cells).rstrip()

    return [drawn(head), "  ".join("─" * width for width in widths), *(drawn(row) for row in rows)]
