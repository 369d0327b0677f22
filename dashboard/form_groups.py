"""The advanced part of the job's form: its fields in groups, each with a line of what is set in it."""

from dataclasses import dataclass
from typing import Any, Final

from django.forms import BoundField, Form

from dashboard.forms import LABELS, LIST_FIELDS, LORA_FIELDS


@dataclass(frozen=True)
class Group:
    """`first` stands over the others, across the whole width: which kind of weights."""

    key: str
    title: str
    about: str
    fields: tuple[str, ...]
    first: str = ""

    @property
    def names(self) -> tuple[str, ...]:
        return (self.first, *self.fields) if self.first else self.fields


GROUPS: Final = (
    Group(
        "schedule", "Batch and schedule", "row length, learning rate over the run, seed",
        ("max_length", "packing", "lr_scheduler", "warmup_ratio", "min_learning_rate_ratio", "seed"),
    ),
    Group("adapter", "Adapter", "which weights learn, and how many", LORA_FIELDS, "adaptation"),
    Group(
        "optimizer", "Optimizer", "regularisation, clipping, noise",
        ("optimizer", "weight_decay", "max_grad_norm", "neftune_alpha"),
    ),
    Group(
        "checkpoints", "Validation and checkpoints", "how often, and what is kept on disk",
        ("validate_every_steps", "keep_checkpoints", "keep_count", "keep_metric"),
    ),
    Group(
        "stopping", "Stop early and guards", "when a run ends by itself",
        ("stop_metric", "stop_patience", "stop_min_change", "on_spike"),
    ),
    Group(
        "memory", "Memory and speed", "number format, recomputing, several devices",
        ("dtype", "gradient_checkpointing", "sharding"),
    ),
)  # fmt: skip
ALWAYS_SET: Final = ("seed",)  # it has a value of its own in every form and says nothing of what somebody chose


@dataclass(frozen=True)
class Row:
    """A field with what the form would hold if nobody touched it, and what the parent job has."""

    field: BoundField
    usual: str
    parent: Any

    @property
    def is_counted(self) -> bool:
        return self.field.name not in ALWAYS_SET

    @property
    def is_set(self) -> bool:
        """To something else than what an empty box means."""
        held = _as_text(self.field.name, self.field.value())
        return self.is_counted and held not in ("", _as_text(self.field.name, self.usual))


@dataclass(frozen=True)
class ShownGroup:
    group: Group
    rows: list[Row]
    first: Row | None
    said: list[str]  # the labels of what is set
    wrong: int

    @property
    def is_open(self) -> bool:
        """A value that was set, or is wrong, must not hide."""
        return bool(self.said or self.wrong)


def shown_groups(form: Form, usual: dict[str, Any], parent: dict[str, Any]) -> list[ShownGroup]:
    return [_shown(form, group, usual, parent) for group in GROUPS]


def _shown(form: Form, group: Group, usual: dict[str, Any], parent: dict[str, Any]) -> ShownGroup:
    rows = {name: Row(form[name], str(usual.get(name, "")), parent.get(name)) for name in group.names}
    full = form["adaptation"].value() == "full"  # its adapter is out of sight
    seen = [row for name, row in rows.items() if not (full and name in LORA_FIELDS)]
    said = [LABELS[row.field.name] for row in seen if row.is_set]
    wrong = sum(1 for name in group.names if name in form.errors)
    return ShownGroup(group, [rows[name] for name in group.fields], rows.get(group.first), said, wrong)


def _as_text(name: str, value: Any) -> str:
    """As the page compares it: auto is empty, and a list is the same with and without spaces."""
    text = "" if value is None else str(value).strip().lower()
    text = "" if text == "auto" else text
    return ",".join(text.replace(",", " ").split()) if name in LIST_FIELDS else text
