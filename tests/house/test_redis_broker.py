"""The connection to Redis can be given up whenever Redis goes away."""

from collections.abc import Iterator

import pytest
from kombu import Connection, Exchange, Message, Queue

from tests.services_for_tests import Redis


@pytest.fixture
def server(redis_server: Redis) -> Iterator[Redis]:
    """A Redis server that may be stopped, running again afterwards."""
    yield redis_server
    if redis_server.process is None:
        redis_server.start()


def test_a_connection_is_given_up_as_a_worker_does_it_while_a_message_is_unacknowledged(server):
    connection = Connection(server.url, transport_options={"socket_connect_timeout": 2, "socket_timeout": 3})
    queue = Queue("work", durable=False)
    connection.Producer().publish({}, routing_key=queue.name, declare=[queue])
    taken: list[Message] = []
    # As a worker has it: work on the first channel, with room for more, and announcements on another one.
    announcements = Queue("announcements", Exchange("announcements", "fanout"), auto_delete=True)
    connection.Consumer([queue], on_message=taken.append, prefetch_count=2).consume()
    connection.Consumer([announcements], channel=connection.channel(), on_message=taken.append).consume()
    take_what_is_there(connection, taken)
    server.stop()
    connection.collect(socket_timeout=1)
    connection.close()
    assert len(taken) == 1


def take_what_is_there(connection, taken):
    """Until the message is here and the next one is waited for."""
    while True:
        try:
            connection.drain_events(timeout=0.1)
        except TimeoutError:
            if taken:
                return
