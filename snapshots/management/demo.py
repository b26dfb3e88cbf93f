"""The demo from the side of the command line: its password and its hypervisor. Used by `run_all` and `seed_demo`."""

import os
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from django.conf import settings

from hypervisors.drivers.simulated.world import make_world
from hypervisors.lab import Lab, LabUnavailable
from hypervisors.models import Hypervisor
from hypervisors.registry import why_unavailable
from snapshots.choices import JobState
from snapshots.services import demo_seed

LAB_NAME = "Lab (real machines of this computer)"
SIMULATED_NAME = "Simulated hypervisor"
SIMULATED_ADDRESS = "demo"

Say = Callable[[str], None]


@dataclass(frozen=True)
class Password:
    """The password of the demo's people and where it is kept; `path` is None when it was given from outside."""

    text: str
    path: Path | None


def demo_password() -> Password | None:
    """VMSNAP_DEMO_PASSWORD, else the one kept in the data folder, else a new one, kept there readable by its owner only.

    The users' rows hold its hash alone; the file is for people, who would lose what scrolled away. None when the demo's
    people are there but the file of their password is not: then it is known to nobody here.
    """
    if settings.DEMO_PASSWORD:
        return Password(settings.DEMO_PASSWORD, None)
    path = Path(settings.DATA_DIR) / "demo_password"
    if path.exists():
        return Password(path.read_text(encoding="utf-8").strip(), path)
    if demo_seed.is_seeded():
        return None
    text = secrets.token_urlsafe(9)
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:
        file.write(f"{text}\n")
    return Password(text, path)


def why_no_lab(lab: Lab) -> str:
    """Why this computer cannot have real machines, or ""."""
    missing = lab.missing_programs()
    return f"it lacks {', '.join(missing)}" if missing else why_unavailable("libvirt")


def lab_endpoint(lab: Lab, say: Say) -> Hypervisor | None:
    """Start the lab and make sure that its endpoint is known. None, said with the reason, where there can be no lab.
    Raises LabError when it fails."""
    reason = why_no_lab(lab)
    if not reason:
        try:
            facts = lab.up()
        except LabUnavailable as unavailable:
            reason = str(unavailable)
        else:
            how = f"QEMU with {facts.accelerator}" + (f", as {facts.kvm_reason}" if facts.kvm_reason else "")
            say(f"The lab is up: {', '.join(lab.running())} ({how})")
            return demo_seed.endpoint_for(name=LAB_NAME, kind="libvirt", address=lab.uri)
    say(f"!! No real machines on this computer: {reason}")
    say("!! A simulated hypervisor takes their place. Every page of it says so.")
    return None


def simulated_endpoint() -> Hypervisor:
    """The shipped simulation with the demo's machines."""
    folder = Path(settings.DATA_DIR) / "simulated"
    folder.mkdir(parents=True, exist_ok=True)
    world = folder / f"{SIMULATED_ADDRESS}.sqlite3"
    if not world.exists():
        make_world(world)
    return demo_seed.endpoint_for(name=SIMULATED_NAME, kind="simulated", address=SIMULATED_ADDRESS)


def import_machines(hypervisor: Hypervisor, say: Say) -> None:
    """Read what the endpoint holds and share its machines out to the demo's accounts, where those are."""
    if not hypervisor.enabled:
        say(f"{hypervisor.name} is switched off in the administration and was not read.")
        return
    job = demo_seed.read_now(hypervisor)
    if job.state != JobState.SUCCEEDED:
        say(f"!! {hypervisor.name} could not be read: {job.error_detail or job.get_state_display()}")
        return
    given = demo_seed.share_out(hypervisor)
    say(f"Read {hypervisor.machines.count()} machines of {hypervisor.name}" + (f", gave {given} away" if given else ""))


def greet(password: Password | None, seeded: demo_seed.Seeded, say: Say) -> None:
    """Tell who may sign in, and how."""
    if seeded.strangers:
        say("Users are there already, so the demo's people were not added. Sign in as one of them.")
        return
    say("Sign in as")
    for name, what in demo_seed.PEOPLE.items():
        say(f"    {name:<8}{what}")
    if password is None:
        say("with the password of the first start. Its file is gone: set VMSNAP_DEMO_PASSWORD to give them another.")
        return
    kept = f"   (kept in {password.path})" if password.path else "   (VMSNAP_DEMO_PASSWORD)"
    say(f"with the password   {password.text}{kept}")
    if changed := demo_seed.passwords_changed(password.text):
        say(f"({', '.join(changed)} changed theirs since.)")


def seed(password: Password | None) -> demo_seed.Seeded:
    """Make the demo's people, where this installation is the demo's or nobody's."""
    if password is None:
        return demo_seed.Seeded()
    return demo_seed.seed_people(password.text, reset=password.path is None)
