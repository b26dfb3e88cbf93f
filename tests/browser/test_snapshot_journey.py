"""The product's main job, done by clicking on a real machine, seen on its console and in virsh."""

import itertools
import re
import time

import pytest
from playwright.sync_api import expect

from hypervisors.lab import Lab
from tests.browser import trees
from tests.browser.machine_page import choose, delete, idle, revert, row, submit, take, until_gone, uuid_of

pytestmark = [pytest.mark.browser, pytest.mark.lab]

MACHINE = "web-1"
GOES_BACK_SECONDS = 120


def test_a_tree_of_vm_snapshots_grows_and_shrinks_by_clicking_and_the_console_goes_back(product, sign_in, picture):
    """Take with memory, let the counter run, take another, revert to the first, take a third (a branch), grow the branch,
    delete its middle (the child moves up), delete what stems from the first. After each step the page, virsh and REST
    show the same tree."""
    lab = product.lab
    token = product.manage("create_token", "alice")
    lab.wait_for_tick(MACHINE)
    page = sign_in("alice")
    page.get_by_role("link", name=MACHINE).first.click()
    uuid = uuid_of(page)

    def same_everywhere(expected: trees.Tree, name: str) -> None:
        assert trees.on_page(page) == expected
        assert trees.in_virsh(lab, MACHINE) == expected
        assert trees.over_rest(product, token, uuid) == expected
        picture(page, name)

    expect(page.get_by_role("heading", level=1, name=MACHINE)).to_be_visible()
    expect(page.get_by_text("stems from no VM snapshot")).to_be_visible()
    picture(page, "0-no-snapshot")

    take(page, "first")
    same_everywhere({"first": None}, "1-first")
    counted_at_first = lab.last_tick(MACHINE)

    lab.wait_for_tick(MACHINE, counted_at_first + 5)
    take(page, "second")
    same_everywhere({"first": None, "second": "first"}, "2-second")
    counted_at_second = lab.last_tick(MACHINE)
    assert counted_at_second >= counted_at_first + 5

    revert(page, "first")
    assert _ticks_gone_back(lab, MACHINE) < counted_at_second
    same_everywhere({"first": None, "second": "first"}, "3-reverted")

    take(page, "third")
    same_everywhere({"first": None, "second": "first", "third": "first"}, "4-branch")
    take(page, "fourth")
    same_everywhere({"first": None, "second": "first", "third": "first", "fourth": "third"}, "5-longer-branch")

    delete(page, "third")
    same_everywhere({"first": None, "second": "first", "fourth": "first"}, "6-middle-deleted")

    choose(page, "first")
    page.get_by_role("button", name=re.compile("below it")).click()
    dialog = page.get_by_role("dialog")
    for name in ("first", "second", "fourth"):
        expect(dialog.get_by_text(name, exact=True).first).to_be_visible()
    picture(page, "7-delete-all-dialog")
    submit(page, re.compile("Delete"))
    until_gone(page, "first")
    assert trees.in_virsh(lab, MACHINE) == {}
    assert trees.over_rest(product, token, uuid) == {}
    expect(page.get_by_text("stems from no VM snapshot")).to_be_visible()
    picture(page, "8-none-left")


def test_a_snapshot_of_a_stopped_machine_holds_its_disks_and_can_be_renamed(product, sign_in, picture):
    page = sign_in("dora")
    page.get_by_role("link", name="batch-1").first.click()
    page.get_by_role("button", name="Take").first.click()
    dialog = page.get_by_role("dialog")
    expect(dialog.get_by_role("radio", name=re.compile("memory", re.I))).to_be_disabled()
    picture(page, "memory-is-off-with-its-reason")
    dialog.get_by_label("Name").fill("at rest <&\"'>")
    submit(page, "Take VM snapshot")
    row(page, "at rest <&\"'>").wait_for()
    idle(page)
    page.get_by_role("button", name="Rename").click()
    page.get_by_role("dialog").get_by_label("Name").fill("שלום")
    submit(page, re.compile("Rename|Save"))
    row(page, "שלום").wait_for()
    idle(page)
    picture(page, "renamed")
    delete(page, "שלום")


def _ticks_gone_back(lab: Lab, machine: str) -> int:
    """The first count after the last place where the counter on the console went back: the guest says it within a second
    or two of the revert. Fails when it does not."""
    until = time.monotonic() + GOES_BACK_SECONDS
    while time.monotonic() < until:
        ticks = [int(number) for number in re.findall(r"tick (\d+)", lab.console(machine))]
        steps_back = [after for before, after in itertools.pairwise(ticks) if after < before]
        if steps_back:
            return steps_back[-1]
        time.sleep(0.1)  # the pace of reading the console; the condition is the step back
    raise AssertionError(f"The counter never went back: {ticks[-20:]}")
