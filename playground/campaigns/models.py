"""The rows of a campaign: people judge pairs of frozen answers blind.

Who reads what:

contenders   a campaign is a matrix plus people: `Campaign.matrix` holds prompts, contenders and their answers, which
             never change once they are there. `Assignment.first` and `.second` are contender keys as
             `Matrix.contenders` gives them (`first` < `second`), `Assignment.prompt` is a `Prompt.key`.
votes        `Assignment.objects.votes(campaign)`: what people said first, of everybody, revoked evaluators included
             (`.filter(evaluator__revoked_at=None)` leaves them out). Of each: `choice` (a contender's key, "tie" or
             "both_bad"), `point` (of `first`: 1, ½, 0), `left_point` (of whatever stood left), `prompt`, `criteria`
             ({criterion: "left" | "right" | "tie"}), `satisfaction` ({"left": 1..5, "right": 1..5}), `tags`, `seconds`.
             `choice_of(criterion)` and `satisfaction_by_contender` say the same of contenders instead of sides.
repeats      `Assignment.objects.repeats(campaign)`: the same pair again, sides swapped, with `repeat_of`; they measure
             the evaluator and are no votes. The two `choice`s are what `agreement.consistency` takes.
reading      who judges, of the project too, must not see names beside answers before: `Campaign.is_judged_by(user)`.
"""

from django.conf import settings
from django.db import models
from django.db.models import Q
from django.utils import timezone

from accounts.ids import new_id
from accounts.models import Project, User
from playground.matrix.models import Matrix

REPEAT_SHARE = 0.1
TIE, BOTH_BAD = "tie", "both_bad"


def new_campaign_id() -> str:
    return new_id("camp_", 16)


def new_assignment_id() -> str:
    return new_id("pair_", 20)  # stands in the judging page: random, so that it tells nothing


class CampaignQuerySet(models.QuerySet["Campaign"]):
    def of(self, project: Project) -> "CampaignQuerySet":
        return self.filter(project=project)


class Campaign(models.Model):
    """What is judged, by what rubric, and how many votes are wanted."""

    class State(models.TextChoices):
        ANSWERING = "answering", "Answering"  # the contenders answer the prompts; nobody judges yet
        OPEN = "open", "Open"
        CLOSED = "closed", "Closed"

    class Pairing(models.TextChoices):
        BALANCED = "balanced", "Balanced"  # every pair the same number of votes
        INFORMATIVE = "informative", "Where votes teach most"

    id = models.CharField(primary_key=True, max_length=40, default=new_campaign_id, editable=False)
    project = models.ForeignKey(Project, on_delete=models.CASCADE, related_name="campaigns")
    name = models.CharField(max_length=120)
    matrix = models.ForeignKey(Matrix, on_delete=models.PROTECT, related_name="campaigns")
    created_by = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.SET_NULL, null=True, blank=True)
    state = models.CharField(max_length=20, choices=State, default=State.ANSWERING)
    opens_itself = models.BooleanField(default=True)  # as soon as every answer is there
    instructions = models.TextField(blank=True)
    criteria = models.JSONField(default=list)  # names; each is judged left, right or tie
    tags = models.JSONField(default=list)  # reasons one can tick
    satisfaction = models.BooleanField(default=False)  # 1 to 5 for each answer
    comments = models.BooleanField(default=True)
    votes_per_pair = models.PositiveIntegerField(default=20)  # of contenders, over all prompts and evaluators
    votes_per_evaluator = models.PositiveIntegerField(null=True, blank=True)  # None: until the pairs have theirs
    pairing = models.CharField(max_length=20, choices=Pairing, default=Pairing.BALANCED)
    repeat_share = models.FloatField(default=REPEAT_SHARE)  # of an evaluator's votes, asked again with sides swapped
    left_out = models.JSONField(default=list)  # keys of prompts that are not judged, because a contender failed there
    seed = models.PositiveIntegerField(default=0)  # of what is drawn
    created_at = models.DateTimeField(default=timezone.now)
    opened_at = models.DateTimeField(null=True, blank=True)
    closed_at = models.DateTimeField(null=True, blank=True)

    objects = CampaignQuerySet.as_manager()

    class Meta:
        ordering = ["-created_at"]
        constraints = [
            models.CheckConstraint(
                name="a_campaign_repeats_a_share",
                condition=Q(repeat_share__gte=0, repeat_share__lte=0.5),
            )
        ]

    def __str__(self) -> str:
        return self.name

    @property
    def asks_more(self) -> bool:
        """More than a verdict, so that a vote is chosen first and sent after."""
        return bool(self.criteria or self.tags or self.satisfaction or self.comments)

    @property
    def state_words(self) -> str:
        """'being answered', 'waits for you' (somebody must open it or ask again), 'open' or 'closed'."""
        if self.state != self.State.ANSWERING:
            return self.get_state_display().lower()
        return "being answered" if self.matrix.state == Matrix.State.ANSWERING else "waits for you"

    def is_judged_by(self, user: User) -> bool:
        """This member judges in it now: names beside answers would tell."""
        return self.state == self.State.OPEN and self.evaluators.filter(user=user, revoked_at=None).exists()


