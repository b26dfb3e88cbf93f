"""The books are counted again: every difference is told with its figures, and put right."""

from collections.abc import Callable
from io import StringIO

import pytest
from django.core.management import CommandError, call_command

from snapshots import tasks, tree
from snapshots.access import visible_events
from snapshots.choices import Origin
from snapshots.models import Account, Event, LimitUse, MachineAllocation, OpenUsage, VirtualMachine, VMSnapshot
from snapshots.services.book_check import TOLD_ONE_BY_ONE, check_books
from tests.builders import account, take

DAMAGE: dict[str, Callable[[VirtualMachine], object]] = {
    "counts": lambda web: VirtualMachine.objects.filter(pk=web.pk).update(failed_count=3),
    "booked": lambda web: VirtualMachine.objects.filter(pk=web.pk).update(booked_bytes=7),
    "booked on another": lambda web: VirtualMachine.objects.filter(pk=web.pk).update(
        booked_account=Account.objects.get(name="other")
    ),
    "use of the account": lambda web: LimitUse.objects.filter(account=web.account).update(snapshots=99),
    "use of a domain": lambda web: LimitUse.objects.filter(domain__name="organisation").update(estimated_bytes=-5),
    "no use at all": lambda web: LimitUse.objects.all().delete(),
    "no allocation": lambda web: MachineAllocation.objects.filter(machine=web).delete(),
    "allocation": lambda web: MachineAllocation.objects.filter(machine=web).update(volume_bytes=1),
    "no open usage": lambda web: OpenUsage.objects.all().delete(),
    "open usage": lambda web: OpenUsage.objects.update(estimated_bytes=1),
}


@pytest.fixture
def booked(web: VirtualMachine) -> VirtualMachine:
    """A machine of which two VM snapshots are booked."""
    take(web, "one", memory=True)
    take(web, "two", memory=False)
    return VirtualMachine.objects.select_related("account").get(pk=web.pk)


def books() -> list[object]:
    """All that the books say."""
    use = LimitUse.objects.order_by("account_id", "domain_id")
    booked = ("pk", "booked_account", "booked_snapshots", "booked_bytes", "snapshot_count", "failed_count")
    allocated = ("machine", "pool", "volume_bytes", "disk_bytes", "memory_bytes", "measured_bytes")
    return [
        list(use.values_list("account", "domain", "snapshots", "estimated_bytes")),
        list(VirtualMachine.objects.order_by("pk").values_list(*booked)),
        list(MachineAllocation.objects.order_by("machine", "pool").values_list(*allocated)),
        list(
            OpenUsage.objects.order_by("snapshot_uuid").values_list("snapshot_uuid", "account_uuid", "estimated_bytes")
        ),
    ]


def test_whole_books_differ_in_nothing(booked):
    assert check_books(repair=True) == []
    assert not Event.objects.filter(action="books.differed").exists()


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE.keys())
def test_damage_is_told_with_its_figures_and_put_right(booked, damage):
    before = books()
    damage(booked)
    damaged = books()
    found = check_books(repair=False)
    assert found
    assert books()[1:] == damaged[1:], "looking adds rows of use that were not there, and changes nothing else"
    assert check_books(repair=True) == found
    assert books() == before
    assert check_books(repair=False) == []
    told = Event.objects.filter(action="books.differed", level="warning")
    assert sorted(told.values_list("detail", flat=True)) == sorted(one.told for one in found)


@pytest.mark.parametrize("name", ["booked", "booked on another"])
def test_only_what_differs_is_told_and_what_is_right_is_never_made_wrong(booked, monkeypatch, name):
    right = list(LimitUse.objects.order_by("pk").values())
    DAMAGE[name](booked)
    assert [(one.machine, one.account) for one in check_books(repair=False)] == [(booked, None)]
    repair, seen = tree.repair, []

    def watched(machine_pk):
        seen.append(list(LimitUse.objects.order_by("pk").values()))
        repair(machine_pk)
        seen.append(list(LimitUse.objects.order_by("pk").values()))

    monkeypatch.setattr(tree, "repair", watched)
    assert [(one.machine, one.account) for one in check_books(repair=True)] == [(booked, None)]
    assert seen == [right, right]
    assert list(LimitUse.objects.order_by("pk").values()) == right


