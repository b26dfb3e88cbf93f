"""The pages on which machines are shared out: finding them, giving them to accounts, and the import rules."""

import pytest
from django.utils import timezone

from hypervisors.drivers.simulated.world import Machine, many_machines
from snapshots.access import SYSTEM
from snapshots.models import ImportRule, VirtualMachine
from snapshots.services import machine_import, tenancy
from snapshots.services.machine_actions import request_start
from tests.builders import Cloud, People
from tests.doors.browser_client import Browser, Page, words

FILED = (
    Machine("web-1", folder="/Prod/Web", resource_pool="Gold", tags=("prod", "größe")),
    Machine("web-2", folder="/Test/Web", resource_pool="Silver", tags=("test",)),
    Machine("db-1", folder="/Prod/Db", power="stopped"),
)


@pytest.fixture
def filed(people: People) -> Cloud:
    """A hypervisor whose machines are filed in folders, pools and under tags, and are nobody's."""
    return Cloud(FILED)


@pytest.fixture
def root(people: People) -> Browser:
    """Root at a browser."""
    return Browser(people.root)


def names(page: Page) -> list[str]:
    """The machines listed, in their order."""
    return [words(link) for link in page.find('//table//th[@scope="row"]/a[not(@class)]')]


def notices(page: Page) -> list[str]:
    """What the page tells of the last action."""
    return [words(line) for line in page.find('//main/p[starts-with(@class, "notice")]')]


def sent(root: Browser, path: str, values: dict[str, object]) -> Page:
    """Post, and look at the page that comes after it."""
    answer = root.post(path, values)
    assert answer.status == 302, answer.text
    return root.get(answer.response["Location"])


# --- finding machines ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("", ["db-1", "web-1", "web-2"]),
        ("?q=WEB", ["web-1", "web-2"]),
        ("?q=/prod/", ["db-1", "web-1"]),
        ("?q=gold", ["web-1"]),
        ("?q=test", ["web-2"]),
        ("?q=gr%C3%B6%C3%9Fe", ["web-1"]),
        ("?q=default", ["db-1", "web-1", "web-2"]),
        ("?q=%25", []),
        ("?owner=nonsense&page=0&hypervisor=x", ["db-1", "web-1", "web-2"]),
        ("?hypervisor=7d9f4a0e-5a3c-4f52-9a3a-0d5f0f1c2b3d", []),
    ],
)
def test_machines_are_found_by_name_folder_pool_and_tag(
    root: Browser, filed: Cloud, query: str, expected: list[str]
) -> None:
    assert names(root.get(f"/import/{query}")) == expected


def test_a_line_tells_where_a_machine_is_filed(root: Browser, filed: Cloud) -> None:
    row = root.get("/import/").one('//tbody/tr[contains(., "web-1")]')
    for fact in ("simulated", "Running", filed.name, "Simulated", "/Prod/Web", "Gold", "default", "prod", "nobody's"):
        assert fact in words(row), fact


def test_machines_that_somebody_owns_are_shown_when_asked_for(root: Browser, people: People, filed: Cloud) -> None:
    tenancy.assign_machine(SYSTEM, machine=filed.machine("web-1"), account=people.acme)
    tenancy.assign_machine(SYSTEM, machine=filed.machine("web-2"), account=None)
    assert names(root.get("/import/")) == ["db-1", "web-2"]
    page = root.get("/import/?owner=all")
    assert names(page) == ["db-1", "web-1", "web-2"]
    assert "acme engineering" in words(page.one('//tbody/tr[contains(., "web-1")]'))
    assert "decided by an admin" in words(page.one('//tbody/tr[contains(., "web-2")]'))


def test_one_hypervisor_can_be_looked_at_alone(root: Browser, filed: Cloud) -> None:
    other = Cloud((Machine("edge"),))
    assert names(root.get(f"/import/?hypervisor={other.hypervisor.uuid}")) == ["edge"]


def test_many_machines_come_in_pages_that_keep_the_search(root: Browser, people: People) -> None:
    Cloud(many_machines(130, 0))
    page = root.get("/import/?q=machine")
    assert "1–100 of 130" in page.text
    following = root.get("/import/" + page.one('//a[@rel="next"]').get("href"))
    assert "101–130 of 130" in following.text
    assert len(set(names(page) + names(following))) == 130