class InvitationQuerySet(models.QuerySet["Invitation"]):
    def live(self) -> "InvitationQuerySet":
        return self.filter(revoked_at=None, expires_at__gt=timezone.now())


class Invitation(models.Model):
    """A link that lets people judge without an account. Only the hash of its token is stored."""

    campaign = models.ForeignKey(Campaign, on_delete=models.CASCADE, related_name="invitations")
    hash = models.CharField(max_length=64, unique=True)
    label = models.CharField(max_length=120, blank=True)  # for the people of the project: whom it was given to
    personal = models.BooleanField(default=False)  # for one person, on any device; else anybody with the link joins
    created_by = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.SET_NULL, null=True, blank=True)
    created_at = models.DateTimeField(default=timezone.now)
    expires_at = models.DateTimeField()
    revoked_at = models.DateTimeField(null=True, blank=True)

    objects = InvitationQuerySet.as_manager()

    class Meta:
        ordering = ["-created_at"]

    @property
    def ended(self) -> str:
        """Why it lets nobody in any more: "revoked", "expired" or nothing."""
        if self.revoked_at:
            return "revoked"
        return "expired" if self.expires_at <= timezone.now() else ""


class Evaluator(models.Model):
    """Somebody who judges: by a link, under the name they gave; or a member of the project."""

    campaign = models.ForeignKey(Campaign, on_delete=models.CASCADE, related_name="evaluators")
    invitation = models.ForeignKey(
        Invitation, on_delete=models.CASCADE, null=True, blank=True, related_name="evaluators"
    )
    user = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.CASCADE, null=True, blank=True, related_name="evaluates"
    )
    name = models.CharField(max_length=80)
    secret_hash = models.CharField(max_length=64, blank=True)  # of the cookie by which the browser is known again
    created_at = models.DateTimeField(default=timezone.now)
    last_seen_at = models.DateTimeField(default=timezone.now)
    revoked_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering = ["created_at", "pk"]
        constraints = [
            models.UniqueConstraint(fields=["campaign", "user"], name="one_evaluator_per_member"),
            models.CheckConstraint(
                name="an_evaluator_came_by_a_link_or_an_account",
                condition=Q(invitation=None, user__isnull=False) | Q(invitation__isnull=False, user=None),
            ),
        ]

    def __str__(self) -> str:
        return self.name


