"""`manage.py watch_hypervisors`: waits on the endpoints that tell what changes, and reads what they tell of, until SIGTERM
or Ctrl-C. Several of it share the endpoints and take over from each other."""

import signal
from typing import Any

from django.core.management.base import BaseCommand

from snapshots.management.watchers import Watchers

ENDING = (signal.SIGTERM, signal.SIGINT)


class Command(BaseCommand):
    """Runs in the foreground."""

    help = "Wait on the hypervisors that tell what changes, and read what they tell of, until SIGTERM or Ctrl-C."

    def handle(self, *_: Any, **__: Any) -> None:
        # Blocked, here and in all threads, and taken up where the main thread waits: a handler could strike anywhere.
        signal.pthread_sigmask(signal.SIG_BLOCK, ENDING)
        Watchers().run(lambda seconds: signal.sigtimedwait(ENDING, seconds) is not None)
