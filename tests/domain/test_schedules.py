"""Schedules are made, changed, paused, resumed and deleted by those who may act on the machine, and by nobody else; each
refusal names what is wrong."""

from datetime import UTC, datetime

import pytest
import time_machine

from hypervisors import errors
from snapshots.access import SYSTEM, visible_schedules
from snapshots.models import Event, Schedule, VirtualMachine, VMSnapshot
from snapshots.refusals import Forbidden, Invalid, InvalidState, LimitExceeded, NameTaken, NotVisible, VMBusy
from snapshots.services import schedules, tenancy
from snapshots.services.schedule_rules import SCHEDULES_OF_A_MACHINE, Terms, terms_of
from snapshots.services.scheduled_snapshots import take_due_snapshots
from snapshots.services.snapshot_actions import request_delete
from tests.builders import acting, limit, run, schedule, take
from tests.domain.scenes import later

NIGHTLY = Terms(name="nightly", frequency="daily", hour=2, minute=30, time_zone="UTC", keep=3)


def changed(**values: object) -> Terms:
    return Terms(**{name: getattr(NIGHTLY, name) for name in Terms.__dataclass_fields__} | values)


def wrong_fields(machine: VirtualMachine, terms: Terms) -> set[str]:
    """What a refusal of these terms names as wrong."""
    with pytest.raises(Invalid) as caught:
        schedules.add_schedule(SYSTEM, machine=machine, terms=terms)
    assert not Schedule.objects.exists()
    return set(caught.value.extra["fields"])


# Making and changing


def test_a_new_schedule_is_due_at_its_next_time_and_told_of(people, web, alice):
    with time_machine.travel(datetime(2026, 6, 1, 12, tzinfo=UTC), tick=False):
        made = schedules.add_schedule(alice, machine=web, terms=NIGHTLY)
    made.refresh_from_db()
    assert (made.next_at, made.enabled, made.created_by) == (
        datetime(2026, 6, 2, 2, 30, tzinfo=UTC),
        True,
        people.alice,
    )
    assert terms_of(made) == NIGHTLY
    event = Event.objects.get(action="schedule.added")
    assert (event.user, event.machine, event.account) == (people.alice, web, people.acme)
    assert event.detail == "“nightly”: every day at 02:30, UTC; disks; the newest 3 are kept."


def test_new_times_make_it_due_anew_and_a_new_name_does_not(web, alice):
    made = schedule(web)
    due = made.next_at
    with later(2 * 86_400):
        made = schedules.change_schedule(alice, schedule=made, terms=changed(name="each night", keep=4))
        assert (made.name, made.keep, made.next_at) == ("each night", 4, due)
        made = schedules.change_schedule(alice, schedule=made, terms=changed(hour=5))
    assert made.next_at > due
    assert Event.objects.filter(action="schedule.changed").count() == 2


def test_a_paused_one_is_due_never_and_a_resumed_one_makes_up_for_nothing(web, alice):
    made = schedules.pause_schedule(alice, schedule=schedule(web))
    assert (made.enabled, made.next_at) == (False, None)
    with later(10 * 86_400):
        assert take_due_snapshots() == []
        made = schedules.resume_schedule(alice, schedule=made)
        assert take_due_snapshots() == []
    assert made.enabled
    told = list(Event.objects.filter(action__startswith="schedule.").order_by("pk").values_list("action", flat=True))
    assert told == ["schedule.added", "schedule.paused", "schedule.resumed"]


def test_what_is_paused_or_resumed_already_stays_so_and_nothing_is_told(web, alice):
    made = schedule(web)
    schedules.resume_schedule(alice, schedule=made)
    schedules.pause_schedule(alice, schedule=made)
    schedules.pause_schedule(alice, schedule=made)
    assert Event.objects.filter(action__startswith="schedule.").count() == 2


def test_a_paused_one_can_be_changed_and_stays_paused(web, alice):
    made = schedules.pause_schedule(alice, schedule=schedule(web))
    made = schedules.change_schedule(alice, schedule=made, terms=changed(hour=5))
    assert (made.hour, made.enabled, made.next_at) == (5, False, None)


def test_deleting_one_leaves_what_it_took(web, alice):
    made = schedule(web)
    with time_machine.travel(made.next_at):
        (job,) = take_due_snapshots()
        run(job)
    schedules.delete_schedule(alice, schedule=made)
    assert VMSnapshot.objects.get(uuid=job.snapshot_uuid).schedule is None
    assert not Schedule.objects.exists()
    assert Event.objects.get(action="schedule.deleted").machine == web


