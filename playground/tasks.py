"""Dramatiq actors of the playground, thin: ids in, nothing out."""

import dramatiq


@dramatiq.actor(queue_name="default", max_retries=0, time_limit=float("inf"))
def answer_frame(frame_id: int) -> None:
    """Have one checkpoint answer the pinned prompts of its job."""
    from playground.film import answering

    answering.answer(frame_id)
