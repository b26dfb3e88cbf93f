"""What admins read of drift: theirs and nobody else's, a page at a time, at the same cost however much there is."""

import pytest
from django.contrib.auth.models import AnonymousUser
from django.db import connection
from django.test.utils import CaptureQueriesContext

from hypervisors.drivers.simulated.world import Machine, Taken
from snapshots.access import SYSTEM, Person
from snapshots.choices import Role
from snapshots.models import VirtualMachine, VMSnapshot
from snapshots.reading import drift_report as reading
from snapshots.reading.drift_report import DriftQuery, DriftReport
from snapshots.services import drift_actions, tenancy
from tests.builders import Cloud, take
from tests.domain.scenes import read_again


def drift_report(person: Person, page: int = 1) -> DriftReport:
    return reading.drift_report(person, DriftQuery(page=page))


@pytest.fixture
def drifting(web: VirtualMachine, db_machine: VirtualMachine, cloud: Cloud) -> Cloud:
    """`web` has one made elsewhere and a lost one, `foreign` one made elsewhere, `db` has vanished, `unassigned` too."""
    lost = take(web, "lost")
    cloud.world.delete_elsewhere(web.native_id, lost.native_id)
    for name in ("web", "foreign"):
        cloud.world.take_elsewhere(cloud.machine(name).native_id, f"theirs on {name}")
    for name in ("db", "unassigned"):
        cloud.world.undefine(cloud.machine(name).native_id)
    read_again(cloud)
    return cloud


def shown(report: DriftReport) -> dict[str, tuple[list[str], list[str]]]:
    return {
        found.machine.name: ([row.name for row in found.made_elsewhere], [row.name for row in found.lost])
        for found in report.machines
    }


def test_root_sees_all_that_differs(drifting, people):
    report = drift_report(people.root)
    assert shown(report) == {"foreign": (["theirs on foreign"], []), "web": (["theirs on web"], ["lost"])}
    assert {machine.name for machine in report.vanished} == {"db", "unassigned"}
    assert not report.empty


def test_the_admin_of_a_domain_sees_what_differs_in_it(drifting, people):
    report = drift_report(people.dora)
    assert shown(report) == {"web": (["theirs on web"], ["lost"])}
    assert [machine.name for machine in report.vanished] == ["db"]
    assert {event.machine_name for event in report.corrections} == {"web"}


@pytest.mark.parametrize("who", ["alice", "bob", "charlie", "nora"])
def test_who_administers_nothing_sees_nothing(drifting, people, who):
    report = drift_report(getattr(people, who))
    assert (shown(report), report.vanished, report.corrections, report.empty) == ({}, [], [], True)


def test_nobody_sees_nothing(drifting):
    assert drift_report(AnonymousUser()).empty


def test_membership_beside_administration_shows_nothing_more(drifting, people):
    tenancy.grant_role(SYSTEM, user=people.dora, role=Role.OPERATOR, account=people.other)
    assert list(shown(drift_report(people.dora))) == ["web"]


def test_what_is_decided_leaves_the_report(drifting, people):
    drift_actions.adopt_machine(SYSTEM, machine=drifting.machine("web"))
    drift_actions.acknowledge_lost(SYSTEM, snapshot=VMSnapshot.objects.get(name="lost"))
    assert list(shown(drift_report(people.root))) == ["foreign"]


def test_corrections_are_shown_newest_first_and_nothing_else(web, people, cloud):
    first = take(web, "first")
    take(web, "second")
    cloud.world.rename_elsewhere(web.native_id, first.native_id, "renamed")
    read_again(cloud)
    cloud.world.revert_elsewhere(web.native_id, first.native_id)
    read_again(cloud)
    actions = [event.action for event in drift_report(people.root).corrections]
    assert actions == ["snapshot.current", "snapshot.renamed"]


def test_a_machine_with_many_shows_the_first_few_and_says_how_many_more(people):
    taken = tuple(Taken(f"n{number:02}", age_seconds=100 - number) for number in range(reading.SNAPSHOTS_SHOWN + 3))
    Cloud((Machine("many", snapshots=taken),))
    found = drift_report(people.root).machines[0]
    assert [row.name for row in found.made_elsewhere] == [f"n{n:02}" for n in range(reading.SNAPSHOTS_SHOWN)]
    assert (found.elsewhere_not_shown, found.lost_not_shown) == (3, 0)


def test_there_are_pages_by_name(people):
    Cloud(tuple(Machine(f"m{n:02}", snapshots=(Taken("x"),)) for n in range(reading.MACHINES_PER_PAGE + 1)))
    first, second = drift_report(people.root), drift_report(people.root, 2)
    assert [found.machine.name for found in second.machines] == [f"m{reading.MACHINES_PER_PAGE:02}"]
    assert len(first.machines) == reading.MACHINES_PER_PAGE
    assert first.page.has_next()
    assert not second.page.has_next()


def test_more_than_is_shown_is_said(people, monkeypatch):
    monkeypatch.setattr(reading, "VANISHED_SHOWN", 1)
    monkeypatch.setattr(reading, "CORRECTIONS_SHOWN", 1)
    cloud = Cloud((Machine("a"), Machine("b"), Machine("c"), Machine("d")))
    for name in ("a", "b"):
        cloud.world.rename_machine(cloud.machine(name).native_id, f"{name} renamed")
    for name in ("c", "d"):
        cloud.world.undefine(cloud.machine(name).native_id)
    read_again(cloud)
    report = drift_report(people.root)
    assert (len(report.vanished), report.more_vanished) == (1, True)
    assert (len(report.corrections), report.more_corrections) == (1, True)


def test_it_costs_the_same_however_much_differs(people):
    def cost(machines: int) -> int:
        Cloud(tuple(Machine(f"m{n}", snapshots=(Taken("x"), Taken("y"))) for n in range(machines)))
        with CaptureQueriesContext(connection) as captured:
            report = drift_report(people.dora)
            found = shown(report), [event.machine_name for event in report.corrections]
        assert found is not None
        return len(captured)

    assert cost(1) == cost(30)