def test_days_of_the_week_are_kept_once_each_and_in_order(web, alice):
    made = schedules.add_schedule(alice, machine=web, terms=changed(frequency="weekly", weekdays=(5, 1, 5)))
    assert made.weekdays == [1, 5]


# Refusals


@pytest.mark.parametrize(
    ("values", "fields"),
    [
        ({"name": ""}, {"name"}),
        ({"name": "n" * 101}, {"name"}),
        ({"name": "a\nb"}, {"name"}),
        ({"frequency": "yearly"}, {"frequency"}),
        ({"minute": 60}, {"minute"}),
        ({"minute": -1}, {"minute"}),
        ({"hour": 24}, {"hour"}),
        ({"hour": 2**70}, {"hour"}),
        ({"every_hours": 5}, {"every_hours"}),
        ({"every_hours": 0}, {"every_hours"}),
        ({"frequency": "weekly", "weekdays": ()}, {"weekdays"}),
        ({"frequency": "weekly", "weekdays": (0,)}, {"weekdays"}),
        ({"weekdays": (8,)}, {"weekdays"}),
        ({"day": 29}, {"day"}),
        ({"day": 0}, {"day"}),
        ({"day": -2}, {"day"}),
        ({"time_zone": "Mars/Base"}, {"time_zone"}),
        ({"time_zone": "../etc/passwd"}, {"time_zone"}),
        ({"time_zone": ""}, {"time_zone"}),
        ({"keep": 0}, {"keep"}),
        ({"keep": 1001}, {"keep"}),
        ({"memory": True, "quiesce": True}, {"quiesce"}),
        ({"minute": 99, "keep": -5, "name": " "}, {"minute", "keep", "name"}),
    ],
)
def test_what_makes_no_sense_is_refused_with_all_that_is_wrong(web, values, fields):
    assert wrong_fields(web, changed(**values)) == fields


def test_the_name_of_a_zone_that_is_none_is_told_without_what_could_not_be_shown(web):
    with pytest.raises(Invalid, match="There is no time zone “AB”"):
        schedules.add_schedule(SYSTEM, machine=web, terms=changed(time_zone="A\x00B\x1b"))


@pytest.mark.parametrize(
    ("values", "lacks"),
    [
        ({"memory": True}, ["memory"]),
        ({"quiesce": True}, ["quiesce"]),
        ({}, ["disk_when_running", "disk_when_stopped"]),
    ],
)
def test_what_the_machine_can_never_keep_is_refused_with_the_reason(web, values, lacks):
    able = web.capabilities | {name: {"allowed": False, "reason": f"No {name} here."} for name in lacks}
    VirtualMachine.objects.filter(pk=web.pk).update(capabilities=able)
    with pytest.raises(Invalid, match=rf"No {lacks[0]} here\."):
        schedules.add_schedule(SYSTEM, machine=web, terms=changed(**values))


def test_disks_alone_are_refused_where_the_machine_that_runs_would_be_missed_each_time(web, db_machine, alice):
    for machine in (web, db_machine):
        able = machine.capabilities | {"disk_when_running": {"allowed": False, "reason": "Not while it runs."}}
        VirtualMachine.objects.filter(pk=machine.pk).update(capabilities=able)
    with pytest.raises(Invalid, match=r"Not while it runs\."):
        schedules.add_schedule(alice, machine=web, terms=NIGHTLY)
    assert schedules.add_schedule(alice, machine=web, terms=changed(memory=True)).memory
    assert schedules.add_schedule(alice, machine=db_machine, terms=NIGHTLY).enabled


def test_a_change_of_something_else_is_possible_while_the_machine_lacks_what_it_holds(web, alice, cloud):
    cloud.world.set_agent(web.native_id, True)
    cloud.sync()
    made = schedules.add_schedule(alice, machine=web, terms=changed(quiesce=True))
    cloud.world.set_agent(web.native_id, False)
    cloud.sync()
    assert schedules.change_schedule(alice, schedule=made, terms=changed(quiesce=True, keep=2)).keep == 2


