"""Giving machines to accounts: by hand, many at once, and by rule. Root admins only; each machine with its event."""

import uuid
from importlib import import_module
from types import SimpleNamespace

import pytest
from django.apps import apps
from django.db import connection
from django.test.utils import CaptureQueriesContext

from hypervisors.drivers.simulated.world import Disk, Machine, Pool, make_world, many_machines
from hypervisors.records import PowerState
from snapshots.access import SYSTEM
from snapshots.models import Event, ImportRule, VirtualMachine, Volume
from snapshots.services import endpoints, machine_import, tenancy
from snapshots.services.machine_actions import request_start
from tests.builders import Cloud, acting, run
from tests.domain.refusing import assert_refused

FILED = (
    Machine("web-1", folder="/Prod/Web", resource_pool="Gold", tags=("prod", "web")),
    Machine("web-2", folder="/Test/Web", resource_pool="Silver", tags=("test",)),
    Machine("db-1", folder="/Prod/Db", resource_pool="Gold"),
    Machine("loose", power=PowerState.STOPPED),
)


@pytest.fixture
def filed(db) -> Cloud:
    """A hypervisor whose machines are filed in folders, pools and under tags."""
    return Cloud(FILED)


def owners(cloud: Cloud) -> dict[str, str | None]:
    """Each machine's account."""
    rows = VirtualMachine.objects.filter(hypervisor=cloud.hypervisor).select_related("account")
    return {row.name: row.account.name if row.account else None for row in rows}


def rule(root, account, **values) -> ImportRule:
    return machine_import.add_rule(root, account=account, **values)


# --- by hand -------------------------------------------------------------------------------------------------------


def test_many_machines_go_to_an_account_at_once_each_with_its_event_and_its_volumes(root, people, filed):
    chosen = [filed.machine("web-1"), filed.machine("web-2")]
    given = machine_import.assign_machines(root, machines=chosen, account=people.acme)
    assert ({row.name for row in given.machines}, given.left) == ({"web-1", "web-2"}, [])
    assert owners(filed) == {"web-1": "acme", "web-2": "acme", "db-1": None, "loose": None}
    assert not Volume.objects.filter(machine__in=chosen).exclude(account=people.acme).exists()
    written = Event.objects.filter(action="machine.assigned")
    assert {(event.machine_name, event.account_id, event.user_name, event.from_address) for event in written} == {
        (name, people.acme.pk, "root", "127.0.0.1") for name in ("web-1", "web-2")
    }
    assert "web-1 now belongs to acme." in {event.detail for event in written}


def test_the_number_of_queries_does_not_grow_with_the_machines(root, people):
    cloud = Cloud(tuple(many_machines(40, 0)))
    rows = list(VirtualMachine.objects.filter(hypervisor=cloud.hypervisor))
    cost = []
    for some in (rows[:2], rows[2:]):
        with CaptureQueriesContext(connection) as captured:
            machine_import.assign_machines(root, machines=some, account=people.acme)
        cost.append(len(captured))
    assert cost[0] == cost[1]


def test_a_machine_in_any_state_can_be_given_away_also_one_that_is_missing(root, people, filed):
    filed.world.undefine(filed.world.machine_id("web-1"))
    filed.sync()
    gone = filed.machine("web-1")
    assert gone.missing_since is not None
    assert machine_import.assign_machines(root, machines=[gone], account=people.acme).machines == [gone]
    assert owners(filed)["web-1"] == "acme"


def test_a_busy_machine_stays_and_says_why_while_the_others_go(root, people, filed):
    busy = filed.machine("web-1")
    request_start(SYSTEM, machine=filed.machine("loose"))
    given = machine_import.assign_machines(root, machines=[busy, filed.machine("loose")], account=people.acme)
    assert given.machines == [busy]
    [(machine, reason)] = given.left
    assert machine.name == "loose"
    assert "busy" in reason
    assert owners(filed)["loose"] is None


def test_what_belongs_there_already_is_told_apart_and_leaves_no_event(root, people, filed):
    machine = filed.machine("web-1")
    machine_import.assign_machines(root, machines=[machine], account=people.acme)
    given = machine_import.assign_machines(root, machines=[machine], account=people.acme)
    assert (given.machines, given.already) == ([], [machine])
    assert Event.objects.filter(action="machine.assigned").count() == 1


def test_more_machines_than_one_request_may_name_are_refused(root, people, filed, monkeypatch):
    monkeypatch.setattr(machine_import, "MACHINES_AT_ONCE", 2)
    chosen = [filed.machine(name) for name in ("web-1", "web-2", "db-1")]
    refusal = assert_refused(
        filed.world,
        "limit_exceeded",
        lambda: machine_import.assign_machines(root, machines=chosen, account=people.acme),
    )
    assert "at most 2" in refusal.detail


