"""What is wrong with a job's form, as lines with a link each: the same above the form and on the card beside it."""

from dataclasses import dataclass
from typing import Final

from django.core.exceptions import NON_FIELD_ERRORS

from dashboard.form_groups import GROUPS
from dashboard.forms import IN_TRACKERS, LABELS, MAIN_FIELDS, JobForm

RADIOS: Final = ("validation", "adaptation", "film")  # the group has the place, no control alone
NO_KEY: Final = "no-key"  # a wish that the project's trackers cannot grant
MISSING: Final = "required"
ORDER: Final = (  # of the page
    "training_file", "validation", "validation_file", "split_share", "split_seed", "film", "pinned_prompts",
    "model", "suffix", "label", "method", "beta", *MAIN_FIELDS, *(name for group in GROUPS for name in group.names),
)  # fmt: skip


@dataclass(frozen=True)
class FaultLine:
    """`place` is the id to go to; without one, it is of no field. `is_missing`: nothing was typed there yet."""

    text: str
    name: str = ""
    label: str = ""
    place: str = ""
    is_missing: bool = False


def fault_lines(form: JobForm) -> list[FaultLine]:
    """All errors of a form that was judged, in the order of the page."""
    found = []
    errors = form.errors.as_data()
    for name in (name for name in ORDER if name in errors):
        error = errors[name][0]
        label = LABELS.get(name, name.capitalize())
        found.append(FaultLine(str(error.messages[0]), name, label, place_of(form, name), error.code == MISSING))
    for name, said in form.trackers.errors.items():
        of_field = name in form.trackers.fields
        label = f"Trackers, {form.trackers.fields[name].label}" if of_field else "Trackers"
        found.append(FaultLine(said[0], name, label, form.trackers[name].id_for_label if of_field else "trackers"))
    for error in errors.get(NON_FIELD_ERRORS, []):
        if error.code == NO_KEY:
            found.append(FaultLine(str(error.messages[0]), label="Trackers", place="trackers"))
        elif error.code != IN_TRACKERS:
            found.append(FaultLine(str(error.messages[0])))
    return found


def place_of(form: JobForm, name: str) -> str:
    """The id of a control, for a link to it; empty where the form has none of this name."""
    if name in RADIOS:
        return f"field-{name}"
    return form[name].id_for_label if name in form.fields else ""
