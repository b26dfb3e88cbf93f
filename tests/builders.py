"""Builds test data the way the product does: through services, a reading of a simulated hypervisor, and the job runner.

Nothing here writes a product row that a service or the tree guard would not have written.
"""

import uuid
from pathlib import Path
from typing import Any

from django.conf import settings

from hypervisors.drivers.simulated.world import Disk, Machine, Pool, World, make_world
from hypervisors.models import Hypervisor
from hypervisors.records import PowerState
from hypervisors.xen_simulator.process import XenSimulator
from snapshots.access import SYSTEM, Actor
from snapshots.choices import LimitKind, Role, Trigger
from snapshots.models import Account, Domain, Job, LimitUse, Schedule, StoragePool, User, VirtualMachine, VMSnapshot
from snapshots.services import endpoints, tenancy
from snapshots.services.job_runner import run_job
from snapshots.services.limit_setting import set_limit
from snapshots.services.schedule_rules import Terms
from snapshots.services.schedules import add_schedule
from snapshots.services.snapshot_actions import request_create
from tests.vsphere_simulator.server import VsphereSimulator

PASSWORD = "correct horse battery"
MIB = 1024**2

MACHINES = (
    Machine("web", power=PowerState.RUNNING, disks=(Disk(name="web-root"), Disk(name="web-data"))),
    Machine("db", power=PowerState.STOPPED),
    Machine("foreign", power=PowerState.RUNNING),
    Machine("unassigned", power=PowerState.STOPPED),
)


class Cloud:
    """A simulated hypervisor known to the product. `world` is the hypervisor's own side: what is done through it is done
    behind the product's back."""

    def __init__(
        self,
        machines: tuple[Machine, ...] = MACHINES,
        name: str | None = None,
        pools: tuple[Pool, ...] = (Pool(),),
    ) -> None:
        self.name = name or f"world-{uuid.uuid4().hex[:12]}"
        folder = Path(settings.DATA_DIR) / "simulated"
        folder.mkdir(parents=True, exist_ok=True)
        self.world: World = make_world(folder / f"{self.name}.sqlite3", machines, pools)
        self.hypervisor: Hypervisor = endpoints.add_endpoint(
            SYSTEM, name=self.name, kind="simulated", address=self.name
        )
        self.sync()

    def sync(self) -> Job:
        """Read everything again, as the regular tick does."""
        return run(endpoints.request_sync(SYSTEM, hypervisor=self.hypervisor))

    def machine(self, name: str) -> VirtualMachine:
        """The row of a machine, fresh."""
        return VirtualMachine.objects.select_related("hypervisor", "account__domain").get(
            hypervisor=self.hypervisor, name=name
        )


class People:
    """Alice operates the account acme, Bob reads it, Charlie operates an account of another organisation, Dora
    administers acme's domain, Root administers everything, Nora has no role at all."""

    def __init__(self) -> None:
        self.organisation = domain("organisation")
        self.engineering = domain("engineering", self.organisation)
        self.elsewhere = domain("elsewhere")
        self.acme = account("acme", self.engineering)
        self.other = account("other", self.elsewhere)
        self.alice = user("alice", Role.OPERATOR, account=self.acme)
        self.bob = user("bob", Role.READER, account=self.acme)
        self.charlie = user("charlie", Role.OPERATOR, account=self.other)
        self.dora = user("dora", Role.DOMAIN_ADMIN, domain=self.engineering)
        self.root = user("root", Role.ROOT_ADMIN)
        self.nora = tenancy.create_user(SYSTEM, username="nora", password=PASSWORD)

    def own(self, cloud: Cloud) -> None:
        """Acme gets `web` and `db`, the other account `foreign`; `unassigned` stays without an owner."""
        for name, owner in (("web", self.acme), ("db", self.acme), ("foreign", self.other)):
            tenancy.assign_machine(SYSTEM, machine=cloud.machine(name), account=owner)


def empty_pool() -> StoragePool:
    """A pool that holds no volume, so that its row can go."""
    cloud = Cloud(pools=(Pool(), Pool("empty")))
    return StoragePool.objects.get(hypervisor=cloud.hypervisor, name="empty")


