"""What the processes of an installation do when a test asks them to: plain data in, plain data out.

Refusals are answers here, as `("refused", code)`; any other exception goes back to the test, which it fails.
"""

import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

from django.conf import settings
from django.db import connection
from django.utils import timezone

from hypervisors.connections import open_driver
from hypervisors.drivers.simulated.world import Disk, Machine, World
from hypervisors.models import Hypervisor
from hypervisors.records import PowerAfterRevert, PowerState
from snapshots import tree, tree_resync
from snapshots.access import SYSTEM, Actor
from snapshots.choices import ACTIVE_JOB_STATES, JobState, Role, Trigger
from snapshots.models import Event, IdempotencyKey, Job, User, VirtualMachine, VMSnapshot, Volume
from snapshots.refusals import Refusal
from snapshots.services import (
    endpoints,
    idempotency,
    job_sweeper,
    jobs,
    machine_actions,
    snapshot_actions,
    sync_schedule,
)
from snapshots.services.job_runner import run_job
from tests.builders import Cloud, account, domain, user

Outcome = tuple[str, str]

# Building


def build(machines: int, running: bool = True) -> str:
    """A simulated hypervisor with machines `m0`, `m1`, ...; answers its name, which is also its address."""
    power = PowerState.RUNNING if running else PowerState.STOPPED
    return Cloud(tuple(Machine(f"m{n}", power=power, disks=(Disk(name=f"d{n}"),)) for n in range(machines))).name


def add_lab(name: str, address: str) -> None:
    """The lab as an endpoint of this name, read once."""
    hypervisor = endpoints.add_endpoint(SYSTEM, name=name, kind="libvirt", address=address)
    job = endpoints.request_sync(SYSTEM, hypervisor=hypervisor)
    run_job(job.pk)
    assert job_in(str(job.uuid), JobState.SUCCEEDED), job_facts(str(job.uuid))


def build_operator(cloud: str, name: str) -> None:
    """A user who operates the account of this name, which owns all machines of the cloud."""
    owner = account(name, domain(name))
    user(name, Role.OPERATOR, account=owner)
    VirtualMachine.objects.filter(hypervisor__name=cloud).update(account=owner)


def world_path(cloud: str) -> str:
    """Where the file of the simulated hypervisor lies, for `World`."""
    return str(Path(settings.DATA_DIR) / "simulated" / f"{cloud}.sqlite3")


def world_of(cloud: str) -> World:
    """The hypervisor's own side."""
    return World(Path(world_path(cloud)))


def machine_of(cloud: str, name: str = "m0") -> VirtualMachine:
    """The row of a machine, fresh."""
    return VirtualMachine.objects.get(hypervisor__name=cloud, name=name)


def snapshot_of(cloud: str, name: str, machine: str = "m0") -> VMSnapshot:
    """The row of a VM snapshot, fresh."""
    found: VMSnapshot = VMSnapshot.objects.get(machine__hypervisor__name=cloud, machine__name=machine, name=name)
    return found


def outcome(ask: Callable[[], Job]) -> Outcome:
    """`("job", its public id)` or `("refused", the code)`."""
    try:
        return "job", str(ask().uuid)
    except Refusal as refusal:
        return "refused", refusal.code


# Asking


def ask_to_create(cloud: str, name: str, machine: str = "m0", memory: bool = False) -> Outcome:
    """Ask for a VM snapshot."""
    wanted = machine_of(cloud, machine)
    return outcome(lambda: snapshot_actions.request_create(SYSTEM, machine=wanted, name=name, memory=memory))


def ask_to_revert(cloud: str, name: str, machine: str = "m0", safety: bool = False) -> Outcome:
    """Ask for a revert, the machine running afterwards."""
    snapshot = snapshot_of(cloud, name, machine)
    power = PowerAfterRevert.RUNNING if snapshot.type == "Disk" else PowerAfterRevert.AS_SNAPSHOT
    return outcome(
        lambda: snapshot_actions.request_revert(SYSTEM, snapshot=snapshot, power=power, safety_snapshot=safety)
    )


def ask_to_delete(cloud: str, name: str, machine: str = "m0", descendants: bool = False) -> Outcome:
    """Ask for a deletion."""
    ask = snapshot_actions.request_delete_tree if descendants else snapshot_actions.request_delete
    snapshot = snapshot_of(cloud, name, machine)
    return outcome(lambda: ask(SYSTEM, snapshot=snapshot))


def ask_to_delete_all(cloud: str, machine: str = "m0") -> Outcome:
    """Ask for all VM snapshots of the machine to be deleted."""
    wanted = machine_of(cloud, machine)
    return outcome(lambda: snapshot_actions.request_delete_all(SYSTEM, machine=wanted))


