"""What becomes of answers that no sound hypervisor gives: one odd thing in them must not keep the rest from being read."""

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone

import pytest

from hypervisors.capabilities import Capabilities
from hypervisors.connections import open_driver
from hypervisors.driver import Watch
from hypervisors.drivers.simulated.driver import SimulatedDriver
from hypervisors.drivers.simulated.world import Machine, Taken
from hypervisors.errors import ConnectionLost, Rejected
from hypervisors.records import (
    Inventory,
    MachineRecord,
    PoolRecord,
    PowerState,
    SnapshotForest,
    SnapshotKind,
    SnapshotRecord,
    SnapshotRequest,
    VolumeRecord,
)
from hypervisors.storable import MOST_BYTES
from snapshots import tree
from snapshots.access import SYSTEM
from snapshots.choices import JobState, SnapshotState
from snapshots.models import Event, StoragePool, VirtualMachine, VMSnapshot, Volume
from snapshots.services import inventory_sync
from snapshots.services.snapshot_actions import request_create
from tests.builders import Cloud, People, drawn, run, take
from tests.doors.browser_client import Browser

pytestmark = pytest.mark.django_db

LONG_AGO = datetime(2020, 1, 1, tzinfo=UTC)
ODD_TEXTS = ("a\x00b", "half \ud800 a character", "x" * 1_000_000, "\x1b[31mred", "\ufffe", "<script>alert(1)</script>")
ODD_SIZES = (-1, 2**63, 2**80)
ODD_TIMES = (
    datetime(2020, 1, 1),  # noqa: DTZ001  # one without a zone is what is asked about
    datetime.min.replace(tzinfo=timezone(timedelta(hours=14))),
    datetime.max.replace(tzinfo=timezone(-timedelta(hours=12))),
)
PAGES = ("/", "/drift/", "/import/", "/api/v1/virtual-machines/", "/api/v1/snapshots/", "/api/v1/events/")
ODD_IDS = ("", "nul\x00", "half \ud800", "i" * 5000)

Told = Callable[[Inventory], Inventory]


@pytest.fixture
def cloud(db: None) -> Cloud:
    return Cloud((Machine("web", snapshots=(Taken("a"),)), Machine("db")))


@pytest.fixture
def lies(monkeypatch: pytest.MonkeyPatch) -> Callable[[Told], None]:
    """Have the hypervisor tell its inventory otherwise."""
    sound = SimulatedDriver.read_inventory

    def tell(change: Told) -> None:
        monkeypatch.setattr(SimulatedDriver, "read_inventory", lambda self: change(sound(self)))

    return tell


def machine_record(native_id: str, name: str = "odd", **told: object) -> MachineRecord:
    plain = MachineRecord(native_id, name, PowerState.STOPPED, 1, (), Capabilities())
    return replace(plain, **told)  # type: ignore[arg-type]  # the fields are those of a record


def snapshot_record(native_id: str, name: str = "odd", parent_id: str | None = None, **told: object) -> SnapshotRecord:
    plain = SnapshotRecord(native_id, name, "", parent_id, LONG_AGO, SnapshotKind.DISK)
    return replace(plain, **told)  # type: ignore[arg-type]  # the fields are those of a record


def with_machines(inventory: Inventory, *records: MachineRecord) -> Inventory:
    forests = {record.native_id: SnapshotForest() for record in records}
    return replace(inventory, machines=(*inventory.machines, *records), forests={**forests, **inventory.forests})


def with_snapshots(inventory: Inventory, machine: VirtualMachine, *records: SnapshotRecord) -> Inventory:
    forest = inventory.forests[machine.native_id]
    changed = replace(forest, snapshots=(*forest.snapshots, *records))
    return replace(inventory, forests={**inventory.forests, machine.native_id: changed})


def assert_all_was_read(cloud: Cloud) -> None:
    """The sync succeeds, says nothing new when it is repeated, and the trees are whole."""
    job = cloud.sync()
    assert (job.state, job.error_detail) == (JobState.SUCCEEDED, "")
    told = Event.objects.count()
    assert cloud.sync().state == JobState.SUCCEEDED
    assert Event.objects.count() == told
    assert tree.damaged_machines() == []


