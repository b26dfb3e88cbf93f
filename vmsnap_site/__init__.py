"""The hall: settings and wiring, no rules. Importing it makes the Celery app the default one."""

from vmsnap_site.celery import app as celery_app

__all__ = ["celery_app"]