def ask_to_rename(cloud: str, old: str, new: str, machine: str = "m0") -> Outcome:
    """Ask for another name."""
    snapshot = snapshot_of(cloud, old, machine)
    return outcome(lambda: snapshot_actions.request_rename(SYSTEM, snapshot=snapshot, name=new))


def ask_to_stop(cloud: str, machine: str = "m0") -> Outcome:
    """Ask for the machine to be stopped."""
    wanted = machine_of(cloud, machine)
    return outcome(lambda: machine_actions.request_stop(SYSTEM, machine=wanted, force=True))


def ask_to_start(cloud: str, machine: str = "m0") -> Outcome:
    """Ask for the machine to be started."""
    wanted = machine_of(cloud, machine)
    return outcome(lambda: machine_actions.request_start(SYSTEM, machine=wanted))


def ask_to_sync(cloud: str, machine: str = "m0") -> Outcome:
    """Ask for the machine to be read again."""
    wanted = machine_of(cloud, machine)
    return outcome(lambda: machine_actions.request_sync(SYSTEM, machine=wanted))


def ask(verb: str, *arguments: object) -> Outcome:
    """Any of the above by its name."""
    asked: Outcome = globals()[f"ask_to_{verb}"](*arguments)
    return asked


def ask_with_key(cloud: str, username: str, key: str, name: str) -> Outcome:
    """Ask for a VM snapshot with an Idempotency-Key, as REST does it."""
    wanted = machine_of(cloud)
    actor = Actor(User.objects.get(username=username), Trigger.API, "127.0.0.1")
    digest = idempotency.digest_of("POST", "/snapshots/", name.encode())
    return outcome(
        lambda: idempotency.once(
            actor, key, digest, lambda: snapshot_actions.request_create(actor, machine=wanted, name=name)
        )
    )


def create_until_answered(cloud: str, name: str) -> Outcome:
    """Ask for a VM snapshot, again while the machine is busy, and carry it out."""
    end = time.monotonic() + 60
    while time.monotonic() < end:
        answer = ask_to_create(cloud, name)
        if answer != ("refused", "vm_busy"):
            if answer[0] == "job":
                run(answer[1])
            return answer
    raise TimeoutError("The machine was busy for a whole minute.")


def order_syncs(cloud: str) -> list[str]:
    """The regular tick; answers the public ids of this endpoint's jobs."""
    return [str(job.uuid) for job in sync_schedule.order_due_syncs() if job.hypervisor.name == cloud]


def order_sync(cloud: str) -> Outcome:
    """Somebody asks for a reading of the endpoint."""
    return outcome(lambda: endpoints.request_sync(SYSTEM, hypervisor=Hypervisor.objects.get(name=cloud)))


# Working


def run(job: str) -> str:
    """Carry the job out in this process; answers its state afterwards."""
    run_job(Job.objects.get(uuid=job).pk)
    return Job.objects.get(uuid=job).state


def run_or_cancel(job: str, verb: str) -> str:
    """Carry the job out, or cancel it."""
    if verb == "run":
        return run(job)
    return outcome(lambda: jobs.request_cancel(SYSTEM, Job.objects.get(uuid=job)))[1]


def done(verb: str, *arguments: object) -> str:
    """Ask and carry out; answers the job's public id. The job has to succeed."""
    answer = ask(verb, *arguments)
    assert answer[0] == "job", answer
    assert run(answer[1]) == "succeeded", job_facts(answer[1])
    return answer[1]


def sweep() -> None:
    """One round of the sweeper."""
    job_sweeper.sweep()


# Looking


def job_facts(job: str) -> dict[str, str]:
    """State, code, detail and phase of a job."""
    row = Job.objects.get(uuid=job)
    return {"state": row.state, "code": row.error_code, "detail": row.error_detail, "phase": row.phase}


def job_in(job: str, *states: str) -> bool:
    """Whether the job is in one of these states."""
    return Job.objects.filter(uuid=job, state__in=states).exists()


def is_settling(job: str) -> bool:
    """Whether the outcome of the job is being found out and the hypervisor is still at work on it."""
    return Job.objects.filter(
        uuid=job, settling_since__isnull=False, phase__startswith="The hypervisor is still at work"
    ).exists()


def in_flight(cloud: str, machine: str) -> str | None:
    """What the hypervisor is doing to the machine just now."""
    row = machine_of(cloud, machine)
    with open_driver(row.hypervisor_id) as driver:
        return driver.operation_in_flight(row.native_id)


def active_jobs(cloud: str) -> list[str]:
    """Public ids of the endpoint's jobs that have not ended."""
    rows = Job.objects.filter(hypervisor__name=cloud, state__in=ACTIVE_JOB_STATES)
    return [str(uuid) for uuid in rows.values_list("uuid", flat=True)]