@pytest.mark.parametrize("text", ODD_TEXTS, ids=range(len(ODD_TEXTS)))
def test_texts_that_no_database_takes_are_kept_as_far_as_that_goes(
    cloud: Cloud, people: People, lies: Callable[[Told], None], text: str
) -> None:
    web = cloud.machine("web")
    odd = machine_record(
        "odd-1",
        text,
        folder=text,
        resource_pool=text,
        tags=(text,) * 3,
        question=text,
        volumes=(VolumeRecord("odd-disk", text, text, 1, 1, None, text),),
    )
    snapshot = snapshot_record("odd-snapshot", text, description=text)
    pool = PoolRecord("odd-pool", text, text, 1, 1, active=True)

    def told(inventory: Inventory) -> Inventory:
        host = replace(inventory.host, name=text, product=text, version=text)
        changed = replace(inventory, host=host, pools=(*inventory.pools, pool))
        return with_snapshots(with_machines(changed, odd), web, snapshot)

    lies(told)
    assert_all_was_read(cloud)
    machine = VirtualMachine.objects.get(native_id="odd-1")
    assert machine.name[:1] == text[:1].replace("\x1b", "\ufffd").replace("\ufffe", "\ufffd")
    assert len(machine.question) < 20_000
    assert VMSnapshot.objects.filter(machine=web, native_id="odd-snapshot").exists()
    assert StoragePool.objects.filter(native_id="odd-pool").exists()
    assert Volume.objects.filter(native_id="odd-disk", machine=machine).exists()
    root = Browser(people.root)
    for path in (*PAGES, f"/machines/{machine.uuid}/", f"/machines/{web.uuid}/"):
        page = root.get(path)
        assert page.status == 200, path
        assert path.startswith("/api/") or "<script>alert" not in page.source


@pytest.mark.parametrize("size", ODD_SIZES)
def test_sizes_that_cannot_be_count_as_not_known(cloud: Cloud, lies: Callable[[Told], None], size: int) -> None:
    web = cloud.machine("web")
    odd = machine_record(
        "odd-1", memory_bytes=size, volumes=(VolumeRecord("odd-disk", "disk", "raw", size, size, None, "vda"),)
    )
    pool = PoolRecord("odd-pool", "pool", "dir", size, size, active=True)
    snapshot = snapshot_record("odd-snapshot", measured_bytes=size)
    lies(
        lambda inventory: with_snapshots(
            with_machines(replace(inventory, pools=(*inventory.pools, pool)), odd), web, snapshot
        )
    )
    assert_all_was_read(cloud)
    assert VirtualMachine.objects.get(native_id="odd-1").memory_bytes == 0
    volume = Volume.objects.get(native_id="odd-disk")
    assert (volume.capacity_bytes, volume.used_bytes) == (0, None)
    stored = StoragePool.objects.get(native_id="odd-pool")
    assert (stored.total_bytes, stored.free_bytes) == (None, None)
    assert VMSnapshot.objects.get(native_id="odd-snapshot").measured_bytes is None


def test_the_largest_sizes_that_are_believed_can_be_stored(cloud: Cloud, lies: Callable[[Told], None]) -> None:
    lies(lambda inventory: with_machines(inventory, machine_record("odd-1", memory_bytes=MOST_BYTES)))
    assert_all_was_read(cloud)
    assert VirtualMachine.objects.get(native_id="odd-1").memory_bytes == MOST_BYTES


@pytest.mark.parametrize("time", ODD_TIMES, ids=range(len(ODD_TIMES)))
def test_times_at_the_ends_of_the_calendar_are_kept_where_there_is_room(
    cloud: Cloud, lies: Callable[[Told], None], time: datetime
) -> None:
    web = cloud.machine("web")
    lies(lambda inventory: with_snapshots(inventory, web, snapshot_record("odd-snapshot", created_at=time)))
    assert_all_was_read(cloud)
    stored = VMSnapshot.objects.get(native_id="odd-snapshot").created_at
    for hours in (-14, 14):
        assert stored.astimezone(timezone(timedelta(hours=hours))) == stored


@pytest.mark.parametrize("native_id", ODD_IDS, ids=range(len(ODD_IDS)))
def test_what_cannot_be_known_by_its_id_is_passed_over_and_all_else_is_read(
    cloud: Cloud, lies: Callable[[Told], None], native_id: str
) -> None:
    web = cloud.machine("web")
    odd_disk = VolumeRecord(native_id, "disk", "raw", 1)
    odd_pool = PoolRecord(native_id, "pool", "dir", 1, 1, active=True)
    below = snapshot_record("below", "below", parent_id=native_id)

    def told(inventory: Inventory) -> Inventory:
        beside = machine_record("beside", "beside", volumes=(odd_disk, VolumeRecord("sound", "disk", "raw", 1)))
        changed = with_machines(inventory, machine_record(native_id), beside)
        changed = replace(changed, loose_volumes=(*changed.loose_volumes, odd_disk), pools=(*changed.pools, odd_pool))
        return with_snapshots(changed, web, snapshot_record(native_id), below)

    lies(told)
    assert_all_was_read(cloud)
    assert set(VirtualMachine.objects.values_list("name", flat=True)) == {"web", "db", "beside"}
    assert drawn(web) == {"a": None, "below": None}
    assert list(Volume.objects.filter(machine__name="beside").values_list("native_id", flat=True)) == ["sound"]


