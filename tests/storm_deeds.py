"""Many random actions at once, ours and another administrator's, in the same way as those in `deeds`."""

import random
from contextlib import suppress

from hypervisors.drivers.simulated.world import World
from hypervisors.errors import HypervisorError
from snapshots.models import VirtualMachine, VMSnapshot
from tests.deeds import (
    Outcome,
    ask,
    ask_to_create,
    ask_to_delete,
    ask_to_rename,
    ask_to_revert,
    order_sync,
    run,
    world_of,
)

# What a storm is made of; taking and reverting come more often, so that there is something to delete.
VERBS = [
    *["create"] * 8, *["revert"] * 5, "delete", "delete", "delete", "rename", "rename", "tree", "tree", "delete_all",
    "start", "start", "stop", "stop", "sync", "sync", "all", "all",
]  # fmt: skip


def storm(cloud: str, seed: int, steps: int, behind_our_back: bool) -> list[str]:
    """So many random actions on random machines, each carried out here; answers the codes and states met."""
    dice = random.Random(seed)
    met: list[str] = []
    for step in range(steps):
        name = dice.choice(list(VirtualMachine.objects.filter(hypervisor__name=cloud).values_list("name", flat=True)))
        if behind_our_back and dice.random() < 0.25:
            _meddle(world_of(cloud), name, dice, f"elsewhere {seed}-{step}")
            continue
        answer = _random_request(cloud, name, dice, f"snap {seed}-{step}")
        met.append(run(answer[1]) if answer[0] == "job" else answer[1])
    return met


def _random_request(cloud: str, machine: str, dice: random.Random, new_name: str) -> Outcome:
    names = list(
        VMSnapshot.objects.filter(
            machine__hypervisor__name=cloud, machine__name=machine, parent__isnull=False
        ).values_list("name", flat=True)
    )
    verb = dice.choice(VERBS)
    if verb == "all":
        return order_sync(cloud)
    if verb in {"sync", "start", "stop", "delete_all"}:
        return ask(verb, cloud, machine)
    if verb == "create" or not names:
        return ask_to_create(cloud, new_name, machine, dice.random() < 0.5)
    chosen = dice.choice(names)
    with suppress(VMSnapshot.DoesNotExist):  # another process deleted or renamed it since we looked
        if verb == "revert":
            return ask_to_revert(cloud, chosen, machine, safety=dice.random() < 0.3)
        if verb == "rename":
            return ask_to_rename(cloud, chosen, new_name, machine)
        return ask_to_delete(cloud, chosen, machine, descendants=verb == "tree")
    return "refused", "not_found"


def _meddle(world: World, machine: str, dice: random.Random, new_name: str) -> None:
    """Another administrator acts; the hypervisor may refuse that as it may refuse us."""
    machine_id = world.machine_id(machine)
    snapshots = list(world.snapshot_names(machine_id))
    with suppress(HypervisorError):  # refused, or another process was there first
        verb = dice.choice(["take", "take", "delete", "rename", "revert"])
        if verb == "take" or not snapshots:
            world.take_elsewhere(machine_id, new_name)
        elif verb == "delete":
            world.delete_elsewhere(machine_id, dice.choice(snapshots), descendants=dice.random() < 0.3)
        elif verb == "rename":
            world.rename_elsewhere(machine_id, dice.choice(snapshots), new_name)
        else:
            world.revert_elsewhere(machine_id, dice.choice(snapshots))
