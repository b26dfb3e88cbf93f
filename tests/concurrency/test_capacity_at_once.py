"""Many processes use the last room of a storage pool, or write its samples, at the same moment."""

from collections import Counter

from tests import capacity_deeds, deeds
from tests.installation import PROCESSES

FULL = ("refused", "capacity_exceeded")


def test_of_eight_machines_that_share_a_pool_just_those_pass_that_it_has_room_for(installation):
    cloud = installation.ask(deeds.build, PROCESSES)
    # Disks of 10 GiB each and loose ones of 20: 100 GiB of 500. Up to 21 % there is room for five memories of 1 GiB.
    assert installation.ask(capacity_deeds.allocated_percent, cloud) == 20
    installation.ask(capacity_deeds.refuse_above, cloud, 21)
    wanted = ((cloud, "wanted", f"m{number}", True) for number in range(PROCESSES))
    answers = installation.at_once(deeds.ask_to_create, *wanted)
    assert Counter(kind for kind, _ in answers) == {"job": 5, "refused": PROCESSES - 5}
    assert Counter(answers)[FULL] == PROCESSES - 5
    assert installation.ask(capacity_deeds.allocated_percent, cloud) == 21


def test_ticks_at_once_take_one_sample_a_slot(installation, cloud):
    before = installation.ask(capacity_deeds.slot_now)
    installation.at_once(capacity_deeds.sample_capacity, *((),) * PROCESSES)
    slots = {before, installation.ask(capacity_deeds.slot_now)}
    assert 1 <= installation.ask(capacity_deeds.samples_of, cloud) <= len(slots)
