"""Every write of the accounts: who joins, who leaves, passwords and links."""

from datetime import timedelta

from django.contrib.auth import SESSION_KEY
from django.contrib.sessions.models import Session
from django.db import transaction
from django.utils import timezone

from accounts.errors import ApiError
from accounts.models import ApiKey, Membership, OneTimeLink, Project, User

INVITATION_LIFETIME = timedelta(days=7)
RESET_LIFETIME = timedelta(hours=24)


@transaction.atomic
def begin_project(*, user: User, name: str) -> Project:
    """A new project whose only member, its owner, is this person."""
    project = Project.objects.create(name=name)
    Membership.objects.create(user=user, project=project, role=Membership.Role.OWNER)
    return project


def use_link(link: OneTimeLink) -> bool:
    """True for exactly one caller; a used or expired link gives False."""
    now = timezone.now()
    return bool(OneTimeLink.objects.filter(pk=link.pk, used_at=None, expires_at__gt=now).update(used_at=now))


def invite(*, project: Project, by: User, email: str = "", role: str = Membership.Role.MEMBER) -> str:
    """Returns the token of a link that lets one person join this project."""
    return OneTimeLink.make(
        OneTimeLink.Kind.INVITE, lifetime=INVITATION_LIFETIME, project=project, created_by=by, email=email, role=role
    )[1]


def revoke_invitation(*, link: OneTimeLink) -> None:
    """The link stops working at once."""
    link.delete()


@transaction.atomic
def join(*, link: OneTimeLink, user: User) -> Membership | None:
    """Puts this person into the link's project; None when the link was used meanwhile."""
    if not link.project or not use_link(link):
        return None
    return Membership.objects.get_or_create(user=user, project=link.project, defaults={"role": link.role})[0]


@transaction.atomic
def join_as_new_person(*, link: OneTimeLink, email: str, name: str, password: str) -> User | None:
    """Makes the account and joins; None when the link was used meanwhile."""
    user = User.objects.create_user(email, password, name=name)
    if join(link=link, user=user) is None:
        transaction.set_rollback(True)
        return None
    return user


@transaction.atomic
def remove_member(*, membership: Membership) -> None:
    """The person leaves this project; their keys for it stop working. Their work stays."""
    refuse_last_owner(membership)
    ApiKey.objects.live().filter(project=membership.project, user=membership.user).update(revoked_at=timezone.now())
    OneTimeLink.objects.filter(project=membership.project, created_by=membership.user, used_at=None).delete()
    membership.delete()


@transaction.atomic
def change_role(*, membership: Membership, role: str) -> None:
    """Their keys and open pages may do from now on what the new role may."""
    if role != Membership.Role.OWNER:
        refuse_last_owner(membership)
    membership.role = role
    membership.save(update_fields=["role"])


def refuse_last_owner(membership: Membership) -> None:
    """Nobody could let anybody in again. Within a transaction: two owners who step down at once wait for each other."""
    Project.objects.select_for_update().get(pk=membership.project_id)
    owners = Membership.objects.filter(project=membership.project, role=Membership.Role.OWNER)
    others = owners.exclude(pk=membership.pk).exists()
    if not others and owners.filter(pk=membership.pk).exists():
        raise ApiError("This is the project's only owner. Make somebody else an owner first.", status=409)


def reset_link(*, user: User, by: User | None = None) -> str:
    """Returns the token of a link that sets a new password; earlier unused ones stop working."""
    OneTimeLink.objects.filter(kind=OneTimeLink.Kind.RESET, user=user, used_at=None).delete()
    return OneTimeLink.make(OneTimeLink.Kind.RESET, lifetime=RESET_LIFETIME, user=user, created_by=by)[1]


def may_reset(*, by: User, user: User) -> bool:
    """An owner may reset a member only where that opens no project, and no server, that is not the owner's own."""
    if user.is_superuser and not by.is_superuser:
        return False
    owned = Membership.objects.filter(user=by, role=Membership.Role.OWNER).values("project")
    theirs = Membership.objects.filter(user=user)
    return theirs.exists() and not theirs.exclude(project__in=owned).exists()


@transaction.atomic
def set_password(*, user: User, password: str) -> None:
    """Sets it and makes every waiting link of this person useless. Other sessions end by themselves."""
    user.set_password(password)
    user.save(update_fields=["password"])
    OneTimeLink.objects.filter(user=user, used_at=None).delete()


def end_other_sessions(*, user: User, keep: str | None) -> int:
    """Signs this person out everywhere but in the session `keep`; returns how many sessions ended."""
    ended = 0
    for session in Session.objects.filter(expire_date__gt=timezone.now()).exclude(session_key=keep or ""):
        if session.get_decoded().get(SESSION_KEY) == str(user.pk):
            session.delete()
            ended += 1
    return ended


def revoke_key(*, key: ApiKey) -> None:
    ApiKey.objects.live().filter(pk=key.pk).update(revoked_at=timezone.now())
