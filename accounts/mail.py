"""E-mail, where this server has a way to send it (HONE_EMAIL_HOST)."""

from django.conf import settings
from django.core.mail import send_mail

from accounts import running
from accounts.models import User


def sends_mail() -> bool:
    """The console backend only prints, so nobody would get it."""
    return "console" not in settings.EMAIL_BACKEND


def wants(user: User | None) -> bool:
    """Whether this person is written to when their work has ended. The first owner's placeholder is no address."""
    return bool(user and user.is_active and user.wants_mail and not user.email.endswith("@localhost") and sends_mail())


def write(user: User, subject: str, text: str, path: str) -> None:
    """`path`: the page it is about, from the site's root. Raises OSError (SMTP's errors are some)."""
    address = running.site() + path
    why = "You get this because you have not switched it off under Settings, You."
    send_mail(" ".join(subject.split())[:200], f"{text}\n\n{address}\n\n-- \n{why}\n", None, [user.email])