def test_two_of_a_machine_have_two_names_and_those_of_two_machines_may_have_one(web, db_machine, alice):
    schedule(web)
    with pytest.raises(NameTaken) as caught:
        schedules.add_schedule(alice, machine=web, terms=NIGHTLY)
    assert "name" in caught.value.extra["fields"]
    other = schedule(web, name="other")
    with pytest.raises(NameTaken):
        schedules.change_schedule(alice, schedule=other, terms=NIGHTLY)
    assert schedule(db_machine).name == "nightly"


def test_a_machine_has_so_many_schedules_and_no_more(web, alice, many_per_machine):
    for number in range(SCHEDULES_OF_A_MACHINE):
        schedule(web, name=f"s{number}")
    with pytest.raises(LimitExceeded, match="as many as a machine can have"):
        schedules.add_schedule(alice, machine=web, terms=NIGHTLY)


def test_of_a_machine_that_is_missing_or_nobodys_nothing_is_scheduled(cloud, web, alice):
    made = schedules.pause_schedule(alice, schedule=schedule(web))
    cloud.world.undefine(web.native_id)
    cloud.sync()
    for act in (
        lambda: schedules.add_schedule(alice, machine=web, terms=changed(name="another")),
        lambda: schedules.resume_schedule(alice, schedule=made),
    ):
        with pytest.raises(InvalidState, match="not on its hypervisor"):
            act()
    with pytest.raises(InvalidState, match="belongs to no account"):
        schedule(cloud.machine("unassigned"))


# How many are kept, and the machine's maximum


def test_one_more_than_is_kept_has_to_fit_on_the_machine(web, alice, settings):
    settings.SNAPSHOTS_PER_MACHINE = 4
    made = schedules.add_schedule(alice, machine=web, terms=NIGHTLY)
    with pytest.raises(LimitExceeded) as caught:
        schedules.change_schedule(alice, schedule=made, terms=changed(keep=4))
    (sentence,) = caught.value.extra["fields"]["keep"]
    assert sentence == (
        "web may have 4 VM snapshots. One more is there for a moment: the oldest is deleted once the next is taken. "
        "Keep at most 3 here, or ask an admin for a higher limit."
    )


def test_all_schedules_of_a_machine_have_to_fit_together_but_those_that_are_paused(web, alice, settings):
    settings.SNAPSHOTS_PER_MACHINE = 6
    first = schedules.add_schedule(alice, machine=web, terms=NIGHTLY)
    with pytest.raises(LimitExceeded, match=r"its other schedules keep 3\. .* Keep at most 2 here"):
        schedules.add_schedule(alice, machine=web, terms=changed(name="weekly"))
    schedules.pause_schedule(alice, schedule=first)
    schedules.add_schedule(alice, machine=web, terms=changed(name="weekly"))
    with pytest.raises(LimitExceeded):
        schedules.resume_schedule(alice, schedule=first)
    first.refresh_from_db()
    assert not first.enabled


def test_what_makes_it_no_worse_is_possible_however_low_a_limit_was_set_since(web, alice, settings):
    first = schedules.add_schedule(alice, machine=web, terms=NIGHTLY)
    second = schedules.add_schedule(alice, machine=web, terms=changed(name="second", keep=6))
    settings.SNAPSHOTS_PER_MACHINE = 4
    assert schedules.change_schedule(alice, schedule=first, terms=changed(keep=2, hour=9)).keep == 2
    assert schedules.change_schedule(alice, schedule=second, terms=changed(name="other", keep=6)).name == "other"
    with pytest.raises(LimitExceeded):
        schedules.change_schedule(alice, schedule=first, terms=changed(keep=3))


def test_where_there_is_no_room_for_any_it_says_so(web, alice, settings):
    settings.SNAPSHOTS_PER_MACHINE = 4
    schedules.add_schedule(alice, machine=web, terms=NIGHTLY)
    with pytest.raises(LimitExceeded, match="Let another schedule keep fewer"):
        schedules.add_schedule(alice, machine=web, terms=changed(name="one more", keep=1))


# Who may


ACTS = {
    "add": lambda actor, made: schedules.add_schedule(actor, machine=made.machine, terms=changed(name="another")),
    "change": lambda actor, made: schedules.change_schedule(actor, schedule=made, terms=changed(hour=9)),
    "pause": lambda actor, made: schedules.pause_schedule(actor, schedule=made),
    "resume": lambda actor, made: schedules.resume_schedule(actor, schedule=made),
    "delete": lambda actor, made: schedules.delete_schedule(actor, schedule=made),
}


