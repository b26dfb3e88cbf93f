"""The Celery app: JSON only, ids only, settings from Django's under the prefix `CELERY_`."""

import os

from celery import Celery
from kombu.transport import TRANSPORT_ALIASES

from vmsnap_site import worker_connections as worker_connections  # connects itself to the signals

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "vmsnap_site.settings")

TRANSPORT_ALIASES["filesystem"] = "vmsnap_site.folder_broker:Transport"
TRANSPORT_ALIASES["redis"] = TRANSPORT_ALIASES["rediss"] = "vmsnap_site.redis_broker:Transport"

app = Celery("vmsnap")
app.config_from_object("django.conf:settings", namespace="CELERY")