def test_a_part_of_the_page_comes_alone_for_the_script(root: Browser, filed: Cloud) -> None:
    page = root.get("/import/?q=web-1", script=True, target="importable")
    assert page.root.get("id") == "importable"
    assert names(page) == ["web-1"]


def test_a_busy_and_a_missing_machine_say_so(root: Browser, filed: Cloud) -> None:
    request_start(SYSTEM, machine=filed.machine("db-1"))
    VirtualMachine.objects.filter(name="web-1").update(missing_since=timezone.now())
    page = root.get("/import/")
    assert "Start machine" in words(page.one('//tbody/tr[contains(., "db-1")]'))
    assert "missing" in words(page.one('//tbody/tr[contains(., "web-1")]'))


def test_every_empty_state_leads_on(root: Browser, people: People) -> None:
    page = root.get("/import/")
    assert "No hypervisor yet" in page.text
    assert page.find('//a[@href="/admin/hypervisors/hypervisor/add/"]')
    cloud = Cloud((Machine("only"),))
    page = root.get("/import/?q=nothing")
    assert "No machine matches" in page.text
    assert page.find('//a[@href="/import/"]')
    tenancy.assign_machine(SYSTEM, machine=cloud.machine("only"), account=people.acme)
    page = root.get("/import/")
    assert "Every machine belongs to somebody" in page.text
    assert page.find('//a[@href="/import/rules/"]')
    page = root.get("/import/rules/")
    assert "No import rule yet" in page.text
    assert words(page.one('//a[@id="add-rule"]')) == "Add the first rule"


def test_without_an_account_the_page_leads_to_making_one(root: Browser, filed: Cloud, people: People) -> None:
    for account in (people.acme, people.other):
        tenancy.delete_account(SYSTEM, account=account)
    page = root.get("/import/")
    assert "no account yet" in page.text
    assert page.find('//a[@href="/admin/snapshots/account/"]')
    page = root.get(f"/import/machines/{filed.machine('web-1').uuid}/")
    assert "no account yet" in page.text


def test_more_accounts_than_a_menu_holds_are_narrowed_by_typing(
    root: Browser, filed: Cloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert not root.get("/import/").find('//input[@name="accounts"]')
    monkeypatch.setattr("snapshots.reading.machine_import.ACCOUNTS_OFFERED", 1)
    page = root.get("/import/")
    assert page.find('//input[@name="accounts"]')
    assert [words(option) for option in page.find("//form//optgroup/option")] == ["acme"]
    assert [group.get("label") for group in page.find("//form//optgroup")] == ["organisation / engineering"]
    page = root.get("/import/?accounts=OTH")
    assert [words(option) for option in page.find("//form//optgroup/option")] == ["other"]


# --- giving machines to accounts -----------------------------------------------------------------------------------


def test_chosen_machines_go_to_the_account_and_the_filters_stay(root: Browser, people: People, filed: Cloud) -> None:
    chosen = [str(filed.machine(name).uuid) for name in ("web-1", "web-2")]
    values = {"machine": chosen, "account": str(people.acme.uuid), "back": "/import/?q=web&owner=all"}
    page = sent(root, "/import/assign/", values)
    assert notices(page) == ["web-1, web-2 now belong to acme."]
    assert page.one('//input[@name="q"]').get("value") == "web"
    assert filed.machine("web-1").account == filed.machine("web-2").account == people.acme


def test_machines_can_be_decided_to_be_nobodys(root: Browser, filed: Cloud) -> None:
    page = sent(root, "/import/assign/", {"machine": str(filed.machine("web-1").uuid), "account": "none"})
    assert notices(page) == ["web-1 now belongs to nobody, and import rules leave it alone."]


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"account": "none"}, "Choose at least one machine."),
        ({"machine": "x", "account": "none"}, "Choose machines of the list."),
        ({"machine": "7d9f4a0e-5a3c-4f52-9a3a-0d5f0f1c2b3d"}, "Choose an account."),
        ({"machine": "7d9f4a0e-5a3c-4f52-9a3a-0d5f0f1c2b3d", "account": "x"}, "Choose an account of the list."),
        (
            {"machine": "7d9f4a0e-5a3c-4f52-9a3a-0d5f0f1c2b3d", "account": "none"},
            "None of the machines is there any more.",
        ),
    ],
)
def test_what_cannot_be_understood_is_said(root: Browser, filed: Cloud, values: dict[str, object], said: str) -> None:
    assert said in " ".join(notices(sent(root, "/import/assign/", values)))


