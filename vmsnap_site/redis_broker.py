"""Celery's Redis transport with channels that close all the way. `vmsnap_site.celery` puts it in place.

After a lost connection a worker closes its channel twice. The original (kombu 5.7) first reads the answer its BRPOP still
waits for, and when that fails, the rest is left undone. The second time it finds messages that were taken and not yet
acknowledged, wants to give them back over a connection that is gone, and the worker ends itself with an unrecoverable error
(`'NoneType' object has no attribute 'hostname'`). So a worker with work waiting seldom outlived a restart of Redis.
"""

from kombu.transport import redis


class Channel(redis.Channel):
    """Closes in one call, whatever became of the connection."""

    def close(self) -> None:
        try:
            super().close()
        except redis.Transport.connection_errors:
            # No answer is waited for any more, so this time it goes on to the end. Where it had come to the end already
            # it does nothing; messages that could not be given back are the sweeper's.
            super().close()


class Transport(redis.Transport):
    """The transport of `redis://` and `rediss://` URLs."""

    Channel = Channel
