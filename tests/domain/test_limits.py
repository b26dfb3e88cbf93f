"""Limits hold on the machine, its account, its domain and every domain above; they cannot be passed unnoticed, and tell
nobody what is not theirs to see."""

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from hypervisors import errors
from hypervisors.drivers.simulated.world import Disk, Machine
from snapshots.access import SYSTEM
from snapshots.choices import LimitKind, Role
from snapshots.limit_levels import Place, Wanted, room_of, rooms_of
from snapshots.models import Account, Event, Job, Limit, LimitUse, VirtualMachine, VMSnapshot
from snapshots.refusals import LimitExceeded
from snapshots.services import limit_rules, limits, tenancy
from snapshots.services.drift_actions import adopt_machine, adopt_snapshot
from snapshots.services.job_runner import run_job
from snapshots.services.jobs import request_cancel
from snapshots.services.snapshot_actions import request_create, request_delete, request_revert
from tests.builders import Cloud, account, acting, domain, limit, run, take, use_of, user
from tests.domain.refusing import assert_limited, assert_refused

SNAPSHOTS, BYTES = LimitKind.SNAPSHOTS, LimitKind.BYTES
GIB = 1024**3
pytestmark = pytest.mark.usefixtures("many_per_machine")


# What holds


def test_an_accounts_limit_holds_for_all_its_machines_together(people, web, db_machine, alice, cloud):
    limit(people.acme, 2)
    take(web, "one")
    take(db_machine, "two")
    refusal = assert_limited(cloud.world, lambda: request_create(alice, machine=web, name="three"))
    assert refusal.extra == {
        "level": "account",
        "name": "acme",
        "kind": "snapshots",
        "limit": 2,
        "used": 2,
        "wanted": 1,
        "raised_by": "an admin of the domain engineering",
    }
    assert refusal.detail == (
        "The account acme has 2 VM snapshots and may have 2. Delete one that is no longer needed, or ask an admin of the "
        "domain engineering to raise the limit."
    )


def test_a_domains_limit_holds_for_all_accounts_below_it(people, web, cloud):
    other = account("sibling", people.engineering)
    tenancy.assign_machine(SYSTEM, machine=cloud.machine("unassigned"), account=other)
    limit(people.engineering, 2)
    take(web, "one")
    take(cloud.machine("unassigned"), "two")
    refusal = assert_limited(cloud.world, lambda: request_create(acting(people.alice), machine=web, name="three"))
    assert (refusal.extra["level"], refusal.extra["name"]) == ("domain", "engineering")
    assert "The domain engineering has 2 VM snapshots and may have 2." in refusal.detail
    take(cloud.machine("foreign"), "another organisation")


@pytest.mark.parametrize("place", ["organisation", "engineering"])
def test_every_domain_above_is_asked(people, web, cloud, place):
    limit(getattr(people, place), 0)
    assert_limited(cloud.world, lambda: request_create(acting(people.root), machine=web, name="one"))


def test_the_machines_maximum_is_set_by_the_nearest_that_says_something(people, web, alice, cloud, settings):
    settings.SNAPSHOTS_PER_MACHINE = 10
    limit(people.organisation, 3, LimitKind.PER_MACHINE)
    limit(people.engineering, 2, LimitKind.PER_MACHINE)
    take(web, "one")
    limit(people.acme, 1, LimitKind.PER_MACHINE)
    refusal = assert_limited(cloud.world, lambda: request_create(alice, machine=web, name="two"))
    assert (refusal.extra["level"], refusal.extra["limit"]) == ("machine", 1)
    assert refusal.extra["raised_by"] == "an admin of the domain engineering"
    limit(people.acme, None, LimitKind.PER_MACHINE)
    take(web, "two")
    refusal = assert_limited(cloud.world, lambda: request_create(alice, machine=web, name="three"))
    assert (refusal.extra["limit"], refusal.extra["raised_by"]) == (2, "an admin of a domain above")
    refusal = assert_limited(cloud.world, lambda: request_create(acting(people.root), machine=web, name="three"))
    assert refusal.extra["raised_by"] == "an admin of the domain organisation"


@pytest.mark.parametrize(
    ("setting", "level"),
    [
        ("LIMIT_ACCOUNT_SNAPSHOTS", "account"),
        ("LIMIT_DOMAIN_SNAPSHOTS", "domain"),
        ("LIMIT_ACCOUNT_BYTES", "account"),
        ("LIMIT_DOMAIN_BYTES", "domain"),
    ],
)
def test_where_nothing_is_set_the_default_holds(web, alice, cloud, settings, setting, level):
    setattr(settings, setting, 0)
    refusal = assert_limited(cloud.world, lambda: request_create(alice, machine=web, name="one", memory=True))
    assert refusal.extra["level"] == level
    assert refusal.extra["limit"] == 0


