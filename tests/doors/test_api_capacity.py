"""`storage-pools/` with their allocation, `storage-pools/{id}/capacity/`, and the refusal of what has no room."""

import csv
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import time_machine
from django.utils import timezone

from hypervisors.drivers.simulated.world import Disk, Machine
from hypervisors.records import PowerState
from snapshots.access import SYSTEM
from snapshots.models import CapacitySample, StoragePool, VirtualMachine
from snapshots.reading import pool_capacity
from snapshots.services import tenancy
from snapshots.services.capacity_samples import sample
from tests.builders import Cloud, People, take
from tests.doors.api_client import Caller, problem

GIB = 1024**3
NOON = datetime(2028, 2, 29, 12, 0, tzinfo=UTC)


@pytest.fixture
def pool(web: VirtualMachine, people: People) -> StoragePool:
    """The pool that acme and the other account share: 500 GiB, with 70 of volumes and 1 of a VM snapshot."""
    take(web, "mine", people.alice, memory=True)
    return StoragePool.objects.get()


def test_a_pool_says_how_full_it_is_and_what_ones_machines_hold(people: People, pool: StoragePool) -> None:
    shown = Caller(people.alice).get(f"storage-pools/{pool.uuid}/").json()["allocation"]
    assert shown == {
        "percent": 15,
        "standing": "ok",
        "warning_percent": 80,
        "threshold_percent": 90,
        "overcommit": 1.0,
        "own": {"volume_bytes": 30 * GIB, "estimated_bytes": GIB, "measured_bytes": shown["own"]["measured_bytes"]},
        "all": None,
    }
    (listed,) = Caller(people.alice).rows("storage-pools/")
    assert listed["allocation"] == shown


def test_what_all_hold_is_for_root_admins(people: People, pool: StoragePool) -> None:
    shown = Caller(people.root).get(f"storage-pools/{pool.uuid}/").json()["allocation"]
    assert (shown["all"]["volume_bytes"], shown["all"]["estimated_bytes"]) == (70 * GIB, GIB)
    for person in (people.alice, people.bob, people.dora, people.charlie):
        assert Caller(person).get(f"storage-pools/{pool.uuid}/").json()["allocation"]["all"] is None


def test_the_capacity_of_a_pool_over_time(people: People, pool: StoragePool) -> None:
    for hours in range(3):
        with time_machine.travel(NOON + timedelta(hours=hours), tick=False):
            sample()
    with time_machine.travel(NOON + timedelta(hours=3), tick=False):
        shown = Caller(people.root).get(f"storage-pools/{pool.uuid}/capacity/").json()
    assert shown["id"] == str(pool.uuid)
    assert shown["step"] == "hour"
    assert [row["at"] for row in shown["series"]] == ["2028-02-29T12:00:00Z", "2028-02-29T13:00:00Z"]
    row = shown["series"][0]
    assert (row["volume_bytes"], row["estimated_bytes"], row["total_bytes"]) == (70 * GIB, GIB, pool.total_bytes)
    assert shown["forecast"]["kind"] == "too_few"
    assert [row["name"] for row in shown["virtual_machines"]] == ["web", "db", "foreign", "unassigned"]


def test_the_series_can_be_narrowed(people: People, pool: StoragePool) -> None:
    for hours in range(5):
        with time_machine.travel(NOON + timedelta(hours=hours), tick=False):
            sample()
    root = Caller(people.root)
    query = "?step=raw&at_after=2028-02-29T13:00:00Z&at_before=2028-02-29T15:00:00Z"
    shown = root.get(f"storage-pools/{pool.uuid}/capacity/{query}").json()
    assert [row["at"][11:13] for row in shown["series"]] == ["13", "14"]


def test_the_series_as_csv(people: People, pool: StoragePool) -> None:
    sample()
    answer = Caller(people.root).get(f"storage-pools/{pool.uuid}/capacity/?step=raw&format=csv")
    assert answer["Content-Type"] == "text/csv; charset=utf-8"
    head, line = csv.reader(answer.getvalue().decode().splitlines())
    assert head == ["at", "total_bytes", "free_bytes", "volume_bytes", "estimated_bytes", "measured_bytes"]
    assert line[3:5] == [str(70 * GIB), str(GIB)]


def test_a_tenant_gets_their_own_part_of_a_shared_pool(people: People, pool: StoragePool) -> None:
    sample()
    path = f"storage-pools/{pool.uuid}/capacity/"
    for person, own in ((people.alice, ["web", "db"]), (people.dora, ["web", "db"]), (people.charlie, ["foreign"])):
        shown = Caller(person).get(path).json()
        assert (shown["series"], shown["forecast"], shown["allocation"]["all"]) == (None, None, None)
        assert [row["name"] for row in shown["virtual_machines"]] == own
        problem(Caller(person).get(f"{path}?format=csv"), 403, "forbidden")
    problem(Caller(people.nora).get(path), 404, "not_found")
    problem(Caller(people.nora).get(f"{path}?format=csv"), 404, "not_found")


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("step=minute", "step"),
        ("format=xml", "format"),
        ("at_after=yesterday", "at_after"),
        ("at_before=2028-02-30", "at_before"),
        ("stp=day", "stp"),
    ],
)
def test_a_query_that_makes_no_sense_is_refused(people: People, pool: StoragePool, query: str, field: str) -> None:
    body = problem(Caller(people.root).get(f"storage-pools/{pool.uuid}/capacity/?{query}"), 400, "invalid")
    assert list(body["fields"]) == [field]


def test_more_samples_than_an_answer_bears_are_refused(people: People, pool: StoragePool, monkeypatch: Any) -> None:
    monkeypatch.setattr(pool_capacity, "SAMPLES_MOST", 2)
    now = timezone.now()
    for minutes in range(3):
        CapacitySample.objects.create(
            pool=pool, step="raw", at=now - timedelta(minutes=minutes), volume_bytes=0, estimated_bytes=0
        )
    body = problem(Caller(people.root).get(f"storage-pools/{pool.uuid}/capacity/?step=raw"), 400, "invalid")
    assert list(body["fields"]) == ["at_after"]


def test_what_has_no_room_is_refused_with_the_figures(people: People) -> None:
    cloud = Cloud((Machine("big", power=PowerState.RUNNING, memory_bytes=40 * GIB, disks=(Disk(400 * GIB),)),))
    machine = cloud.machine("big")
    tenancy.assign_machine(SYSTEM, machine=machine, account=people.acme)
    path = f"virtual-machines/{machine.uuid}/snapshots/"
    body = problem(Caller(people.alice).post(path, {"name": "x", "memory": True}), 409, "capacity_exceeded")
    figures = {name: body[name] for name in ("wanted_bytes", "percent", "percent_after", "threshold_percent")}
    assert figures == {"wanted_bytes": 40 * GIB, "percent": 84, "percent_after": 92, "threshold_percent": 90}
    assert body["pool"] == str(StoragePool.objects.get().uuid)