class AssignmentQuerySet(models.QuerySet["Assignment"]):
    def judged(self) -> "AssignmentQuerySet":
        return self.exclude(judged_at=None)

    def votes(self, campaign: Campaign) -> "AssignmentQuerySet":
        """What counts: judged, and asked for the first time; in the order of judging."""
        found = self.filter(campaign=campaign, repeat_of=None).judged()
        return found.select_related("evaluator").order_by("judged_at", "pk")

    def repeats(self, campaign: Campaign) -> "AssignmentQuerySet":
        """What was asked again and answered, with what was said before."""
        found = self.filter(campaign=campaign, repeat_of__judged_at__isnull=False).judged()
        return found.select_related("evaluator", "repeat_of").order_by("judged_at", "pk")


class Assignment(models.Model):
    """One pair shown to one evaluator, and what they said."""

    class Verdict(models.TextChoices):
        LEFT = "left", "The first answer is better"
        RIGHT = "right", "The second answer is better"
        TIE = TIE, "Tie"
        BOTH_BAD = BOTH_BAD, "Both bad"

    id = models.CharField(primary_key=True, max_length=40, default=new_assignment_id, editable=False)
    campaign = models.ForeignKey(Campaign, on_delete=models.CASCADE, related_name="assignments")
    evaluator = models.ForeignKey(Evaluator, on_delete=models.CASCADE, related_name="assignments")
    prompt = models.CharField(max_length=64)  # its key in the prompt set
    first = models.CharField(max_length=64)  # contender keys in alphabetical order
    second = models.CharField(max_length=64)
    swapped = models.BooleanField()  # `second` stands left
    repeat_of = models.OneToOneField("self", on_delete=models.CASCADE, null=True, blank=True, related_name="repeat")
    drawn_at = models.DateTimeField(default=timezone.now)  # or shown again, after a long pause
    judged_at = models.DateTimeField(null=True, blank=True)
    seconds = models.FloatField(null=True, blank=True)  # from shown to judged
    taken_back = models.BooleanField(default=False)  # it was judged, and its evaluator opened it again
    verdict = models.CharField(max_length=10, choices=Verdict, blank=True)
    criteria = models.JSONField(default=dict)
    satisfaction = models.JSONField(default=dict)
    tags = models.JSONField(default=list)
    comment = models.TextField(blank=True)

    objects = AssignmentQuerySet.as_manager()

    class Meta:
        ordering = ["drawn_at", "pk"]
        indexes = [models.Index(fields=["campaign", "judged_at"], name="votes_of_a_campaign")]
        constraints = [
            models.UniqueConstraint(
                fields=["evaluator"], condition=Q(judged_at=None), name="one_open_pair_per_evaluator"
            ),
            models.UniqueConstraint(
                fields=["evaluator", "prompt", "first", "second"],
                condition=Q(repeat_of=None),
                name="one_vote_per_evaluator_and_pair",
            ),
            models.CheckConstraint(
                name="a_judged_pair_has_a_verdict",
                condition=Q(judged_at=None, verdict="") | (Q(judged_at__isnull=False) & ~Q(verdict="")),
            ),
        ]

    @property
    def left(self) -> str:
        return self.second if self.swapped else self.first

    @property
    def right(self) -> str:
        return self.first if self.swapped else self.second

    @property
    def choice(self) -> str:
        """The better contender's key, "tie" or "both_bad"."""
        return {"left": self.left, "right": self.right}.get(self.verdict, self.verdict)

    @property
    def left_point(self) -> float:
        """1 when whatever stood left was better, 0 when it was worse, else ½."""
        return {"left": 1.0, "right": 0.0}.get(self.verdict, 0.5)

    @property
    def point(self) -> float:
        """The same for `first`."""
        return 1 - self.left_point if self.swapped else self.left_point

    def choice_of(self, criterion: str) -> str:
        """As `choice`, by one criterion; empty where nothing was said of it."""
        said = self.criteria.get(criterion, "")
        return {"left": self.left, "right": self.right}.get(said, said)

    @property
    def satisfaction_by_contender(self) -> dict[str, int]:
        return {self.left if side == "left" else self.right: value for side, value in self.satisfaction.items()}