@pytest.mark.parametrize("who", ["alice", "bob", "charlie", "dora", "nora"])
def test_only_root_admins_share_out_machines_and_keep_rules(people, filed, who):
    actor = acting(getattr(people, who))
    kept = rule(SYSTEM, people.acme, name_pattern="nothing")
    values = {"account": people.acme, "name_pattern": "*"}
    for ask in (
        lambda: machine_import.assign_machines(actor, machines=[filed.machine("web-1")], account=people.acme),
        lambda: machine_import.add_rule(actor, **values),
        lambda: machine_import.change_rule(actor, rule=kept, **values),
        lambda: machine_import.delete_rule(actor, rule=kept),
        lambda: machine_import.move_rule(actor, rule=kept, up=True),
        lambda: machine_import.preview_rules(actor),
        lambda: machine_import.apply_rules_now(actor),
    ):
        assert_refused(filed.world, "forbidden", ask)
    assert ImportRule.objects.get() == kept


# --- what fits -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("patterns", "fitting"),
    [
        ({"name_pattern": "web-*"}, ["web-1", "web-2"]),
        ({"name_pattern": "WEB-?"}, ["web-1", "web-2"]),
        ({"name_pattern": "web"}, []),
        ({"name_pattern": "?oose"}, ["loose"]),
        ({"name_pattern": "*"}, ["db-1", "loose", "web-1", "web-2"]),
        ({"name_pattern": "web-[12]"}, []),
        ({"name_pattern": "web-."}, []),
        ({"name_pattern": ".*"}, []),
        ({"name_pattern": "web-1|db-1"}, []),
        ({"name_pattern": "(web)-1"}, []),
        ({"name_pattern": "web-1\\"}, []),
        ({"folder_pattern": "/prod*"}, ["db-1", "web-1"]),
        ({"folder_pattern": "/Prod/Web"}, ["web-1"]),
        ({"folder_pattern": "/Prod"}, []),
        ({"folder_pattern": "*/web"}, ["web-1", "web-2"]),
        ({"pool_pattern": "gold"}, ["db-1", "web-1"]),
        ({"pool_pattern": "default"}, ["db-1", "loose", "web-1", "web-2"]),
        ({"tag_pattern": "prod"}, ["web-1"]),
        ({"tag_pattern": "*"}, ["web-1", "web-2"]),
        ({"tag_pattern": "prod*", "name_pattern": "db*"}, []),
        ({"folder_pattern": "/prod*", "name_pattern": "web*", "pool_pattern": "gold", "tag_pattern": "web"}, ["web-1"]),
    ],
    ids=str,
)
def test_every_pattern_of_a_rule_has_to_fit_the_whole_text(root, people, filed, patterns, fitting):
    preview = machine_import.preview_rules(root, {"account": people.acme, **patterns})
    assert [machine.name for machine in preview.fitting[0]] == fitting
    assert preview.undecided == 4


@pytest.mark.parametrize(
    ("pattern", "name", "fits"),
    [
        ("straße*", "STRASSE-1", True),
        ("caf\u00e9", "CAFE\u0301", True),
        ("שלום-*", "שלום-1", True),
        ("[x]*", "[x]-1", True),
        ("a?c", "a\U0001f600c", True),
        ("a?c", "ac", False),
        ("*", "two\nlines", True),
    ],
)
def test_case_and_unicode_form_do_not_count(root, people, pattern, name, fits):
    Cloud((Machine(name),))
    preview = machine_import.preview_rules(root, {"account": people.acme, "name_pattern": pattern})
    assert bool(preview.fitting[0]) is fits


def test_a_pattern_full_of_stars_is_no_burden(root, people):
    """A matcher that went back and tried again would not end within a lifetime."""
    Cloud((Machine("a" * 255),))
    preview = machine_import.preview_rules(root, {"account": people.acme, "name_pattern": "*a" * 120 + "*b"})
    assert preview.fitting[0] == []


def test_a_rule_for_one_endpoint_leaves_the_others_alone(root, people, filed):
    other = Cloud((Machine("web-9"),))
    rule(root, people.acme, name_pattern="web-*", hypervisor=other.hypervisor)
    assert machine_import.apply_rules_now(root) == 1
    assert owners(other) == {"web-9": "acme"}
    assert set(owners(filed).values()) == {None}


