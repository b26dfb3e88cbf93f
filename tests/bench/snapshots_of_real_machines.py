"""From the request to Ready on a real machine, against virsh doing the same to the same machine in turns.

What is left after taking the hypervisor's own time away is the product's share: the request, writing rows, the broker, the
worker, connecting, reading back. The hypervisor's own time is that of virsh, less what virsh takes to start and connect.
The broker and the database are those of the environment: the embedded broker and SQLite, as after `make demo`, or a server
that `tests.bench` has started.
"""

import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from django.conf import settings
from django.db import connection
from django.test import Client
from django.utils import timezone

from hypervisors.lab import Lab, LabUnavailable
from snapshots.access import SYSTEM
from snapshots.models import Job, VirtualMachine
from snapshots.services import endpoints, tenancy
from tests.bench import rows
from tests.bench.figures import Report, Timing
from tests.bench.pages import signed_in

ROUNDS = 15
JOB_SECONDS = 120
MACHINE = "web-1"
BARS_MS = {"embedded": 150, "redis": 60, "rabbitmq": 60}


def measure(report: Report, broker: str) -> None:
    """Take and delete snapshots of one lab machine, by virsh and by us in turns. `broker` is the kind of the broker."""
    database = "SQLite" if connection.vendor == "sqlite" else "PostgreSQL"
    report.heading(f"A VM snapshot with memory of a running lab machine, broker: {broker}, database: {database}")
    lab = Lab(settings.DATA_DIR)
    try:
        facts = lab.up([MACHINE])
    except LabUnavailable as reason:
        report.note(f"not measured: {reason}")
        return
    worker = _start_worker()
    try:
        lab.wait_for_tick(MACHINE)
        client, machine = _machine(lab)
        _by_us(client, machine, "first of all")  # worker and machine are slower at first
        report.note(f"QEMU with {facts.accelerator}")
        _compare(report, lab, client, machine, BARS_MS[broker])
    finally:
        worker.terminate()  # to the parent alone, which lets its children finish
        worker.wait(30)
        lab.reset()


def _compare(report: Report, lab: Lab, client: Client, machine: VirtualMachine, bar_ms: float) -> None:
    virsh, start, ours, until_worker = Timing(), Timing(), Timing(), Timing()
    for number in range(ROUNDS):
        start.clock.append(_virsh(lab, "domstate", MACHINE))
        virsh.clock.append(_virsh(lab, "snapshot-create-as", MACHINE, f"bench-{number}"))
        lab.virsh("snapshot-delete", MACHINE, f"bench-{number}")
        taken, waited = _by_us(client, machine, f"bench-{number}")
        ours.clock.append(taken)
        until_worker.clock.append(waited)
    hypervisor = virsh.p50 - start.p50
    report.add("virsh snapshot-create-as: p50", virsh.p50, "ms")
    report.add("  of it virsh itself, starting and connecting: p50", start.p50, "ms")
    report.add("REST request to Ready: p50", ours.p50, "ms")
    report.add("  p95", ours.p95, "ms")
    report.add("  of it until the worker began: p50", until_worker.p50, "ms")
    report.add("our share: request to Ready, less the hypervisor's own time", ours.p50 - hypervisor, "ms", under=bar_ms)
    report.add("request to Ready, less all of virsh", ours.p50 - virsh.p50, "ms")


def _machine(lab: Lab) -> tuple[Client, VirtualMachine]:
    """The lab's machine, read in and given away, and a client of its owner."""
    hypervisor = endpoints.add_endpoint(SYSTEM, name="lab", kind="libvirt", address=lab.uri)
    _wait(endpoints.request_sync(SYSTEM, hypervisor=hypervisor))
    machine = VirtualMachine.objects.get(hypervisor=hypervisor, name=MACHINE)
    domain = tenancy.create_domain(SYSTEM, name="bench of real machines")
    account = tenancy.create_account(SYSTEM, name="bench of real machines", domain=domain)
    tenancy.assign_machine(SYSTEM, machine=machine, account=account)
    return signed_in(rows.operator("lab-owner", account)), machine


def _virsh(lab: Lab, *command: str) -> float:
    """Milliseconds that virsh takes for a command."""
    began = time.perf_counter()
    lab.virsh(*command)
    return (time.perf_counter() - began) * 1000


def _by_us(client: Client, machine: VirtualMachine, name: str) -> tuple[float, float]:
    """Take a VM snapshot and delete it. Milliseconds from the request until it was Ready, and until the worker began."""
    began = timezone.now()
    job = _asked(
        client.post(
            f"/api/v1/virtual-machines/{machine.uuid}/snapshots/",
            {"name": name, "memory": True},
            content_type="application/json",
        )
    )
    assert job.finished_at is not None
    assert job.started_at is not None
    assert job.snapshot is not None
    _asked(client.delete(f"/api/v1/snapshots/{job.snapshot.uuid}/"))
    taken, waited = job.finished_at - began, job.started_at - began
    return taken.total_seconds() * 1000, waited.total_seconds() * 1000


def _asked(answer: Any) -> Job:
    """The ended job of an accepted request."""
    assert answer.status_code == 202, answer.content
    return _wait(Job.objects.get(uuid=answer.json()["id"]))


def _wait(job: Job) -> Job:
    until = time.monotonic() + JOB_SECONDS
    while Job.objects.filter(pk=job.pk, finished_at=None).exists():
        if time.monotonic() > until:
            raise AssertionError(f"The job did not end: {job}")
        # The pace of looking. What is measured are the row's own times, and looking more often would only take the worker's
        # processor and database away.
        time.sleep(0.05)
    job = Job.objects.select_related("snapshot").get(pk=job.pk)
    assert job.state == "succeeded", (job.error_code, job.error_detail)
    return job


def _start_worker() -> subprocess.Popen[bytes]:
    # Its warning against root is about pickled messages, which this worker does not take.
    quiet = ["-W", "ignore:You're running the worker with superuser"]
    return subprocess.Popen(
        [
            sys.executable,
            *quiet,
            "-m",
            "celery",
            "-A",
            "vmsnap_site",
            "worker",
            "--loglevel",
            "ERROR",
            "--concurrency",
            "2",
        ],
        cwd=Path(settings.BASE_DIR),
        start_new_session=True,
        stdout=subprocess.DEVNULL,
    )
