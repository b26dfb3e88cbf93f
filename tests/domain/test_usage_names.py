"""What an account used is called as it was called there: how its next owner calls a machine is not for the one before."""

from datetime import timedelta
from typing import Any

import pytest
import time_machine
from django.utils import timezone

from snapshots.models import UsageMonth, UsageRecord
from snapshots.reading.usage_page import UsageQuery, usage_page
from snapshots.services import tenancy
from snapshots.services.snapshot_actions import request_rename
from snapshots.services.usage_aggregation import close_due_periods
from tests.builders import SYSTEM, Cloud, People, acting, run, take

pytestmark = pytest.mark.django_db


@pytest.fixture
def taken_over(people: People, cloud: Cloud) -> None:
    """Acme's machine `web` with a VM snapshot is the other account's now, which calls both otherwise."""
    people.own(cloud)
    snapshot = take(cloud.machine("web"), "plain", people.alice)
    tenancy.assign_machine(SYSTEM, machine=cloud.machine("web"), account=people.other)
    run(request_rename(acting(people.charlie), snapshot=snapshot, name="takeover of acme"))
    cloud.world.rename_machine(cloud.machine("web").native_id, "spoils")
    cloud.sync()


def close_tomorrow() -> None:
    with time_machine.travel(timezone.now() + timedelta(days=1, hours=1)):
        close_due_periods()


def billed_to(account: Any) -> set[tuple[str, str]]:
    rows = UsageRecord.objects.filter(account_uuid=account.uuid)
    return set(rows.values_list("machine_name", "snapshot_name"))


def test_records_of_the_former_owner_keep_the_names_they_had_there(people: People, taken_over: None) -> None:
    close_tomorrow()
    assert billed_to(people.acme) == {("web", "plain")}
    assert billed_to(people.other) == {("spoils", "takeover of acme")}


def test_the_sums_by_month_are_named_in_the_same_way(people: People, taken_over: None) -> None:
    close_tomorrow()
    names = set(UsageMonth.objects.values_list("account_uuid", "machine_name"))
    assert names == {(people.acme.uuid, "web"), (people.other.uuid, "spoils")}


@pytest.mark.parametrize("closed", [False, True], ids=["not billed yet", "billed"])
def test_the_page_tells_the_present_names_only_to_those_who_see_the_machine(
    people: People, taken_over: None, *, closed: bool
) -> None:
    if closed:
        close_tomorrow()
    assert shown(people.alice, people.acme) == [("web", False), ("plain", False)]
    assert shown(people.charlie, people.other) == [("spoils", True), ("takeover of acme", True)]


def test_who_gets_the_machine_back_is_billed_by_its_present_names(
    people: People, cloud: Cloud, taken_over: None
) -> None:
    tenancy.assign_machine(SYSTEM, machine=cloud.machine("spoils"), account=people.acme)
    close_tomorrow()
    assert billed_to(people.acme) == {("spoils", "takeover of acme")}


def test_what_belongs_to_nobody_any_more_keeps_the_names_it_had(people: People, cloud: Cloud) -> None:
    people.own(cloud)
    take(cloud.machine("web"), "plain", people.alice)
    tenancy.assign_machine(SYSTEM, machine=cloud.machine("web"), account=None)
    cloud.world.rename_machine(cloud.machine("web").native_id, "nobody's")
    cloud.sync()
    close_tomorrow()
    assert billed_to(people.acme) == {("web", "plain")}


def shown(person: Any, account: Any) -> list[tuple[str, bool]]:
    page = usage_page(person, UsageQuery(account.uuid))
    return [(thing.name, thing.there) for thing in (*page.machines, *page.snapshots)]
