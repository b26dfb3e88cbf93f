"""The list of machines and the list of jobs: what is in them for whom, search, filters, sorting, pages; one job's page."""

import pytest
from django.utils import timezone
from pytest_django import DjangoAssertNumQueries

from hypervisors.drivers.simulated.world import Machine, many_machines
from snapshots.access import SYSTEM
from snapshots.models import Job, User, VirtualMachine
from snapshots.services.job_runner import run_job
from snapshots.services.machine_actions import request_start, request_sync
from snapshots.services.snapshot_actions import request_create
from snapshots.services.tenancy import assign_machine
from tests.builders import Cloud, People, acting, run, take
from tests.doors.browser_client import Browser, Page, words


def names(page: Page) -> list[str]:
    """The machines listed, in their order."""
    return [words(link) for link in page.find('//table//th[@scope="row"]/a[not(@class)]')]


def own_all(cloud: Cloud, people: People) -> None:
    """All machines of the world go to acme."""
    for machine in VirtualMachine.objects.filter(hypervisor=cloud.hypervisor):
        assign_machine(SYSTEM, machine=machine, account=people.acme)


# --- machines ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("who", "expected"),
    [
        ("alice", ["db", "web"]),
        ("bob", ["db", "web"]),
        ("dora", ["db", "web"]),
        ("charlie", ["foreign"]),
        ("nora", []),
        ("root", ["db", "foreign", "unassigned", "web"]),
    ],
)
def test_everybody_sees_the_machines_of_their_accounts(
    people: People, web: VirtualMachine, who: str, expected: list[str]
) -> None:
    page = Browser(getattr(people, who)).get("/")
    assert names(page) == expected
    if not expected:
        assert "Ask an admin of your domain" in page.text


def test_an_empty_installation_sends_its_root_admin_to_the_admin_site(people: People) -> None:
    page = Browser(people.root).get("/")
    assert "Connect a hypervisor" in page.text
    assert page.find('//main//a[@href="/admin/"]')


def test_a_line_tells_power_snapshots_owner_hypervisor_and_age(
    people: People, web: VirtualMachine, cloud: Cloud
) -> None:
    take(web, "first", people.alice)
    row = Browser(people.alice).get("/").one('//tbody/tr[contains(., "web")]')
    assert words(row).startswith("web simulated Running 1 acme engineering")
    assert cloud.name in words(row)
    assert row.xpath(".//time[@datetime][@title]")


def test_a_busy_machine_shows_its_job(people: People, web: VirtualMachine) -> None:
    job = request_create(acting(people.alice), machine=web, name="first", memory=True)
    link = Browser(people.bob).get("/").one('//a[@class="busy"]')
    assert link.get("href") == f"/jobs/{job.uuid}/"
    assert "Take VM snapshot, waiting" in words(link)


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("?q=WE", ["web"]),
        ("?q=acme", ["db", "web"]),
        ("?q=%25", []),
        ("?q=nothing", []),
        ("?power=stopped", ["db"]),
        ("?power=sideways", ["db", "web"]),
        ("?hypervisor=none", ["db", "web"]),
        ("?hypervisor=7d9f4a0e-5a3c-4f52-9a3a-0d5f0f1c2b3d", []),
        ("?account=7d9f4a0e-5a3c-4f52-9a3a-0d5f0f1c2b3d", []),
        ("?sort=-name", ["web", "db"]),
        ("?sort=snapshot_count", ["db", "web"]),
        ("?sort=-snapshot_count", ["web", "db"]),
        ("?sort=power_state", ["web", "db"]),
        ("?sort=-power_state", ["db", "web"]),
        ("?sort=account", ["db", "web"]),
        ("?sort=-hypervisor", ["db", "web"]),
        ("?sort=-synced_at", ["web", "db"]),
        ("?sort=password", ["db", "web"]),
        ("?page=99", ["db", "web"]),
        ("?page=-1", ["db", "web"]),
        ("?page=" + "9" * 50, ["db", "web"]),
        ("?q=" + "x" * 300, ["db", "web"]),
    ],
)
def test_search_filters_and_sorting(people: People, web: VirtualMachine, query: str, expected: list[str]) -> None:
    take(web, "first", people.alice)
    assert names(Browser(people.alice).get(f"/{query}")) == expected


