"""Every action leaves its trail: who asked, what, on what, from where, and how it ended."""

import pytest

from hypervisors import errors
from snapshots.access import Actor
from snapshots.choices import Trigger
from snapshots.models import Event, VMSnapshot, Volume
from snapshots.services import endpoints, jobs, machine_actions, moving, snapshot_actions, tenancy
from tests.builders import acting, run, take

ADDRESS = "192.0.2.7"


@pytest.fixture
def alice(people) -> Actor:
    """Alice, through REST, from some address."""
    return Actor(people.alice, Trigger.API, ADDRESS)


def trail(job) -> list[Event]:
    return list(Event.objects.filter(job=job).order_by("pk"))


def _named(machine, name: str) -> VMSnapshot:
    return VMSnapshot.objects.get(machine=machine, name=name)


def _with_snapshot(request):
    def ask(actor, web):
        take(web, "first")
        return request(actor, snapshot=_named(web, "first"))

    return ask


ACTIONS = {
    "snapshot.create": lambda actor, web: snapshot_actions.request_create(actor, machine=web, name="first"),
    "snapshot.revert": _with_snapshot(snapshot_actions.request_revert),
    "snapshot.delete": _with_snapshot(snapshot_actions.request_delete),
    "snapshot.delete_tree": _with_snapshot(snapshot_actions.request_delete_tree),
    "snapshot.rename": _with_snapshot(
        lambda actor, snapshot: snapshot_actions.request_rename(actor, snapshot=snapshot, name="new")
    ),
    "machine.stop": lambda actor, web: machine_actions.request_stop(actor, machine=web),
    "machine.sync": lambda actor, web: machine_actions.request_sync(actor, machine=web),
    "volume.detach": lambda actor, web: machine_actions.request_detach(
        actor, volume=Volume.objects.get(machine=web, name="web-data")
    ),
}
about = pytest.mark.parametrize("action", ACTIONS)


@about
def test_what_was_asked_for_and_how_it_ended_is_written_down_with_who_and_where(web, alice, action):
    job = run(ACTIONS[action](alice, web))
    requested, ended = trail(job)
    assert (requested.action, ended.action) == (f"{action}.requested", f"{action}.succeeded")
    assert (requested.user, requested.user_name, requested.trigger) == (alice.user, "alice", Trigger.API)
    assert requested.from_address == ADDRESS
    assert (ended.user, ended.user_name, ended.trigger) == (alice.user, "alice", Trigger.API)
    for event in (requested, ended):
        assert (event.machine, event.machine_name, event.account.name) == (web, "web", "acme")
        assert event.hypervisor_id == web.hypervisor_id
        assert event.level == Event.Level.INFO
        if action.startswith("snapshot."):
            assert (event.snapshot_name, event.snapshot_uuid) == ("first", job.snapshot_uuid)


@about
def test_a_failure_is_written_down_with_its_reason(web, alice, cloud, action):
    job = ACTIONS[action](alice, web)
    cloud.world.refuse("connect", errors.Busy, detail="Not now.")
    run(job)
    ended = trail(job)[-1]
    assert (ended.action, ended.level, ended.detail) == (f"{action}.failed", Event.Level.ERROR, "Not now.")


@about
def test_who_cancelled_is_written_down_beside_who_had_asked(web, alice, people, action):
    job = ACTIONS[action](alice, web)
    jobs.request_cancel(acting(people.dora), job)
    names = [(event.action, event.user_name) for event in trail(job)]
    assert names == [
        (f"{action}.requested", "alice"),
        (f"{action}.cancel_requested", "dora"),
        (f"{action}.cancelled", "alice"),
    ]


def test_starting_and_attaching_leave_their_trail_too(web, db_machine, people, cloud, alice):
    volume = Volume.objects.get(hypervisor=cloud.hypervisor, name="spare-1.qcow2")
    tenancy.assign_volume(acting(people.root), volume=volume, account=people.acme)
    first = run(machine_actions.request_attach(alice, volume=volume, machine=db_machine))
    second = run(machine_actions.request_start(alice, machine=db_machine))
    assert [event.action for event in trail(first)] == ["volume.attach.requested", "volume.attach.succeeded"]
    assert [event.action for event in trail(second)] == ["machine.start.requested", "machine.start.succeeded"]


def test_a_reading_somebody_asked_for_leaves_a_trail(people, cloud):
    root = Actor(people.root, Trigger.ADMIN, ADDRESS)
    for request, action in (
        (endpoints.request_sync, "hypervisor.sync"),
        (endpoints.request_connection_check, "hypervisor.check"),
    ):
        job = run(request(root, hypervisor=cloud.hypervisor))
        assert [event.action for event in trail(job)] == [f"{action}.requested", f"{action}.succeeded"]


def test_the_history_outlives_what_it_tells_of(web, alice, people):
    row = take(web, "first")
    run(snapshot_actions.request_delete(alice, snapshot=row))
    people.alice.delete()
    event = Event.objects.get(action="snapshot.delete.succeeded")
    assert (event.snapshot_name, event.snapshot_uuid, event.user, event.user_name) == (
        "first",
        row.uuid,
        None,
        "alice",
    )


def test_what_others_did_on_the_hypervisor_is_told_as_nobodys(web, cloud):
    ours = take(web, "ours")
    cloud.world.take_elsewhere(web.native_id, "theirs")
    cloud.sync()
    cloud.world.delete_elsewhere(web.native_id, ours.native_id)
    cloud.sync()
    told = Event.objects.filter(machine=web, action__startswith="snapshot.", job=None).order_by("pk")
    assert [(event.action, event.snapshot_name, event.level) for event in told] == [
        ("snapshot.appeared", "theirs", "info"),
        ("snapshot.current", "theirs", "info"),
        ("snapshot.vanished", "ours", "warning"),
        ("snapshot.moved", "theirs", "info"),
    ]
    assert {(event.user_name, event.trigger) for event in told} == {("", Trigger.SYSTEM)}


def test_every_change_of_tenancy_leaves_an_event(people, web, cloud):
    root = acting(people.root)
    Event.objects.all().delete()
    place = tenancy.create_domain(root, name="d")
    owner = tenancy.create_account(root, name="a", domain=place)
    tenancy.rename(root, thing=owner, name="b")
    other = tenancy.create_domain(root, name="e")
    moving.move_domain(root, domain=place, parent=other)
    new = tenancy.create_user(root, username="new", password="correct horse battery")
    membership = tenancy.grant_role(root, user=new, role="reader", account=owner)
    tenancy.revoke_role(root, membership=membership)
    tenancy.assign_machine(root, machine=web, account=owner)
    token, _ = tenancy.create_token(root, user=people.root, name="t")
    tenancy.revoke_token(root, token=token)
    actions = list(Event.objects.order_by("pk").values_list("action", flat=True))
    assert actions == [
        "tenancy.domain.created",
        "tenancy.account.created",
        "tenancy.account.renamed",
        "tenancy.domain.created",
        "tenancy.domain.moved",
        "tenancy.user.created",
        "tenancy.role.granted",
        "tenancy.role.revoked",
        "machine.assigned",
        "token.created",
        "token.revoked",
    ]
    assert set(Event.objects.values_list("user_name", "from_address")) == {("root", "127.0.0.1")}
