"""The pages on capacity and the dashboard: what stands there, for whom, and as CSV."""

from datetime import timedelta

import pytest
from django.utils import timezone
from pytest_django import Settings

from hypervisors.drivers.simulated.world import Disk, Machine, Taken
from hypervisors.records import PowerState
from snapshots.access import SYSTEM
from snapshots.models import (
    CapacitySample,
    StoragePool,
    VirtualMachine,
    VMSnapshot,
    Volume,
)
from snapshots.services import tenancy
from snapshots.services.capacity_samples import sample
from snapshots.services.pool_policies import set_policy
from snapshots.services.snapshot_actions import request_create
from tests.builders import Cloud, People, acting, take
from tests.doors.browser_client import Browser, machine_page
from tests.doors.drawn import lines, numbers

GIB = 1024**3
PETABYTE = 1024**5


@pytest.fixture
def pool(web: VirtualMachine) -> StoragePool:
    """The pool of all machines: 500 GiB, of which 70 are volumes."""
    return StoragePool.objects.get()


def pool_page(pool: StoragePool) -> str:
    return f"/capacity/pools/{pool.uuid}/"


def test_root_admins_see_what_all_hold_and_others_only_how_full_it_is(people: People, pool: StoragePool) -> None:
    take(VirtualMachine.objects.get(name="foreign"), "theirs", people.charlie, memory=True)
    row = Browser(people.root).get("/capacity/").text
    assert "14.2" not in row
    assert "15 %" in row  # 71 of 500, rounded up
    assert "70 GiB" in row
    own = Browser(people.alice).get("/capacity/").text
    assert "15 %" in own
    assert "70 GiB" not in own
    assert "30 GiB" in own  # web has two disks, db one
    assert "foreign" not in own
    assert "other" not in own


def test_a_tenant_sees_their_own_part_of_a_shared_pool_and_nothing_of_others(people: People, pool: StoragePool) -> None:
    take(VirtualMachine.objects.get(name="foreign"), "theirs", people.charlie, memory=True)
    sample()
    alice, charlie = Browser(people.alice).get(pool_page(pool)), Browser(people.charlie).get(pool_page(pool))
    for page, own, others in ((alice, "web", "foreign"), (charlie, "foreign", "web")):
        assert page.status == 200
        assert own in page.text
        assert others not in page.source
        assert page.find('//*[@data-chart="pool-over-time-numbers"]') == []
    assert "theirs" not in alice.source
    assert Browser(people.nora).get(pool_page(pool)).status == 404


def test_the_series_of_a_pool_is_no_file_for_tenants(people: People, pool: StoragePool) -> None:
    sample()
    answer = Browser(people.dora).get(f"{pool_page(pool)}?csv=pool-over-time").response
    assert answer["Content-Type"].startswith("text/html")
    assert len(lines(Browser(people.root), f"{pool_page(pool)}?range=day&csv=pool-over-time")) == 3


def test_a_pool_over_time_is_drawn_from_the_numbers_of_its_table_and_its_file(
    people: People, pool: StoragePool
) -> None:
    sample()
    root = Browser(people.root)
    page = root.get(f"{pool_page(pool)}?range=day")
    drawn = numbers(page, "pool-over-time")
    assert [line["name"] for line in drawn["thresholds"]] == ["Warning 80 %", "Threshold 90 %", "Size"]
    assert [line["value"] for line in drawn["thresholds"]] == [400 * GIB, 450 * GIB, 500 * GIB]
    file = lines(root, f"{pool_page(pool)}?range=day&csv=pool-over-time")
    assert file[0] == ["Time", *(f"{row['name']} (bytes)" for row in drawn["series"])]
    assert [line[1] for line in file[1:]] == [str(value) for value in drawn["series"][0]["values"]]
    shown = page.find('//*[@aria-label="Numbers: Over time"]//tbody/tr')
    assert len(shown) == len(drawn["labels"]) == 2
    assert "70 GiB" in shown[0].text_content()


@pytest.mark.parametrize(("key", "step"), [("day", "raw"), ("week", "hour"), ("month", "day"), ("year", "day")])
def test_the_range_chooses_the_step(people: People, pool: StoragePool, key: str, step: str) -> None:
    at = timezone.now() - timedelta(hours=5)
    CapacitySample.objects.create(pool=pool, step=step, at=at, volume_bytes=1, estimated_bytes=2)
    page = Browser(people.root).get(f"{pool_page(pool)}?range={key}")
    assert numbers(page, "pool-over-time")["series"][0]["values"][0] == 1
    assert page.one('//*[@class="ranges"]//*[@aria-current]').get("href") == f"?range={key}"


