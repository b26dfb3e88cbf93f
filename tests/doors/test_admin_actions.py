"""Machines, volumes and jobs in the admin go through services: it works, it leaves an event, and refusals are shown."""

from django.test import Client
from django.urls import reverse

from snapshots.access import SYSTEM
from snapshots.choices import JobAction, JobState
from snapshots.models import Domain, Job, VirtualMachine, Volume
from snapshots.services.jobs import open_job
from tests.builders import PASSWORD, Cloud, People, acting, take
from tests.doors.admin_forms import act, add, change, last_event, messages

# Machines and volumes


def test_a_machine_is_given_to_an_account_with_its_volumes(root: Client, people: People, cloud: Cloud) -> None:
    machine = cloud.machine("unassigned")
    assert change(root, machine, account=people.acme.pk).status_code == 302
    assert cloud.machine("unassigned").account == people.acme
    assert {volume.account for volume in machine.volumes.all()} == {people.acme}
    assert last_event().action == "machine.assigned"


def test_nothing_else_of_a_machine_can_be_changed(root: Client, people: People, cloud: Cloud) -> None:
    change(root, cloud.machine("web"), account=people.acme.pk, name="renamed", power_state="stopped", native_id="x")
    machine = cloud.machine("web")
    assert (machine.account, machine.name, machine.power_state) == (people.acme, "web", "running")


def test_many_machines_are_given_away_at_once_and_busy_ones_refuse(root: Client, people: People, cloud: Cloud) -> None:
    from django.db import transaction

    machines = [cloud.machine(name) for name in ("web", "db", "foreign")]
    with transaction.atomic():
        open_job(SYSTEM, JobAction.SYNC_MACHINE, machine=machines[2])
    said = messages(act(root, "give", machines, account=people.acme.pk))
    assert "Now of acme: 2." in said
    assert "foreign is busy" in said
    owners = {name: cloud.machine(name).account for name in ("web", "db", "foreign", "unassigned")}
    assert owners == {"web": people.acme, "db": people.acme, "foreign": None, "unassigned": None}


def test_machines_are_taken_from_their_account(root: Client, people: People, web: VirtualMachine, cloud: Cloud) -> None:
    assert "no account: 1" in messages(act(root, "give", [web], account=""))
    assert cloud.machine("web").account is None


def test_giving_to_an_account_that_is_not_there_changes_nothing(
    root: Client, people: People, web: VirtualMachine, cloud: Cloud
) -> None:
    assert "Now of" not in messages(act(root, "give", [web], account="999999"))
    assert cloud.machine("web").account == people.acme


def test_a_loose_volume_is_given_away_and_an_attached_one_is_not(root: Client, people: People, cloud: Cloud) -> None:
    loose = Volume.objects.filter(machine=None).first()
    attached = Volume.objects.filter(machine__isnull=False).first()
    assert loose is not None
    assert attached is not None
    said = messages(act(root, "give", [loose, attached], account=people.acme.pk))
    assert "Now of acme: 1." in said
    assert "is attached" in said
    loose.refresh_from_db()
    attached.refresh_from_db()
    assert (loose.account, attached.account) == (people.acme, None)
    assert change(root, loose, account="").status_code == 302
    loose.refresh_from_db()
    assert loose.account is None


def test_the_account_of_an_attached_volume_cannot_be_chosen(root: Client, people: People, cloud: Cloud) -> None:
    attached = Volume.objects.filter(machine__isnull=False).first()
    assert attached is not None
    change(root, attached, account=people.acme.pk)
    attached.refresh_from_db()
    assert attached.account is None


# Jobs


def test_a_waiting_job_is_cancelled_and_an_ended_one_says_so(
    root: Client, people: People, web: VirtualMachine, cloud: Cloud
) -> None:
    from snapshots.services.machine_actions import request_sync

    waiting = request_sync(acting(people.alice), machine=web)
    ended = Job.objects.filter(action=JobAction.SYNC_HYPERVISOR).first()
    assert ended is not None
    said = messages(act(root, "cancel", [waiting, ended]))
    assert "Asked to stop: 1." in said
    assert "ended already" in said
    waiting.refresh_from_db()
    assert waiting.state == JobState.CANCELLED


def test_user_text_is_shown_as_text(root: Client, people: People, web: VirtualMachine) -> None:
    name = "<script>alert(1)</script> & \"'"
    take(web, name, people.alice)
    for page in ("vmsnapshot", "job", "event"):
        text = root.get(reverse(f"admin:snapshots_{page}_changelist")).content.decode()
        assert "<script>alert" not in text


def test_actions_are_refused_to_everybody_else(people: People, web: VirtualMachine) -> None:
    for person in ("alice", "dora"):
        client = Client()
        client.login(username=person, password=PASSWORD)
        assert act(client, "give", [web], account=people.other.pk).status_code == 403
        assert add(client, Domain, name="mine", parent="").status_code == 302
    assert Client().post(reverse("admin:snapshots_domain_add"), {"name": "mine"}).status_code == 302
    assert not Domain.objects.filter(name="mine").exists()
    assert VirtualMachine.objects.get(pk=web.pk).account == people.acme
