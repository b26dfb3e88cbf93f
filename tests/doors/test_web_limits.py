"""What the dialogs tell of limits before the click, and how an admin goes beyond one."""

from typing import Any

import pytest
from pytest_django import Settings

from snapshots.choices import LimitKind
from snapshots.models import Event, Job, LimitUse, VirtualMachine, VMSnapshot
from tests.builders import Cloud, People, limit, take
from tests.doors.browser_client import Browser, Page, words

GIB = 1024**3


def dialog(machine: VirtualMachine) -> str:
    return f"/machines/{machine.uuid}/take/"


def told(page: Page) -> list[str]:
    """The rows of the table of limits."""
    return [words(row) for row in page.find('//table[@class="limits"]//tr')]


def exceed_box(page: Page) -> list[Any]:
    return list(page.find('//input[@name="exceed_limits"]'))


def test_the_dialog_shows_machine_account_and_tightest_domain(people: People, web: VirtualMachine) -> None:
    take(web, "first", memory=True)
    limit(people.organisation, 40)
    limit(people.acme, 20)
    limit(people.engineering, 8 * GIB, LimitKind.BYTES)
    page = Browser(people.root).get(dialog(web))
    assert told(page) == [
        "This machine 1 of 10 VM snapshots 10 %",
        "Account acme 1 of 20 VM snapshots 5 %",
        "Account acme 1 GiB estimated, no limit",
        "Domain organisation 1 of 40 VM snapshots 2 %",
        "Domain engineering 1 GiB of 8 GiB estimated 12 %",
    ]


def test_a_domain_one_does_not_see_is_not_shown(people: People, web: VirtualMachine) -> None:
    limit(people.organisation, 4)
    page = Browser(people.alice).get(dialog(web))
    assert "organisation" not in page.text
    assert told(page) == [
        "This machine 0 of 10 VM snapshots 0 %",
        "Account acme 0 VM snapshots, no limit",
        "Account acme 0 bytes estimated, no limit",
    ]
    limit(people.organisation, 0)
    page = Browser(people.alice).get(dialog(web))
    assert "A domain above the domain engineering has used up a limit of its own." in page.text
    assert "organisation" not in page.text


def test_one_byte_is_no_vm_snapshot(people: People, web: VirtualMachine) -> None:
    LimitUse.objects.filter(account=people.acme).update(snapshots=1, estimated_bytes=1)
    assert told(Browser(people.alice).get(dialog(web)))[1:] == [
        "Account acme 1 VM snapshot, no limit",
        "Account acme 1 byte estimated, no limit",
    ]


