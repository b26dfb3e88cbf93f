"""Every admin page opens for root admins, shows its rows in a fixed number of queries, and for nobody else."""

from decimal import Decimal

import pytest
from django.contrib import admin
from django.test import Client
from django.urls import reverse

from snapshots.access import SYSTEM
from snapshots.choices import LimitKind, PriceUnit, TokenScope, UsageType
from snapshots.models import Event, VirtualMachine
from snapshots.services import limit_setting, tenancy
from snapshots.services.usage_prices import PriceTerms, set_price
from tests.builders import PASSWORD, Cloud, People, schedule, take
from tests.usage import Line, at, close

MODELS = sorted(admin.site._registry, key=lambda model: model._meta.label)


def signed_in(name: str) -> Client:
    client = Client()
    assert client.login(username=name, password=PASSWORD)
    return client


@pytest.fixture
def everything(web: VirtualMachine, people: People, cloud: Cloud) -> None:
    """One row at least of every kind."""
    take(web, "first", people.alice)
    tenancy.create_token(SYSTEM, user=people.alice, name="backup", scope=TokenScope.READ)
    limit_setting.set_limit(SYSTEM, on=people.acme, kind=LimitKind.BYTES, value=5)
    schedule(web, people.alice)
    Line().taken("2026-03-01")
    close("2026-03-02 01:00")
    begin = at("2026-03-02")
    set_price(SYSTEM, PriceTerms(UsageType.VM_SNAPSHOT, PriceUnit.HOUR, Decimal(1), "EUR", None, begin, None))


def page(model: type, name: str, *args: object) -> str:
    return reverse(f"admin:{model._meta.app_label}_{model._meta.model_name}_{name}", args=args)


def addresses(model: type) -> list[str]:
    row = admin.site._registry[model].get_queryset(None).first()
    assert row is not None, f"no row of {model}"
    found = [page(model, "changelist"), page(model, "change", row.pk), page(model, "history", row.pk)]
    return [*found, page(model, "add"), page(model, "delete", row.pk)]


def test_every_kind_of_row_an_admin_works_with_has_a_page() -> None:
    assert [model._meta.object_name for model in MODELS] == [
        "Hypervisor",
        "Account",
        "ApiToken",
        "Domain",
        "Event",
        "Job",
        "Limit",
        "Membership",
        "Schedule",
        "StoragePool",
        "UsagePeriod",
        "UsagePrice",
        "UsageRecord",
        "User",
        "VMSnapshot",
        "VirtualMachine",
        "Volume",
    ]


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model._meta.model_name)
def test_a_root_admin_sees_list_row_and_history(model: type, root: Client, everything: None) -> None:
    for address in addresses(model)[:3]:
        answer = root.get(address)
        assert answer.status_code == 200, address
        text = answer.content.decode()
        for inline in ("<script>", "style=", "<style", "onclick="):
            assert inline not in text, "the content policy forbids it"


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model._meta.model_name)
def test_a_root_admin_can_search_each_list(model: type, root: Client, everything: None) -> None:
    assert root.get(page(model, "changelist"), {"q": 'w"<&'}).status_code == 200


def test_the_index_shows_every_kind_and_nothing_of_other_packages(root: Client) -> None:
    text = root.get(reverse("admin:index")).content.decode()
    for model in MODELS:
        assert page(model, "changelist") in text
    assert "Groups" not in text
    assert "Axes" not in text
    assert "Knox" not in text


@pytest.mark.parametrize("name", ["alice", "bob", "charlie", "dora", "nora"])
def test_whoever_is_no_root_admin_is_refused_on_every_page(name: str, people: People, everything: None) -> None:
    client = signed_in(name)
    for model in MODELS:
        for address in addresses(model):
            for answer in (client.get(address, follow=True), client.post(address, {"post": "yes"}, follow=True)):
                assert answer.status_code == 403, address
    assert client.get(reverse("admin:index"), follow=True).status_code == 403


def test_an_anonymous_visitor_is_led_to_the_sign_in_page(everything: None) -> None:
    for model in MODELS:
        for address in addresses(model):
            answer = Client().get(address)
            assert answer.status_code == 302
            assert answer["Location"].startswith(reverse("admin:login"))


def test_the_admin_has_no_sign_in_page_of_its_own(people: People) -> None:
    answer = Client().get(reverse("admin:login"), {"next": "/admin/snapshots/job/"})
    assert answer.status_code == 302
    assert answer["Location"].startswith(reverse("sign_in") + "?")
    assert "next=/admin/snapshots/job/" in answer["Location"]


def test_a_switched_off_root_admin_is_out_at_once(root: Client, people: People) -> None:
    tenancy.set_active(SYSTEM, user=people.root, active=False)
    assert root.get(reverse("admin:index")).status_code == 302


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model._meta.model_name)
def test_what_may_not_be_added_changed_or_deleted_is_refused_to_root_admins_too(
    model: type, root: Client, everything: None
) -> None:
    room = admin.site._registry[model]
    row = room.get_queryset(None).first()
    before = Event.objects.count()
    for may, address in (
        (room.may_add, page(model, "add")),
        (room.may_change, page(model, "change", row.pk)),
        (room.may_delete, page(model, "delete", row.pk)),
    ):
        if not may:
            assert root.post(address, {"post": "yes"}).status_code == 403, address
    assert model.objects.filter(pk=row.pk).exists()
    assert Event.objects.count() == before


def test_no_list_deletes_rows_past_the_services(root: Client, everything: None) -> None:
    for model in MODELS:
        row = admin.site._registry[model].get_queryset(None).first()
        root.post(page(model, "changelist"), {"action": "delete_selected", "_selected_action": [row.pk], "post": "yes"})
        assert model.objects.filter(pk=row.pk).exists(), model


def test_hidden_anchors_are_not_listed_as_vm_snapshots(root: Client, everything: None) -> None:
    from snapshots.models import VMSnapshot

    anchor = VMSnapshot.objects.filter(parent=None).first()
    assert root.get(page(VMSnapshot, "change", anchor.pk)).status_code == 302
    assert "(no VM snapshot)" not in root.get(page(VMSnapshot, "changelist")).content.decode()


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model._meta.model_name)
def test_no_page_asks_the_hypervisor(model: type, root: Client, everything: None, cloud: Cloud) -> None:
    cloud.world.forget_calls()
    for address in addresses(model):
        root.get(address)
    assert not cloud.world.calls()


def test_lists_take_the_same_number_of_queries_however_long(root: Client, web: VirtualMachine, people: People) -> None:
    from django.db import connection
    from django.test.utils import CaptureQueriesContext

    from snapshots.models import Job, VMSnapshot

    def queries(model: type) -> int:
        with CaptureQueriesContext(connection) as seen:
            assert root.get(page(model, "changelist")).status_code == 200
        return len(seen)

    take(web, "one", people.alice)
    counts = {model: queries(model) for model in (VMSnapshot, Job, Event, VirtualMachine)}
    for number in range(4):
        take(web, f"more {number}", people.alice)
    assert {model: queries(model) for model in counts} == counts
