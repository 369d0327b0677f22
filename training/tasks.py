"""Dramatiq actors, thin: ids in, nothing out. Queue `train` holds training only, `default` the short work."""

import dramatiq


@dramatiq.actor(queue_name="default", max_retries=0, time_limit=float("inf"))
def check_file(file_id: str) -> None:
    """Check an uploaded file line by line and count what is in it."""
    from training import files

    files.check(file_id)


@dramatiq.actor(queue_name="default", max_retries=0, time_limit=float("inf"))
def download_model(base_model_id: int) -> None:
    """Bring a base model to disk."""
    from training import catalogue

    catalogue.download(base_model_id)


@dramatiq.actor(queue_name="default", max_retries=0, time_limit=float("inf"))
def count_file_tokens(file_id: str, base_model_id: int) -> None:
    """Count the tokens of a large file for one base model."""
    from training import files

    files.count_in_worker(file_id, base_model_id)
