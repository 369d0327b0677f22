"""Every write of the project's side: a campaign begins, opens, closes; people are invited, and let in no more."""

import secrets
from collections.abc import Iterable
from datetime import timedelta
from typing import Any

from django.db import transaction
from django.db.models import Count
from django.utils import timezone

from accounts.errors import ApiError
from accounts.models import Project, User, hashed
from playground.campaigns import mailing
from playground.campaigns.models import Campaign, Evaluator, Invitation
from playground.forms import Setup
from playground.matrix import matrices
from playground.matrix.models import Matrix, PromptSet
from training.notify import project_changed

State = Campaign.State


@transaction.atomic
def begin(*, project: Project, user: User, name: str, prompts: PromptSet, setup: Setup, rubric: Any) -> Campaign:
    """Asks the contenders for their answers; the campaign opens when they are there. `rubric`: columns of Campaign.

    Raises ApiError for contenders that are not there, are the same, or are fewer than two.
    """
    if len(setup.columns) < 2:
        raise ApiError("A campaign needs at least two contenders. Add another model.", param="columns")
    matrix = matrices.start(project=project, user=user, name=name, prompt_set=prompts, setup=setup)
    seed = secrets.randbelow(2**31)
    return Campaign.objects.create(project=project, created_by=user, name=name, matrix=matrix, seed=seed, **rubric)


# ---- the answers ----


def refresh(campaign: Campaign) -> Campaign:
    """Opens it if every answer is there and it opens by itself: looked at when the last answer comes, and wherever a
    campaign is shown."""
    ready = campaign.state == State.ANSWERING and campaign.opens_itself
    if ready and campaign.matrix.state == Matrix.State.DONE and not failed_prompts(campaign) and open_it(campaign):
        mailing.opened(campaign)
    return campaign


def open_answered(matrix_id: str) -> None:
    """Opens the campaigns whose last answer has just come, whether or not somebody looks."""
    for campaign in Campaign.objects.filter(matrix=matrix_id, state=State.ANSWERING):
        refresh(campaign)


def failed_prompts(campaign: Campaign) -> dict[str, list[str]]:
    """Prompt key -> keys of the contenders that have no answer to it, once the matrix is through."""
    everyone = campaign.matrix.contenders
    answered: dict[str, set[str]] = {}
    for prompt, contender in matrices.answers_of(campaign.matrix).filter(error="").values_list("prompt", "contender"):
        answered.setdefault(prompt, set()).add(contender)
    keys = campaign.matrix.prompt_set.prompts.values_list("key", flat=True)
    missing = {key: [name for name in everyone if name not in answered.get(key, ())] for key in keys}
    return {key: names for key, names in missing.items() if names}


def open_it(campaign: Campaign) -> bool:
    """People can judge from now on; prompts that a contender did not answer are left out. False when it was open
    already. Raises ApiError."""
    if campaign.matrix.state == Matrix.State.ANSWERING:
        raise ApiError("The contenders are still answering. Open it when their answers are there.", status=409)
    left_out = campaign.left_out if campaign.opened_at else sorted(failed_prompts(campaign))
    if len(left_out) == campaign.matrix.prompt_set.prompts.count():
        raise ApiError("There is no prompt that every contender answered. Ask again for what failed.", status=409)
    moved = Campaign.objects.filter(pk=campaign.pk).exclude(state=State.OPEN)
    opened = moved.update(
        state=State.OPEN, left_out=left_out, opened_at=campaign.opened_at or timezone.now(), closed_at=None
    )
    campaign.refresh_from_db()
    project_changed(campaign.project_id)
    return bool(opened)


def ask_again(campaign: Campaign) -> None:
    """For the answers that failed, or that nobody asked for since somebody cancelled."""
    matrices.go_on(campaign.matrix, again=True)


@transaction.atomic
def add_contenders(campaign: Campaign, setup: Setup) -> Campaign:
    """More contenders for the same prompts: judged with the others as their answers come. Raises ApiError."""
    matrices.add_columns(campaign.matrix, setup)
    return campaign


def close(campaign: Campaign) -> None:
    """Nobody judges any more; what was judged stays."""
    Campaign.objects.filter(pk=campaign.pk, state=State.OPEN).update(state=State.CLOSED, closed_at=timezone.now())
    project_changed(campaign.project_id)


def want_more(campaign: Campaign, votes_per_pair: int) -> None:
    """More votes for each pair: whoever had judged all that was wanted finds more to judge."""
    Campaign.objects.filter(pk=campaign.pk, votes_per_pair__lt=votes_per_pair).update(votes_per_pair=votes_per_pair)
    project_changed(campaign.project_id)


# ---- who judges ----


def invite(
    *, campaign: Campaign, user: User, label: str = "", personal: bool = False, days: int = 14
) -> tuple[Invitation, str]:
    """Returns the row and the token for the address, which is known only now."""
    token = secrets.token_urlsafe(32)
    made = Invitation.objects.create(
        campaign=campaign,
        hash=hashed(token),
        label=label.strip(),
        personal=personal,
        created_by=user,
        expires_at=timezone.now() + timedelta(days=days),
    )
    return made, token


def invitation_for(token: str) -> Invitation | None:
    """Whether it still lets anybody in or not."""
    related = ("campaign__matrix", "campaign__project")
    return Invitation.objects.select_related(*related).filter(hash=hashed(token)).first()


def revoke(rows: Any) -> None:
    """Invitations or evaluators: refused at their next action; what they judged stays."""
    rows.filter(revoked_at=None).update(revoked_at=timezone.now())


@transaction.atomic
def join(invitation: Invitation, name: str) -> tuple[Evaluator, str]:
    """Somebody new by this link. Returns the row and the secret for the browser's cookie.

    A personal link has one evaluator, whichever device it is opened on.
    """
    locked = Invitation.objects.select_for_update().get(pk=invitation.pk)
    secret = secrets.token_urlsafe(32)
    if locked.personal and (there := locked.evaluators.first()):
        return there, ""
    made = Evaluator.objects.create(
        campaign=invitation.campaign, invitation=locked, name=name.strip(), secret_hash=hashed(secret)
    )
    return made, secret


def known(invitation: Invitation, secret: str) -> Evaluator | None:
    """Who this browser is; for a personal link the link itself says it."""
    people = invitation.evaluators.all()
    if invitation.personal:
        return people.first()
    return people.filter(secret_hash=hashed(secret)).first() if secret else None


def member(campaign: Campaign, user: User) -> Evaluator:
    """The evaluator that this member of the project is."""
    return Evaluator.objects.get_or_create(campaign=campaign, user=user, defaults={"name": str(user)[:80]})[0]


def with_counts(campaigns: Any) -> Iterable[Campaign]:
    """For the list: how many judge each."""
    return campaigns.select_related("matrix", "created_by").annotate(people=Count("evaluators", distinct=True))
