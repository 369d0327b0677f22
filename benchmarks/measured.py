"""What one run of one subject took, and the table of all."""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

WARM_STEPS = 2  # left out of the steady state: caches fill, kernels are chosen


@dataclass(frozen=True)
class Measured:
    """One run from the start of its process to its end. Times are unix seconds; lists have one entry a step."""

    subject: str
    began: float
    ended: float
    step_ends: list[float]
    tokens: list[int]  # through the model, without padding
    trained: list[int]  # that bear loss
    first_loss: float
    valid_tokens: int
    valid_seconds: float
    peak_bytes: int
    cpu_seconds: float  # of all threads, the whole run: what a busy machine distorts least
    valid_loss: float | None = None  # of the saved adapter, by benchmarks.judge

    @property
    def seconds(self) -> float:
        return self.ended - self.began

    @property
    def load_seconds(self) -> float:
        """Before the second step: interpreter, libraries, weights, data, and the first step."""
        return self.step_ends[0] - self.began

    @property
    def after_seconds(self) -> float:
        """After the last step: validation, checkpoint, leaving."""
        return self.ended - self.step_ends[-1]

    def _steady(self, counts: list[int]) -> float:
        warm = min(WARM_STEPS, len(counts) - 1)
        return sum(counts[warm:]) / (self.step_ends[-1] - self.step_ends[warm - 1])

    @property
    def figures(self) -> dict[str, float]:
        return {
            "tokens/s": self._steady(self.tokens),
            "trained/s": self._steady(self.trained),
            "whole tokens/s": sum(self.tokens) / self.seconds,
            "valid tokens/s": self.valid_tokens / self.valid_seconds,
            "start s": self.load_seconds,
            "after s": self.after_seconds,
            "whole s": self.seconds,
            "cpu ms/token": 1e3 * self.cpu_seconds / sum(self.tokens),
            "peak GiB": self.peak_bytes / 2**30,
            "first loss": self.first_loss,
            "valid loss": self.valid_loss if self.valid_loss is not None else float("nan"),
        }


def medians(runs: Sequence[Measured]) -> dict[str, dict[str, float]]:
    """Of every subject's runs, in the order of their first appearance."""
    table: dict[str, dict[str, float]] = {}
    for subject in dict.fromkeys(run.subject for run in runs):
        figures = [run.figures for run in runs if run.subject == subject]
        table[subject] = {name: median(found[name] for found in figures) for name in figures[0]}
    return table


def table(runs: Sequence[Measured]) -> str:
    """Medians as Markdown, with Hone's ratio to each peer."""
    found = medians(runs)
    names = [*next(iter(found.values()))]
    lines = ["| subject (runs) | " + " | ".join(names) + " |", "|---" * (len(names) + 1) + "|"]
    for subject, figures in found.items():
        count = sum(run.subject == subject for run in runs)
        cells = [_number(name, figures[name]) for name in names]
        lines.append(f"| {subject} ({count}) | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def ratios(runs: Sequence[Measured]) -> str:
    found = medians(runs)
    hone = found["hone"]
    lines = []
    for subject, peer in found.items():
        if subject != "hone":
            lines.append(
                f"hone against {subject}: {hone['tokens/s'] / peer['tokens/s']:.2f}x steady state, "
                f"{hone['whole tokens/s'] / peer['whole tokens/s']:.2f}x whole run, "
                f"{peer['cpu ms/token'] / hone['cpu ms/token']:.2f}x by processor time, "
                f"{hone['peak GiB'] / peer['peak GiB']:.2f}x memory, "
                f"validation loss {hone['valid loss']:.4f} against {peer['valid loss']:.4f} "
                f"({hone['valid loss'] - peer['valid loss']:+.4f})"
            )
    share = hone["valid tokens/s"] / hone["tokens/s"]
    lines.append(f"hone validates at {share:.2f}x the speed of its training")
    return "\n".join(lines)


def _number(name: str, value: float) -> str:
    if "loss" in name:
        return f"{value:.4f}"
    return f"{value:.2f}" if "GiB" in name or "ms" in name else f"{value:,.0f}" if value >= 100 else f"{value:.1f}"
