"""What holds for the markup of every page: nothing inline, nothing foreign, named parts, one main heading, ids once."""

from collections import Counter
from datetime import timedelta
from urllib.parse import urlsplit

import pytest
from django.conf import settings as django_settings
from django.contrib.staticfiles.finders import find
from django.utils import timezone

from snapshots.access import SYSTEM
from snapshots.models import Job, Schedule, VirtualMachine, VMSnapshot
from snapshots.services.machine_actions import request_start
from snapshots.services.machine_import import add_rule
from snapshots.services.scheduled_snapshots import take_due_snapshots
from snapshots.services.schedules import pause_schedule
from snapshots.services.snapshot_actions import request_revert
from snapshots.tasks import sample_capacity
from tests.builders import Cloud, People, acting, run, schedule, take
from tests.doors.browser_client import Browser, Page, machine_page, of_snapshot


@pytest.fixture
def pages(people: People, cloud: Cloud, web: VirtualMachine, db_machine: VirtualMachine) -> dict[str, Page]:
    """Every page in some state that fills it, by address; parts that scripts fetch have "part of" in front."""
    make_drift(cloud, web, db_machine, people)
    web = cloud.machine("web")
    first = take(web, "<b>first</b>", people.alice)
    middle = take(web, "onclick=alert(1)", people.alice)
    take(web, "third", people.alice)
    run(request_revert(acting(people.alice), snapshot=middle))
    request_start(acting(people.alice), machine=db_machine)
    nightly, paused = schedules_of_all_kinds(web)
    volume = web.volumes.first()
    assert volume is not None
    assert volume.pool is not None
    VMSnapshot.objects.filter(pk=first.pk).update(created_at=first.created_at - timedelta(days=400))
    sample_capacity()
    middle = VMSnapshot.objects.get(pk=middle.pk)
    alice, nobody, root = Browser(people.alice), Browser(None), Browser(people.root)
    whole = [
        machine_page(web),
        machine_page(db_machine),
        f"{machine_page(web)}?snapshot={first.uuid}",
        f"{machine_page(web)}history/",
        "/",
        "/?q=nothing",
        "/jobs/",
        *(f"/jobs/{job.uuid}/" for job in Job.objects.filter(machine__isnull=False)),
        "/usage/",
        "/account/",
        "/dashboard/",
        "/capacity/",
        f"/capacity/pools/{volume.pool.uuid}/",
        f"/capacity/accounts/{people.acme.uuid}/?range=day",
        f"/capacity/machines/{web.uuid}/",
        "/capacity/stale/",
        "/schedules/",
        "/schedules/?q=nothing",
        f"{machine_page(web)}schedules/",
        f"{machine_page(db_machine)}schedules/",
        "/no/such/page/",
    ]
    dialogs = [
        f"{machine_page(web)}take/",
        f"{machine_page(web)}stop/",
        f"{machine_page(web)}attach/",
        f"{machine_page(web)}delete-all/",
        f"{machine_page(web)}schedules/add/",
        f"/schedules/{nightly.uuid}/",
        f"/schedules/{paused.uuid}/delete/",
        f"/volumes/{volume.uuid}/detach/",
        *(of_snapshot(middle, name) for name in ("revert", "rename", "delete", "delete-with-descendants")),
    ]
    made = {path: alice.get(path) for path in whole + dialogs}
    made |= {f"part of {path}": alice.get(path, script=True) for path in dialogs}
    made[f"part of {machine_page(web)}"] = alice.get(f"{machine_page(web)}pulse/?stamp=old", script=True)
    wrong = {"name": "<b>first</b>", "frequency": "weekly", "kind": "quiesce", "keep": "9" * 30}
    made["schedule refused"] = alice.post(f"{machine_page(web)}schedules/add/", wrong)
    made["part of schedule refused"] = alice.post(f"/schedules/{nightly.uuid}/", wrong, script=True)
    made["schedules as a reader"] = Browser(people.bob).get(f"{machine_page(web)}schedules/")
    made["refused"] = alice.post(f"{machine_page(db_machine)}start/")
    made["part of refused"] = alice.post(f"{machine_page(db_machine)}start/", script=True)
    made["/sign-in/"] = nobody.get("/sign-in/")
    made["/ of root"] = root.get("/")
    made |= {f"{path} of root": root.get(path) for path in pages_of_root(people, web)}
    for path in ("/import/rules/add/", f"/import/machines/{web.uuid}/"):
        made[f"part of {path}"] = root.get(path, script=True)
        made[f"part of {path} filled in"] = root.post(path, {"name_pattern": "<b>first</b>"}, script=True)
    filled = {"name_pattern": "*", "account": str(people.acme.uuid), "preview": "yes"}
    made["preview"] = root.post("/import/rules/add/", filled)
    made["token"] = alice.post("/account/tokens/", {"name": "n", "scope": "read", "days": "1"})
    made["lost mark"] = Page(alice.client.post("/account/tokens/", {}))
    return made


