"""The official XenAPI client against the simulator, with TLS verified by the simulator's own authority."""

import http.client
import ssl
import xmlrpc.client
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import XenAPI

from hypervisors.xen_simulator.process import XenSimulator

SECONDS = 180


class VerifiedTransport(xmlrpc.client.SafeTransport):
    """The stock transport with a timeout, which it has no parameter for."""

    def make_connection(self, host: Any) -> http.client.HTTPSConnection:
        """A connection whose calls end."""
        connection = super().make_connection(host)
        connection.timeout = SECONDS
        return connection


class OnceTransport(VerifiedTransport):
    """Never sends a request twice; the stock one does, by itself, when the connection breaks before the answer."""

    def request(self, host: Any, handler: str, request_body: Any, verbose: bool = False) -> Any:
        """Send it, once."""
        return self.single_request(host, handler, request_body, verbose)


def trusting(xen: XenSimulator) -> ssl.SSLContext:
    """A context that trusts the simulator's authority and nothing else."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(xen.ca_path)
    return context


def unconnected(xen: XenSimulator) -> Any:
    """A session before its login. Each call is sent once."""
    return XenAPI.Session(xen.url, transport=OnceTransport(context=trusting(xen)))


@contextmanager
def logged_in(xen: XenSimulator, user: str = "root") -> Iterator[Any]:
    """`session.xenapi`, logged in as one of the simulator's accounts."""
    session = unconnected(xen)
    session.login_with_password(user, xen.accounts[user].password, "1.0", "tests")
    try:
        yield session.xenapi
    finally:
        session("close")()


def details(failure: Any) -> list[str]:
    """Code and parameters of a failure that pytest caught."""
    found: list[str] = failure.value.details
    return found


def ended(api: Any, task: str) -> dict[str, Any]:
    """The task's record once it has ended, told by events."""
    token = ""
    while True:
        answer = api.event_from([f"task/{task}"], token, float(SECONDS) / 2)
        token = answer["token"]
        for event in answer["events"]:
            if event["operation"] == "del":
                raise AssertionError("the task is gone")
            if event["snapshot"]["status"] not in ("pending", "cancelling"):
                record: dict[str, Any] = event["snapshot"]
                return record


def result_of(api: Any, task: str) -> str:
    """The reference that the task ended with, or the empty text. Raises XenAPI.Failure when it failed."""
    record = ended(api, task)
    api.task.destroy(task)
    if record["status"] != "success":
        raise XenAPI.Failure(record["error_info"])
    return str(record["result"]).removeprefix("<value>").removesuffix("</value>")
