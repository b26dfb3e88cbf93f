"""`volumes/`, `hypervisors/`, `storage-pools/`."""

import uuid

import pytest
from pytest_django import DjangoAssertNumQueries

from hypervisors.drivers.simulated.world import Disk, Machine
from snapshots.access import SYSTEM
from snapshots.models import Job, StoragePool, VirtualMachine, Volume
from snapshots.services import tenancy
from tests.builders import Cloud, People, run, take
from tests.doors.api_client import Caller, accepted, problem

VOLUME_FIELDS = {
    "id", "name", "virtual_machine", "target", "account", "hypervisor", "storage_pool", "format", "capacity_bytes",
    "used_bytes",
}  # fmt: skip


def row(job: dict[str, str]) -> Job:
    return Job.objects.get(uuid=job["id"])


def data_disk(web: VirtualMachine) -> Volume:
    return Volume.objects.get(machine=web, target="vdb")


def test_volumes_of_ones_machines_are_listed_and_filtered(web: VirtualMachine, people: People) -> None:
    bob = Caller(people.bob)
    pool = StoragePool.objects.get(volumes=data_disk(web))
    assert len(bob.rows("volumes/")) == 3
    assert len(bob.rows(f"volumes/?virtual_machine={web.uuid}")) == 2
    assert len(bob.rows(f"volumes/?storage_pool={pool.uuid}")) == 3
    assert bob.rows("volumes/?loose=true") == []
    assert len(bob.rows("volumes/?loose=false")) == 3
    assert len(bob.rows("volumes/?name=WEB")) == 2
    assert len(Caller(people.charlie).rows("volumes/")) == 1
    problem(bob.get("volumes/?loose=maybe"), 400, "invalid")


def test_a_volume_shows_where_it_is(web: VirtualMachine, people: People) -> None:
    disk = data_disk(web)
    shown = Caller(people.bob).get(f"volumes/{disk.uuid}/").json()
    assert set(shown) == VOLUME_FIELDS
    assert (shown["virtual_machine"], shown["target"]) == (str(web.uuid), "vdb")
    assert (shown["account"], shown["hypervisor"]) == (str(people.acme.uuid), str(web.hypervisor.uuid))
    assert shown["storage_pool"] == str(disk.pool.uuid)
    assert (shown["capacity_bytes"], shown["used_bytes"]) == (disk.capacity_bytes, disk.used_bytes)


CALLS = [("GET", ""), ("POST", "attach/"), ("POST", "detach/")]


@pytest.mark.parametrize(("method", "rest"), CALLS)
def test_a_stranger_gets_what_an_unknown_id_gives(
    web: VirtualMachine, cloud: Cloud, people: People, method: str, rest: str
) -> None:
    stranger = Caller(people.charlie)
    body = {"virtual_machine": str(cloud.machine("foreign").uuid)} if rest == "attach/" else None
    hidden = problem(stranger.call(method, f"volumes/{data_disk(web).uuid}/{rest}", body), 404, "not_found")
    assert hidden == problem(stranger.call(method, f"volumes/{uuid.uuid4()}/{rest}", body), 404, "not_found")


@pytest.mark.parametrize("rest", ["attach/", "detach/"])
def test_looking_at_a_volume_action_is_refused(web: VirtualMachine, people: People, rest: str) -> None:
    problem(Caller(people.alice).get(f"volumes/{data_disk(web).uuid}/{rest}"), 405, "method_not_allowed")


def test_detach_and_attach(web: VirtualMachine, db_machine: VirtualMachine, people: People) -> None:
    alice, disk = Caller(people.alice), data_disk(web)
    run(row(accepted(alice.post(f"volumes/{disk.uuid}/detach/"))))
    loose = alice.rows("volumes/?loose=true")
    assert [(volume["id"], volume["virtual_machine"], volume["target"]) for volume in loose] == [
        (str(disk.uuid), None, "")
    ]
    job = accepted(alice.post(f"volumes/{disk.uuid}/attach/", {"virtual_machine": str(db_machine.uuid)}))
    assert (job["action"], job["virtual_machine"]) == ("attach_volume", str(db_machine.uuid))
    run(row(job))
    assert alice.get(f"volumes/{disk.uuid}/").json()["virtual_machine"] == str(db_machine.uuid)


def test_a_reader_may_neither_attach_nor_detach(
    web: VirtualMachine, db_machine: VirtualMachine, people: People
) -> None:
    bob, disk = Caller(people.bob), data_disk(web)
    problem(bob.post(f"volumes/{disk.uuid}/detach/"), 403, "forbidden")
    problem(bob.post(f"volumes/{disk.uuid}/attach/", {"virtual_machine": str(db_machine.uuid)}), 403, "forbidden")


def test_volumes_are_locked_while_there_are_snapshots_which_are_named(web: VirtualMachine, people: People) -> None:
    take(web, "one")
    refusal = problem(Caller(people.alice).post(f"volumes/{data_disk(web).uuid}/detach/"), 409, "volumes_locked")
    assert refusal["snapshots"] == ["one"]
    loose = Volume.objects.get(hypervisor=web.hypervisor, name="spare-1.qcow2")
    tenancy.assign_volume(SYSTEM, volume=loose, account=people.acme)
    body = {"virtual_machine": str(web.uuid)}
    refusal = problem(Caller(people.alice).post(f"volumes/{loose.uuid}/attach/", body), 409, "volumes_locked")
    assert refusal["snapshots"] == ["one"]