def test_an_account_that_is_not_there_is_not_found(root: Browser, filed: Cloud) -> None:
    values = {"machine": str(filed.machine("web-1").uuid), "account": "7d9f4a0e-5a3c-4f52-9a3a-0d5f0f1c2b3d"}
    assert root.post("/import/assign/", values).status == 404


def test_too_many_machines_at_once_are_refused_in_words(
    root: Browser, people: People, filed: Cloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(machine_import, "MACHINES_AT_ONCE", 1)
    chosen = [str(filed.machine(name).uuid) for name in ("web-1", "web-2")]
    page = sent(root, "/import/assign/", {"machine": chosen, "account": str(people.acme.uuid)})
    assert "at most 1" in notices(page)[0]


def test_a_busy_machine_stays_and_the_page_says_why(root: Browser, people: People, filed: Cloud) -> None:
    request_start(SYSTEM, machine=filed.machine("db-1"))
    chosen = [str(filed.machine(name).uuid) for name in ("web-1", "db-1")]
    page = sent(root, "/import/assign/", {"machine": chosen, "account": str(people.acme.uuid)})
    done, stayed = notices(page)
    assert done == "web-1 now belongs to acme."
    assert stayed.startswith("db-1 stays where it is. db-1 is busy")


@pytest.mark.parametrize("back", ["https://evil.example/", "//evil.example/", "javascript:alert(1)", "evil"])
def test_nobody_is_sent_to_another_host_afterwards(root: Browser, filed: Cloud, back: str) -> None:
    values = {"machine": str(filed.machine("web-1").uuid), "account": "none", "back": back}
    assert root.post("/import/assign/", values).response["Location"] == "/import/"


def test_one_machine_is_given_away_in_a_dialog(root: Browser, people: People, filed: Cloud) -> None:
    address = f"/import/machines/{filed.machine('web-1').uuid}/"
    dialog = root.get(address, script=True)
    assert "Give web-1 to an account" in dialog.text
    assert "/Prod/Web" in dialog.text
    answer = root.post(address, {"account": str(people.acme.uuid)}, script=True)
    assert answer.response["HX-Redirect"] == "/import/"
    assert notices(root.get("/import/")) == ["web-1 now belongs to acme."]
    chosen = root.get(address).one("//select[@name='account']/optgroup/option[@selected]")
    assert words(chosen) == "acme"


def test_the_dialog_says_what_is_missing_and_why_a_busy_machine_stays(
    root: Browser, people: People, filed: Cloud
) -> None:
    address = f"/import/machines/{filed.machine('db-1').uuid}/"
    page = root.post(address, {})
    assert page.status == 422
    assert words(page.one('//*[@id="account-error"]')) == "Choose an account."
    request_start(SYSTEM, machine=filed.machine("db-1"))
    page = root.post(address, {"account": str(people.acme.uuid)})
    assert page.status == 409
    assert "busy" in words(page.one('//*[@role="alert"]'))


# --- rules ---------------------------------------------------------------------------------------------------------


def filled(people: People, **values: str) -> dict[str, object]:
    return {"account": str(people.acme.uuid), "hypervisor": "", **values}


def test_a_rule_is_tried_out_before_it_is_kept(root: Browser, people: People, filed: Cloud) -> None:
    page = root.post("/import/rules/add/", filled(people, name_pattern="web-*", preview="yes"), script=True)
    assert page.status == 200
    assert "fits 2 of the 3 machines about which nobody has decided" in page.text
    assert [words(item) for item in page.find('//ul[@class="names"]/li')] == ["web-1", "web-2"]
    assert page.one('//input[@name="name_pattern"]').get("value") == "web-*"
    assert not ImportRule.objects.exists()
    page = root.post("/import/rules/add/", filled(people, name_pattern="nothing", preview="yes"), script=True)
    assert "fits none of the 3 machines" in page.text


def test_a_kept_rule_shows_what_it_fits_and_is_applied_at_once_when_asked(
    root: Browser, people: People, filed: Cloud
) -> None:
    values = filled(people, folder_pattern="/prod/*", hypervisor=str(filed.hypervisor.uuid))
    assert root.post("/import/rules/add/", values, script=True).response["HX-Redirect"] == "/import/rules/"
    page = root.get("/import/rules/")
    assert notices(page)[0].startswith("The rule is added.")
    line = words(page.one('//ol[@class="rules"]/li'))
    assert f"folder /prod/* on {filed.name} goes to acme in engineering Fits 2 machines that nobody owns" in line
    assert "2 of 3 machines that nobody has decided about fit a rule" in page.text
    page = sent(root, "/import/rules/apply/", {})
    assert notices(page) == ["2 machines given to accounts."]
    assert filed.machine("web-1").account == people.acme
    button = page.one('//button[contains(., "Apply now")]')
    assert button.get("aria-disabled") == "true"
    assert "None of the 1 machine" in words(page.one(f'//*[@id="{button.get("aria-describedby")}"]'))
    assert "No machine fits" in notices(sent(root, "/import/rules/apply/", {}))[0]


def test_rules_are_edited_moved_and_deleted(root: Browser, people: People, filed: Cloud) -> None:
    for pattern in ("first", "second"):
        root.post("/import/rules/add/", filled(people, name_pattern=pattern))
    second = ImportRule.objects.get(name_pattern="second")
    sent(root, f"/import/rules/{second.uuid}/move/", {"where": "up"})
    assert [row.name_pattern for row in ImportRule.objects.all()] == ["second", "first"]
    sent(root, f"/import/rules/{second.uuid}/move/", {"where": "down"})
    assert [row.name_pattern for row in ImportRule.objects.all()] == ["first", "second"]
    page = root.get(f"/import/rules/{second.uuid}/")
    assert page.one('//input[@name="name_pattern"]').get("value") == "second"
    assert words(page.one("//select[@name='account']//option[@selected]")) == "acme"
    sent(root, f"/import/rules/{second.uuid}/", {"account": str(people.other.uuid), "tag_pattern": "changed"})
    changed = ImportRule.objects.get(pk=second.pk)
    assert (changed.name_pattern, changed.tag_pattern, changed.account) == ("", "changed", people.other)
    assert "tag changed" in root.get(f"/import/rules/{second.uuid}/delete/").text
    assert notices(sent(root, f"/import/rules/{second.uuid}/delete/", {}))[0].startswith("The rule is deleted.")
    assert [row.name_pattern for row in ImportRule.objects.all()] == ["first"]


@pytest.mark.parametrize(
    ("values", "field", "said"),
    [
        ({"name_pattern": ""}, "name_pattern", "at least one pattern"),
        ({"tag_pattern": "x" * 300}, "tag_pattern", "at most 255"),
        ({"name_pattern": "x", "account": ""}, "account", "Choose an account."),
        ({"name_pattern": "x", "account": "x"}, "account", "Choose an account of the list."),
        (
            {"name_pattern": "x", "account": "7d9f4a0e-5a3c-4f52-9a3a-0d5f0f1c2b3d"},
            "account",
            "Choose an account of the list.",
        ),
        ({"name_pattern": "x", "hypervisor": "x"}, "hypervisor", "Choose a hypervisor of the list."),
        (
            {"name_pattern": "x", "hypervisor": "7d9f4a0e-5a3c-4f52-9a3a-0d5f0f1c2b3d"},
            "hypervisor",
            "Choose a hypervisor of the list.",
        ),
    ],
)
@pytest.mark.parametrize("preview", ["", "yes"])
def test_a_rule_that_makes_no_sense_comes_back_with_the_reason_beside_its_field(
    root: Browser, people: People, values: dict[str, str], field: str, said: str, preview: str
) -> None:
    page = root.post("/import/rules/add/", filled(people) | values | {"preview": preview})
    assert page.status == 422
    control = page.one(f'//*[@name="{field}"]')
    assert control.get("aria-invalid") == "true"
    assert said in words(page.one(f'//*[@id="{control.get("aria-describedby")}"]'))
    assert not ImportRule.objects.exists()


@pytest.mark.parametrize("what", ["", "delete/", "move/"])
def test_a_rule_that_is_not_there_is_not_found(root: Browser, people: People, what: str) -> None:
    address = f"/import/rules/7d9f4a0e-5a3c-4f52-9a3a-0d5f0f1c2b3d/{what}"
    assert root.post(address, filled(people, name_pattern="x", where="up")).status == 404
