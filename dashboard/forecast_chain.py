"""What the stages of a recipe would take, each from the weights that the one before is expected to leave."""

from dataclasses import dataclass
from typing import Final

from dashboard.forecast import Forecast, forecast, start_of
from dashboard.forms_chain import ChainForm
from training.engine.facts import StartFacts
from training.engine.spec import Estimate, Resolved

AFTER: Final = "Its figures come when those of the stage before are there."


@dataclass(frozen=True)
class Total:
    """Of all stages, one after the other."""

    seconds: float
    memory_bytes: int  # of the one that takes most
    disk_bytes: int
    cost: float | None
    currency: str


def forecasts(form: ChainForm) -> list[Forecast]:
    """One for each stage of a form that was validated."""
    found: list[Forecast] = []
    start: StartFacts | None = None
    for part in form.parts:
        before = found[-1] if found else None
        if before and not before.resolved:
            missing = [] if part.cleaned_data.get("training_file") else ["a training file"]
            found.append(Forecast(missing=missing, waits=AFTER))
            continue
        found.append(forecast(part, start))
        if resolved := found[-1].resolved:
            start = left_by(resolved, start or start_of(part))
    return found


def left_by(resolved: Resolved, start: StartFacts | None) -> StartFacts:
    """The shape of the checkpoints that such a job saves."""
    from training.engine.resolve import joins

    if resolved.adaptation == "full" or resolved.saves_merged or (start and start.kind == "full"):
        return StartFacts("full")
    r, alpha, modules = resolved.lora_r, resolved.lora_alpha, set(resolved.target_modules)
    if start and joins(resolved, start):
        r = alpha = (start.lora_r or 0) + (r or 0)
        return StartFacts("lora", r, alpha, tuple(sorted(modules | set(start.target_modules))))
    return StartFacts("lora", r, alpha, tuple(sorted(modules)), resolved.lora_variant)


def total(found: list[Forecast]) -> Total | None:
    """None while a stage has no figures."""
    estimates: list[Estimate] = [each.estimate for each in found if each.estimate]
    if not estimates or len(estimates) < len(found):
        return None
    costs = [each.cost for each in estimates if each.cost is not None]
    return Total(
        seconds=sum(each.seconds for each in estimates),
        memory_bytes=max(each.memory_bytes for each in estimates),
        disk_bytes=sum(each.disk_bytes for each in estimates),
        cost=sum(costs) if costs else None,
        currency=estimates[0].price.currency if estimates[0].price else "",
    )