def test_the_storage_pools_of_a_machine_count_as_its_pools(root, people):
    name = f"world-{uuid.uuid4().hex}"
    make_world(
        Cloud(()).world.path.with_name(f"{name}.sqlite3"),
        (Machine("slow", disks=(Disk(), Disk(pool="archive"))), Machine("fast")),
        (Pool(), Pool("archive")),
    )
    run(
        endpoints.request_sync(
            SYSTEM, hypervisor=endpoints.add_endpoint(SYSTEM, name=name, kind="simulated", address=name)
        )
    )
    rule(root, people.acme, pool_pattern="ARCH*")
    machine_import.apply_rules_now(root)
    assert [row.name for row in VirtualMachine.objects.filter(account=people.acme)] == ["slow"]


# --- what rules do -------------------------------------------------------------------------------------------------


def test_the_first_rule_that_fits_decides(root, people, filed):
    rule(root, people.other, name_pattern="web-1")
    second = rule(root, people.acme, name_pattern="web-*")
    assert machine_import.apply_rules_now(root) == 2
    assert owners(filed) == {"web-1": "other", "web-2": "acme", "db-1": None, "loose": None}
    event = Event.objects.get(action="machine.assigned", machine_name="web-2")
    assert event.detail == f"web-2 now belongs to acme, by the import rule “{second.words}”."
    assert (event.user_name, event.account_id) == ("root", people.acme.pk)


def test_a_preview_counts_each_machine_for_the_rule_that_would_get_it(root, people, filed):
    first = rule(root, people.other, name_pattern="web-1")
    second = rule(root, people.acme, name_pattern="web-*")
    preview = machine_import.preview_rules(root)
    assert {pk: [row.name for row in rows] for pk, rows in preview.fitting.items()} == {
        first.pk: ["web-1"],
        second.pk: ["web-2"],
    }
    assert set(owners(filed).values()) == {None}


def test_a_machine_that_appears_is_given_away_by_the_reading_that_finds_it(root, people, filed):
    rule(root, people.acme, tag_pattern="prod")
    filed.world.define(Machine("new", tags=("prod",)))
    filed.sync()
    assert owners(filed) == {"web-1": "acme", "web-2": None, "db-1": None, "loose": None, "new": "acme"}
    event = Event.objects.get(action="machine.assigned", machine_name="new")
    assert (event.user, event.trigger) == (None, "system")
    assert "tag prod" in event.detail


def test_a_machine_that_is_filed_elsewhere_later_is_caught_then(root, people, filed):
    rule(root, people.acme, folder_pattern="/Prod/*")
    filed.sync()
    assert owners(filed)["loose"] is None
    filed.world.file(filed.world.machine_id("loose"), folder="/Prod/Misc")
    filed.sync()
    assert owners(filed)["loose"] == "acme"


def test_what_was_taken_away_from_an_account_is_not_given_back_by_a_rule(root, people, filed):
    rule(root, people.acme, name_pattern="web-*")
    filed.sync()
    tenancy.assign_machine(root, machine=filed.machine("web-1"), account=None)
    filed.sync()
    assert machine_import.apply_rules_now(root) == 0
    assert owners(filed)["web-1"] is None
    assert owners(filed)["web-2"] == "acme"


def test_a_rule_never_takes_a_machine_from_an_account(root, people, filed):
    tenancy.assign_machine(root, machine=filed.machine("web-1"), account=people.other)
    rule(root, people.acme, name_pattern="*")
    filed.sync()
    assert owners(filed) == {"web-1": "other", "web-2": "acme", "db-1": "acme", "loose": "acme"}


def test_whoever_decided_while_the_rules_looked_has_the_last_word(root, people, filed, monkeypatch):
    rule(root, people.acme, name_pattern="web-1")
    real = machine_import._give

    def meanwhile(*args, **kwargs):
        tenancy.assign_machine(root, machine=filed.machine("web-1"), account=people.other)
        return real(*args, **kwargs)

    monkeypatch.setattr(machine_import, "_give", meanwhile)
    assert machine_import.apply_rules_now(root) == 0
    assert owners(filed)["web-1"] == "other"


def test_a_busy_machine_waits_for_the_next_reading(root, people, filed):
    job = request_start(SYSTEM, machine=filed.machine("loose"))
    rule(root, people.acme, name_pattern="loose")
    assert machine_import.apply_rules_now(root) == 0
    run(job)
    filed.sync()
    assert owners(filed)["loose"] == "acme"


def test_a_machine_that_is_missing_is_left_alone_until_it_returns(root, people, filed):
    gone = filed.world.machine_id("web-1")
    filed.world.undefine(gone)
    filed.sync()
    rule(root, people.acme, name_pattern="web-*")
    filed.sync()
    assert owners(filed)["web-1"] is None
    filed.world.define(Machine("web-1", native_id=gone))
    filed.sync()
    assert owners(filed)["web-1"] == "acme"