def schedules_of_all_kinds(web: VirtualMachine) -> tuple[Schedule, Schedule]:
    """One that has taken a VM snapshot, one that missed its last time, and one that is paused and has no room to go on: the
    first and the last of them."""
    nightly, missed, paused = (schedule(web, name=f"<b>first</b> {n}", keep=1) for n in range(3))
    Schedule.objects.filter(pk=nightly.pk).update(next_at=timezone.now())
    run(take_due_snapshots()[0])
    Schedule.objects.filter(pk=missed.pk).update(missed="<b>first</b>", last_due_at=timezone.now())
    pause_schedule(SYSTEM, schedule=paused)
    schedule(web, name="all the rest", keep=7)
    return nightly, paused


def make_drift(cloud: Cloud, web: VirtualMachine, db_machine: VirtualMachine, people: People) -> None:
    """Everything that can differ, to be seen on the pages."""
    lost = take(db_machine, "<b>first</b>", people.alice, memory=False)
    cloud.world.delete_elsewhere(db_machine.native_id, lost.native_id)
    for name in ("<b>first</b> elsewhere", "second elsewhere"):
        cloud.world.take_elsewhere(web.native_id, name)
    cloud.world.leave_disks_behind(web.native_id)
    cloud.world.ask(web.native_id, "<b>first</b>?")
    cloud.world.file(web.native_id, folder="<b>first</b>", resource_pool="<b>first</b>", tags=["<b>first</b>"])
    cloud.world.undefine(cloud.world.machine_id("unassigned"))
    cloud.world.rename_machine(cloud.world.machine_id("foreign"), "<b>first</b>")
    cloud.sync()


def pages_of_root(people: People, machine: VirtualMachine) -> list[str]:
    """The pages that admins alone have, with a rule to be seen, and the page of a machine that is nobody's."""
    pool = machine.volumes.select_related("pool").first()
    assert pool is not None
    assert pool.pool is not None
    capacity = ["/dashboard/", "/capacity/", f"/capacity/pools/{pool.pool.uuid}/?range=day", "/capacity/stale/"]
    empty = ["/import/?q=nothing", f"/import/?hypervisor={people.acme.uuid}&owner=all", "/drift/?q=nothing"]
    rule = add_rule(acting(people.root), account=people.acme, name_pattern="<b>first</b>", tag_pattern="*")
    add_rule(acting(people.root), account=people.other, name_pattern="un*", hypervisor=machine.hypervisor)
    unassigned = VirtualMachine.objects.get(account=None)
    kept = f"/import/rules/{rule.uuid}/"
    return [
        *empty, *capacity, "/drift/", "/drift/?what=lost",
        "/import/", "/import/?owner=all", "/import/rules/", "/import/rules/add/",
        kept, f"{kept}delete/", f"/import/machines/{machine.uuid}/", f"/machines/{unassigned.uuid}/",
    ]  # fmt: skip


def whole(pages: dict[str, Page]) -> dict[str, Page]:
    """Pages only, without the parts."""
    return {path: page for path, page in pages.items() if not path.startswith("part of")}


def test_nothing_is_inline(pages: dict[str, Page]) -> None:
    for path, page in pages.items():
        assert page.find("//style") == [], path
        assert page.find("//*[@style]") == [], path
        assert page.find('//script[not(@src) and not(@type="application/json")]') == [], path
        assert [name for name in page.find("//@*/..") if any(key.startswith("on") for key in name.attrib)] == [], path
        assert page.find('//*[starts-with(@href, "javascript:")]') == [], path
        assert page.find("//*[@*[starts-with(name(), 'hx-on')]]") == [], path


