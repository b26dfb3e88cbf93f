"""`manage.py create_token USER`: makes an API token and prints it, and nothing else, so that a script can keep it."""

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from snapshots.access import SYSTEM
from snapshots.choices import TokenScope
from snapshots.models import User
from snapshots.refusals import Refusal
from snapshots.services.tenancy import create_token


class Command(BaseCommand):
    """Prints the token's text to standard output, errors to standard error with a non-zero exit code."""

    help = "Make an API token for a user and print it. It cannot be shown again."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("user", help="user name")
        parser.add_argument("--name", default="command line", help="what it is for (%(default)s)")
        parser.add_argument(
            "--scope", choices=TokenScope.values, default=TokenScope.OPERATE.value, help="default: %(default)s"
        )
        parser.add_argument("--days", type=int, default=90, help="how long it lasts (%(default)s)")

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            user = User.objects.get_by_natural_key(options["user"])
        except User.DoesNotExist:
            raise CommandError(f"There is no user named “{options['user']}”.") from None
        if not user.is_active:
            raise CommandError(f"The user “{options['user']}” is switched off.")
        try:
            _, text = create_token(
                SYSTEM,
                user=user,
                name=options["name"],
                scope=TokenScope(options["scope"]),
                days=options["days"],
            )
        except Refusal as refusal:
            raise CommandError(refusal.detail) from None
        self.stdout.write(text)