def test_filters_of_hypervisor_and_account_narrow(people: People, web: VirtualMachine, cloud: Cloud) -> None:
    Cloud((Machine("other-one"),))
    root = Browser(people.root)
    assert "other-one" not in names(root.get(f"/?hypervisor={cloud.hypervisor.uuid}"))
    assert names(root.get(f"/?account={people.other.uuid}")) == ["foreign"]
    assert names(Browser(people.alice).get(f"/?account={people.other.uuid}")) == []


def test_a_search_that_finds_nothing_offers_the_way_back(people: People, web: VirtualMachine) -> None:
    page = Browser(people.alice).get("/?q=nothing")
    assert "No machine matches" in page.text
    assert page.find('//main//a[@href="/"]')


def test_the_filters_offer_nothing_of_others(people: People, web: VirtualMachine) -> None:
    cloud = Cloud((Machine("theirs"),), name="secret-place")
    assign_machine(SYSTEM, machine=cloud.machine("theirs"), account=people.other)
    page = Browser(people.alice).get("/")
    assert "secret-place" not in page.source
    assert "other (" not in page.text
    assert "secret-place" in Browser(people.charlie).get("/").text


def test_pages_keep_the_search_and_the_order(people: People) -> None:
    cloud = Cloud(many_machines(120, 0))
    own_all(cloud, people)
    browser = Browser(people.alice)
    page = browser.get("/?power=running&sort=-name")
    count = VirtualMachine.objects.filter(power_state="running").count()
    assert f"1–50 of {count}" in page.text
    following = browser.get(page.one('//a[@rel="next"]').get("href"))
    assert f"51–{min(100, count)} of {count}" in following.text
    listed = names(page) + names(following)
    assert listed == sorted(set(listed), reverse=True)
    assert names(browser.get(following.one('//a[@rel="prev"]').get("href"))) == names(page)


def test_the_head_of_the_sorted_column_says_so_and_turns_it(people: People, web: VirtualMachine) -> None:
    browser = Browser(people.alice)
    head = browser.get("/").one("//th[@aria-sort]")
    assert head.get("aria-sort") == "ascending"
    turned = browser.get(head.xpath("./a")[0].get("href"))
    assert turned.one("//th[@aria-sort]").get("aria-sort") == "descending"
    assert names(turned) == ["web", "db"]


def test_with_a_script_only_the_list_is_sent(people: People, web: VirtualMachine) -> None:
    page = Browser(people.alice).get("/?q=web", script=True, target="machines")
    assert names(page) == ["web"]
    assert page.find("//header") == []


