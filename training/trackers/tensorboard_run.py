"""TensorBoard's event files, written without TensorFlow and torch."""

from pathlib import Path
from typing import Any

from tensorboard.backend.event_processing.event_file_loader import EventFileLoader
from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.summary.writer.event_file_writer import EventFileWriter


class TensorboardRun:
    """Event files under the run folder; `tensorboard --logdir` shows them."""

    url = ""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.before = steps_in(folder)
        self.writer = EventFileWriter(str(folder))

    def last_step(self) -> int:
        return self.before

    def describe(self, facts: dict[str, Any]) -> None:
        pass

    def log(self, step: int, time: float, figures: dict[str, float]) -> None:
        values = [Summary.Value(tag=name, simple_value=value) for name, value in figures.items()]
        self.writer.add_event(Event(wall_time=time, step=step, summary=Summary(value=values)))

    def checkpoint(self, folder: Path, facts: dict[str, Any]) -> None:
        pass

    def flush(self) -> None:
        self.writer.flush()

    def close(self, succeeded: bool) -> None:
        self.writer.close()


def steps_in(folder: Path) -> int:
    """The last step in the files of former processes; half a record at the end of a file is no step."""
    steps = [event.step for path in folder.glob("events.out.tfevents.*") for event in EventFileLoader(str(path)).Load()]
    return max(steps, default=0)
