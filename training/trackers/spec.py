"""What a tracker is asked for, and what it says of itself. pydantic only: no Django, and neither wandb nor tensorboard.

In the run folder, for each tracker:
    trackers/KIND/config.json   written by the site: TrackerConfig
    trackers/KIND/state.json    written by the tracker's process: TrackerState
    trackers/KIND/lock          held by that process
    trackers/ended              written by the site when the job has ended and nothing more comes
"""

import time
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from training.nulls import NullIsAbsent

Kind = Literal["wandb", "tensorboard"]
TITLES: dict[str, str] = {"wandb": "Weights & Biases", "tensorboard": "TensorBoard"}
Tag = Annotated[str, Field(min_length=1, max_length=64)]


class Strict(BaseModel):
    model_config = ConfigDict(extra="forbid")


class WandbWish(NullIsAbsent, Strict):
    """OpenAI's fields, and two of ours: `checkpoints`, `offline`. Null is absent."""

    project: Annotated[str, Field(min_length=1, max_length=128, pattern=r"^[^/\\#?%:]+$")]
    name: Annotated[str, Field(max_length=128)] | None = None  # of the run; None: the job's id
    entity: Annotated[str, Field(max_length=128)] | None = None  # team or user; None: the key's own
    tags: Annotated[list[Tag], Field(max_length=32)] = []
    checkpoints: bool = False  # upload each checkpoint as an artifact
    offline: bool = False  # keep the run in the run folder, for `wandb sync`


class WandbIntegration(Strict):
    type: Literal["wandb"]
    wandb: WandbWish


class TensorboardIntegration(Strict):
    type: Literal["tensorboard"]


Integration = Annotated[WandbIntegration | TensorboardIntegration, Field(discriminator="type")]


class TrackerConfig(Strict):
    """What the process needs; the key comes by its environment."""

    job_id: str
    base_model: str
    wandb: WandbWish | None = None
    configuration: dict[str, Any] = {}  # of the job, for the run's page


class TrackerState(Strict):
    """What the process says of itself."""

    state: Literal["starting", "following", "paused", "waiting", "done"] = "starting"
    text: str = ""  # for people; why it waits
    step: int = 0  # last one handed over
    offset: int = 0  # bytes of events.jsonl it has seen
    time: float = Field(default_factory=time.time)
    retry_at: float = 0.0
    failures: int = 0  # in a row
    url: str = ""
    pid: int = 0


def place_of(run_folder: Path, kind: str) -> Path:
    return run_folder / "trackers" / kind


def lock_of(place: Path) -> Path:
    """Held by the process that follows for this tracker."""
    return place / "lock"


def ended_mark(run_folder: Path) -> Path:
    return run_folder / "trackers" / "ended"


def read_state(place: Path) -> TrackerState | None:
    """None before the process wrote its first."""
    try:
        return TrackerState.model_validate_json((place / "state.json").read_text())
    except (OSError, ValueError):
        return None


def write_state(place: Path, state: TrackerState) -> None:
    part = place / "state.json.part"
    part.write_text(state.model_dump_json())
    part.replace(place / "state.json")
