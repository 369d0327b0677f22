"""`manage.py sign_in_link`: a new one-time sign-in link, for whoever sits at the server."""

from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import connection
from django.urls import reverse

from accounts import audit, first_start, running
from accounts.models import Project, User


class Command(BaseCommand):
    help = "Print a one-time sign-in link: for the first owner, or for the person with --email."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--email", help="whose link; the first owner's when left out")

    def handle(self, *args: Any, **options: Any) -> None:
        if "accounts_membership" not in connection.introspection.table_names():
            where = "Set HONE_HOME to the folder of your server, as when it was started."
            raise CommandError(f"{settings.HONE_HOME} holds no Hone yet. {where}")
        email = options["email"]
        user = User.objects.filter(email=email.lower()).first() if email else first_start.first_owner()
        if user is None:
            known = ", ".join(User.objects.order_by("email").values_list("email", flat=True)[:20]) or "nobody"
            raise CommandError(f"Nobody here has the e-mail {email}. Known: {known}.")
        audit.by_hone(
            f"Made a sign-in link for {user.email}",
            project=Project.objects.of(user).first(),
            kind="account",
            action="manage.py sign_in_link",
        )
        path = reverse("link", args=[first_start.sign_in_token(user)])
        self.stdout.write(f"{running.site()}{path}")
