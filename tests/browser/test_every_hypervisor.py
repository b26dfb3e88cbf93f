"""Machines of libvirt, XenServer and vSphere in one running product: one list, the same verbs by clicking, and whatever the
hypervisors' own tools do behind its back is shown and dealt with."""

import re
import time
from contextlib import ExitStack
from dataclasses import dataclass
from typing import NamedTuple

import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import NARROW, WIDE
from tests.browser.machine_page import (
    acknowledge,
    adopt,
    delete,
    delete_all,
    delete_with_descendants,
    is_current,
    look_again,
    look_until,
    open_machine,
    rename,
    revert,
    row,
    start,
    stop,
    take,
)
from tests.browser.own_tools import OwnTool, own_tool
from tests.browser.running_product import Product
from tests.browser.sweep import open_and_judge
from tests.browser.trees import Seen, Tree, seen_on_page, seen_over_rest
from tests.vsphere_simulator.binary import why_not

pytestmark = [pytest.mark.browser, pytest.mark.lab]

SHOWN_WITHIN_SECONDS = 120


class Kind(NamedTuple):
    """One kind of hypervisor in the demo, as the pages call it, with its machines: one for bob to click on, one to be
    worked on with another tool, one for pictures."""

    kind: str
    label: str
    clicked: str
    meddled: str
    pictured: str

    @property
    def simulated(self) -> bool:
        return self.kind != "libvirt"


LIBVIRT = Kind("libvirt", "KVM (libvirt)", "db-1", "agent-1", "web-2")
XENSERVER = Kind("xenserver", "XenServer / XCP-ng", "ledger-db", "web-frontend", "web-cache")
VMWARE = Kind("vmware", "VMware vSphere", "payroll-db", "web-search", "web-gateway")
KINDS = [LIBVIRT, XENSERVER] if why_not() else [LIBVIRT, XENSERVER, VMWARE]

of_each_kind = pytest.mark.parametrize(
    "kind",
    [
        LIBVIRT,
        XENSERVER,
        pytest.param(VMWARE, marks=pytest.mark.skipif(bool(why_not()), reason=f"no vSphere simulator: {why_not()}")),
    ],
    ids=lambda kind: kind.kind,
)


@dataclass
class Watched:
    """A machine, seen on its open page, over REST and by its hypervisor's own tool."""

    product: Product
    token: str
    page: Page
    uuid: str
    tool: OwnTool

    def same_everywhere(self, tree: Tree, current: str | None) -> None:
        """The hypervisor has this tree; page and REST show it, or come to show it by themselves."""
        expected = Seen(tree, current)
        assert self.tool.seen() == expected
        until = time.monotonic() + SHOWN_WITHIN_SECONDS
        while (shown := (seen_on_page(self.page), self._over_rest())) != (expected, expected):
            assert time.monotonic() < until, f"page and REST show {shown}, not {expected}"
            look_again(self.page)

    def power_is(self, word: str) -> None:
        """The page says so already."""
        assert self.tool.power() == word

    def _over_rest(self) -> Seen:
        return seen_over_rest(self.product, self.token, self.uuid)


@pytest.fixture(scope="module")
def token(product) -> str:
    """A token of the root admin's."""
    return product.manage("create_token", "admin")


@pytest.fixture
def watch(product, token):
    """Opens a machine's page as it is to be watched."""
    with ExitStack() as stack:

        def open_page(page: Page, kind: Kind, machine: str) -> Watched:
            tool = stack.enter_context(own_tool(product, kind.kind, machine))
            return Watched(product, token, page, open_machine(page, machine), tool)

        yield open_page


def test_machines_of_every_kind_are_in_one_list_and_the_simulated_ones_are_labelled(sign_in):
    page = sign_in("admin")
    for kind in KINDS:
        for name in (kind.clicked, kind.meddled, kind.pictured):
            line = page.get_by_role("row").filter(has=page.get_by_role("link", name=name, exact=True))
            expect(line).to_have_count(1)
            expect(line.get_by_text(kind.label, exact=True)).to_be_visible()
            expect(line.get_by_text("simulated", exact=True)).to_have_count(1 if kind.simulated else 0)