def test_more_machines_than_one_transaction_holds_are_all_given_away(root, people, monkeypatch):
    monkeypatch.setattr(machine_import, "BATCH", 3)
    cloud = Cloud(tuple(many_machines(8, 0)))
    rule(root, people.acme, name_pattern="machine-*")
    assert machine_import.apply_rules_now(root) == 8
    assert set(owners(cloud).values()) == {"acme"}


def test_what_was_decided_before_there_were_rules_stays_decided(root, people, filed):
    tenancy.assign_machine(root, machine=filed.machine("web-1"), account=people.acme)
    tenancy.assign_machine(root, machine=filed.machine("web-1"), account=None)
    VirtualMachine.objects.update(assigned_at=None)
    migration = import_module("snapshots.migrations.0003_decided_owners")
    migration.note_decisions(apps, SimpleNamespace(connection=connection))
    last = Event.objects.filter(action="machine.assigned").latest("pk")
    assert filed.machine("web-1").assigned_at == last.at
    assert filed.machine("web-2").assigned_at is None
    rule(root, people.acme, name_pattern="web-*")
    filed.sync()
    assert (owners(filed)["web-1"], owners(filed)["web-2"]) == (None, "acme")


# --- keeping rules -------------------------------------------------------------------------------------------------


def test_rules_are_added_changed_moved_and_deleted_each_with_an_event(root, people, filed):
    first = rule(root, people.acme, name_pattern=" web-* ")
    second = rule(root, people.other, tag_pattern="prod", hypervisor=filed.hypervisor)
    assert first.name_pattern == "web-*"
    machine_import.move_rule(root, rule=second, up=True)
    assert [row.pk for row in ImportRule.objects.all()] == [second.pk, first.pk]
    machine_import.move_rule(root, rule=second, up=True)
    assert [row.pk for row in ImportRule.objects.all()] == [second.pk, first.pk]
    changed = machine_import.change_rule(root, rule=first, account=people.other, folder_pattern="/x")
    assert (changed.patterns, changed.account) == ((("folder", "/x"),), people.other)
    machine_import.delete_rule(root, rule=second)
    told = list(Event.objects.filter(action__startswith="import_rule").order_by("pk").values_list("action", "detail"))
    assert told == [
        ("import_rule.added", "name web-*: to acme."),
        ("import_rule.added", f"tag prod on {filed.name}: to other."),
        ("import_rule.moved", f"tag prod on {filed.name}: to other. It is tried as number 1 now."),
        ("import_rule.changed", "folder /x: to other."),
        ("import_rule.deleted", f"tag prod on {filed.name}: to other."),
    ]


@pytest.mark.parametrize(
    ("patterns", "field"),
    [
        ({}, "name_pattern"),
        ({"name_pattern": "   "}, "name_pattern"),
        ({"tag_pattern": "x" * 256}, "tag_pattern"),
        ({"folder_pattern": "x" * 1025}, "folder_pattern"),
        ({"pool_pattern": "a\x00b"}, "pool_pattern"),
    ],
    ids=str,
)
def test_a_rule_that_makes_no_sense_is_refused_beside_its_field(root, people, patterns, field):
    refusal = assert_refused(None, "invalid", lambda: rule(root, people.acme, **patterns))
    assert list(refusal.extra["fields"]) == [field]


def test_there_is_an_end_to_the_number_of_rules(root, people, monkeypatch):
    monkeypatch.setattr(machine_import, "RULES_MOST", 1)
    rule(root, people.acme, name_pattern="a")
    assert_refused(None, "limit_exceeded", lambda: rule(root, people.acme, name_pattern="b"))


def test_a_rule_that_somebody_deleted_meanwhile_does_not_exist(root, people):
    stale = rule(root, people.acme, name_pattern="a")
    machine_import.delete_rule(root, rule=ImportRule.objects.get())
    for ask in (
        lambda: machine_import.change_rule(root, rule=stale, account=people.acme, name_pattern="b"),
        lambda: machine_import.delete_rule(root, rule=stale),
        lambda: machine_import.move_rule(root, rule=stale, up=True),
    ):
        assert_refused(None, "not_found", ask)


def test_an_account_that_a_rule_gives_machines_to_cannot_be_deleted(root, people):
    rule(root, people.other, name_pattern="web-*")
    refusal = assert_refused(None, "invalid_state", lambda: tenancy.delete_account(root, account=people.other))
    assert "name web-*" in refusal.detail
