"""When a model that is still cold will be ready, from what the same model and its server took the last time."""

import math
from typing import Any

from django.db.models import Max, Q
from django.utils import timezone

from playground.models import Deployment

STARTING = "Starting vLLM; this takes about a minute."  # the reason of a row whose server is not up yet
UNKNOWN_SECONDS = 10  # nothing was measured here, or it takes longer than it did
MOST_SECONDS = 600
State = Deployment.State


def seconds_left(row: Deployment) -> int:
    """Whole seconds, rounded up. What waits for something else (memory, a training) is told the time after that."""
    siblings = Deployment.objects.filter(Q(base_model=row.family) | Q(checkpoint__base_model=row.family))
    took: dict[str, Any] = siblings.aggregate(start=Max("start_seconds"), load=Max("load_seconds"))
    load = row.load_seconds or took["load"]
    start = row.start_seconds or took["start"]
    if row.state == State.LOADING:
        known = [start, load] if row.reason == STARTING else [load]
        passed = (timezone.now() - row.changed_at).total_seconds()
    else:
        known, passed = ([load] if siblings.ready().exists() else [start, load]), 0.0
    if None in known:
        return UNKNOWN_SECONDS
    left = math.ceil(sum(known) - passed)
    return min(left, MOST_SECONDS) if left > 0 else UNKNOWN_SECONDS
