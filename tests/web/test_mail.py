"""E-mail to whoever's job has ended or whose campaign awaits votes."""

from collections.abc import Callable
from typing import Any

import pytest
from django.core import mail as post
from django.core.mail import EmailMessage
from django.test import Client

from accounts.models import Project, User
from playground.campaigns import mailing as campaign_mailing
from playground.campaigns import running
from playground.models import Campaign
from tests import campaign_cast, makers
from tests.playground_cast import make_base, make_checkpoint
from training import endings, tasks

Letters = Callable[[Callable[[], Any]], list[EmailMessage]]


@pytest.fixture
def letters(monkeypatch: pytest.MonkeyPatch, settings: Any, django_capture_on_commit_callbacks: Any) -> Letters:
    """What is written because of what was done."""
    settings.EMAIL_BACKEND = "django.core.mail.backends.locmem.EmailBackend"
    settings.HONE_URL = "https://hone.example.com"
    for module in (tasks, campaign_mailing):
        monkeypatch.setattr(module, "wake", lambda actor, *arguments: actor.fn(*arguments))

    def written(doing: Callable[[], Any]) -> list[EmailMessage]:
        post.outbox.clear()
        with django_capture_on_commit_callbacks(execute=True):
            doing()
        return list(post.outbox)

    return written


def test_whoever_made_a_job_reads_why_it_failed_and_where_to_look(
    letters: Letters, project: Project, owner: User
) -> None:
    job = makers.make_job(project, steps=2, total_steps=4, label="Tickets\nBcc: x@example.com", created_by=owner)
    (letter,) = letters(lambda: endings.fail(job, "tickets.jsonl: Example 3 has no answer."))
    assert letter.to == [owner.email] and letter.bcc == []
    assert letter.subject == "Failed: Tickets Bcc: x@example.com"
    assert "Example 3 has no answer." in letter.body and f"https://hone.example.com/jobs/{job.pk}/" in letter.body


def test_a_good_end_names_the_best_checkpoint(letters: Letters, project: Project, owner: User) -> None:
    job = makers.make_job(project, steps=40, total_steps=40, label="Tickets", created_by=owner)
    (letter,) = letters(lambda: endings.close(job, "succeeded", "Succeeded"))
    best = job.best_checkpoint()
    assert best and f"Best on the whole validation set: {best.name}, loss {best.full_valid_loss:.4f}." in letter.body
    assert letters(lambda: endings.close(job, "succeeded", "Succeeded")) == []  # it has ended before


def test_nobody_is_written_to_who_cancelled_or_does_not_want_it(
    letters: Letters, project: Project, owner: User, owner_client: Client, settings: Any
) -> None:
    job = makers.make_job(project, created_by=owner)
    assert letters(lambda: endings.close(job, "cancelled", "Cancelled")) == []
    page = owner_client.get("/settings/").content.decode()
    assert "E-mail me when a job of mine has ended" in page
    owner_client.post("/settings/profile", {"name": "Olga", "email": owner.email})  # the tick is taken off
    assert letters(lambda: endings.fail(makers.make_job(project, created_by=owner), "broken")) == []
    owner_client.post("/settings/profile", {"name": "Olga", "email": owner.email, "wants_mail": "on"})
    assert len(letters(lambda: endings.fail(makers.make_job(project, created_by=owner), "broken"))) == 1
    settings.EMAIL_BACKEND = "django.core.mail.backends.console.EmailBackend"
    assert "E-mail me" not in owner_client.get("/settings/").content.decode()
    owner_client.post("/settings/profile", {"name": "Olga", "email": owner.email})
    owner.refresh_from_db()
    assert owner.wants_mail  # what is not shown is not changed


def test_a_campaign_that_opens_by_itself_is_told_of_once(letters: Letters, project: Project, owner: User) -> None:
    base = make_base()
    models = [base.name, make_checkpoint(project, base).name]
    campaign = campaign_cast.make_campaign(
        project, models, created_by=owner, state=Campaign.State.ANSWERING, opens_itself=True
    )
    (letter,) = letters(lambda: running.open_answered(campaign.matrix_id))
    assert letter.subject == "Awaits votes: House voice" and "2 contenders, 12 prompts" in letter.body
    assert f"https://hone.example.com/campaigns/{campaign.pk}/" in letter.body
    assert letters(lambda: running.open_answered(campaign.matrix_id)) == []