def test_a_long_series_is_thinned_to_what_a_page_bears(people: People, pool: StoragePool) -> None:
    now = timezone.now()
    CapacitySample.objects.bulk_create(
        CapacitySample(pool=pool, step="raw", at=now - timedelta(minutes=2 * n), volume_bytes=n, estimated_bytes=0)
        for n in range(700)
    )
    drawn = numbers(Browser(people.root).get(f"{pool_page(pool)}?range=day"), "pool-over-time")
    assert 100 <= len(drawn["labels"]) <= 151
    assert drawn["series"][0]["values"][-2] == 0  # the newest sample is kept


def test_petabytes_are_drawn_and_written(people: People, pool: StoragePool) -> None:
    StoragePool.objects.update(total_bytes=8000 * PETABYTE - 1, free_bytes=0)
    page = Browser(people.root).get(pool_page(pool))
    assert numbers(page, "pool-over-time")["thresholds"][2]["value"] == 8000 * PETABYTE - 1
    assert "8000 PiB" in page.text


def test_a_forecast_is_shown_to_root_admins(people: People, pool: StoragePool) -> None:
    assert "after 7 days of samples; 1 so far" in Browser(people.root).get("/capacity/").text
    midnight = timezone.now().replace(hour=0, minute=0, second=0, microsecond=0)
    for day in range(1, 20):
        CapacitySample.objects.create(
            pool=pool,
            step="day",
            at=midnight - timedelta(days=day),
            total_bytes=500 * GIB,
            free_bytes=(100 + 5 * day) * GIB,
            volume_bytes=0,
            estimated_bytes=0,
        )
    StoragePool.objects.update(free_bytes=100 * GIB)
    assert "full about" in Browser(people.root).get("/capacity/").text
    assert "full about" not in Browser(people.alice).get("/capacity/").text


def test_who_uses_the_space_leads_to_each(people: People, web: VirtualMachine) -> None:
    snapshot = take(web, "<b>mine</b>", people.alice, memory=True)
    page = Browser(people.alice).get("/capacity/")
    (domain,) = numbers(page, "space")["nodes"]
    (account,) = domain["children"]
    machine = account["children"][0]
    assert (domain["name"], account["name"], machine["name"]) == ("engineering", "acme", "web")
    assert domain["value"] == account["value"] == 31 * GIB
    assert domain["address"] == f"/capacity/?domain={people.engineering.uuid}"
    assert account["address"] == f"/capacity/accounts/{people.acme.uuid}/"
    assert machine["address"] == machine_page(web)
    held = {part["name"]: (part["value"], part["address"]) for part in machine["children"]}
    assert held == {"volumes": (20 * GIB, ""), "<b>mine</b>": (GIB, f"/snapshots/{snapshot.uuid}/")}
    assert page.find('//td[text()="VM snapshot"]')
    for address in (domain["address"], account["address"], machine["address"]):
        assert Browser(people.alice).get(address).status == 200


def test_only_the_largest_are_named_and_the_sum_is_whole(people: People) -> None:
    cloud = Cloud(tuple(Machine(f"m{number:02}", disks=(Disk((100 + number) * GIB),)) for number in range(45)))
    for number in range(45):
        tenancy.assign_machine(SYSTEM, machine=cloud.machine(f"m{number:02}"), account=people.acme)
    (domain,) = numbers(Browser(people.alice).get("/capacity/"), "space")["nodes"]
    (account,) = domain["children"]
    names = [part["name"] for part in account["children"]]
    assert (names[0], names[-1], len(names)) == ("m44", "others", 31)
    assert sum(part["value"] for part in account["children"]) == account["value"] == sum(range(100, 145)) * GIB


def test_small_accounts_beside_a_large_one_show_their_largest_machine(people: People) -> None:
    disks = {f"big{number:02}": 100 + number for number in range(35)} | {"small": 2, "smaller": 1}
    cloud = Cloud(tuple(Machine(name, disks=(Disk(size * GIB),)) for name, size in disks.items()))
    for name in disks:
        owner = people.other if name.startswith("small") else people.acme
        tenancy.assign_machine(SYSTEM, machine=cloud.machine(name), account=owner)
    nodes = numbers(Browser(people.root).get("/capacity/"), "space")["nodes"]
    accounts = {account["name"]: account for domain in nodes for account in domain["children"]}
    shown = {name: [part["name"] for part in account["children"]] for name, account in accounts.items()}
    assert shown["other"] == ["small", "others"]
    assert shown["acme"] == [*(f"big{number:02}" for number in range(34, 5, -1)), "others"]
    assert all(sum(part["value"] for part in row["children"]) == row["value"] for row in accounts.values())


