"""The demo's XenServer pool: the shipped XenAPI simulator, as a child of `run_all`, and its endpoint.

The simulator is a process of its own that the product reaches over TLS as it would reach any pool: with the certificate
of the simulator's own authority, a user name and a password. Its data lie in the data folder, so that machines and VM
snapshots are there again at the next start, and `make demo-reset` takes them away with the rest.
"""

import json
import sys
from pathlib import Path

from django.conf import settings

from hypervisors.models import Hypervisor
from hypervisors.registry import why_unavailable
from snapshots.management.children import Child, Children
from snapshots.management.demo_simulators import start_simulator
from snapshots.services import demo_seed

NAME = "XenServer pool (simulator)"
USER = "root"
STOP_SECONDS = 10.0
# So that progress can be watched, and soon after a deletion its space come back.
STEP_SECONDS = 0.4
COLLECT_SECONDS = 20.0


def why_not() -> str:
    """Why this computer cannot show one, or ""."""
    return why_unavailable("xenserver")


def child() -> Child:
    """The process. It goes on answering until web and worker have ended."""
    command = [sys.executable, "-m", "hypervisors.xen_simulator", f"--data={_folder()}", "--world=demo", "--quiet"]
    command += [f"--step-seconds={STEP_SECONDS}", f"--collect-after={COLLECT_SECONDS}"]
    return Child("XenServer simulator", command, STOP_SECONDS, stops_last=True)


def start(children: Children) -> Hypervisor:
    """Start the process, wait until it serves and make sure that its endpoint is known."""
    told = start_simulator(children, child(), _folder())
    accounts = json.loads((_folder() / "accounts.json").read_text(encoding="utf-8"))
    return demo_seed.endpoint_for(
        name=NAME,
        kind="xenserver",
        address=told["url"],
        username=USER,
        password=accounts[USER]["password"],
        ca_certificate=(_folder() / "ca.pem").read_text(encoding="ascii"),
    )


def _folder() -> Path:
    return Path(settings.DATA_DIR) / "xenserver"
