"""The control door: faults on request, and facts that XenAPI does not tell. JSON by POST to `/simulator`.

XenAPI has nothing like it, and a client of XenAPI cannot reach it: it takes the token that lies in the data folder.
Each request is `{"do": name, ...}`, each answer `{"result": ...}` or `{"error": text}`. `process.Control` speaks it.
"""

import base64
import hmac
import json
from collections.abc import Callable
from email.message import Message as Headers
from http import HTTPStatus
from typing import Any

from hypervisors.xen_simulator import disks, machines, sessions, worlds
from hypervisors.xen_simulator.errors import XenFailure
from hypervisors.xen_simulator.faults import AT_ANSWER, AT_STEPS, OF_TASKS
from hypervisors.xen_simulator.model import ASYNC, error_parameters, find_message
from hypervisors.xen_simulator.pool import Call, Pool

PATH = "/simulator"


class WrongOrder(Exception):
    """What is asked for cannot be done."""


def answer(pool: Pool, token: str, headers: Headers, body: bytes) -> tuple[HTTPStatus, bytes]:
    """Do what is asked by whoever holds the token."""
    given = str(headers.get("Authorization", ""))
    if not hmac.compare_digest(given.encode(), f"Bearer {token}".encode()):
        return HTTPStatus.UNAUTHORIZED, _json({"error": "the token is not right"})
    try:
        order = json.loads(body)
        deed = ORDERS[order.pop("do")]
        return HTTPStatus.OK, _json({"result": deed(pool, **order)})
    except (WrongOrder, XenFailure, KeyError, TypeError, ValueError, AttributeError) as error:
        return HTTPStatus.BAD_REQUEST, _json({"error": f"{type(error).__name__}: {error}"})


def _json(thing: Any) -> bytes:
    return json.dumps(thing).encode()


def _check_code(code: str) -> None:
    """A client is to be tried with what exists. The number of parameters is free: the real server's varies."""
    try:
        error_parameters(code)
    except KeyError:
        raise WrongOrder(f"XenAPI has no error {code!r}") from None


def _fault(pool: Pool, kind: str, message: str, **more: Any) -> int:
    if kind not in AT_STEPS | AT_ANSWER | OF_TASKS:
        raise WrongOrder(f"no fault {kind!r}")
    if message != "*" and find_message(message.removeprefix(ASYNC)) is None:
        raise WrongOrder(f"no message {message!r}")
    if kind == "refuse":
        _check_code(more["code"])
    more["params"] = tuple(more.get("params", ()))
    return pool.faults.add(kind, message, **more)


def _redirect(pool: Pool, address: str) -> None:
    pool.faults.redirect = address


def _fill(pool: Pool, sr: str, full: bool = True) -> None:
    pool.database.by_uuid("SR", sr)
    (pool.full.add if full else pool.full.discard)(sr)


def _vanish(pool: Pool, vm: str, snapshots: bool = False) -> None:
    """The machine is gone from one moment to the next, with its snapshots or without them."""
    database = pool.database
    with database.change():
        ref = database.by_uuid("VM", vm)
        gone = [ref, *(database.get("VM", ref, "snapshots") if snapshots else [])]
        for each in gone:
            machines.delete_records(Call(pool, "VM.destroy"), each)


def _add_machine(pool: Pool, machine: dict[str, Any]) -> dict[str, str]:
    ref = worlds.add_machine(pool, machine)
    return {"vm": ref, "uuid": pool.database.get("VM", ref, "uuid")}


def _write(pool: Pool, vdi: str, offset: int, content: str) -> None:
    ref = pool.database.by_uuid("VDI", vdi)
    disks.write_as_guest(pool, ref, offset, base64.b64decode(content))


def _read(pool: Pool, vdi: str, offset: int, length: int) -> str:
    content = disks.read_as_guest(pool, pool.database.by_uuid("VDI", vdi), offset, length)
    return base64.b64encode(content).decode()


def _chain(pool: Pool, vdi: str) -> list[str]:
    with pool.database.lock:
        return disks.chain(pool.database, pool.database.by_uuid("VDI", vdi))


def _clear(pool: Pool) -> None:
    pool.faults.clear()
    pool.full.clear()


def _forget_task(pool: Pool, task: str) -> None:
    pool.tasks.forget(task)


ORDERS: dict[str, Callable[..., Any]] = {
    "fault": _fault,
    "release": lambda pool, number: pool.faults.release(number),
    "wait_held": lambda pool, number, seconds: pool.faults.wait_held(number, seconds),
    "clear": _clear,
    "calls": lambda pool: pool.faults.calls,
    "expire_sessions": lambda pool: sessions.end_all(pool),
    "redirect": _redirect,
    "fill": _fill,
    "vanish": _vanish,
    "add_machine": _add_machine,
    "write": _write,
    "read": _read,
    "chain": _chain,
    "collect_garbage": disks.collect,
    "forget_task": _forget_task,
}
