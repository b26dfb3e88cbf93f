"""What the pages show of drift and let people do about it: the machine's page, and the report for admins."""

import pytest
from django.conf import settings as django_settings

from hypervisors.drivers.simulated.world import Machine, Taken
from snapshots.access import SYSTEM
from snapshots.models import Job, VirtualMachine, VMSnapshot
from snapshots.services import endpoints, tenancy
from snapshots.services.machine_actions import request_start
from tests.builders import Cloud, People, acting, run, take
from tests.doors.browser_client import Browser, Page, machine_page, of_snapshot, words


@pytest.fixture
def drifted(people: People, web: VirtualMachine, db_machine: VirtualMachine, cloud: Cloud) -> Cloud:
    """Two VM snapshots of `web` were made elsewhere, one of `db` is lost, `foreign` got another name, and `unassigned`
    vanished."""
    lost = take(db_machine, "golden", people.alice, memory=False)
    cloud.world.delete_elsewhere(db_machine.native_id, lost.native_id)
    cloud.world.take_elsewhere(web.native_id, "nightly")
    cloud.world.take_elsewhere(web.native_id, "weekly")
    cloud.world.rename_machine(cloud.world.machine_id("foreign"), "stranger")
    cloud.world.undefine(cloud.world.machine_id("unassigned"))
    cloud.sync()
    return cloud


def named(name: str) -> VMSnapshot:
    snapshot: VMSnapshot = VMSnapshot.objects.get(name=name)
    return snapshot


def notices(page: Page) -> list[str]:
    """What the report tells of the last action."""
    return [words(line) for line in page.find('//main/p[starts-with(@class, "notice")]')]


def sent(person: Browser, path: str, values: dict[str, object] | None = None) -> Page:
    """Post as the report's forms do, and look at the page that comes after it."""
    answer = person.post(path, {"back": "/drift/?what="} | (values or {}))
    assert answer.status == 302, answer.text
    assert answer.response["Location"] == "/drift/?what="
    return person.get("/drift/")


# --- the machine's page --------------------------------------------------------------------------------------------


def test_what_was_made_elsewhere_is_marked_in_its_place_and_adopted_by_one_click(
    people: People, drifted: Cloud
) -> None:
    alice, machine = Browser(people.alice), drifted.machine("web")
    nightly = named("nightly")
    page = alice.get(f"{machine_page(machine)}?snapshot={nightly.uuid}")
    assert [words(mark) for mark in page.find('//a[@role="treeitem"]//i')] == ["made elsewhere", "made elsewhere"]
    assert "limits and usage leave it out until you adopt it" in words(page.one('//*[@id="details"]'))
    form = page.offer("adopt").getparent()
    assert form.get("action") == of_snapshot(nightly, "adopt")
    answer = alice.post(form.get("action"), script=True)
    assert answer.status == 204
    assert "“nightly” is adopted" in answer.response.headers["HX-Trigger"].encode().decode("unicode_escape")
    page = alice.get(f"{machine_page(machine)}?snapshot={nightly.uuid}")
    assert [words(mark) for mark in page.find('//a[@role="treeitem"]//i')] == ["adopted", "made elsewhere"]
    assert not page.find('//*[@id="offer-adopt"]')
    assert "made elsewhere, adopted" in words(page.one('//*[@id="details"]'))
    assert named("nightly").counts


def test_everything_made_elsewhere_on_a_machine_is_adopted_at_once(people: People, drifted: Cloud) -> None:
    alice, machine = Browser(people.alice), drifted.machine("web")
    page = alice.get(machine_page(machine))
    assert "2 marked “made elsewhere” were taken outside this product" in page.text
    assert words(page.offer("adopt-all")) == "Adopt all 2"
    answer = alice.post(page.offer("adopt-all").getparent().get("action"))
    assert answer.response["Location"] == machine_page(machine)
    page = alice.get(machine_page(machine))
    assert "2 VM snapshots of web adopted." in page.text
    assert not page.find('//*[@id="offer-adopt-all"]')
    assert drifted.machine("web").unadopted_count == 0


