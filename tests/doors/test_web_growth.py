"""How a machine grew, as its page shows it: to whom, for how long, and with how many points."""

from datetime import datetime, timedelta

import pytest
import time_machine
from django.utils import timezone
from pytest_django import DjangoAssertNumQueries

from snapshots.access import SYSTEM
from snapshots.models import Account, OpenUsage, UsageEvent, VirtualMachine, VMSnapshot
from snapshots.models.usage import FACTS
from snapshots.reading.machine_growth import machine_chart
from snapshots.services import tenancy
from snapshots.services.snapshot_actions import request_delete
from tests.builders import People, run, take
from tests.doors.browser_client import Browser
from tests.doors.drawn import lines, numbers

GIB = 1024**3


def test_a_machine_grows_at_each_change(people: People, web: VirtualMachine) -> None:
    path = f"/capacity/machines/{web.uuid}/"
    assert "Nothing has grown yet" in Browser(people.alice).get(path).text
    with time_machine.travel(timezone.now() - timedelta(days=2), tick=False):
        take(web, "one", people.alice, memory=True)
    take(web, "two", people.alice, memory=True)
    drawn = numbers(Browser(people.bob).get(path), "machine-over-time")
    assert drawn["stepped"]
    assert drawn["series"][0]["values"] == [GIB, 2 * GIB, 2 * GIB]
    assert Browser(people.charlie).get(path).status == 404


def growth_page(machine: VirtualMachine) -> str:
    return f"/capacity/machines/{machine.uuid}/"


def grown(person: Browser, machine: VirtualMachine) -> list[int]:
    """What the machine's VM snapshots held by the estimate, in GiB, each time it changed, and now; the same in the chart,
    in its table and in its file."""
    page = person.get(growth_page(machine))
    if not page.find('//script[@id="machine-over-time-numbers"]'):
        return []
    drawn = [value // GIB for value in numbers(page, "machine-over-time")["series"][0]["values"]]
    file = lines(person, f"{growth_page(machine)}?csv=machine-over-time")[1:]
    assert [int(line[1]) // GIB for line in file] == drawn
    assert len(page.find('//*[@aria-label="Numbers: VM snapshots over time"]//tbody/tr')) == len(drawn)
    return drawn


def test_a_new_owner_does_not_see_how_a_machine_grew_for_the_former_one(people: People, web: VirtualMachine) -> None:
    now = timezone.now()

    def owned_by(account: Account, days: int) -> VirtualMachine:
        with time_machine.travel(now - timedelta(days=days), tick=False):
            tenancy.assign_machine(SYSTEM, machine=VirtualMachine.objects.get(pk=web.pk), account=account)
        return VirtualMachine.objects.get(pk=web.pk)

    with time_machine.travel(now - timedelta(days=20), tick=False):
        first = take(web, "one", people.alice, memory=True)
    with time_machine.travel(now - timedelta(days=18), tick=False):
        take(VirtualMachine.objects.get(pk=web.pk), "two", people.alice, memory=True)
    alice, charlie, root = Browser(people.alice), Browser(people.charlie), Browser(people.root)
    assert grown(alice, web) == [1, 2, 2]

    machine = owned_by(people.other, 16)
    assert alice.get(growth_page(machine)).status == 404
    assert grown(charlie, machine) == [2, 2]  # from the day on which it came
    assert grown(root, machine) == [1, 2, 2]
    with time_machine.travel(now - timedelta(days=14), tick=False):
        take(machine, "three", people.charlie, memory=True)
        run(request_delete(SYSTEM, snapshot=VMSnapshot.objects.get(pk=first.pk)))
    with time_machine.travel(now - timedelta(days=13), tick=False):
        take(VirtualMachine.objects.get(pk=web.pk), "four", people.charlie, memory=True)
    assert grown(charlie, machine) == [2, 2, 3, 3]

    # Back again: nothing of the time between, and what was deleted then is not held for ever.
    machine = owned_by(people.acme, 10)
    assert grown(alice, machine) == [1, 2, 0, 3, 3]
    assert grown(root, machine) == [1, 2, 2, 3, 3]


def test_growth_begins_with_what_was_there_a_year_ago(people: People, web: VirtualMachine) -> None:
    now = timezone.now()
    for name, days in (("long gone", 900), ("old", 800), ("changed since", 700), ("recent", 10)):
        with time_machine.travel(now - timedelta(days=days), tick=False):
            take(VirtualMachine.objects.get(pk=web.pk), name, people.alice, memory=True)
    for name, days in (("long gone", 600), ("changed since", 5)):
        with time_machine.travel(now - timedelta(days=days), tick=False):
            run(request_delete(SYSTEM, snapshot=VMSnapshot.objects.get(machine=web, name=name)))
    drawn = numbers(Browser(people.alice).get(growth_page(web)), "machine-over-time")
    assert [value // GIB for value in drawn["series"][0]["values"]] == [2, 3, 2, 2]
    begin = datetime.fromisoformat(drawn["labels"][0])
    assert timedelta(days=364) < now - begin < timedelta(days=366)


def test_growth_with_many_changes_is_thinned_and_reads_the_newest(
    people: People,
    web: VirtualMachine,
    monkeypatch: pytest.MonkeyPatch,
    django_assert_max_num_queries: DjangoAssertNumQueries,
) -> None:
    with time_machine.travel(timezone.now() - timedelta(days=30), tick=False):
        take(web, "kept", people.alice, memory=True)
        take(VirtualMachine.objects.get(pk=web.pk), "grows", people.alice, memory=True)
    line = OpenUsage.objects.get(snapshot_name="grows")
    facts = {name: getattr(line, name) for name in FACTS}
    steps = [
        UsageEvent(
            **facts | {"estimated_bytes": n * GIB}, alive=True, change="resize", at=line.since + timedelta(hours=n)
        )
        for n in range(1, 501)
    ]
    UsageEvent.objects.bulk_create(steps)
    machine = VirtualMachine.objects.select_related("account").get(pk=web.pk)
    with django_assert_max_num_queries(4):  # one of them asks who she is
        rows = machine_chart(people.alice, machine, "")
    assert 100 <= len(rows.labels) <= 151
    assert rows.series[0].values[-1] == 501 * GIB
    monkeypatch.setattr("snapshots.reading.machine_growth.EVENTS_MOST", 11)
    values = machine_chart(people.alice, machine, "").series[0].values
    assert [value // GIB for value in values if value] == [*range(491, 502), 501]