@pytest.mark.parametrize("repair", [False, True])
def test_rows_written_past_the_services_differ_from_all_books(people, booked, repair):
    VMSnapshot.objects.filter(name="two").update(origin=Origin.ELSEWHERE)
    found = check_books(repair=repair)
    assert [one.of for one in found if one.what == "Use of limits"] == [
        "web", "the account acme", "the domain organisation", "the domain engineering",
    ]  # fmt: skip
    assert all("counted were 1 VM snapshots" in one.words for one in found if one.what == "Use of limits")
    assert (check_books(repair=False) == []) is repair
    assert LimitUse.objects.get(account=people.acme).snapshots == (1 if repair else 2)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("counts", "The count of VM snapshots of web was put right."),
        ("allocation", "The allocation of web was put right."),
        ("open usage", "The open usage of web was put right."),
        (
            "booked",
            "Use of limits of web: the books said 2 VM snapshots and 7 bytes, counted were 2 VM snapshots and {}.",
        ),
        (
            "booked on another",
            "Use of limits of web: the books said 2 VM snapshots and {} for another account, counted were 2 VM snapshots "
            "and {}.",
        ),
    ],
)
def test_the_history_of_an_account_tells_it_in_plain_words(people, booked, name, words):
    size = f"{LimitUse.objects.get(account=people.acme).estimated_bytes} bytes"
    DAMAGE[name](booked)
    check_books(repair=True)
    event = visible_events(people.alice).get(action="books.differed")
    assert event.detail == words.replace("{}", size)
    assert not visible_events(people.charlie).filter(action="books.differed").exists()


def test_the_figures_of_both_sides_are_told(booked):
    LimitUse.objects.filter(account=booked.account).update(snapshots=99)
    check_books(repair=True)
    event = Event.objects.get(action="books.differed")
    assert (event.account, event.machine) == (booked.account, None)
    size = LimitUse.objects.get(account=booked.account).estimated_bytes
    assert event.detail == (
        f"Use of limits of the account acme: the books said 99 VM snapshots and {size} bytes, "
        f"counted were 2 VM snapshots and {size} bytes."
    )


def test_many_differences_share_an_event(people, booked):
    for number in range(TOLD_ONE_BY_ONE + 5):
        account(f"a{number}", people.elsewhere)
    LimitUse.objects.filter(account__name__startswith="a", account__domain=people.elsewhere).update(snapshots=1)
    found = check_books(repair=True)
    told = Event.objects.filter(action="books.differed").order_by("pk")
    assert (len(found), told.count()) == (TOLD_ONE_BY_ONE + 5, TOLD_ONE_BY_ONE + 1)
    assert told.last().detail == "5 more differences between the books and the rows were put right."


def test_the_tick_puts_right(booked):
    LimitUse.objects.filter(account=booked.account).update(snapshots=99)
    tasks.check_books()
    assert LimitUse.objects.get(account=booked.account).snapshots == 2


def test_the_command_reports_and_repairs_only_when_told(booked):
    LimitUse.objects.filter(account=booked.account).update(snapshots=99)
    out = StringIO()
    with pytest.raises(CommandError, match="Differences: 1"):
        call_command("check_books", stdout=out)
    assert "the books said 99 VM snapshots" in out.getvalue()
    assert LimitUse.objects.get(account=booked.account).snapshots == 99
    call_command("check_books", "--repair", stdout=out)
    assert "Put right: 1." in out.getvalue()
    call_command("check_books", stdout=out)
    assert out.getvalue().endswith("The books say what the rows say.\n")
