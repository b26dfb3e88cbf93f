"""The same pages and lists with 1,000,000 VM snapshots as with 10,000: `make bench ARGS=--large`.

The first 10,000 come in as a reading of a hypervisor brings them, each with a job and an event as taking it leaves behind.
Then the database file is copied, and one of the two grows: the database copies its own rows, under all of its
constraints, as a million rows through the services would take hours. Both files are measured in turns. SQLite only.
"""

import shutil
import time
from collections.abc import Callable
from pathlib import Path

from django.db import connection, transaction
from django.db.models import Max, Min
from django.urls import reverse
from django.utils import timezone

from snapshots.access import SYSTEM
from snapshots.choices import JobAction, JobState, Role, Trigger
from snapshots.models import Account, Event, Job, User, VirtualMachine, VMSnapshot, Volume
from snapshots.services import tenancy
from snapshots.tree import damaged_machines
from tests.bench import rows
from tests.bench.figures import Report, Timing
from tests.bench.pages import opened, signed_in

ROUNDS = 60
MACHINES = 100
SNAPSHOTS_EACH = 100
TIMES = 100
OWNED = 50
BAR_TIMES = 1.5


def measure(report: Report) -> None:
    """Compare p95 of pages and lists for somebody who owns 50 machines and for a root admin, who sees all."""
    report.heading(f"{TIMES * MACHINES * SNAPSHOTS_EACH:,} VM snapshots against {MACHINES * SNAPSHOTS_EACH:,}: p95")
    if connection.vendor != "sqlite":
        report.note("not measured: this comparison copies a database file")
        return
    domain = tenancy.create_domain(SYSTEM, name="very many")
    mine, others = (tenancy.create_account(SYSTEM, name=name, domain=domain) for name in ("mine", "others"))
    names = [f"many-{number:03d}" for number in range(MACHINES)]
    hypervisor = rows.read_in("very-many", dict.fromkeys(names, SNAPSHOTS_EACH))
    rows.give(others, hypervisor=hypervisor)
    rows.give(mine, name__in=names[:OWNED])
    _remember_taking(hypervisor.pk)
    admin = tenancy.create_user(SYSTEM, username="sees-all", password="only-for-this-measurement")
    tenancy.grant_role(SYSTEM, user=admin, role=Role.ROOT_ADMIN)
    people = {f"owner of {OWNED} machines": rows.operator("mine", mine), "root admin": admin}
    things = _things(people, VirtualMachine.objects.get(name=names[0]))
    large = Path(connection.settings_dict["NAME"])
    small = _copied(large)
    _multiply(hypervisor.pk, others)
    damaged = damaged_machines()
    assert not damaged, damaged[:3]
    for name, (few, many) in _timed(things, small, large).items():
        report.add(f"{name} (p50 {few.p50:.0f} and {many.p50:.0f} ms)", many.p95 / few.p95, "times", under=BAR_TIMES)


def _things(people: dict[str, User], machine: VirtualMachine) -> dict[str, Callable[[], object]]:
    paths = {
        "machine list": reverse("machine_list"),
        "job list": reverse("job_list"),
        "REST virtual-machines": "/api/v1/virtual-machines/",
        "REST snapshots": "/api/v1/snapshots/",
        "REST snapshots in Error": "/api/v1/snapshots/?state=Error",
        "REST snapshots made elsewhere": "/api/v1/snapshots/?drift=made_elsewhere",
        "REST snapshots lost": "/api/v1/snapshots/?drift=lost",
        "REST virtual-machines that differ": "/api/v1/virtual-machines/?drift=true",
        "REST jobs": "/api/v1/jobs/",
        "REST events": "/api/v1/events/",
        "REST volumes": "/api/v1/volumes/",
    }
    clients = {whose: signed_in(person) for whose, person in people.items()}
    owners = next(iter(clients.values()))
    things = {
        "machine page": opened(owners, reverse("machine", args=[machine.uuid])),
        "REST tree": opened(owners, f"/api/v1/virtual-machines/{machine.uuid}/tree/"),
    }
    for whose, client in clients.items():
        things |= {f"{what}, {whose}": opened(client, path) for what, path in paths.items()}
    return things


