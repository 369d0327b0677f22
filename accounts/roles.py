"""What the four roles of a project may do, in words and in order: each may do all that the ones below it may."""

from typing import Final

from accounts.models import Membership, Project, User

Role = Membership.Role
ASCENDING: Final = (Role.READER, Role.EVALUATOR, Role.MEMBER, Role.OWNER)
WORDS: Final = {
    Role.OWNER: "Everything, and who gets in: people and their roles, everybody's keys, webhooks, deleting models and"
    " the project.",
    Role.MEMBER: "All work: datasets, training, models, campaigns, the playground. Not who gets in.",
    Role.EVALUATOR: "Asks models in the playground, judges and votes, and reads everything. Uploads, trains, changes"
    " and deletes nothing.",
    Role.READER: "Sees everything in the project and changes nothing; asks no models.",
}
ARTICLE: Final = {
    Role.OWNER: "an owner",
    Role.MEMBER: "a member",
    Role.EVALUATOR: "an evaluator",
    Role.READER: "a reader",
}


def role_of(user: User, project: Project) -> str | None:
    """Now; None for a stranger."""
    return Membership.objects.filter(user=user.pk, project=project).values_list("role", flat=True).first()


def may(role: str | None, needed: str) -> bool:
    """Whether this role is at least the one that is needed."""
    return role is not None and ASCENDING.index(Role(role)) >= ASCENDING.index(Role(needed))


def refusal(role: str, needed: str, project: Project | str) -> str:
    """Why not, and who can help."""
    named = ARTICLE[Role(needed)]
    help_ = "Ask one." if needed == Role.OWNER else "An owner can change your role under Settings, People."
    return f"This is for {named} of {project}, and you are {ARTICLE[Role(role)]} there. {help_}"