def test_each_kind_says_what_it_adds_and_which_does_not_fit(people: People, web: VirtualMachine) -> None:
    limit(people.acme, GIB // 2, LimitKind.BYTES)
    page = Browser(people.alice).get(dialog(web))
    disk, memory = (page.one(f'//input[@value="{kind}"]') for kind in ("disk", "memory"))
    assert "adds about 0 bytes" in words(disk.getparent())
    assert disk.get("checked") is not None
    assert memory.get("disabled") is not None
    assert "may hold 512 MiB; this would add 1 GiB." in words(memory.getparent())


def test_the_button_on_the_machines_page_says_why_there_is_no_room(people: People, web: VirtualMachine) -> None:
    limit(people.acme, 0)
    page = Browser(people.alice).get(f"/machines/{web.uuid}/")
    assert page.one('//*[@id="offer-take"]').get("aria-disabled") == "true"
    assert "The account acme has 0 VM snapshots and may have 0." in page.text


def test_an_admin_is_offered_to_go_beyond_and_that_is_written_down(
    people: People, web: VirtualMachine, settings: Settings
) -> None:
    limit(people.acme, 0)
    dora, alice = Browser(people.dora), Browser(people.alice)
    form = {"name": "beyond", "kind": "disk", "exceed_limits": "on"}
    assert exceed_box(dora.get(dialog(web))) == []
    assert dora.post(dialog(web), form).status == 409
    settings.ADMINS_MAY_EXCEED_LIMITS = True
    assert exceed_box(alice.get(dialog(web))) == []
    assert alice.post(dialog(web), form).status == 409
    page = dora.get(dialog(web))
    (box,) = exceed_box(page)
    assert box.get("checked") is None
    assert page.one('//input[@value="disk"]').get("disabled") is None
    assert dora.get(f"/machines/{web.uuid}/").one('//*[@id="offer-take"]').get("aria-disabled") is None
    assert dora.post(dialog(web), {"name": "beyond", "kind": "disk"}).status == 409
    assert dora.post(dialog(web), form).status == 302
    assert Job.objects.get(snapshot_name="beyond").requested_by == people.dora
    event = Event.objects.get(action="limits.exceeded")
    assert event.detail == "By choice of an admin. The account acme has 0 VM snapshots and may have 0."


def test_a_safety_snapshot_beyond_the_limit_is_an_admins_choice(
    people: People, web: VirtualMachine, settings: Settings
) -> None:
    first = take(web, "first", memory=True)
    limit(people.acme, 1)
    settings.ADMINS_MAY_EXCEED_LIMITS = True
    address = f"/snapshots/{first.uuid}/revert/"
    page = Browser(people.alice).get(address)
    assert page.one('//input[@name="safety_snapshot"]').get("disabled") is not None
    assert "The account acme has 1 VM snapshot and may have 1." in page.text
    dora = Browser(people.dora)
    page = dora.get(address)
    assert page.one('//input[@name="safety_snapshot"]').get("disabled") is None
    assert page.one('//input[@name="safety_snapshot"]').get("checked") is None
    assert len(exceed_box(page)) == 1
    form = {"power": "as_snapshot", "safety_snapshot": "on"}
    assert dora.post(address, form).status == 409
    assert dora.post(address, form | {"exceed_limits": "on"}).status == 302
    assert Event.objects.filter(action="limits.exceeded", user=people.dora).count() == 1


def test_nobody_is_offered_to_go_beyond_for_what_is_not_possible_anyway(
    people: People, web: VirtualMachine, cloud: Cloud, settings: Settings
) -> None:
    settings.ADMINS_MAY_EXCEED_LIMITS = True
    limit(people.acme, 1, LimitKind.BYTES)
    dora = Browser(people.dora)
    page = dora.get(dialog(web))
    assert "this would add 1 GiB" in words(page.one('//*[@id="exceed-effect"]'))
    stopped = dora.get(dialog(cloud.machine("db")))
    assert stopped.one('//input[@value="memory"]').get("disabled") is not None
    assert stopped.one('//input[@value="disk"]').get("disabled") is None
    assert exceed_box(stopped) == []


def test_nobody_is_offered_to_go_beyond_with_a_safety_snapshot_that_is_not_possible(
    people: People, web: VirtualMachine, settings: Settings
) -> None:
    settings.ADMINS_MAY_EXCEED_LIMITS = True
    first = take(web, "first", memory=True)
    limit(people.acme, 1)
    address = f"/snapshots/{first.uuid}/revert/"
    assert len(exceed_box(Browser(people.dora).get(address))) == 1
    VirtualMachine.objects.filter(pk=web.pk).update(power_state="unknown")
    page = Browser(people.dora).get(address)
    assert page.one('//input[@name="safety_snapshot"]').get("disabled") is not None
    assert exceed_box(page) == []


@pytest.mark.parametrize("key", ["adopt", "adopt-all"])
def test_adopting_beyond_the_limit_is_an_admins_choice(
    people: People, web: VirtualMachine, cloud: Cloud, settings: Settings, key: str
) -> None:
    for name in ("one", "two"):
        cloud.world.take_elsewhere(web.native_id, name)
    cloud.sync()
    limit(people.acme, 0)
    address = f"/machines/{web.uuid}/?snapshot={VMSnapshot.objects.get(name='one').uuid}"
    dora, alice = Browser(people.dora), Browser(people.alice)
    assert dora.get(address).offer(key).get("aria-disabled") == "true"
    settings.ADMINS_MAY_EXCEED_LIMITS = True
    assert alice.get(address).offer(key).get("aria-disabled") == "true"
    page = dora.get(address)
    form = page.offer(key).getparent()
    (box,) = form.xpath('.//input[@name="exceed_limits"]')
    assert box.get("checked") is None
    assert "The account acme has 0 VM snapshots and may have 0" in words(page.one(f'//*[@id="exceed-effect-{key}"]'))
    assert alice.post(form.get("action"), {"exceed_limits": "on"}).status == 409
    assert dora.post(form.get("action"), {}).status == 409
    assert VMSnapshot.objects.filter(adopted_at__isnull=False).count() == 0
    assert dora.post(form.get("action"), {"exceed_limits": "on"}).status == 302
    assert VMSnapshot.objects.filter(adopted_at__isnull=False).count() == (1 if key == "adopt" else 2)
    assert Event.objects.get(action="limits.exceeded").user == people.dora


def test_adopting_what_has_room_asks_for_no_choice(
    people: People, web: VirtualMachine, cloud: Cloud, settings: Settings
) -> None:
    cloud.world.take_elsewhere(web.native_id, "one")
    cloud.sync()
    limit(people.acme, 1)
    settings.ADMINS_MAY_EXCEED_LIMITS = True
    page = Browser(people.dora).get(f"/machines/{web.uuid}/?snapshot={VMSnapshot.objects.get(name='one').uuid}")
    assert not page.offer("adopt").getparent().xpath(".//input[@name='exceed_limits']")


def test_what_was_made_elsewhere_and_has_no_room_says_so(people: People, web: VirtualMachine, cloud: Cloud) -> None:
    for name in ("one", "two"):
        cloud.world.take_elsewhere(web.native_id, name, memory=True)
    cloud.sync()
    limit(people.acme, GIB + GIB // 2, LimitKind.BYTES)
    row = VMSnapshot.objects.get(name="one")
    page = Browser(people.alice).get(f"/machines/{web.uuid}/?snapshot={row.uuid}")
    assert page.one('//*[@id="offer-adopt"]').get("aria-disabled") is None
    assert page.one('//*[@id="offer-adopt-all"]').get("aria-disabled") == "true"
    assert "may hold 1.5 GiB; this would add 2 GiB." in page.text
    assert Browser(people.alice).post(f"/machines/{web.uuid}/adopt/", {}).status == 409
    limit(people.acme, 0)
    text = Browser(people.dora).get("/drift/").text
    assert "The account acme has 0 VM snapshots and may have 0" in text


def test_a_snapshot_that_will_expire_says_when(people: People, web: VirtualMachine) -> None:
    take(web, "first", memory=False)
    alice = Browser(people.alice)
    assert "Expires" not in alice.get(f"/machines/{web.uuid}/").text
    limit(people.engineering, 30, LimitKind.AGE_DAYS)
    text = alice.get(f"/machines/{web.uuid}/").text
    assert "Expires" in text
    assert "it is deleted then, at an age of 30 days" in text


@pytest.mark.parametrize("person", ["charlie", "nora"])
def test_strangers_see_no_dialog_and_so_no_limit(people: People, web: VirtualMachine, person: str) -> None:
    limit(people.acme, 7777)
    page = Browser(getattr(people, person)).get(dialog(web))
    assert page.status == 404
    assert "7777" not in page.text