def test_nothing_comes_from_another_host(pages: dict[str, Page]) -> None:
    for path, page in pages.items():
        for name in ("src", "href", "action", "hx-get", "hx-post", "srcset", "data"):
            for value in page.find(f"//@{name}"):
                assert not urlsplit(value).netloc, (path, name, value)
                assert not urlsplit(value).scheme, (path, name, value)


def test_every_page_says_what_may_be_loaded(pages: dict[str, Page]) -> None:
    for path, page in pages.items():
        policy = page.response["Content-Security-Policy"]
        assert "default-src 'self'" in policy, path
        assert "unsafe" not in policy, path


def test_nothing_that_people_typed_became_markup(pages: dict[str, Page]) -> None:
    for path, page in pages.items():
        assert page.find('//b[text()="first"]') == [], path


def test_every_page_has_its_landmarks_and_one_main_heading(pages: dict[str, Page]) -> None:
    for path, page in whole(pages).items():
        assert page.root.get("lang") == "en", path
        assert page.find("//title")[0].text_content().endswith("VMSnap"), path
        assert len(page.find("//main")) == len(page.find("//header")) == len(page.find("//footer")) == 1, path
        assert len(page.find("//h1")) == 1, path
        assert page.one('//a[@class="skip-link"]').get("href") == "#content", path
        assert page.one('//*[@id="messages"]').get("role") == "status", path
        assert page.find('//meta[@name="viewport"]'), path


def test_ids_are_unique_and_what_is_pointed_to_is_there(pages: dict[str, Page]) -> None:
    for path, page in whole(pages).items():
        ids = Counter(page.find("//@id"))
        assert [name for name, count in ids.items() if count > 1] == [], path
        for attribute in ("aria-labelledby", "aria-describedby", "for"):
            for value in page.find(f"//@{attribute}"):
                # The dialog has no title until it is filled.
                assert value == "dialog-title" or value in ids, (path, attribute, value)


def test_every_control_has_a_name(pages: dict[str, Page]) -> None:
    for path, page in pages.items():
        for control in page.find('//input[not(@type="hidden")] | //select | //textarea'):
            labelled = control.xpath("ancestor::label") or page.find(f'//label[@for="{control.get("id")}"]')
            assert labelled or control.get("aria-label"), (path, control.get("name"))
        for button in page.find("//button | //a"):
            assert button.text_content().strip() or button.get("aria-label"), path


def test_every_form_that_changes_something_carries_the_mark_of_the_session(pages: dict[str, Page]) -> None:
    for path, page in pages.items():
        for form in page.find('//form[@method="post"]'):
            assert form.xpath('.//input[@name="csrfmiddlewaretoken"]'), path
        for form in page.find("//form[@hx-post]"):
            assert form.get("action") == form.get("hx-post"), path
            assert form.get("method") == "post", path


def test_every_dialog_that_a_script_opens_is_a_page_without_it(pages: dict[str, Page]) -> None:
    for page in pages.values():
        for link in page.find("//a[@hx-get]"):
            assert link.get("href") == link.get("hx-get")


def test_pages_are_not_kept_by_caches(pages: dict[str, Page]) -> None:
    for path, page in pages.items():
        if path not in ("/no/such/page/", "lost mark"):
            assert "no-store" in page.response["Cache-Control"] or "no-cache" in page.response["Cache-Control"], path


def test_times_carry_their_zone_and_year(pages: dict[str, Page]) -> None:
    for path, page in pages.items():
        for time in page.find("//time"):
            shown = time.text_content() + (time.get("title") or "")
            assert "UTC" in shown, path
            assert time.get("datetime")[:4] in shown, path


def test_the_scripts_and_styles_named_are_files_we_have(pages: dict[str, Page]) -> None:
    named = set()
    for page in whole(pages).values():
        named |= set(page.find("//script/@src")) | set(page.find('//link[@rel="stylesheet" or @rel="icon"]/@href'))
    assert named
    for address in named:
        assert find(address.removeprefix(f"/{django_settings.STATIC_URL.strip('/')}/")), address


def test_every_symbol_used_is_drawn(pages: dict[str, Page]) -> None:
    drawn = (django_settings.BASE_DIR / "static/vmsnap/icons.svg").read_text()
    for path, page in pages.items():
        for use in page.find("//use/@href"):
            assert f'id="{use.split("#")[1]}"' in drawn, (path, use)