def test_an_attached_volume_is_not_attached_again(
    web: VirtualMachine, db_machine: VirtualMachine, people: People
) -> None:
    body = {"virtual_machine": str(db_machine.uuid)}
    problem(Caller(people.alice).post(f"volumes/{data_disk(web).uuid}/attach/", body), 409, "invalid_state")


def test_a_volume_is_not_attached_to_a_machine_one_does_not_see(
    web: VirtualMachine, cloud: Cloud, people: People
) -> None:
    alice, disk = Caller(people.alice), data_disk(web)
    run(row(accepted(alice.post(f"volumes/{disk.uuid}/detach/"))))
    hidden = alice.post(f"volumes/{disk.uuid}/attach/", {"virtual_machine": str(cloud.machine("foreign").uuid)})
    unknown = alice.post(f"volumes/{disk.uuid}/attach/", {"virtual_machine": str(uuid.uuid4())})
    assert problem(hidden, 404, "not_found") == problem(unknown, 404, "not_found")


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "virtual_machine"),
        ({"virtual_machine": 7}, "virtual_machine"),
        ({"virtual_machine": "web"}, "virtual_machine"),
        ({"virtual_machine": None}, "virtual_machine"),
        ({"virtual_machine": str(uuid.uuid4()), "target": "vdc"}, "target"),
    ],
)
def test_a_bad_attach_is_refused_at_its_field(web: VirtualMachine, people: People, body: object, field: str) -> None:
    answer = Caller(people.alice).post(f"volumes/{data_disk(web).uuid}/attach/", body)
    assert list(problem(answer, 400, "invalid")["fields"]) == [field]


def test_hypervisors_are_shown_without_address_and_login(web: VirtualMachine, people: People) -> None:
    assert Caller(people.nora).rows("hypervisors/") == []
    (shown,) = Caller(people.bob).rows("hypervisors/")
    assert set(shown) == {
        "id", "name", "kind", "simulated", "enabled", "state", "product", "version", "last_seen_at", "synced_at",
    }  # fmt: skip
    assert (shown["kind"], shown["simulated"], shown["enabled"]) == ("simulated", True, True)
    assert Caller(people.bob).get(f"hypervisors/{shown['id']}/").json() == shown


def test_a_hypervisor_of_others_is_not_there(web: VirtualMachine, people: People) -> None:
    other = Cloud((Machine("theirs"),))
    tenancy.assign_machine(SYSTEM, machine=other.machine("theirs"), account=people.other)
    alice = Caller(people.alice)
    assert alice.names("hypervisors/") == [web.hypervisor.name]
    for method, rest in (("GET", ""), ("POST", "sync/")):
        hidden = problem(alice.call(method, f"hypervisors/{other.hypervisor.uuid}/{rest}"), 404, "not_found")
        assert hidden == problem(alice.call(method, f"hypervisors/{uuid.uuid4()}/{rest}"), 404, "not_found")
    pool = StoragePool.objects.filter(hypervisor=other.hypervisor).first()
    assert pool is not None
    problem(alice.get(f"storage-pools/{pool.uuid}/"), 404, "not_found")


def test_reading_a_whole_hypervisor_is_for_root_admins(web: VirtualMachine, people: People) -> None:
    path = f"hypervisors/{web.hypervisor.uuid}/sync/"
    for person in (people.alice, people.bob, people.dora):
        problem(Caller(person).post(path), 403, "forbidden")
    root = Caller(people.root)
    job = accepted(root.post(path))
    assert job["action"] == "sync_hypervisor"
    assert accepted(root.post(path))["id"] == job["id"]  # it is being read already
    problem(root.get(path), 405, "method_not_allowed")


def test_pools_that_hold_ones_volumes_are_shown(web: VirtualMachine, people: People) -> None:
    pool = StoragePool.objects.get(volumes=data_disk(web))
    bob = Caller(people.bob)
    shown = bob.get(f"storage-pools/{pool.uuid}/").json()
    read = {"id", "name", "hypervisor", "kind", "active", "total_bytes", "free_bytes", "synced_at"}
    assert set(shown) == read | {"allocation"}
    assert (shown["hypervisor"], shown["total_bytes"]) == (str(web.hypervisor.uuid), pool.total_bytes)
    assert shown in bob.rows(f"storage-pools/?hypervisor={web.hypervisor.uuid}&name={pool.name}")
    assert Caller(people.nora).rows("storage-pools/") == []


def test_lists_of_the_inventory_cost_the_same_however_long_they_are(
    people: People, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    cloud = Cloud(tuple(Machine(f"m{number}", disks=(Disk(), Disk())) for number in range(5)))
    caller = Caller(people.alice)
    for number in range(5):
        tenancy.assign_machine(SYSTEM, machine=cloud.machine(f"m{number}"), account=people.acme)
        if number in (0, 4):
            for path in (
                "volumes/",
                "hypervisors/",
                "storage-pools/",
                "accounts/",
                "domains/",
                "events/",
                "jobs/",
                "tokens/",
            ):
                # The token with its user; whether they are a root admin; the rows; how full pools are.
                with django_assert_num_queries(7 if path == "storage-pools/" else 3):
                    caller.get(path)