def endpoint_facts(cloud: str) -> dict[str, str]:
    """What the row of an endpoint says: its state, and the process that watches it (`watcher`, empty for none)."""
    hypervisor = Hypervisor.objects.get(name=cloud)
    claimed = hypervisor.watch_claim.split(":")
    return {"state": str(hypervisor.state), "watcher": claimed[1] if len(claimed) == 3 else ""}


def is_watched_by(cloud: str, process: int) -> bool:
    """Whether this process watches the endpoint."""
    return endpoint_facts(cloud)["watcher"] == str(process)


def miss_watcher(cloud: str) -> None:
    """As if whoever watches the endpoint had been silent for long."""
    silent = timezone.now() - timedelta(seconds=2 * settings.WATCH_LOST_AFTER_SECONDS)
    Hypervisor.objects.filter(name=cloud).update(watch_beat_at=silent)


def is_watched_by_nobody(cloud: str) -> bool:
    """Whether no process watches the endpoint."""
    return endpoint_facts(cloud)["watcher"] == ""


def endpoint_is(cloud: str, state: str) -> bool:
    """Whether the endpoint is in this state."""
    return endpoint_facts(cloud)["state"] == state


def switch(cloud: str, on: bool) -> None:
    """Switch an endpoint on or off."""
    row = Hypervisor.objects.get(name=cloud)
    endpoints.change_endpoint(
        SYSTEM,
        hypervisor=row,
        name=row.name,
        address=row.address,
        username=row.username,
        password=None,
        enabled=on,
    )


def has_snapshot(cloud: str, name: str) -> bool:
    """Whether a VM snapshot of this name is known of the first machine."""
    return name in snapshot_states(cloud)


def reconnect() -> None:
    """Forget a database connection that may have broken."""
    connection.close()


def snapshot_states(cloud: str, machine: str = "m0") -> dict[str, str]:
    """Name to state of the machine's VM snapshots."""
    rows = VMSnapshot.objects.filter(
        machine__hypervisor__name=cloud, machine__name=machine, parent__isnull=False
    ).values_list("name", "state")
    return dict(rows)


def current_name(cloud: str, machine: str = "m0") -> str:
    """The name of the current VM snapshot, empty for none."""
    name: str = VMSnapshot.objects.get(machine=machine_of(cloud, machine), current=True).name
    return name


def events_of(job: str) -> list[str]:
    """The kinds of the events a job left, oldest first."""
    return list(Event.objects.filter(job__uuid=job).order_by("pk").values_list("action", flat=True))


def keys_of(username: str) -> int:
    """How many idempotency keys are kept for this user."""
    return IdempotencyKey.objects.filter(user__username=username).count()


def damage(cloud: str) -> list[str]:
    """What is wrong with the trees of an endpoint's machines, by the guard's own measure and by walking each tree."""
    machines = {row.pk: row.name for row in VirtualMachine.objects.filter(hypervisor__name=cloud)}
    wrong = [f"damaged: {machines[pk]}" for pk in tree.damaged_machines() if pk in machines]
    for pk, name in machines.items():
        rows = list(VMSnapshot.objects.filter(machine_id=pk))
        numbers = sorted(number for row in rows for number in (row.lft, row.rght))
        if numbers != list(range(1, 2 * len(rows) + 1)):
            wrong.append(f"numbers of {name}: {numbers}")
        if sum(row.current for row in rows) != 1:
            wrong.append(f"{name} has not exactly one current VM snapshot")
        if {row.tree_id for row in rows} != {pk}:
            wrong.append(f"{name} has foreign rows in its tree")
    return wrong


def drift(cloud: str) -> list[str]:
    """Where the rows of an endpoint and the hypervisor, asked now, disagree."""
    hypervisor = Hypervisor.objects.get(name=cloud)
    with open_driver(hypervisor.pk) as driver:
        inventory = driver.read_inventory()
    found: list[str] = []
    for record in inventory.machines:
        row = VirtualMachine.objects.get(hypervisor=hypervisor, native_id=record.native_id)
        if row.power_state != record.power_state.value:
            found.append(f"{row.name} is {record.power_state.value}, not {row.power_state}")
        rows = VMSnapshot.objects.filter(machine=row)
        if tree_resync.tree_differs(rows, inventory.forests[record.native_id]):
            found.append(f"the tree of {row.name}")
        volumes = set(Volume.objects.filter(machine=row).values_list("native_id", flat=True))
        if volumes != {volume.native_id for volume in record.volumes}:
            found.append(f"the volumes of {row.name}")
    return found
