"""Keeps a worker's database connections from task to task, as the web server keeps its own from request to request.

Celery closes them around each task unless the setting `CELERY_DB_REUSE_MAX` says otherwise. To open one again means a new
process of PostgreSQL with empty caches, for each job (see docs/speed.md). Those that broke or grew old are closed here,
between tasks, by Django's own rules: `CONN_MAX_AGE`, and `CONN_HEALTH_CHECKS` at each task's first query.
`vmsnap_site.celery` imports it.
"""

from typing import Any

from celery.signals import task_postrun, task_prerun, worker_init
from django.db import close_old_connections, connections


@task_prerun.connect
@task_postrun.connect
def close_what_broke_or_grew_old(sender: Any, **_kwargs: Any) -> None:
    """Before a task and after it, so that an idle process keeps nothing that is of no use any more."""
    if not sender.request.is_eager:
        close_old_connections()


@worker_init.connect
def share_nothing(**_kwargs: Any) -> None:
    """Before a worker's processes fork: none may go on with a connection of the parent's."""
    connections.close_all()
