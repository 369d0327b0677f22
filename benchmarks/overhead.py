"""What telling, looking and saving cost a run of Hone's own trainer, as shares of the time of its steps.

    python -m benchmarks.overhead [--rows 64] [--model FOLDER] [--data FILE.jsonl]

The trainer runs in this process, as it does in a job, with a clock around each of these parts:

    events        the lines of events.jsonl, from which metrics are recorded and curves drawn
    control       looking for the files by which a run is paused, stopped or asked for a checkpoint
    checkpoints   the probes, and copying what is to be written
    beside        writing the copy, on a thread of its own while the training goes on (processor time)
"""

import shutil
import sys
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

from benchmarks.options import parser, prepared
from benchmarks.subjects import spec_of, valid_tokens
from training.engine import loop, sft
from training.engine.beside import Beside
from training.engine.control import Control
from training.engine.emit import EventWriter
from training.engine.spec import JobSpec


class Clocks:
    """Seconds by part, one entry a call. What a part calls of another part counts for the outer one alone."""

    def __init__(self) -> None:
        self.seconds: dict[str, list[float]] = defaultdict(list)
        self._thread = threading.local()

    @contextmanager
    def around(
        self, owner: Any, name: str, part: str, clock: Callable[[], float] = time.perf_counter
    ) -> Iterator[None]:
        """Times `owner.name`, while it lasts."""
        own = getattr(owner, name)

        def timed(*args: Any, **kwargs: Any) -> Any:
            if getattr(self._thread, "part", None):
                return own(*args, **kwargs)
            self._thread.part, began = part, clock()
            try:
                return own(*args, **kwargs)
            finally:
                self.seconds[part].append(clock() - began)
                self._thread.part = None

        with patch.object(owner, name, timed):
            yield


def measure(spec: JobSpec, folder: Path) -> dict[str, list[float]]:
    """A whole run; seconds of every step and of every call of each part."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    (folder / "spec.json").write_text(spec.model_dump_json())
    clocks = Clocks()
    with ExitStack() as watched:
        watched.enter_context(clocks.around(loop, "_step_that_fits", "steps"))
        watched.enter_context(clocks.around(loop, "validate", "validation"))
        watched.enter_context(clocks.around(loop, "save", "checkpoints"))
        watched.enter_context(clocks.around(loop, "keep_resume_point", "checkpoints"))
        watched.enter_context(clocks.around(EventWriter, "write", "events"))
        watched.enter_context(clocks.around(Control, "wish", "control"))
        watched.enter_context(clocks.around(Beside, "_do", "beside", time.thread_time))
        if loop.run(folder, sft.METHOD) or not clocks.seconds["checkpoints"]:
            sys.exit(f"The run did not come to its end: {(folder / 'events.jsonl').read_text()[-1000:]}")
    return clocks.seconds


def shares(seconds: dict[str, list[float]]) -> str:
    """Of the steps' time, as Markdown."""
    steps = sum(seconds["steps"])
    lines = ["| part | calls | ms a call | share of the steps' time |", "|---|---|---|---|"]
    for part in ("events", "control", "checkpoints", "beside"):
        found = seconds[part]
        lines.append(f"| {part} | {len(found)} | {1e3 * sum(found) / len(found):.2f} | {sum(found) / steps:.2%} |")
    return "\n".join(lines)


def main() -> None:
    asked = parser(__doc__, rows=64)
    asked.add_argument("--resume-seconds", type=float, default=600.0, help="between resume points, as in a job")
    options = asked.parse_args()
    folder = options.home / "bench"
    recipe, data = prepared(options, folder / "data-overhead")
    spec = spec_of(recipe, data, resume_every_seconds=options.resume_seconds)
    seconds = measure(spec, folder / "runs-overhead")
    trains = sum(data.lengths) * recipe.epochs / sum(seconds["steps"])
    validates = valid_tokens(data) / seconds["validation"][-1]  # the whole one comes after the sampled one
    print(
        f"\n{len(seconds['steps'])} steps at {trains:.0f} tokens/s; validation at {validates / trains:.2f} times that\n"
    )
    print(shares(seconds))


if __name__ == "__main__":
    main()
