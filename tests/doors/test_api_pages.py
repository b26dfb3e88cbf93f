"""Cutting lists into pages: nothing lost, nothing repeated, whatever the order and whatever comes and goes."""

import base64
from itertools import pairwise

import pytest

from hypervisors.drivers.simulated.world import Machine
from snapshots.models import VirtualMachine, VMSnapshot
from tests.builders import Cloud, People, take
from tests.doors.api_client import Caller, problem


@pytest.fixture
def namesakes(people: People) -> Cloud:
    """A hypervisor with 25 machines: 7 named `a`, 12 named `b`, 6 named `c`."""
    cloud = Cloud(tuple(Machine(f"m{number:02}") for number in range(25)))
    for number, machine in enumerate(VirtualMachine.objects.order_by("uuid")):
        VirtualMachine.objects.filter(pk=machine.pk).update(name="a" if number < 7 else "b" if number < 19 else "c")
    return cloud


def walk(caller: Caller, path: str) -> list[list[str]]:
    """The ids on each page, from the first to the last."""
    pages = []
    address: str | None = path
    while address:
        body = caller.get(address).json()
        pages.append([row["id"] for row in body["results"]])
        address = body["next"]
    return pages


def walk_back(caller: Caller, path: str) -> list[list[str]]:
    """The ids on each page, walked to the end and back again, in the order of the list."""
    body = caller.get(path).json()
    while body["next"]:
        body = caller.get(body["next"]).json()
    pages = [[row["id"] for row in body["results"]]]
    while body["previous"]:
        body = caller.get(body["previous"]).json()
        pages.insert(0, [row["id"] for row in body["results"]])
    return pages


@pytest.mark.parametrize("ordering", ["name", "-name", "power_state", "-power_state", "created_at", "memory_bytes"])
@pytest.mark.parametrize("page_size", [1, 3, 5, 12, 24, 25, 26])
def test_among_equals_no_row_is_lost_or_repeated(
    namesakes: Cloud, people: People, ordering: str, page_size: int
) -> None:
    root = Caller(people.root)
    everything = [row["id"] for row in root.rows(f"virtual-machines/?ordering={ordering}")]
    path = f"virtual-machines/?ordering={ordering}&page_size={page_size}"
    forth = walk(root, path)
    assert [row for page in forth for row in page] == everything
    assert len(set(everything)) == 25
    assert all(len(page) == page_size for page in forth[:-1])
    assert [row for page in walk_back(root, path) for row in page] == everything


def test_names_come_in_order(namesakes: Cloud, people: People) -> None:
    names = Caller(people.root).names("virtual-machines/?ordering=-name")
    assert all(first >= second for first, second in pairwise(names))


def test_filters_hold_on_every_page(namesakes: Cloud, people: People) -> None:
    pages = walk(Caller(people.root), "virtual-machines/?name=b&page_size=5")
    assert [len(page) for page in pages] == [5, 5, 2]


def test_rows_that_go_meanwhile_do_not_shift_the_pages(web: VirtualMachine, people: People) -> None:
    for name in "abcd":
        take(web, name)
    alice = Caller(people.alice)
    first = alice.get(f"virtual-machines/{web.uuid}/snapshots/?page_size=2&ordering=name").json()
    assert [row["name"] for row in first["results"]] == ["a", "b"]
    VMSnapshot.objects.filter(name="b").update(name="e")  # the row the cursor points at has moved away
    second = alice.get(first["next"]).json()
    assert [row["name"] for row in second["results"]] == ["c", "d"]
    third = alice.get(second["next"]).json()
    assert [row["name"] for row in third["results"]] == ["e"]
    assert third["next"] is None


def test_an_empty_page_leads_back_to_where_it_was_asked_from(web: VirtualMachine, people: People) -> None:
    for name in "abc":
        take(web, name)
    alice = Caller(people.alice)
    first = alice.get(f"virtual-machines/{web.uuid}/snapshots/?page_size=2&ordering=name").json()
    VMSnapshot.objects.filter(name="c").update(name="0")
    empty = alice.get(first["next"]).json()
    assert empty["results"] == []
    assert empty["next"] is None
    back = alice.get(empty["previous"]).json()
    assert [row["name"] for row in back["results"]] == ["a", "b"]
    before = alice.get(back["previous"]).json()
    assert [row["name"] for row in before["results"]] == ["0"]
    VMSnapshot.objects.filter(name="0").update(name="y")
    nothing = alice.get(back["previous"]).json()
    assert nothing["results"] == []
    assert [row["name"] for row in alice.get(nothing["next"]).json()["results"]] == ["a", "b"]


def test_a_cursor_is_good_for_its_own_list_and_order_only(namesakes: Cloud, people: People) -> None:
    root = Caller(people.root)
    cursor = root.get("virtual-machines/?page_size=2").json()["next"].partition("cursor=")[2].partition("&")[0]
    assert root.get(f"virtual-machines/?cursor={cursor}").status_code == 200
    for path in (
        f"virtual-machines/?ordering=-name&cursor={cursor}",
        f"hypervisors/?cursor={cursor}",
        f"virtual-machines/?cursor={cursor[:-6]}AAAAAA",
    ):
        assert list(problem(root.get(path), 400, "invalid")["fields"]) == ["cursor"]


def test_a_cursor_gives_no_primary_key_away(namesakes: Cloud, people: People) -> None:
    link = Caller(people.root).get("virtual-machines/?page_size=2&ordering=name").json()["next"]
    cursor = link.partition("cursor=")[2].partition("&")[0].replace("%3D", "=")
    assert b'"name"' not in base64.urlsafe_b64decode(cursor)


def test_a_page_size_is_kept_by_the_links(namesakes: Cloud, people: People) -> None:
    first = Caller(people.root).get("virtual-machines/?page_size=10").json()
    assert "page_size=10" in first["next"]
    assert first["previous"] is None
