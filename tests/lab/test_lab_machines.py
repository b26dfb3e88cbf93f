"""The lab's machines do what the tests of the product rely on: time and disks that can be seen going back."""

import json
import os
import re

import pytest

from hypervisors.lab import Lab, LabError
from hypervisors.lab.machines import MIB, DiskSpec, MachineSpec

pytestmark = pytest.mark.lab


@pytest.fixture
def counting(lab: Lab) -> str:
    """A running machine that only this process uses: the lab is shared by all workers of a run."""
    name = f"counter-{os.getpid()}"
    if name not in lab.machines():
        lab.add(MachineSpec(name, (DiskSpec("system", 16 * MIB), DiskSpec("data", 16 * MIB))))
    lab.start(name)
    lab.wait_for_tick(name)
    return name


def test_a_memory_revert_makes_the_counter_go_back(lab: Lab, counting: str) -> None:
    lab.virsh("snapshot-create-as", counting, "early")
    early = lab.last_tick(counting) or 0
    lab.wait_for_tick(counting, early + 4)
    written = len(lab.console(counting))
    lab.virsh("snapshot-revert", counting, "early")
    after = lab.wait_for_console(counting, r"^tick (\d+)\n", start=written)
    # The line may be the last one before the revert; the one after it is surely the reverted machine's.
    ticks = lab.wait_for_console(counting, r"^tick \d+\n(?:.*\n)*?tick (\d+)\n", start=written)
    assert min(int(after.group(1)), int(ticks.group(1))) <= early + 2
    lab.virsh("snapshot-delete", counting, "early")


def test_a_disk_revert_brings_back_what_the_first_sector_said(lab: Lab, counting: str) -> None:
    lab.wait_for_tick(counting, 2)
    lab.virsh("destroy", counting)
    lab.virsh("snapshot-create-as", counting, "off")
    said = boot_and_ask(lab, counting)
    lab.wait_for_console(counting, rf"^tick {int(said) + 3}\n", start=console_of_last_boot(lab, counting))
    lab.virsh("destroy", counting)
    assert int(boot_and_ask(lab, counting)) > int(said)
    lab.virsh("destroy", counting)
    lab.virsh("snapshot-revert", counting, "off")
    assert boot_and_ask(lab, counting) == said
    lab.virsh("snapshot-delete", counting, "off")


def test_a_pressed_power_button_lets_the_guest_go_down_by_itself(lab: Lab, counting: str) -> None:
    written = len(lab.console(counting))
    lab.virsh("shutdown", counting)
    lab.wait_for_console(counting, rf"^power button: {counting} goes down\n", start=written)
    lab.wait_until_off(counting)


def test_a_machine_without_an_agent_has_no_channel_and_one_raw_disk_is_where_it_was_promised(lab: Lab) -> None:
    lab.up(["files-1", "batch-1"])
    assert re.findall(r"type='(raw|qcow2)'", lab.virsh("dumpxml", "files-1")) == ["qcow2", "raw"]
    assert "batch-1" not in lab.running()


def test_the_small_pool_can_be_filled_and_then_refuses_a_memory_image(lab: Lab) -> None:
    if lab.small_pool_reason:
        pytest.skip(lab.small_pool_reason)
    lab.up(["tiny-1"])
    lab.wait_for_tick("tiny-1")
    lab.fill_small_pool()
    try:
        # QEMU says either, depending on which of its writes was the first without room.
        with pytest.raises(LabError, match=r"No space left|Input/output error"):
            lab.virsh("snapshot-create-as", "tiny-1", "too much")
    finally:
        lab.empty_small_pool()
    assert lab.virsh("snapshot-list", "tiny-1", "--name").split() == []
    lab.wait_for_tick("tiny-1", (lab.last_tick("tiny-1") or 0) + 1)
    lab.virsh("snapshot-create-as", "tiny-1", "fits")
    lab.virsh("snapshot-delete", "tiny-1", "fits")


def test_the_machine_with_an_agent_can_be_frozen_and_thawed(lab: Lab) -> None:
    if lab.facts.agent_reason:
        pytest.skip(lab.facts.agent_reason)
    lab.up(["agent-1"])
    lab.wait_for_tick("agent-1", 2)
    lab.virsh("domfsfreeze", "agent-1")
    frozen_at = lab.last_tick("agent-1") or 0
    status = lab.virsh("qemu-agent-command", "agent-1", '{"execute": "guest-fsfreeze-status"}')
    lab.virsh("domfsthaw", "agent-1")
    assert json.loads(status) == {"return": "frozen"}
    lab.wait_for_tick("agent-1", frozen_at + 2)


def test_an_unknown_machine_is_refused_with_the_names_of_those_there_are(lab: Lab) -> None:
    with pytest.raises(LabError, match="no machine gateway-9; it has web-1"):
        lab.up(["gateway-9"])


def console_of_last_boot(lab: Lab, name: str) -> int:
    return lab.console(name).rindex(f"{name} is up")


def boot_and_ask(lab: Lab, name: str) -> str:
    """Start a machine and return what it finds on its disk."""
    written = len(lab.console(name))
    lab.start(name)
    return lab.wait_for_console(name, r"^disk says (.+)\n", start=written).group(1)
