"""Who: people, projects, who belongs to which, API keys and one-time links. Every other row belongs to a project."""

import hashlib
import secrets
from datetime import datetime, timedelta
from typing import Any, ClassVar

from django.contrib.auth.models import AbstractBaseUser, AnonymousUser, BaseUserManager, PermissionsMixin
from django.db import models
from django.utils import timezone

from accounts.audit import AuditEntry as AuditEntry  # a table of this app, in a file of its own
from accounts.ids import new_id


def new_project_id() -> str:
    return new_id("proj_")


def hashed(secret: str) -> str:
    """Secrets are long and random, so a plain SHA-256 is enough and can be looked up."""
    return hashlib.sha256(secret.encode()).hexdigest()


class UserManager(BaseUserManager["User"]):
    def create_user(self, email: str, password: str | None = None, **fields: Any) -> "User":
        user = self.model(email=self.normalize_email(email).lower(), **fields)
        user.set_password(password)  # None: cannot sign in by password until one is set
        user.save(using=self._db)
        return user

    def create_superuser(self, email: str, password: str | None = None, **fields: Any) -> "User":
        return self.create_user(email, password, is_superuser=True, **fields)


class User(AbstractBaseUser, PermissionsMixin):
    """A person, known by e-mail."""

    email = models.EmailField(unique=True)
    name = models.CharField(max_length=120, blank=True)
    is_active = models.BooleanField(default=True)
    wants_mail = models.BooleanField(default=True)  # when their jobs have ended and their campaigns await votes
    created_at = models.DateTimeField(default=timezone.now)

    objects: ClassVar[UserManager] = UserManager()
    USERNAME_FIELD = "email"
    REQUIRED_FIELDS: ClassVar[list[str]] = []

    def __str__(self) -> str:
        return self.name or self.email


class ProjectQuerySet(models.QuerySet["Project"]):
    def of(self, user: User) -> "ProjectQuerySet":
        """The projects that this person belongs to, oldest first."""
        return self.filter(memberships__user=user).order_by("created_at")


class Project(models.Model):
    """The wall: nothing is visible from one project to another."""

    id = models.CharField(primary_key=True, max_length=40, default=new_project_id, editable=False)
    name = models.CharField(max_length=120)
    created_at = models.DateTimeField(default=timezone.now)

    objects = ProjectQuerySet.as_manager()

    def __str__(self) -> str:
        return self.name

    def is_owned_by(self, user: "User | AnonymousUser") -> bool:
        """What changes who gets in, what leaves, or what is deleted is for owners."""
        return self.memberships.filter(user=user.pk, role=Membership.Role.OWNER).exists()


class MembershipQuerySet(models.QuerySet["Membership"]):
    def current(self, user_id: int | None, chosen: str) -> "Membership | None":
        """This person's in the chosen project, else in their oldest one; None for who belongs to none."""
        mine = self.filter(user=user_id or 0).select_related("project").order_by("project__created_at")
        return (mine.filter(project=chosen).first() if chosen else None) or mine.first()


class Membership(models.Model):
    class Role(models.TextChoices):
        """Each may do what the one below it may; accounts.roles says it in words."""

        OWNER = "owner", "Owner"
        MEMBER = "member", "Member"
        EVALUATOR = "evaluator", "Evaluator"
        READER = "reader", "Reader"

    user = models.ForeignKey(User, on_delete=models.CASCADE, related_name="memberships")
    project = models.ForeignKey(Project, on_delete=models.CASCADE, related_name="memberships")
    role = models.CharField(max_length=20, choices=Role, default=Role.MEMBER)
    created_at = models.DateTimeField(default=timezone.now)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["user", "project"], name="one_membership_per_project")]

    objects = MembershipQuerySet.as_manager()


class ApiKeyQuerySet(models.QuerySet["ApiKey"]):
    def live(self) -> "ApiKeyQuerySet":
        return self.filter(revoked_at=None)

    def for_secret(self, secret: str) -> "ApiKey | None":
        """One that nobody revoked, with `role`: its person's present one, None when they left. It may have expired."""
        memberships = Membership.objects.filter(user=models.OuterRef("user"), project=models.OuterRef("project"))
        found = self.live().filter(hash=hashed(secret)).select_related("project", "user")
        return found.annotate(role=models.Subquery(memberships.values("role")[:1])).first()


def every_scope() -> list[str]:
    return [ApiKey.Scope.ALL.value]