def test_a_limit_of_its_own_takes_the_place_of_the_default(people, web, alice, settings):
    settings.LIMIT_ACCOUNT_SNAPSHOTS = 0
    limit(people.acme, -1)
    take(web, "one", people.alice)


def test_bytes_are_those_of_the_estimate(people, web, alice, cloud):
    memory = web.memory_bytes
    limit(people.acme, memory + memory // 2, BYTES)
    take(web, "one", memory=True)
    assert use_of(people.acme) == (1, memory)
    refusal = assert_limited(cloud.world, lambda: request_create(alice, machine=web, name="two", memory=True))
    assert refusal.extra["kind"] == "bytes"
    assert (refusal.extra["used"], refusal.extra["wanted"]) == (memory, memory)
    assert "are estimated to hold 1 GiB and may hold 1.5 GiB; this would add 1 GiB." in refusal.detail
    take(web, "two", memory=False)


def test_a_limit_below_what_is_used_is_allowed_and_stops_what_is_new(people, web, alice, cloud):
    row = take(web, "one", memory=True)
    limit(people.acme, 5, BYTES)
    limit(people.acme, 0)
    assert_limited(cloud.world, lambda: request_create(alice, machine=web, name="two"))
    limit(people.acme, None)
    # It would add nothing to the estimate, and yet there is more than there may be.
    assert_limited(cloud.world, lambda: request_create(alice, machine=web, name="two"))
    run(request_delete(alice, snapshot=row))
    take(web, "two", memory=False)


def test_numbers_beyond_32_bits_are_kept_and_compared_exactly(people, db):
    petabytes = 2**62
    cloud = Cloud((Machine("huge", disks=(Disk(capacity_bytes=2**61),), memory_bytes=2**60),))
    tenancy.assign_machine(SYSTEM, machine=cloud.machine("huge"), account=people.acme)
    limit(people.acme, petabytes, BYTES)
    take(cloud.machine("huge"), "one", memory=False)
    LimitUse.objects.filter(account=people.acme).update(estimated_bytes=petabytes)
    take(cloud.machine("huge"), "two", memory=False)
    LimitUse.objects.filter(account=people.acme).update(estimated_bytes=petabytes + 1)
    with pytest.raises(LimitExceeded) as caught:
        request_create(SYSTEM, machine=cloud.machine("huge"), name="three")
    assert (caught.value.extra["limit"], caught.value.extra["used"]) == (2**62, 2**62 + 1)
    limit(people.acme, 2**63 - 1, BYTES)
    assert Limit.objects.get(account=people.acme).value == 2**63 - 1


def test_machines_of_nobody_have_the_default_maximum_alone(people, cloud, settings):
    settings.SNAPSHOTS_PER_MACHINE = 1
    settings.LIMIT_DOMAIN_SNAPSHOTS = 0
    machine = cloud.machine("unassigned")
    take(machine, "one")
    refusal = assert_limited(cloud.world, lambda: request_create(acting(people.root), machine=machine, name="two"))
    assert (refusal.extra["level"], refusal.extra["raised_by"]) == ("machine", "a root admin")


# What counts


def test_what_is_reserved_counts_and_what_is_cancelled_is_given_back(people, web, alice, cloud):
    limit(people.acme, 1)
    job = request_create(alice, machine=web, name="one", memory=True)
    assert use_of(people.acme) == use_of(people.engineering) == use_of(people.organisation) == (1, web.memory_bytes)
    with pytest.raises(LimitExceeded):
        request_create(alice, machine=cloud.machine("db"), name="two")
    request_cancel(alice, job)
    assert use_of(people.acme) == use_of(people.organisation) == (0, 0)


def test_what_failed_is_given_back_though_its_row_stays(people, web, alice, cloud):
    limit(people.acme, 1)
    cloud.world.refuse("create_snapshot", errors.OutOfSpace)
    job = run(request_create(alice, machine=web, name="one", memory=True))
    assert job.state == "failed"
    assert VMSnapshot.objects.get(name="one").failed
    assert use_of(people.acme) == use_of(people.organisation) == (0, 0)
    take(web, "two")
    run(request_delete(alice, snapshot=VMSnapshot.objects.get(name="one")))
    assert use_of(people.acme)[0] == 1


def test_a_failed_one_that_turns_up_after_all_counts_again(people, web, alice, cloud):
    job = request_create(alice, machine=web, name="one")
    cloud.world.refuse("create_snapshot", errors.OutOfSpace)
    assert run(job).state == "failed"
    assert use_of(people.acme)[0] == 0
    cloud.world.take_elsewhere(web.native_id, "one", token=str(job.snapshot_uuid))
    cloud.sync()
    assert VMSnapshot.objects.get(uuid=job.snapshot_uuid).limited
    assert use_of(people.acme)[0] == 1


def test_a_safety_snapshot_counts(people, web, alice, cloud):
    limit(people.acme, 1)
    first = take(web, "one", memory=True)
    refusal = assert_limited(cloud.world, lambda: request_revert(alice, snapshot=first, safety_snapshot=True))
    assert refusal.extra["level"] == "account"
    assert run(request_revert(alice, snapshot=first, safety_snapshot=False)).state == "succeeded"


def test_adoption_counts_one_by_one_and_all_at_once(people, web, alice, cloud):
    for name in ("one", "two"):
        cloud.world.take_elsewhere(web.native_id, name)
    cloud.sync()
    assert use_of(people.acme) == (0, 0)
    limit(people.acme, 1)
    refusal = assert_limited(cloud.world, lambda: adopt_machine(alice, machine=web))
    assert (refusal.extra["level"], refusal.extra["wanted"]) == ("account", 2)
    assert "so there is no room for 2" in refusal.detail
    adopt_snapshot(alice, snapshot=VMSnapshot.objects.get(name="one"))
    assert_limited(cloud.world, lambda: adopt_snapshot(alice, snapshot=VMSnapshot.objects.get(name="two")))
    assert use_of(people.acme)[0] == 1


@pytest.mark.parametrize("kind", [SNAPSHOTS, BYTES])
def test_automatic_adoption_goes_as_far_as_all_limits_do_and_tells_of_the_rest_once(people, web, cloud, kind):
    memory = web.memory_bytes
    limit(people.engineering, 2 if kind == SNAPSHOTS else 2 * memory, kind)
    for name in ("one", "two", "three"):
        cloud.world.take_elsewhere(web.native_id, name, memory=True)
    cloud.hypervisor.adopt_automatically = True
    cloud.hypervisor.save(update_fields=["adopt_automatically"])
    cloud.sync()
    cloud.sync()
    adopted = VMSnapshot.objects.filter(machine=web, adopted_at__isnull=False)
    assert sorted(adopted.values_list("name", flat=True)) == ["one", "two"]
    assert use_of(people.acme) == use_of(people.engineering) == (2, 2 * memory)
    left = Event.objects.get(action="snapshot.left_unadopted")
    assert left.detail == "There is no room for more VM snapshots of web. Made elsewhere and not adopted: three."


def test_a_machine_given_to_an_account_brings_its_use_whatever_the_limit(people, web, cloud):
    limit(people.other, 0)
    take(web, "one", memory=True)
    tenancy.assign_machine(SYSTEM, machine=web, account=people.other)
    assert use_of(people.acme) == use_of(people.organisation) == (0, 0)
    assert use_of(people.other) == use_of(people.elsewhere) == (1, web.memory_bytes)
    warning = Event.objects.get(action="limits.passed")
    assert (warning.level, warning.account) == ("warning", people.other)
    assert warning.detail == (
        "The account other has 1 VM snapshot and may have 0. Nothing new is taken until there is room."
    )
    assert_limited(cloud.world, lambda: request_create(acting(people.charlie), machine=web, name="two"))


# What others learn


def test_of_a_domain_above_that_one_does_not_see_one_learns_that_it_is_there(people, web, alice, cloud):
    limit(people.organisation, 0)
    refusal = assert_limited(cloud.world, lambda: request_create(alice, machine=web, name="one"))
    assert refusal.extra == {"level": "domain", "kind": "snapshots"}
    assert refusal.detail == (
        "A domain above the domain engineering has used up a limit of its own. Delete a VM snapshot that is no longer "
        "needed, or ask an admin of that domain."
    )
    shown = assert_limited(cloud.world, lambda: request_create(acting(people.root), machine=web, name="one"))
    assert shown.extra["name"] == "organisation"
    assert shown.extra["raised_by"] == "a root admin"


def test_the_way_up_is_told_as_far_as_it_is_seen_whatever_is_seen_above(people, cloud):
    middle = domain("middle", people.organisation)
    low = account("low account", domain("low", middle))
    tenancy.assign_machine(SYSTEM, machine=cloud.machine("web"), account=low)
    person = user("both", Role.OPERATOR, account=low)
    tenancy.grant_role(SYSTEM, user=person, role=Role.READER, account=account("high account", people.organisation))
    limit(middle, 0)
    refusal = assert_limited(
        cloud.world, lambda: request_create(acting(person), machine=cloud.machine("web"), name="one")
    )
    assert refusal.detail.startswith("A domain above the domain low has used up a limit of its own.")


def test_a_stranger_is_told_nothing_of_limits(people, web, cloud):
    limit(people.acme, 0)
    refusal = assert_refused(
        cloud.world, "not_found", lambda: request_create(acting(people.charlie), machine=web, name="one")
    )
    assert refusal.extra == {}


def test_the_room_a_person_sees_names_no_place_they_do_not_see(people, web):
    for person, seen in (
        (people.alice, {"acme", "engineering"}),
        (people.root, {"acme", "engineering", "organisation"}),
    ):
        room = room_of(VirtualMachine.objects.select_related("account__domain").get(pk=web.pk).account, person)
        assert {level.name for level in room.shared if level.seen} == seen


# What it costs


@pytest.mark.parametrize("depth", [1, 12])
def test_the_check_takes_one_query_whatever_the_depth_of_the_domains(db, depth, monkeypatch):
    place = domain("d0")
    for number in range(1, depth):
        place = domain(f"d{number}", place)
    owner = account("owner", place)
    cloud = Cloud((Machine("m"),))
    tenancy.assign_machine(SYSTEM, machine=cloud.machine("m"), account=owner)
    for kind in LimitKind:
        limit(place, 2**40, kind)
        limit(owner, 2**40, kind)
    cost = []
    check = limits.require_room

    def counted(*args, **options):
        with CaptureQueriesContext(connection) as captured:
            check(*args, **options)
        cost.append(len(captured))

    monkeypatch.setattr(limits, "require_room", counted)
    with CaptureQueriesContext(connection) as captured:
        request_create(SYSTEM, machine=cloud.machine("m"), name="one")
    assert (cost, len(captured)) == ([1], 26)


def test_the_room_of_many_accounts_is_read_in_one_query(people, web):
    accounts = list(Account.objects.select_related("domain"))
    with CaptureQueriesContext(connection) as captured:
        rooms = rooms_of(accounts, None)
    assert (len(captured), set(rooms)) == (1, {people.acme.pk, people.other.pk})


def test_the_tightest_domain_is_the_one_with_the_least_room_in_proportion(people, web):
    limit(people.organisation, 100)
    limit(people.engineering, 50)
    take(web, "one")
    row = Account.objects.select_related("domain").get(pk=people.acme.pk)
    (tightest,) = room_of(row, None).tightest_domains()
    assert (tightest.name, tightest.used, tightest.limit, tightest.place) == ("engineering", 1, 50, Place.DOMAIN)
    limit(people.engineering, None)
    (tightest,) = room_of(row, None).tightest_domains()
    assert tightest.name == "organisation"
    assert room_of(row, people.alice).tightest_domains() == []


def test_what_pages_say_beforehand_is_the_refusal_that_follows(people, web, alice, cloud):
    limit(people.acme, 1)
    take(web, "one", memory=True)
    machine = VirtualMachine.objects.select_related("account__domain").get(pk=web.pk)
    told = limit_rules.why_not_another(machine, room_of(machine.account, people.alice), Wanted(1, 0))
    refusal = assert_limited(cloud.world, lambda: request_create(alice, machine=web, name="two"))
    assert (told.detail, told.extra) == (refusal.detail, refusal.extra)


def test_a_refused_request_leaves_nothing_reserved(people, web, alice, cloud):
    limit(people.acme, 0)
    assert_limited(cloud.world, lambda: request_create(alice, machine=web, name="one"))
    assert use_of(people.acme) == use_of(people.organisation) == (0, 0)
    assert not Job.objects.filter(machine=web).exists()


def test_the_job_of_what_was_reserved_is_not_asked_again(people, web, alice):
    job = request_create(alice, machine=web, name="one", memory=True)
    limit(people.acme, 0)
    run_job(job.pk)
    assert Job.objects.get(pk=job.pk).state == "succeeded"
