"""Celery's filesystem transport with whole messages only: the embedded broker. `vmsnap_site.celery` puts it in place.

The original (kombu 5.7) writes a message under its final name, and a worker that lists the folder in that moment, or after
the writer was killed, reads an empty file and ends itself with an unrecoverable error.
"""

import logging
import os
import time
import uuid
from pathlib import Path
from queue import Empty
from typing import Any

from kombu.exceptions import ChannelError
from kombu.transport import filesystem
from kombu.utils.json import dumps

log = logging.getLogger(__name__)


class Channel(filesystem.Channel):
    """Messages appear in the folder complete, under names that sort by age."""

    # kombu's own two base classes name the second argument differently, so no name fits both.
    def _put(self, queue: str, payload: Any, **kwargs: Any) -> None:  # type: ignore[override]  # see above
        final = Path(self.data_folder_out, f"{round(time.monotonic() * 1000)}_{uuid.uuid4()}.{queue}.msg")
        part = final.with_name(f"{final.name}.part")  # no queue's messages end like this
        try:
            part.write_text(dumps(payload), encoding="utf-8")
            os.replace(part, final)
        except OSError as error:
            raise ChannelError(f"The message cannot be written to {final.parent}: {error}") from error

    def _get(self, queue: str, timeout: float | None = None) -> Any:
        try:
            return super()._get(queue)  # polling: there is nothing to wait for
        except ValueError as error:
            # Cut off by a crash of the computer. It is out of the folder already; the sweeper sends it again.
            log.warning("A message of the queue %s was not readable and was thrown away: %s", queue, error)
            raise Empty from error


class Transport(filesystem.Transport):
    """The transport of `filesystem://` URLs."""

    Channel = Channel