def test_a_name_that_looks_like_a_formula_is_not_carried_out_by_a_spreadsheet(people: People) -> None:
    cloud = Cloud((Machine("=cmd|'/c calc'!A0"), Machine("@SUM(1)"), Machine("plain")))
    for machine in VirtualMachine.objects.filter(hypervisor=cloud.hypervisor):
        tenancy.assign_machine(SYSTEM, machine=machine, account=people.acme)
    file = lines(Browser(people.alice), f"/capacity/accounts/{people.acme.uuid}/?csv=by-machine")
    assert sorted(line[0] for line in file[1:]) == ["'=cmd|'/c calc'!A0", "'@SUM(1)", "plain"]


def test_an_account_is_seen_by_its_members_and_admins_alone(people: People, web: VirtualMachine) -> None:
    path = f"/capacity/accounts/{people.acme.uuid}/"
    for name, status in (("alice", 200), ("bob", 200), ("dora", 200), ("root", 200), ("charlie", 404), ("nora", 404)):
        for query in ("", "?csv=account-over-time", "?csv=by-machine", "?csv=space"):
            assert Browser(getattr(people, name)).get(path + query).status == status, (name, query)


def test_the_map_of_a_domain_of_others_is_empty(people: People, web: VirtualMachine) -> None:
    page = Browser(people.charlie).get(f"/capacity/?domain={people.engineering.uuid}")
    assert page.find('//script[@id="space-numbers"]') == []
    assert "web" not in page.text


def test_old_vm_snapshots_and_machines_with_many_are_stale(
    people: People, web: VirtualMachine, settings: Settings
) -> None:
    settings.STALE_PER_MACHINE = 1
    first = take(web, "forgotten", people.alice, memory=True)
    take(web, "recent", people.alice)
    VMSnapshot.objects.filter(pk=first.pk).update(created_at=timezone.now() - timedelta(days=31))
    for person in ("alice", "dora", "root"):
        page = Browser(getattr(people, person)).get("/capacity/stale/")
        old, many = page.find("//section[@aria-labelledby]")
        assert "forgotten" in old.text_content()
        assert "recent" not in old.text_content()
        assert "1 GiB" in old.text_content()
        assert "web" in many.text_content()
    stranger = Browser(people.charlie).get("/capacity/stale/")
    assert "web" not in stranger.text.replace("VMSnap", "")
    assert "No VM snapshot that you see is older than 30 days." in stranger.text


def test_what_the_page_of_stale_ones_has_no_room_for_is_in_its_files(
    people: People, monkeypatch: pytest.MonkeyPatch, settings: Settings
) -> None:
    settings.STALE_PER_MACHINE = 0
    names = ["=cmd()", *(f"m{number}" for number in range(8))]
    forest = tuple(Taken(f"@s{number}", parent=None if number == 0 else number - 1) for number in range(7))
    cloud = Cloud(tuple(Machine(name, disks=(Disk(GIB),), snapshots=forest) for name in names))
    for name in names:
        tenancy.assign_machine(SYSTEM, machine=cloud.machine(name), account=people.acme)
    VMSnapshot.objects.filter(parent__isnull=False).update(created_at=timezone.now() - timedelta(days=40))
    monkeypatch.setattr("snapshots.reading.stale.BATCH", 5)
    alice = Browser(people.alice)
    page = alice.get("/capacity/stale/")
    assert "The oldest 50 of 63 are shown. The CSV has all of them." in page.text
    vm_snapshots, machines = (link.get("href") for link in page.find('//a[contains(@href, ".csv")]'))
    old, many = lines(alice, vm_snapshots), lines(alice, machines)
    assert old[0][:5] == ["VM snapshot", "id", "machine", "account", "taken"]
    wanted = {(f"'@s{number}", "'=cmd()" if name == "=cmd()" else name) for name in names for number in range(7)}
    assert {(line[0], line[2]) for line in old[1:]} == wanted
    assert len(old) == len({line[1] for line in old}) == 64
    assert {line[3] for line in old[1:]} == {"acme"}
    assert {line[5] for line in old[1:]} == {"0"}  # a chain gives nothing back of its disks
    assert sorted(line[0] for line in many[1:]) == sorted(["'=cmd()", *names[1:]])
    assert {tuple(line[2:6]) for line in many[1:]} == {("acme", "7", str(GIB), "0")}
    for stranger in (people.charlie, people.nora):
        for path in (vm_snapshots, machines):
            assert len(lines(Browser(stranger), path)) == 1
    assert lines(Browser(people.root), vm_snapshots) == old


