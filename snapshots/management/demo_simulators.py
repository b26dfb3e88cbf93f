"""Starts a simulator of the demo as a child of `run_all` and waits until it serves. `demo_vsphere` and `demo_xenserver`
enter.

A simulator says in a file, `server.json`, what it serves and as which process: one that an earlier start left behind must
not be taken for this one.
"""

import json
import socket
import time
from pathlib import Path
from typing import Any

from snapshots.management.children import Child, Children, GivenUp

ANSWER_WITHIN_SECONDS = 60.0


def start_simulator(children: Children, child: Child, folder: Path) -> dict[str, Any]:
    """Start it, with its data in this folder; answers what it says of itself once it takes connections. Raises `GivenUp`
    when that takes too long, and as `Children.tend`."""
    children.start(child)
    deadline = time.monotonic() + ANSWER_WITHIN_SECONDS
    while (told := _told(child, folder)) is None:
        if time.monotonic() > deadline:
            raise GivenUp(f"The {child.name} did not answer within {ANSWER_WITHIN_SECONDS:g} seconds.")
        children.tend(timeout=0.1)
    return told


def _told(child: Child, folder: Path) -> dict[str, Any] | None:
    """What this process, and no earlier one, has told, once it takes connections there."""
    try:
        told: dict[str, Any] = json.loads((folder / "server.json").read_text(encoding="utf-8"))
        if child.process is None or told["pid"] != child.process.pid:
            return None
        with socket.create_connection(("127.0.0.1", int(told["port"])), timeout=1):
            return told
    except (OSError, ValueError):
        return None
