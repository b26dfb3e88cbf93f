"""`check_trees` finds damaged trees, mends the chosen ones, and ends with an error while any is left."""

import io
from typing import Any

import pytest
from django.core.management import call_command
from django.core.management.base import CommandError
from django.db.models import F

from snapshots.models import VirtualMachine, VMSnapshot
from snapshots.tree import damaged_machines
from tests.builders import Cloud, People, drawn, take


def told(**options: Any) -> str:
    out = io.StringIO()
    call_command("check_trees", stdout=out, **options)
    return out.getvalue()


@pytest.fixture
def damaged(web: VirtualMachine, cloud: Cloud, people: People) -> VirtualMachine:
    """A machine whose second VM snapshot has numbers outside its parent's."""
    take(web, "one")
    take(web, "two")
    VMSnapshot.objects.filter(machine=web, name="two").update(lft=F("lft") + 50, rght=F("rght") + 50)
    return web


def test_whole_trees_are_reported_as_such(web: VirtualMachine) -> None:
    take(web, "one")
    assert "All trees are whole: 4 machines." in told()


def test_a_damaged_tree_is_named_and_left_alone_without_being_told_to_mend(damaged: VirtualMachine) -> None:
    out = io.StringIO()
    with pytest.raises(CommandError, match="Damaged trees: 1"):
        call_command("check_trees", stdout=out)
    assert f"web ({damaged.uuid})" in out.getvalue()
    assert damaged_machines() == [damaged.pk]


@pytest.mark.parametrize("which", ["one", "all"])
def test_a_damaged_tree_is_mended_from_its_parent_links(which: str, damaged: VirtualMachine) -> None:
    before = drawn(damaged)
    assert "Renumbered: web" in told(repair=str(damaged.uuid) if which == "one" else "all")
    assert damaged_machines() == []
    assert drawn(damaged) == before


def test_mending_one_machine_does_not_hide_another_that_is_damaged(damaged: VirtualMachine, cloud: Cloud) -> None:
    with pytest.raises(CommandError, match="Damaged trees: 1"):
        told(repair=str(cloud.machine("foreign").uuid))


@pytest.mark.parametrize("unknown", ["nonsense", "00000000-0000-0000-0000-000000000000"])
def test_an_unknown_machine_is_refused(unknown: str, damaged: VirtualMachine) -> None:
    with pytest.raises(CommandError, match="There is no machine"):
        told(repair=unknown)
    assert damaged_machines() == [damaged.pk]
