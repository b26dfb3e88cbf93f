"""Django's entry for the snapshots app."""

from django.apps import AppConfig


class SnapshotsConfig(AppConfig):
    """Registers the tasks, so that `dispatch` finds them by name in every process."""

    name = "snapshots"

    def ready(self) -> None:
        from snapshots import tasks  # noqa: F401  # models are not loaded before this point