def endpoint_of(server: VsphereSimulator | XenSimulator, kind: str, name: str = "endpoint") -> Hypervisor:
    """The server as the product knows it, with its certificate trusted; not read yet."""
    return endpoints.add_endpoint(
        SYSTEM,
        name=name,
        kind=kind,
        address=server.address,
        username=server.username,
        password=server.password,
        ca_certificate=server.ca_certificate,
    )


def domain(name: str, parent: Domain | None = None) -> Domain:
    """A domain."""
    return tenancy.create_domain(SYSTEM, name=name, parent=parent)


def account(name: str, of: Domain) -> Account:
    """An account."""
    return tenancy.create_account(SYSTEM, name=name, domain=of)


def user(name: str, role: Role, account: Account | None = None, domain: Domain | None = None) -> User:
    """A user with one role."""
    made = tenancy.create_user(SYSTEM, username=name, password=PASSWORD)
    tenancy.grant_role(SYSTEM, user=made, role=role, account=account, domain=domain)
    return made


def acting(person: User | None) -> Actor:
    """The person at a page; None for the product itself."""
    return SYSTEM if person is None else Actor(person, Trigger.PAGE, "127.0.0.1")


def limit(on: Account | Domain, value: int | None, kind: LimitKind = LimitKind.SNAPSHOTS) -> None:
    """Set a limit as an admin does; None takes it away."""
    set_limit(SYSTEM, on=on, kind=kind, value=value)


def use_of(place: Account | Domain) -> tuple[int, int]:
    """What counts in the limits of an account or a domain: how many VM snapshots, and their bytes."""
    row = LimitUse.objects.get(**{"account" if isinstance(place, Account) else "domain": place})
    return row.snapshots, row.estimated_bytes


def only_job() -> Job:
    """The only job that waits."""
    return Job.objects.get(state="queued")


def run(job: Job) -> Job:
    """Carry the job out here and now, as a worker would, and give its fresh row."""
    run_job(job.pk)
    return Job.objects.select_related("machine", "snapshot", "volume").get(pk=job.pk)


def take(machine: VirtualMachine, name: str, person: User | None = None, *, memory: bool | None = None) -> VMSnapshot:
    """A VM snapshot that is Ready, taken through the whole way; with memory when the machine runs, unless told."""
    if memory is None:
        memory = machine.power_state == "running"
    job = run(request_create(acting(person), machine=machine, name=name, memory=memory))
    assert job.state == "succeeded", (job.error_code, job.error_detail)
    snapshot: VMSnapshot = VMSnapshot.objects.get(uuid=job.snapshot_uuid)
    return snapshot


def schedule(machine: VirtualMachine, person: User | None = None, **terms: Any) -> Schedule:
    """A schedule of the machine: every night at half past two UTC, keeping three, unless told otherwise."""
    usual = {"name": "nightly", "frequency": "daily", "hour": 2, "minute": 30, "time_zone": "UTC", "keep": 3}
    return add_schedule(acting(person), machine=machine, terms=Terms(**usual | terms))


def taken_by(schedule: Schedule, name: str) -> VMSnapshot:
    """A VM snapshot that the schedule took, through the services."""
    job = run(request_create(SYSTEM, machine=schedule.machine, name=name, schedule=schedule))
    snapshot: VMSnapshot = VMSnapshot.objects.get(uuid=job.snapshot_uuid)
    return snapshot


def drawn(machine: VirtualMachine) -> dict[str, str | None]:
    """The machine's tree as `{name: parent's name}`, roots with None."""
    rows = VMSnapshot.objects.filter(machine=machine, parent__isnull=False).select_related("parent")
    return {row.name: None if row.parent.is_anchor else row.parent.name for row in rows}


def current_name(machine: VirtualMachine) -> str | None:
    """The name of the current VM snapshot, None when the machine stems from none."""
    row = VMSnapshot.objects.get(machine=machine, current=True)
    return None if row.is_anchor else row.name
