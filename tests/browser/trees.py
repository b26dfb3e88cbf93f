"""Reads the same tree from the page, from virsh and over REST: as `{name: parent's name}`, roots with None, and where the
machine stands."""

import json
import re
import urllib.request
from typing import NamedTuple

from playwright.sync_api import Page

from hypervisors.lab import Lab
from tests.browser.running_product import Product

Tree = dict[str, str | None]


class Seen(NamedTuple):
    """A tree, and the name of the current VM snapshot (None: the machine stems from none)."""

    tree: Tree
    current: str | None


# Read at one moment: the page renews itself.
_ROWS = """() => [...document.querySelectorAll('[role=tree] [role=treeitem][href]')].map(row => [
  Number(row.getAttribute('aria-level')), row.querySelector('bdi').textContent, row.querySelector('b') !== null])"""


def on_page(page: Page) -> Tree:
    """What the drawn tree shows, read the way a screen reader does: by its levels."""
    return seen_on_page(page).tree


def seen_on_page(page: Page) -> Seen:
    """The same, with the row that is marked as current."""
    rows = page.evaluate(_ROWS)
    current = [name for _, name, marked in rows if marked]
    assert len(current) < 2, f"several are current: {current}"
    return Seen(_from_levels([(level, name) for level, name, _ in rows]), current[0] if current else None)


def in_virsh(lab: Lab, machine: str) -> Tree:
    """What `virsh snapshot-list --tree` prints, with the mark that makes our names unique there taken off."""
    levels = []
    for line in lab.virsh("snapshot-list", machine, "--tree").splitlines():
        if not line.strip(" |"):
            continue
        depth = 0 if "+-" not in line else line.index("+-") // 4 + 1
        native = line.split("+-")[-1].strip()
        levels.append((depth, re.sub(r"-[0-9a-f]+$", "", native)))
    return _from_levels(levels)


def over_rest(product: Product, token: str, machine_uuid: str) -> Tree:
    """What REST says."""
    return seen_over_rest(product, token, machine_uuid).tree


def seen_over_rest(product: Product, token: str, machine_uuid: str) -> Seen:
    """The same, with the current one."""
    asked = urllib.request.Request(  # noqa: S310  # our own address
        f"{product.address}/api/v1/virtual-machines/{machine_uuid}/tree/", headers={"Authorization": f"Token {token}"}
    )
    with urllib.request.urlopen(asked, timeout=10) as answer:  # noqa: S310  # our own address
        told = json.load(answer)
    tree: Tree = {}
    current = None
    pending = [(node, None) for node in told["nodes"]]
    while pending:
        node, parent = pending.pop()
        tree[node["name"]] = parent
        if node["id"] == told["current"]:
            current = node["name"]
        pending += [(child, node["name"]) for child in node["children"]]
    return Seen(tree, current)


def _from_levels(levels: list[tuple[int, str]]) -> Tree:
    tree: Tree = {}
    path: list[tuple[int, str]] = []
    for level, name in levels:
        while path and path[-1][0] >= level:
            path.pop()
        tree[name] = path[-1][1] if path else None
        path.append((level, name))
    return tree
