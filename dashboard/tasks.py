"""Dramatiq actors of the dashboard, thin: ids in, nothing out."""

import dramatiq


@dramatiq.actor(queue_name="default", max_retries=0, time_limit=float("inf"))
def prepare_takeaway(project_id: str) -> None:
    """Write the rows of a project, to be taken away with its files."""
    from dashboard.owned import takeaway

    takeaway.prepare(project_id)
