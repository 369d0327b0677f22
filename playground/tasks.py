"""Dramatiq actors of the playground, thin: ids in, nothing out."""

import dramatiq


@dramatiq.actor(queue_name="default", max_retries=0, time_limit=float("inf"))
def answer_frame(frame_id: int) -> None:
    """Have one checkpoint answer the pinned prompts of its job."""
    from playground.film import answering

    answering.answer(frame_id)


@dramatiq.actor(queue_name="default", max_retries=0, time_limit=float("inf"))
def fill_matrix(matrix_id: str) -> None:
    """Have every contender of a matrix answer the prompts that it has not answered."""
    from playground.campaigns import running
    from playground.matrix import filling

    filling.fill(matrix_id)
    running.open_answered(matrix_id)


@dramatiq.actor(queue_name="default", max_retries=5, min_backoff=30_000)
def mail_campaign_open(campaign_id: str) -> None:
    """Write to whoever made the campaign that it awaits votes."""
    from playground.campaigns import mailing

    mailing.write(campaign_id)


@dramatiq.actor(queue_name="default", max_retries=0, time_limit=float("inf"))
def judge_pairs(run_id: str) -> None:
    """Have one model judge the pairs that people judged."""
    from playground.judge import judging

    judging.judge(run_id)