@pytest.mark.parametrize("count", [1, 60])
def test_the_list_of_machines_costs_eight_queries_whatever_its_length(
    people: People, count: int, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    cloud = Cloud(many_machines(count, 0))
    own_all(cloud, people)
    request_start_of_a_stopped_one(people, cloud)
    browser = Browser(people.alice)
    # 1 session, 2 user, 3 is it a root admin, 4 how many machines, 5 this page of them with hypervisor, account, domain,
    # 6 jobs under way on them, 7 hypervisors to filter by, 8 accounts to filter by
    with django_assert_num_queries(8):
        assert browser.get("/").status == 200


def request_start_of_a_stopped_one(people: People, cloud: Cloud) -> None:
    """A job under way, so that there is one to be looked up."""
    machine = VirtualMachine.objects.filter(hypervisor=cloud.hypervisor).order_by("name").first()
    assert machine is not None
    request_sync(acting(people.alice), machine=machine)


# --- jobs ----------------------------------------------------------------------------------------------------------


def job_names(page: Page) -> list[str]:
    """The jobs listed, in their order."""
    return [words(head) for head in page.find('//table//th[@scope="row"]')]


def test_the_list_of_jobs_has_the_newest_first_and_what_became_of_them(people: People, web: VirtualMachine) -> None:
    take(web, "first", people.alice)
    request_create(acting(people.alice), machine=web, name="second", memory=True)
    page = Browser(people.bob).get("/jobs/")
    assert job_names(page) == ["Take VM snapshot “second”", "Take VM snapshot “first”"]
    states = [words(cell) for cell in page.find('//td[@data-label="State"]')]
    assert states == ["Waiting", "Done"]
    assert "web simulated" in page.text


def test_jobs_of_others_are_not_listed(people: People, web: VirtualMachine) -> None:
    take(web, "first", people.alice)
    assert job_names(Browser(people.charlie).get("/jobs/")) == []
    assert "No job yet" in Browser(people.charlie).get("/jobs/").text
    listed = job_names(Browser(people.root).get("/jobs/"))
    assert "Read everything from the hypervisor" in listed


def test_jobs_are_filtered_by_state_and_action(people: People, web: VirtualMachine, db_machine: VirtualMachine) -> None:
    take(web, "first", people.alice)
    request_start(acting(people.alice), machine=db_machine)
    browser = Browser(people.alice)
    assert job_names(browser.get("/jobs/?state=queued")) == ["Start machine"]
    assert job_names(browser.get("/jobs/?action=create_snapshot")) == ["Take VM snapshot “first”"]
    assert job_names(browser.get("/jobs/?state=failed")) == []
    assert "No job matches" in browser.get("/jobs/?state=failed").text
    assert len(job_names(browser.get("/jobs/?state=nonsense&action=nonsense&before=nonsense"))) == 2
    page = browser.get("/jobs/?state=queued", script=True, target="jobs")
    assert job_names(page) == ["Start machine"]
    assert page.find("//header") == []


def test_older_jobs_are_on_the_next_page(people: People, web: VirtualMachine) -> None:
    for _ in range(60):
        run(request_sync(acting(people.alice), machine=web))
    browser = Browser(people.alice)
    page = browser.get("/jobs/?action=sync_machine")
    older = browser.get("/jobs/" + page.one('//a[@rel="next"]').get("href"))
    first = [link.get("href") for link in page.find('//th[@scope="row"]/a')]
    then = [link.get("href") for link in older.find('//th[@scope="row"]/a')]
    assert (len(first), len(then)) == (50, 10)
    assert not set(first) & set(then)
    assert older.find('//a[@rel="next"]') == []
    assert older.find('//a[contains(., "Newest")]')


def test_the_list_of_jobs_costs_four_queries(
    people: People, web: VirtualMachine, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    for name in ("first", "second", "third"):
        take(web, name, people.alice)
    browser = Browser(people.alice)
    # 1 session, 2 user, 3 is it a root admin, 4 jobs with machine, hypervisor and who asked
    with django_assert_num_queries(4):
        assert browser.get("/jobs/").status == 200


def test_a_job_under_way_can_be_watched_and_cancelled(people: People, web: VirtualMachine) -> None:
    job = request_create(acting(people.alice), machine=web, name="first", memory=True)
    browser = Browser(people.alice)
    page = browser.get(f"/jobs/{job.uuid}/")
    assert page.one('//*[@id="job"]').get("hx-trigger").startswith("every 1s")
    assert page.find("//progress")
    part = browser.get(f"/jobs/{job.uuid}/", script=True, target="job")
    assert part.find("//header") == []
    answer = browser.post(f"/jobs/{job.uuid}/cancel/")
    assert answer.response["Location"] == f"/jobs/{job.uuid}/"
    page = browser.get(f"/jobs/{job.uuid}/")
    assert "Cancelled" in page.text
    assert "It was cancelled before it began." in page.text
    assert page.one('//*[@id="job"]').get("hx-trigger") is None


def test_a_running_job_that_cannot_be_stopped_says_so(people: People) -> None:
    cloud = Cloud((Machine("stubborn", missing=(("cancel", "This hypervisor cannot stop what it has begun."),)),))
    assign_machine(SYSTEM, machine=cloud.machine("stubborn"), account=people.acme)
    job = request_create(acting(people.alice), machine=cloud.machine("stubborn"), name="first", memory=True)
    under_way(job)
    browser = Browser(people.alice)
    page = browser.get(f"/jobs/{job.uuid}/")
    assert page.one('//*[@id="cancel"]').get("aria-disabled") == "true"
    assert "cannot stop what it has begun" in words(page.one('//*[@id="cancel-why"]'))
    refused = browser.post(f"/jobs/{job.uuid}/cancel/")
    assert refused.status == 409
    assert "cannot stop what it has begun" in refused.text


def under_way(job: Job) -> None:
    """A worker has claimed the job and not come back yet."""
    Job.objects.filter(pk=job.pk).update(
        state="running", claim="a worker", started_at=timezone.now(), heartbeat_at=timezone.now(), progress=40
    )


def test_a_running_job_that_was_asked_to_stop_says_so(people: People, web: VirtualMachine) -> None:
    job = request_create(acting(people.alice), machine=web, name="first", memory=True)
    under_way(job)
    browser = Browser(people.alice)
    assert browser.post(f"/jobs/{job.uuid}/cancel/").status == 302
    page = browser.get(f"/jobs/{job.uuid}/")
    assert page.one('//*[@id="cancel"]').get("aria-disabled") == "true"
    assert "It was asked to stop just now." in page.text
    assert "40 %" in page.text


def test_a_job_that_has_ended_cannot_be_cancelled(people: People, web: VirtualMachine) -> None:
    take(web, "first", people.alice)
    job = Job.objects.latest("pk")
    browser = Browser(people.alice)
    assert browser.get(f"/jobs/{job.uuid}/").find('//*[@id="cancel"]') == []
    assert browser.post(f"/jobs/{job.uuid}/cancel/").status == 409


def test_a_reader_watches_but_cannot_cancel(people: People, web: VirtualMachine) -> None:
    job = request_create(acting(people.alice), machine=web, name="first", memory=True)
    page = Browser(people.bob).get(f"/jobs/{job.uuid}/")
    assert page.one('//*[@id="cancel"]').get("aria-disabled") == "true"
    assert "You may look at this job but not cancel it." in page.text


def test_a_job_on_a_whole_hypervisor_is_for_root_admins(people: People, web: VirtualMachine) -> None:
    job = Job.objects.get(action="sync_hypervisor")
    assert "all of them" in Browser(people.root).get(f"/jobs/{job.uuid}/").text
    assert Browser(people.dora).get(f"/jobs/{job.uuid}/").status == 404


def test_a_job_whose_snapshot_is_gone_keeps_its_name(people: People, web: VirtualMachine) -> None:
    request_create(acting(people.alice), machine=web, name="never", memory=True)
    job = Job.objects.latest("pk")
    Browser(people.alice).post(f"/jobs/{job.uuid}/cancel/")
    run_job(job.pk)
    assert "never no longer there" in Browser(people.alice).get(f"/jobs/{job.uuid}/").text


def test_a_job_of_a_removed_user_is_still_shown(people: People, web: VirtualMachine) -> None:
    take(web, "first", people.alice)
    Job.objects.update(requested_by=None)
    User.objects.filter(pk=people.alice.pk).update(is_active=False)
    page = Browser(people.bob).get("/jobs/")
    assert "the product itself" in page.text
    assert Browser(people.alice).get("/jobs/").status == 302