def test_no_room_for_what_was_made_elsewhere_is_said_before_the_click(
    people: People, drifted: Cloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(django_settings, "SNAPSHOTS_PER_MACHINE", 1)
    alice = Browser(people.alice)
    page = alice.get(machine_page(drifted.machine("web")))
    assert "may have 1" in page.why_not("adopt-all")
    assert page.why_not("adopt") == ""
    alice.post(of_snapshot(named("nightly"), "adopt"))
    page = alice.get(f"{machine_page(drifted.machine('web'))}?snapshot={named('weekly').uuid}")
    assert "may have 1" in page.why_not("adopt")
    assert alice.post(of_snapshot(named("weekly"), "adopt")).status == 409
    assert not named("weekly").counts


def test_a_lost_snapshot_is_acknowledged_by_one_click(people: People, drifted: Cloud) -> None:
    alice, machine = Browser(people.alice), drifted.machine("db")
    page = alice.get(f"{machine_page(machine)}?snapshot={named('golden').uuid}")
    assert "1 marked “lost” is not on the hypervisor any more" in page.text
    answer = alice.post(page.offer("acknowledge").getparent().get("action"))
    assert answer.response["Location"] == machine_page(machine)
    page = alice.get(machine_page(machine))
    assert "“golden” is lost was taken note of" in page.text
    assert "No VM snapshot yet" in page.text


def test_a_busy_machine_says_why_its_lost_snapshot_cannot_be_acknowledged(people: People, drifted: Cloud) -> None:
    request_start(acting(people.alice), machine=drifted.machine("db"))
    page = Browser(people.alice).get(f"{machine_page(drifted.machine('db'))}?snapshot={named('golden').uuid}")
    assert "Start machine" in page.why_not("acknowledge")
    assert Browser(people.alice).post(of_snapshot(named("golden"), "acknowledge")).status == 409


def test_those_who_may_only_look_see_the_marks_and_why_they_cannot_act(people: People, drifted: Cloud) -> None:
    page = Browser(people.bob).get(machine_page(drifted.machine("web")))
    assert "may look at web but not change it" in page.why_not("adopt")
    assert "may look at web but not change it" in page.why_not("adopt-all")


def test_disks_that_need_consolidation_are_told_of_and_consolidated(
    people: People, web: VirtualMachine, cloud: Cloud
) -> None:
    alice = Browser(people.alice)
    assert "need consolidation" not in alice.get(machine_page(web)).text
    cloud.world.leave_disks_behind(web.native_id)
    cloud.sync()
    page = alice.get(machine_page(web))
    assert "The disks need consolidation." in page.text
    assert page.why_not("consolidate") == ""
    assert alice.post(page.offer("consolidate").getparent().get("action"), script=True).status == 204
    job = Job.objects.get(action="consolidate_disks")
    assert "Consolidate disks" in alice.get(machine_page(web)).why_not("consolidate")
    run(job)
    assert "need consolidation" not in alice.get(machine_page(web)).text
    assert alice.post(f"{machine_page(web)}consolidate/").status == 409


def test_why_disks_cannot_be_consolidated_stands_beside_the_button(people: People, cloud: Cloud) -> None:
    reason = "Only an administrator of the hypervisor may."
    made = Cloud((Machine("stuck", missing=(("consolidate", reason),)),))
    tenancy.assign_machine(SYSTEM, machine=made.machine("stuck"), account=people.acme)
    made.world.leave_disks_behind(made.world.machine_id("stuck"))
    made.sync()
    page = Browser(people.alice).get(machine_page(made.machine("stuck")))
    assert page.why_not("consolidate").strip() == reason


def test_a_question_of_the_hypervisor_is_shown_until_it_is_answered(
    people: People, web: VirtualMachine, cloud: Cloud
) -> None:
    cloud.world.ask(web.native_id, "Retry or cancel <now>?")
    cloud.sync()
    page = Browser(people.bob).get(machine_page(web))
    assert "The hypervisor waits for an answer" in page.text
    assert words(page.one('//p[@class="asked"]')) == "Retry or cancel <now>?"
    cloud.world.ask(web.native_id, "")
    cloud.sync()
    assert "waits for an answer" not in Browser(people.bob).get(machine_page(web)).text


def test_where_a_machine_is_filed_stands_in_its_facts(people: People, web: VirtualMachine, cloud: Cloud) -> None:
    bare = Browser(people.bob).get(machine_page(web))
    assert not {"Folder", "Resource pool", "Tags"} & {words(term) for term in bare.find("//dl[@class='facts']//dt")}
    cloud.world.file(web.native_id, folder="/Shop/Web", resource_pool="Gold", tags=("prod", "shop"))
    cloud.sync()
    facts = words(Browser(people.bob).get(machine_page(web)).one("//dl[@class='facts']"))
    for fact in ("Folder /Shop/Web", "Resource pool Gold", "Tags prod shop"):
        assert fact in facts


@pytest.mark.parametrize("change", ["file", "leave_disks_behind", "ask", "take_elsewhere"])
def test_an_open_page_notices_what_others_did(people: People, web: VirtualMachine, cloud: Cloud, change: str) -> None:
    browser = Browser(people.alice)
    stamp = browser.get(machine_page(web)).one('//*[@id="pulse"]').get("hx-vals").split('"')[3]
    pulse = f"{machine_page(web)}pulse/?stamp={stamp}"
    assert browser.get(pulse, script=True, target="pulse").status == 204
    arguments = {"file": ("/x",), "ask": ("?",), "take_elsewhere": ("x",)}.get(change, ())
    getattr(cloud.world, change)(web.native_id, *arguments)
    cloud.sync()
    assert browser.get(pulse, script=True, target="pulse").response["HX-Retarget"] == "#machine"


def test_the_list_of_machines_marks_what_needs_a_look_and_names_the_kind(people: People, drifted: Cloud) -> None:
    drifted.world.leave_disks_behind(drifted.world.machine_id("web"))
    drifted.world.ask(drifted.world.machine_id("web"), "Well?")
    drifted.sync()
    page = Browser(people.alice).get("/")
    line = words(page.one('//tbody/tr[contains(., "web")]'))
    for mark in ("2 made elsewhere", "needs consolidation", "waits for an answer", f"{drifted.name} Simulated"):
        assert mark in line, mark
    assert "1 lost" in words(page.one('//tbody/tr[contains(., "db")]'))


# --- the report ----------------------------------------------------------------------------------------------------


def test_the_report_tells_root_everything(people: People, drifted: Cloud) -> None:
    page = Browser(people.root).get("/drift/")
    waiting = words(page.one('//section[@aria-labelledby="differ-title"]'))
    for said in ("db", "1 lost", "golden", "web", "2 made elsewhere", "nightly", "weekly", "acme in engineering"):
        assert said in waiting, said
    assert "unassigned" in words(page.one('//section[@aria-labelledby="vanished-title"]'))
    right = words(page.one('//section[@aria-labelledby="right-title"]'))
    assert "stranger simulated · Machine: renamed foreign is now named stranger" in right
    assert "web simulated · VM snapshot “weekly”: the machine stands here now" in right
    assert page.find(f'//a[@href="/snapshots/{named("golden").uuid}/"]')


def test_the_report_tells_a_domain_admin_of_their_domains_only(people: People, drifted: Cloud) -> None:
    page = Browser(people.dora).get("/drift/")
    assert "nightly" in page.source
    for secret in ("unassigned", "stranger", "foreign"):
        assert secret not in page.source, secret
    assert not page.find('//form[@action="/drift/sync/"]')


def test_membership_in_an_account_of_another_domain_is_no_administration(people: People, drifted: Cloud) -> None:
    tenancy.grant_role(SYSTEM, user=people.dora, role="operator", account=people.other)
    drifted.world.take_elsewhere(drifted.world.machine_id("stranger"), "theirs")
    drifted.sync()
    assert "theirs" not in Browser(people.dora).get("/drift/").source
    assert "theirs" in Browser(people.root).get("/drift/").source


@pytest.mark.parametrize(
    ("query", "shown", "hidden"),
    [
        ("?what=elsewhere", ["nightly"], ["golden", "unassigned", "stranger"]),
        ("?what=lost", ["golden"], ["nightly", "unassigned", "stranger"]),
        ("?what=vanished", ["unassigned"], ["nightly", "golden", "stranger"]),
        ("?what=corrected", ["stranger"], ["nightly", "golden", "unassigned"]),
        ("?q=WEB", ["nightly"], ["golden", "unassigned", "stranger"]),
        ("?q=nothing", ["Nothing here differs"], ["nightly", "golden", "unassigned", "stranger"]),
        ("?hypervisor=7d9f4a0e-5a3c-4f52-9a3a-0d5f0f1c2b3d", ["Nothing here differs"], ["nightly", "stranger"]),
        ("?what=nonsense&page=x&hypervisor=y", ["nightly", "golden", "unassigned", "stranger"], []),
    ],
)
def test_the_report_is_narrowed(
    people: People, drifted: Cloud, query: str, shown: list[str], hidden: list[str]
) -> None:
    page = Browser(people.root).get(f"/drift/{query}", script=True, target="drift")
    assert page.root.get("id") == "drift"
    assert [word for word in shown if word not in page.text] == []
    assert [word for word in hidden if word in page.text] == []


def test_adopting_and_acknowledging_from_the_report_comes_back_to_it(people: People, drifted: Cloud) -> None:
    dora = Browser(people.dora)
    page = sent(dora, of_snapshot(named("nightly"), "adopt"))
    assert notices(page) == ["“nightly” is adopted: it counts as taken here."]
    page = sent(dora, of_snapshot(named("golden"), "acknowledge"))
    assert notices(page) == ["That “golden” is lost was taken note of."]
    page = sent(dora, f"{machine_page(drifted.machine('web'))}adopt/")
    assert notices(page) == ["1 VM snapshot of web adopted."]
    assert not page.find('//section[@aria-labelledby="differ-title"]')
    page = sent(dora, f"{machine_page(drifted.machine('web'))}sync/")
    assert "Read machine from its hypervisor" in notices(page)[0]


@pytest.mark.parametrize("back", ["https://evil.example/", "//evil.example/", "/\\evil.example"])
def test_nobody_is_sent_to_another_host_afterwards(people: People, drifted: Cloud, back: str) -> None:
    answer = Browser(people.dora).post(of_snapshot(named("nightly"), "adopt"), {"back": back})
    assert answer.response["Location"].startswith(machine_page(drifted.machine("web")))


def test_the_report_says_beforehand_what_cannot_be_done(
    people: People, drifted: Cloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(django_settings, "SNAPSHOTS_PER_MACHINE", 1)
    request_start(SYSTEM, machine=drifted.machine("db"))
    page = Browser(people.dora).get("/drift/")
    for label, reason in (
        ("Adopt all of web", "may have 1"),
        ("Acknowledge golden", "db is busy"),
        ("Sync db", "db is busy"),
    ):
        button = page.one(f'//button[@aria-label="{label}"]')
        assert button.get("aria-disabled") == "true"
        assert reason in words(page.one(f'//*[@id="{button.get("aria-describedby")}"]'))
    assert page.one('//button[@aria-label="Adopt nightly"]').getparent().get("method") == "post"
    assert "may go beyond it" not in page.text
    monkeypatch.setattr(django_settings, "ADMINS_MAY_EXCEED_LIMITS", True)
    hint = Browser(people.dora).get("/drift/").one('//p[@class="hint"]')
    assert words(hint) == "Whoever administers what the limit is for may go beyond it, on the page of web ."
    assert hint.find("a").get("href") == machine_page(drifted.machine("web"))


def test_of_very_many_only_the_first_are_listed_with_the_way_to_the_others(people: People) -> None:
    made = Cloud((Machine("many", snapshots=[Taken(f"s{number:02}") for number in range(14)]),))
    tenancy.assign_machine(SYSTEM, machine=made.machine("many"), account=people.acme)
    page = Browser(people.root).get("/drift/")
    assert "14 made elsewhere" in page.text
    assert words(page.one('//ul[@class="drift-list"]/li[last()]/a')) == "and 4 more"


def test_many_machines_that_differ_come_in_pages(people: People) -> None:
    Cloud(tuple(Machine(f"m{number:02}", snapshots=[Taken("s")]) for number in range(30)))
    page = Browser(people.root).get("/drift/?what=elsewhere")
    assert "1–25 of 30" in page.text
    following = Browser(people.root).get("/drift/" + page.one('//a[@rel="next"]').get("href"))
    assert "26–30 of 30" in following.text
    assert following.one('//option[@value="elsewhere"]').get("selected") is not None


def test_sync_now_reads_every_hypervisor_that_is_switched_on(people: People, drifted: Cloud) -> None:
    off = Cloud((Machine("off"),))
    endpoints.change_endpoint(
        SYSTEM, hypervisor=off.hypervisor, name=off.name, address=off.name, username="", password=None, enabled=False
    )
    root = Browser(people.root)
    before = Job.objects.count()
    assert notices(sent(root, "/drift/sync/")) == ["1 hypervisor being read; its findings appear here."]
    [job] = Job.objects.order_by("-pk")[: Job.objects.count() - before]
    assert (job.action, job.hypervisor, job.requested_by) == ("sync_hypervisor", drifted.hypervisor, people.root)
    assert "no hypervisor" in notices(sent(root, "/drift/sync/", {"hypervisor": "nonsense"}))[0]


def test_every_empty_state_leads_on(people: People) -> None:
    root, dora = Browser(people.root), Browser(people.dora)
    assert root.get("/drift/").find('//a[@href="/admin/hypervisors/hypervisor/add/"]')
    assert "Ask a root admin" in dora.get("/drift/").text
    Cloud((Machine("calm"),))
    page = root.get("/drift/")
    assert "No drift" in page.text
    assert page.find('//main//form[@action="/drift/sync/"]')
    assert root.get("/drift/?q=x").find('//a[@href="/drift/"][contains(., "Drop the filters")]')
