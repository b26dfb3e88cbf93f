"""The demo's vCenter: the simulator that the tests use, as a child of `run_all`, and its endpoint.

It stands on two Debian packages that the demo does not install (`golang-go`, `golang-github-vmware-govmomi-dev`): where
they are, a vCenter is shown. Its program is compiled at the first start, beside everything else, which takes half a
minute; the machines appear then. It keeps its machines' VM snapshots in the data folder, so that the next start finds
them again. The product reaches it over TLS as it would any vCenter.
"""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from django.conf import settings

from hypervisors.models import Hypervisor
from hypervisors.registry import why_unavailable
from snapshots.management.children import Child, Children
from snapshots.management.demo_simulators import start_simulator
from snapshots.services import demo_seed

NAME = "vCenter (simulator)"
STOP_SECONDS = 10.0


class Vcenter:
    """The vCenter of one `run_all`. `found` is called with its endpoint once it serves, `say` tells the person at the
    terminal."""

    def __init__(self, children: Children, say: Callable[[str], None], found: Callable[[Hypervisor], None]) -> None:
        self._children = children
        self._say = say
        self._found = found
        self._build: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it where it has been built, else begin to build it; where that cannot be, say why."""
        state = _state()
        if missing := state.get("missing") or why_unavailable("vmware"):
            self._say(f"No vCenter beside the others: {missing}.")
        elif state["built"]:
            self._serve()
        else:
            self._say("Building the simulated vCenter, once. It takes half a minute and goes on beside.")
            # A session of its own, as its children must end with it.
            self._build = subprocess.Popen(
                [*_COMMAND, "--build", f"--data={_folder()}"], cwd=settings.BASE_DIR, start_new_session=True
            )

    def go_on(self) -> None:
        """Start it when the build has ended. To be called whenever a child of this process has."""
        if self._build is None or (code := self._build.poll()) is None:
            return
        self._build = None
        if code:
            self._say("!! No vCenter: its simulator could not be built. The compiler's words are above.")
        else:
            self._serve()

    def close(self) -> None:
        """End a build under way."""
        if self._build is not None and self._build.poll() is None:
            os.killpg(self._build.pid, signal.SIGKILL)
            self._build.wait()

    def _serve(self) -> None:
        command = [*_COMMAND, f"--data={_folder()}"]
        child = Child("vSphere simulator", command, STOP_SECONDS, stops_last=True)
        told = start_simulator(self._children, child, _folder())
        self._found(
            demo_seed.endpoint_for(
                name=NAME,
                kind="vmware",
                address=told["url"],
                username=told["username"],
                password=told["password"],
                ca_certificate=told["ca_certificate"],
            )
        )


# A process of its own, as this house does not enter its tests.
_COMMAND = (sys.executable, "-m", "tests.vsphere_simulator")


def _folder() -> Path:
    return Path(settings.DATA_DIR) / "vsphere"


def _state() -> dict[str, object]:
    """What is missing and whether the program is there, asked of the simulator itself."""
    if not (settings.BASE_DIR / "tests" / "vsphere_simulator").is_dir():
        return {"missing": "this copy of the product comes without its tests"}
    asked = subprocess.run(
        [*_COMMAND, "--state", f"--data={_folder()}"],
        cwd=settings.BASE_DIR,
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    state: dict[str, object] = json.loads(asked.stdout)
    return state