def test_the_dashboard_shows_each_person_their_own(people: People, web: VirtualMachine) -> None:
    take(web, "before", people.alice)
    for person, machines in (
        ("alice", "2 machines"),
        ("charlie", "1 machine"),
        ("root", "4 machines"),
        ("nora", "0 machines"),
    ):
        page = Browser(getattr(people, person)).get("/dashboard/")
        assert machines in page.text, person
        assert ("before" in page.text) is (person in ("alice", "root")), person
        assert bool(page.find('//*[@id="drift-title"]')) is (person == "root"), person
        assert ("default" in page.text) is (person != "nora"), person


def test_the_fullest_of_all_pools_are_on_the_dashboard_and_all_are_counted(people: People) -> None:
    cloud = Cloud(())
    StoragePool.objects.bulk_create(
        StoragePool(hypervisor=cloud.hypervisor, name=f"a{number:03}", native_id=f"a{number}", total_bytes=GIB)
        for number in range(250)
    )
    full = StoragePool.objects.create(hypervisor=cloud.hypervisor, name="z", native_id="z", total_bytes=100 * GIB)
    Volume.objects.create(pool=full, hypervisor=cloud.hypervisor, name="loose", capacity_bytes=95 * GIB)
    page = Browser(people.root).get("/dashboard/")
    pools = page.one('//section[@aria-labelledby="pools-title"]')
    assert [row.text_content() for row in pools.xpath(".//li/a")][:1] == ["z"]
    assert f"All {StoragePool.objects.count()}" in pools.text_content()
    assert StoragePool.objects.count() > 250


def test_the_dashboard_lists_some_of_the_jobs_under_way_and_counts_all_of_ones_own(people: People) -> None:
    cloud = Cloud(tuple(Machine(f"m{number}", power=PowerState.STOPPED) for number in range(12)))
    for machine in VirtualMachine.objects.filter(hypervisor=cloud.hypervisor):
        tenancy.assign_machine(SYSTEM, machine=machine, account=people.acme)
        request_create(acting(people.alice), machine=machine, name="before")
    for person, count in (("alice", "12"), ("dora", "12"), ("charlie", "0"), ("nora", "0")):
        section = Browser(getattr(people, person)).get("/dashboard/").one('//section[@aria-labelledby="running-title"]')
        assert section.xpath('.//span[@class="count"]')[0].text == count, person
        assert len(section.xpath(".//li")) == min(int(count), 8), person


def test_the_take_dialog_says_how_full_the_pool_becomes(people: People) -> None:
    cloud = Cloud((Machine("big", power=PowerState.RUNNING, memory_bytes=40 * GIB, disks=(Disk(370 * GIB),)),))
    machine = cloud.machine("big")
    tenancy.assign_machine(SYSTEM, machine=machine, account=people.acme)
    text = Browser(people.alice).get(f"{machine_page(machine)}take/").text
    assert "78 % now" in text
    assert "78 % without memory" in text
    assert "86 % with memory (nearly full)" in text


def test_the_dialog_says_why_there_is_no_room_and_the_request_is_refused(people: People) -> None:
    cloud = Cloud((Machine("big", power=PowerState.RUNNING, memory_bytes=40 * GIB, disks=(Disk(400 * GIB),)),))
    machine = cloud.machine("big")
    tenancy.assign_machine(SYSTEM, machine=machine, account=people.acme)
    alice = Browser(people.alice)
    page = alice.get(f"{machine_page(machine)}take/")
    memory = page.one('//input[@name="kind"][@value="memory"]')
    assert memory.get("disabled") is not None
    assert "92 % with memory (over the threshold of 90 %)" in page.text
    assert "which makes 92 %" in page.text
    answer = alice.post(f"{machine_page(machine)}take/", {"name": "x", "kind": "memory"})
    assert answer.status == 409
    assert "The storage pool default is 84 % allocated" in answer.text
    set_policy(
        acting(people.root),
        pool=StoragePool.objects.get(hypervisor=cloud.hypervisor),
        warning_percent=None,
        threshold_percent=95,
        overcommit=None,
    )
    assert "92 % with memory (nearly full)" in alice.get(f"{machine_page(machine)}take/").text