def _timed(things: dict[str, Callable[[], object]], small: Path, large: Path) -> dict[str, tuple[Timing, Timing]]:
    """Each thing over both files in turns."""
    timings = {name: (Timing(), Timing()) for name in things}
    for _ in range(ROUNDS):
        for which, file in enumerate((small, large)):
            connection.close()
            connection.settings_dict["NAME"] = str(file)
            for name, thing in things.items():
                thing()  # the connection is new and its cache empty
                began = time.perf_counter()
                thing()
                timings[name][which].clock.append((time.perf_counter() - began) * 1000)
    return timings


# Making the rows


def _remember_taking(hypervisor_pk: int) -> None:
    """A job and an event for each VM snapshot."""
    now = timezone.now()
    snapshots = list(VMSnapshot.objects.real().filter(machine__hypervisor_id=hypervisor_pk).select_related("machine"))
    jobs = [
        Job(
            action=JobAction.CREATE_SNAPSHOT,
            state=JobState.SUCCEEDED,
            hypervisor_id=hypervisor_pk,
            machine=snapshot.machine,
            machine_name=snapshot.machine.name,
            snapshot=snapshot,
            snapshot_uuid=snapshot.uuid,
            snapshot_name=snapshot.name,
            progress=100,
            trigger=Trigger.API,
            started_at=now,
            finished_at=now,
        )
        for snapshot in snapshots
    ]
    events = [
        Event(
            action="snapshot.create.succeeded",
            trigger=Trigger.API,
            account_id=job.machine.account_id,
            hypervisor_id=hypervisor_pk,
            machine=job.machine,
            machine_name=job.machine_name,
            snapshot_uuid=job.snapshot_uuid,
            snapshot_name=job.snapshot_name,
            job=job,
        )
        for job in Job.objects.bulk_create(jobs)
    ]
    Event.objects.bulk_create(events)


def _copied(file: Path) -> Path:
    """A copy of the database file as it is now."""
    copy = file.with_name("small.sqlite3")
    with connection.cursor() as cursor:
        cursor.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    connection.close()
    shutil.copyfile(file, copy)
    return copy


def _multiply(hypervisor_pk: int, account: Account) -> None:
    """Let the database copy all rows of the hypervisor's machines until there are `TIMES` as many. The copies belong to
    the account, point to copies, and are older than what they were copied from."""
    machines = VirtualMachine.objects.filter(hypervisor_id=hypervisor_pk).aggregate(first=Min("pk"), last=Max("pk"))
    originals = "BETWEEN {first} AND {last}".format(**machines)
    models = (VirtualMachine, Volume, VMSnapshot, Job, Event)
    steps = {model: model._default_manager.aggregate(step=Max("pk"))["step"] for model in models}
    moved = {"machine_id": VirtualMachine, "tree_id": VirtualMachine, "parent_id": VMSnapshot}
    moved |= {"snapshot_id": VMSnapshot, "job_id": Job}
    with transaction.atomic(), connection.cursor() as cursor:
        for number in range(1, TIMES):
            for model in models:
                changed = {column: f"{column} + {number * steps[of]}" for column, of in moved.items()}
                changed |= {"id": f"id + {number * steps[model]}", "uuid": "lower(hex(randomblob(16)))"}
                changed |= {"account_id": str(account.pk)}
                changed |= {time: f"datetime({time}, '-{number} minutes')" for time in ("created_at", "at")}
                if model in (VirtualMachine, Volume):
                    changed |= {text: f"{text} || '-{number}'" for text in ("name", "native_id")}
                columns = [field.column for field in model._meta.concrete_fields]
                values = ", ".join(changed.get(column, column) for column in columns)
                table, of_machine = model._meta.db_table, "id" if model is VirtualMachine else "machine_id"
                cursor.execute(
                    f"INSERT INTO {table} ({', '.join(columns)})"  # noqa: S608  # names and numbers of our own
                    f" SELECT {values} FROM {table} WHERE {of_machine} {originals}"
                )
