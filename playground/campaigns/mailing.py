"""The person who made a campaign is written to when its answers are there and it awaits votes."""

from django.db import transaction
from django.urls import reverse

from accounts import mail
from playground import tasks
from playground.campaigns.models import Campaign
from training.tasks import wake


def opened(campaign: Campaign) -> None:
    """Call when it opens by itself; somebody who opened it by hand knows."""
    if mail.wants(campaign.created_by):
        transaction.on_commit(lambda: wake(tasks.mail_campaign_open, campaign.pk))


def write(campaign_id: str) -> None:
    """Body of the actor."""
    campaign = Campaign.objects.select_related("created_by", "matrix__prompt_set").filter(pk=campaign_id).first()
    if campaign and campaign.state == Campaign.State.OPEN and mail.wants(campaign.created_by):
        text = (
            f"All answers of {campaign.name} are there: {len(campaign.matrix.contenders)} contenders, "
            f"{campaign.matrix.prompt_set.prompts.count():,} prompts. It awaits votes: judge yourself, or send "
            "people a link."
        )
        assert campaign.created_by
        mail.write(campaign.created_by, f"Awaits votes: {campaign.name}", text, reverse("campaign", args=[campaign.pk]))