@of_each_kind
def test_the_same_verbs_work_by_clicking_on_a_machine_of_each_kind(kind, sign_in, watch):
    page = sign_in("bob")
    machine = watch(page, kind, kind.clicked)
    if machine.tool.power() == "Stopped":
        start(page)
    machine.power_is("Running")

    take(page, "first", kind="memory")
    machine.same_everywhere({"first": None}, "first")
    take(page, "second", kind="memory")
    machine.same_everywhere({"first": None, "second": "first"}, "second")

    revert(page, "first", afterwards="Running")
    machine.same_everywhere({"first": None, "second": "first"}, "first")
    machine.power_is("Running")

    take(page, "branch")
    take(page, "leaf")
    machine.same_everywhere({"first": None, "second": "first", "branch": "first", "leaf": "branch"}, "leaf")

    new_name = "zweiter <b>&amp; שני"
    rename(page, "second", new_name)
    machine.same_everywhere({"first": None, new_name: "first", "branch": "first", "leaf": "branch"}, "leaf")

    delete(page, "branch")
    machine.same_everywhere({"first": None, new_name: "first", "leaf": "first"}, "leaf")

    stop(page)
    machine.power_is("Stopped")
    take(page, "at rest", kind="disk")
    machine.same_everywhere({"first": None, new_name: "first", "leaf": "first", "at rest": "leaf"}, "at rest")
    start(page)
    machine.power_is("Running")

    delete_with_descendants(page, "leaf", ["leaf", "at rest"])
    machine.same_everywhere({"first": None, new_name: "first"}, "first")

    take(page, "other", kind="memory")
    delete(page, "first")
    machine.same_everywhere({new_name: None, "other": None}, "other")
    delete_all(page, [new_name, "other"])
    machine.same_everywhere({}, None)
    machine.power_is("Running")


@of_each_kind
def test_what_is_done_with_the_hypervisors_own_tool_is_shown_and_decided_about_and_breaks_nothing(kind, sign_in, watch):
    page = sign_in("admin")
    machine = watch(page, kind, kind.meddled)
    take(page, "ours")

    machine.tool.take("nightly")
    # On the open page, by itself.
    expect(row(page, "nightly").get_by_text("made elsewhere", exact=True)).to_be_visible()
    machine.same_everywhere({"ours": None, "nightly": "ours"}, "nightly")
    adopt(page, "nightly")

    machine.tool.take("weekly")
    machine.same_everywhere({"ours": None, "nightly": "ours", "weekly": "nightly"}, "weekly")
    machine.tool.revert("ours")
    machine.same_everywhere({"ours": None, "nightly": "ours", "weekly": "nightly"}, "ours")

    machine.tool.delete("nightly")
    look_until(page, row(page, "nightly").get_by_text("lost", exact=True))
    assert machine.tool.seen() == Seen({"ours": None, "weekly": "ours"}, "ours")
    acknowledge(page, "nightly")
    machine.same_everywhere({"ours": None, "weekly": "ours"}, "ours")

    machine.tool.delete("weekly")
    machine.same_everywhere({"ours": None}, "ours")

    # Whether or not the page has it already: the action itself looks first.
    machine.tool.take("unseen")
    take(page, "after it")
    machine.same_everywhere({"ours": None, "unseen": "ours", "after it": "unseen"}, "after it")
    delete(page, "unseen")
    machine.same_everywhere({"ours": None, "after it": "ours"}, "after it")
    revert(page, "ours")
    machine.same_everywhere({"ours": None, "after it": "ours"}, "ours")
    delete_with_descendants(page, "ours", ["ours", "after it"])
    machine.same_everywhere({}, None)


def test_the_pages_of_all_kinds_with_something_on_them_fit_and_bar_nobody(sign_in, watch, picture):
    admin = sign_in("admin")
    paths = {"list": "/"}
    for kind in KINDS:
        machine = watch(admin, kind, kind.pictured)
        paths[kind.kind] = re.sub(r"^https?://[^/]*", "", admin.url)
        take(admin, f"lost at {kind.pictured}")
        machine.tool.take("made with another tool")
        look_until(admin, row(admin, "made with another tool"))
        machine.tool.delete(f"lost at {kind.pictured}")
        look_until(admin, row(admin, f"lost at {kind.pictured}").get_by_text("lost", exact=True))
    paths["drift"] = "/drift/"
    for screen, viewport in {"wide": WIDE, "narrow": NARROW}.items():
        for shade in ("light", "dark"):
            page = sign_in("admin", viewport=viewport, dark=shade == "dark")
            for name, path in paths.items():
                open_and_judge(page, path)
                picture(page, f"{name}-{screen}-{shade}")
    for kind in KINDS:
        open_machine(admin, kind.pictured)
        acknowledge(admin, f"lost at {kind.pictured}")
        is_current(admin, "made with another tool")
        delete(admin, "made with another tool")
