"""Deeds about schedules, in the same way as those in `deeds`."""

from dataclasses import replace
from datetime import timedelta

import time_machine
from django.utils import timezone

from snapshots.access import SYSTEM
from snapshots.models import Schedule, VirtualMachine
from snapshots.services import schedules
from snapshots.services.job_runner import run_job
from snapshots.services.schedule_rules import Terms, terms_of
from snapshots.services.scheduled_snapshots import prune_scheduled_snapshots, take_due_snapshots


def schedule_all(cloud: str, days_ago: int = 0) -> None:
    """A daily schedule for each machine of the cloud, made some minutes ago, or so many days before that, and due since."""
    due = timezone.now() - timedelta(minutes=5)
    terms = Terms(name="daily", frequency="daily", hour=due.hour, minute=due.minute, time_zone="UTC", keep=3)
    with time_machine.travel(due - timedelta(days=days_ago, minutes=5)):
        for machine in VirtualMachine.objects.filter(hypervisor__name=cloud).order_by("pk"):
            schedules.add_schedule(SYSTEM, machine=machine, terms=terms)


def pass_days(cloud: str, days: int) -> None:
    """Take, on each of the days before today, what was due then."""
    for days_ago in range(days, 0, -1):
        with time_machine.travel(timezone.now() - timedelta(days=days_ago)):
            for job in take_due_snapshots():
                run_job(job.pk)


def tick(cloud: str) -> list[str]:
    """Take what is due; answers the machines of the cloud that a job was opened for."""
    return [job.machine_name for job in take_due_snapshots() if job.hypervisor.name == cloud]


def prune(cloud: str) -> list[str]:
    """Delete what need not be kept; answers the machines of the cloud that a job was opened for."""
    return [job.machine_name for job in prune_scheduled_snapshots() if job.hypervisor.name == cloud]


def keep_only(cloud: str, count: int) -> None:
    """Let each schedule of the cloud keep so many."""
    for row in Schedule.objects.filter(machine__hypervisor__name=cloud):
        schedules.change_schedule(SYSTEM, schedule=row, terms=replace(terms_of(row), keep=count))


def decide(cloud: str, verb: str) -> None:
    """Somebody does this with the schedules of all machines, one after the other, which are there."""
    for row in Schedule.objects.filter(machine__hypervisor__name=cloud).order_by("machine_id"):
        if verb == "pause":
            schedules.pause_schedule(SYSTEM, schedule=row)
        elif verb == "change":
            schedules.change_schedule(SYSTEM, schedule=row, terms=replace(terms_of(row), hour=(row.hour + 12) % 24))
        else:
            schedules.delete_schedule(SYSTEM, schedule=row)


def facts(cloud: str) -> list[tuple[bool, bool]]:
    """Of each schedule of the cloud: whether it has a last job, and whether its last time was missed."""
    rows = Schedule.objects.filter(machine__hypervisor__name=cloud).order_by("machine_id")
    return [(row.last_job_id is not None, row.missed != "") for row in rows]


def do(deed: str, *arguments: object) -> object:
    """One of these deeds by its name, so that several of them are done at once."""
    return {"tick": tick, "prune": prune, "decide": decide}[deed](*arguments)