class ApiKey(models.Model):
    """A bearer key of one project. Only its hash is stored; the secret is shown once."""

    class Scope(models.TextChoices):
        """What a key may do at most; never more than its person's role (dashboard.walls)."""

        READ = "read", "Read: see files, jobs, models and results"
        TRAIN = "train", "Train: upload files, start and steer jobs, delete them; see what read sees"
        SERVE = "serve", "Serve: ask models and list them; see nothing else"
        ALL = "all", "All: everything that you may do here"

    project = models.ForeignKey(Project, on_delete=models.CASCADE, related_name="api_keys")
    user = models.ForeignKey(User, on_delete=models.CASCADE, related_name="api_keys")
    name = models.CharField(max_length=120)
    hint = models.CharField(max_length=20)  # first and last characters, to tell keys apart
    hash = models.CharField(max_length=64, unique=True)
    created_at = models.DateTimeField(default=timezone.now)
    last_used_at = models.DateTimeField(null=True, blank=True)
    revoked_at = models.DateTimeField(null=True, blank=True)
    scopes = models.JSONField(default=every_scope)
    expires_at = models.DateTimeField(null=True, blank=True)  # None: never

    objects = ApiKeyQuerySet.as_manager()
    role: str | None  # of its person now; for_secret() tells

    @classmethod
    def make(
        cls,
        *,
        project: Project,
        user: User,
        name: str,
        scopes: list[str] | None = None,
        expires_at: datetime | None = None,
    ) -> tuple["ApiKey", str]:
        """Returns the stored row and the secret, which is known only now. Without `scopes` it may do all."""
        secret = new_id("sk-hone-", 40)
        key = cls.objects.create(
            project=project,
            user=user,
            name=name,
            hash=hashed(secret),
            hint=f"{secret[:11]}…{secret[-4:]}",
            scopes=scopes or every_scope(),
            expires_at=expires_at,
        )
        return key, secret

    @property
    def has_expired(self) -> bool:
        return self.expires_at is not None and self.expires_at <= timezone.now()

    @property
    def ends_in_days(self) -> int | None:
        """Whole days left, 0 on the last one; None: it does not end."""
        return None if self.expires_at is None else max(0, (self.expires_at - timezone.now()).days)


class OneTimeLinkQuerySet(models.QuerySet["OneTimeLink"]):
    def invitations(self, project: Project) -> "OneTimeLinkQuerySet":
        """Those into this project that can still be used, the newest first."""
        waiting = self.filter(
            kind=OneTimeLink.Kind.INVITE, project=project, used_at=None, expires_at__gt=timezone.now()
        )
        return waiting.select_related("created_by").order_by("-created_at")


class OneTimeLink(models.Model):
    """A link that signs somebody in once: the first owner, an invited colleague, a forgotten password."""

    class Kind(models.TextChoices):
        SIGN_IN = "sign_in", "Sign in"
        INVITE = "invite", "Invitation"
        RESET = "reset", "Password reset"

    kind = models.CharField(max_length=20, choices=Kind)
    hash = models.CharField(max_length=64, unique=True)
    user = models.ForeignKey(User, on_delete=models.CASCADE, null=True, blank=True, related_name="+")
    project = models.ForeignKey(Project, on_delete=models.CASCADE, null=True, blank=True, related_name="+")
    email = models.EmailField(blank=True)
    role = models.CharField(max_length=20, choices=Membership.Role, default=Membership.Role.MEMBER)
    created_by = models.ForeignKey(User, on_delete=models.SET_NULL, null=True, blank=True, related_name="+")
    created_at = models.DateTimeField(default=timezone.now)
    expires_at = models.DateTimeField()
    used_at = models.DateTimeField(null=True, blank=True)

    objects = OneTimeLinkQuerySet.as_manager()

    @classmethod
    def make(cls, kind: str, *, lifetime: timedelta = timedelta(days=7), **fields: Any) -> tuple["OneTimeLink", str]:
        """Returns the stored row and the token for the address."""
        token = secrets.token_urlsafe(32)
        link = cls.objects.create(kind=kind, hash=hashed(token), expires_at=timezone.now() + lifetime, **fields)
        return link, token

    @classmethod
    def find(cls, token: str) -> "OneTimeLink | None":
        """The link if it can still be used."""
        return cls.objects.filter(hash=hashed(token), used_at=None, expires_at__gt=timezone.now()).first()