@pytest.mark.parametrize("act", ACTS.values(), ids=ACTS.keys())
def test_readers_may_only_look_and_strangers_find_nothing(people, web, act):
    made = schedule(web)
    before = Schedule.objects.values().get()
    for person, refusal in ((people.bob, Forbidden), (people.charlie, NotVisible), (people.nora, NotVisible)):
        with pytest.raises(refusal):
            act(acting(person), made)
    assert Schedule.objects.values().get() == before


@pytest.mark.parametrize("act", ACTS.values(), ids=ACTS.keys())
def test_operators_and_admins_may(people, web, act):
    for person in (people.alice, people.dora, people.root):
        made = schedule(web)
        act(acting(person), made)
        Schedule.objects.all().delete()


def test_a_person_sees_the_schedules_of_their_machines_and_no_others(people, web, cloud):
    own, foreign = schedule(web), schedule(cloud.machine("foreign"))
    seen = {person.username: set(visible_schedules(person)) for person in (people.bob, people.charlie, people.nora)}
    assert seen == {"bob": {own}, "charlie": {foreign}, "nora": set()}
    assert set(visible_schedules(people.root)) == {own, foreign}


@pytest.mark.parametrize("act", [ACTS[name] for name in ("change", "pause", "resume", "delete")])
def test_one_that_went_meanwhile_is_not_found(web, alice, act):
    made = schedule(web)
    Schedule.objects.filter(pk=made.pk).delete()
    with pytest.raises(NotVisible):
        act(alice, made)


def test_it_goes_along_when_its_machine_is_given_to_another_account(people, web, root):
    made = schedule(web)
    tenancy.assign_machine(root, machine=web, account=people.other)
    made.refresh_from_db()
    assert made.enabled
    assert set(visible_schedules(people.charlie)) == {made}
    assert not visible_schedules(people.alice).exists()


def test_why_the_former_owner_missed_something_is_not_told_to_the_next(people, web, root):
    limit(people.acme, 0)
    made = schedule(web)
    with time_machine.travel(made.next_at):
        take_due_snapshots()
        made.refresh_from_db()
        assert "acme" in made.missed
        tenancy.assign_machine(root, machine=web, account=people.other)
    made.refresh_from_db()
    assert made.missed == ""


# Keeping one for good


def test_one_taken_out_of_its_schedule_stays_for_good(web, alice):
    made = schedule(web, keep=1)
    with time_machine.travel(made.next_at):
        run(take_due_snapshots()[0])
    snapshot = VMSnapshot.objects.get(schedule=made)
    schedules.keep_snapshot(alice, snapshot=snapshot)
    snapshot.refresh_from_db()
    assert snapshot.schedule is None
    event = Event.objects.get(action="snapshot.kept")
    assert (event.snapshot_name, event.detail) == (snapshot.name, "The schedule “nightly” does not delete it any more.")
    with pytest.raises(InvalidState, match="kept already"):
        schedules.keep_snapshot(alice, snapshot=snapshot)


def test_one_that_is_being_deleted_or_could_not_be_taken_is_not_kept(web, alice, cloud):
    made = schedule(web)
    with time_machine.travel(made.next_at):
        run(take_due_snapshots()[0])
    snapshot = VMSnapshot.objects.get(schedule=made)
    job = request_delete(alice, snapshot=snapshot)
    with pytest.raises(VMBusy):
        schedules.keep_snapshot(alice, snapshot=snapshot)
    run(job)
    cloud.world.refuse("create_snapshot", errors.Busy)
    made.refresh_from_db()
    with time_machine.travel(made.next_at):
        run(take_due_snapshots()[0])
    with pytest.raises(InvalidState, match="Only one that is Ready"):
        schedules.keep_snapshot(alice, snapshot=VMSnapshot.objects.get(schedule=made))


def test_only_those_who_may_act_on_the_machine_keep_one(people, web):
    snapshot = take(web, "one", memory=False)
    for person, refusal in ((people.bob, Forbidden), (people.charlie, NotVisible)):
        with pytest.raises(refusal):
            schedules.keep_snapshot(acting(person), snapshot=snapshot)


def test_limits_of_an_account_say_nothing_to_a_schedule_before_it_takes_something(people, web, alice):
    limit(people.acme, 1)
    assert schedules.add_schedule(alice, machine=web, terms=NIGHTLY).enabled
