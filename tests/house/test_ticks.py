"""What has to happen again and again has a tick, and each tick a task."""

from celery import current_app
from django.conf import settings

from snapshots import tasks

ON_REQUEST = {tasks.run_job.name}


def test_each_task_that_nobody_asks_for_has_a_tick_and_each_tick_a_task() -> None:
    ticks = {entry["task"] for entry in settings.CELERY_BEAT_SCHEDULE.values()}
    assert ticks == {name for name in current_app.tasks if name.startswith("snapshots.")} - ON_REQUEST
