"""What every address that is only looked at costs: the same few queries however much there is, and never a call to a
hypervisor."""

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from hypervisors.drivers.simulated.world import Disk, Machine, Taken
from snapshots.access import SYSTEM
from snapshots.api.urls import version_1
from snapshots.models import ApiToken, VMSnapshot
from snapshots.services import machine_actions, machine_import, snapshot_actions, tenancy
from snapshots.web.urls import urlpatterns
from tests.builders import Cloud, People, acting, run, schedule
from tests.doors.api_client import Caller
from tests.doors.browser_client import Browser

# Queries of each page. All of them ask for the session, the user, and whether that is a root admin.
PAGES = {
    "machine_list": 8, "machine": 9, "machine_pulse": 11, "machine_history": 5, "take_snapshot": 12,
    "stop_machine": 9, "attach_volume": 10, "detach_volume": 10, "snapshot": 9, "revert_snapshot": 12,
    "rename_snapshot": 9, "delete_snapshot": 9, "delete_snapshot_tree": 9, "delete_all_snapshots": 9, "job_list": 4,
    "job": 6, "account": 5, "capacity": 17, "pool_capacity": 15, "account_capacity": 14, "machine_capacity": 7,
    "usage": 9, "usage_csv": 5, "schedule_list": 5, "machine_schedules": 6, "add_schedule": 13, "change_schedule": 14,
    "delete_schedule": 5,
}  # fmt: skip
# Where machines with many VM snapshots are listed: without one, and with some.
PAGES_ON_MANY = {
    "dashboard": {1: 15, 7: 17}, "stale": {1: 6, 7: 7}, "stale_csv": {1: 4, 7: 4}, "stale_machines_csv": {1: 4, 7: 5},
}  # fmt: skip
# Queries of each address of REST. All of them ask for the token with its user, and whether that is a root admin.
REST = {
    "machines": 3, "machine": 3, "machine_snapshots": 6, "machine_tree": 5, "snapshots": 5, "snapshot": 5, "jobs": 3,
    "job": 3, "events": 3, "volumes": 3, "volume": 3, "hypervisors": 3, "hypervisor": 3, "pools": 7, "pool": 7,
    "accounts": 3, "account": 3, "domains": 3, "domain": 3, "tokens": 3, "token": 3, "usage_records": 3, "limits": 4,
    "pool_capacity": 9, "machine_schedules": 5, "schedules": 4, "schedule": 4,
}  # fmt: skip

# Pages that only root admins have, read by one.
PAGES_OF_ROOT = {
    "import_machines": 12, "assign_machine": 6, "import_rules": 8, "add_import_rule": 7, "change_import_rule": 8,
    "delete_import_rule": 5, "drift": 11,
}  # fmt: skip

# What is no reading: it takes a POST, or belongs to signing in and out.
NOT_LOOKED_AT = {
    "start_machine", "sync_machine", "cancel_job", "make_token", "revoke_token", "choose_theme", "sign_in", "sign_out",
    "assign_machines", "apply_import_rules", "move_import_rule", "sync_everything", "consolidate_machine",
    "adopt_machine", "adopt_snapshot", "acknowledge_snapshot", "keep_snapshot", "pause_schedule", "resume_schedule",
}  # fmt: skip
ACTIONS_OF_REST = {
    "machine_start", "machine_stop", "machine_sync", "snapshot_revert", "job_cancel",
    "machine_consolidate", "snapshot_adopt", "snapshot_acknowledge", "snapshot_keep", "volume_attach", "volume_detach",
    "hypervisor_sync", "nothing",
}  # fmt: skip


def grown(people: People, size: int) -> tuple[Cloud, dict[str, object]]:
    """So many machines of Alice's with a tree of so many VM snapshots each, as many jobs that ended, one that waits, and
    volumes; and the ids that stand in addresses."""
    forest = tuple(Taken(f"s{n}", parent=None if n == 0 else (n - 1) // 2) for n in range(size))
    disks = tuple(Disk() for _ in range(size))
    cloud = Cloud(tuple(Machine(f"m{n}", disks=disks, snapshots=forest) for n in range(size)))
    for number in range(size):
        machine = cloud.machine(f"m{number}")
        tenancy.assign_machine(SYSTEM, machine=machine, account=people.acme)
        run(machine_actions.request_sync(acting(people.alice), machine=machine))
        tenancy.create_token(SYSTEM, user=people.alice, name=f"token {number}")
        schedule(machine, people.alice, keep=1)
    machine = cloud.machine("m0")
    snapshot = VMSnapshot.objects.get(machine=machine, name="s0")
    job = snapshot_actions.request_rename(acting(people.alice), snapshot=snapshot, name="s", description="")
    for number in range(size):
        Cloud((Machine(f"nobody's {number}", resource_pool="pool", tags=("tag",)),))
        rule = machine_import.add_rule(SYSTEM, account=people.acme, name_pattern=f"*{number}")
    for number in range(size):
        nightly = schedule(machine, name=f"schedule {number}", keep=1)
    volume = machine.volumes.select_related("pool").get(target="vda")
    assert volume.pool is not None
    ids = {
        "machine": machine.uuid,
        "snapshot": snapshot.uuid,
        "job": job.uuid,
        "volume": volume.uuid,
        "hypervisor": cloud.hypervisor.uuid,
        "pool": volume.pool.uuid,
        "account": people.acme.uuid,
        "domain": people.engineering.uuid,
        "rule": rule.uuid,
        "schedule": nightly.uuid,
        "token": ApiToken.objects.get(user=people.alice, name="token 0").uuid,
    }
    return cloud, ids


def addresses_of_pages(ids: dict[str, object]) -> dict[str, str]:
    made = {}
    for pattern in urlpatterns:
        if pattern.name not in NOT_LOOKED_AT:
            path = "/" + str(pattern.pattern)
            for noun, value in ids.items():
                path = path.replace(f"<uuid:{noun}_uuid>", str(value))
            made[str(pattern.name)] = path
    return made


def addresses_of_rest(ids: dict[str, object]) -> dict[str, str]:
    made = {}
    for pattern in version_1:
        name = str(pattern.name)
        if name not in ACTIONS_OF_REST:
            made[name] = str(pattern.pattern).replace("<uuid:id>", str(ids.get(name.partition("_")[0])))
    return made


@pytest.mark.parametrize("size", [1, 7])
def test_every_page_costs_its_queries_and_no_call(people: People, size: int) -> None:
    cloud, ids = grown(people, size)
    alice, root = Browser(people.alice), Browser(people.root)
    cloud.world.forget_calls()
    cost = {}
    for name, path in addresses_of_pages(ids).items():
        with CaptureQueriesContext(connection) as captured:
            page = (root if name in PAGES_OF_ROOT else alice).get(path)
        assert page.status in (200, 302), name
        cost[name] = len(captured)
    assert cost == PAGES | PAGES_OF_ROOT | {name: costs[size] for name, costs in PAGES_ON_MANY.items()}
    assert not cloud.world.calls()


@pytest.mark.parametrize("size", [1, 7])
def test_everything_read_over_rest_costs_its_queries_and_no_call(people: People, size: int) -> None:
    cloud, ids = grown(people, size)
    caller = Caller(people.alice)
    cloud.world.forget_calls()
    cost = {}
    for name, path in addresses_of_rest(ids).items():
        with CaptureQueriesContext(connection) as captured:
            answer = caller.get(path)
        assert answer.status_code == 200, (name, answer.content)
        cost[name] = len(captured)
    assert cost == REST
    assert not cloud.world.calls()