def test_two_things_of_one_id_are_one_and_the_first_counts(cloud: Cloud, lies: Callable[[Told], None]) -> None:
    web = cloud.machine("web")

    def told(inventory: Inventory) -> Inventory:
        pool = PoolRecord("same", "first pool", "dir", 1, 1, active=True)
        disk = VolumeRecord("same", "first disk", "raw", 1)
        changed = replace(
            with_machines(inventory, machine_record("same", "first"), machine_record("same", "second")),
            pools=(*inventory.pools, pool, replace(pool, name="second pool")),
            loose_volumes=(*inventory.loose_volumes, disk, replace(disk, name="second disk")),
        )
        return with_snapshots(changed, web, snapshot_record("same", "first"), snapshot_record("same", "second"))

    lies(told)
    assert_all_was_read(cloud)
    assert set(VirtualMachine.objects.values_list("name", flat=True)) == {"web", "db", "first"}
    assert drawn(web) == {"a": None, "first": None}
    assert StoragePool.objects.get(native_id="same").name == "first pool"
    assert Volume.objects.get(native_id="same").name == "first disk"


def test_a_snapshot_below_itself_and_two_below_each_other_are_roots(cloud: Cloud, lies: Callable[[Told], None]) -> None:
    web = cloud.machine("web")
    circle = (snapshot_record("x", "x", parent_id="y"), snapshot_record("y", "y", parent_id="x"))
    lies(lambda inventory: with_snapshots(inventory, web, snapshot_record("self", "self", parent_id="self"), *circle))
    assert_all_was_read(cloud)
    assert drawn(web) == {"a": None, "self": None, "x": None, "y": "x"}


def test_a_job_on_a_machine_with_odd_snapshots_is_carried_out(cloud: Cloud, monkeypatch: pytest.MonkeyPatch) -> None:
    sound = SimulatedDriver.list_forests

    def told(self: SimulatedDriver, machine_ids: object = None) -> dict[str, SnapshotForest]:
        odd = (*(snapshot_record(odd, "odd") for odd in ODD_IDS), snapshot_record("text", "a\x00\ud800"))
        forests = sound(self, machine_ids)  # type: ignore[arg-type]  # passed on as it came
        return {key: replace(forest, snapshots=(*forest.snapshots, *odd)) for key, forest in forests.items()}

    monkeypatch.setattr(SimulatedDriver, "list_forests", told)
    web = cloud.machine("web")
    take(web, "ours", memory=False)
    assert drawn(web) == {"a": None, "ours": "a", "a\ufffd\ufffd": None}


def test_changes_told_of_ids_that_no_machine_can_have_do_not_keep_the_others_from_being_read(cloud: Cloud) -> None:
    web = cloud.machine("web")
    cloud.world.take_elsewhere(web.native_id, "elsewhere")
    with open_driver(cloud.hypervisor.pk) as driver:
        left = inventory_sync.sync_machines(cloud.hypervisor.pk, driver, {*ODD_IDS, web.native_id})
    assert left == set()
    assert drawn(web) == {"a": None, "elsewhere": "a"}


@pytest.mark.parametrize("outcome_known", [True, False])
@pytest.mark.parametrize("text", ODD_TEXTS, ids=range(len(ODD_TEXTS)))
def test_what_a_hypervisor_says_of_its_work_and_its_failure_ends_the_job_whatever_it_is(
    cloud: Cloud, monkeypatch: pytest.MonkeyPatch, text: str, outcome_known: bool
) -> None:
    def fail(self: SimulatedDriver, machine_id: str, snapshot: SnapshotRequest, watch: Watch) -> SnapshotRecord:
        watch.report(10, text)
        error = Rejected(text)
        error.outcome_known = outcome_known
        raise error

    monkeypatch.setattr(SimulatedDriver, "create_snapshot", fail)
    job = run(request_create(SYSTEM, machine=cloud.machine("db"), name="new"))
    assert (job.state, job.error_code) == (JobState.FAILED, Rejected.code)
    assert 0 < len(job.error_detail) < 5000
    assert VMSnapshot.objects.get(uuid=job.snapshot_uuid).state == SnapshotState.ERROR


def test_what_the_hypervisor_is_still_at_work_on_is_told_whatever_it_is(
    cloud: Cloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    def lost(self: SimulatedDriver, machine_id: str, snapshot: SnapshotRequest, watch: Watch) -> SnapshotRecord:
        raise ConnectionLost("The connection is gone.")

    monkeypatch.setattr(SimulatedDriver, "create_snapshot", lost)
    monkeypatch.setattr(SimulatedDriver, "operation_in_flight", lambda self, machine_id: "".join(ODD_TEXTS))
    job = run(request_create(SYSTEM, machine=cloud.machine("db"), name="new"))
    assert job.state == JobState.RUNNING
    assert job.phase.startswith("The hypervisor is still at work: a\ufffdb")
