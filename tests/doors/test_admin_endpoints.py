"""The endpoint's form in the admin: trust, redirects, adoption, and what the last contact showed."""

import pytest
from django.test import Client
from django.urls import reverse

from hypervisors.models import Hypervisor
from snapshots.access import SYSTEM
from snapshots.models import Event
from snapshots.services import endpoint_health, endpoints, watch_lease
from tests.builders import Cloud, People
from tests.certificates import certificate
from tests.doors.admin_forms import add, change, errors
from tests.doors.browser_client import Page

XEN = {"name": "pool", "kind": "xenserver", "address": "xen-1.example", "username": "me", "password": ""}


def form_of(root: Client, row: Hypervisor) -> Page:
    return Page(root.get(reverse("admin:hypervisors_hypervisor_change", args=[row.pk])))


def fields(page: Page) -> set[str]:
    return set(page.find('//*[@id="hypervisor_form"]//*[self::input or self::textarea or self::select]/@name'))


def test_an_endpoint_is_added_with_all_its_settings(root: Client) -> None:
    answer = add(
        root,
        Hypervisor,
        **XEN,
        ca_certificate=certificate("ours"),
        redirect_hosts="xen-2.example\r\n10.0.0.3\r\n",
        adopt_automatically="on",
    )
    assert answer.status_code == 302, errors(answer)
    row = Hypervisor.objects.get()
    assert row.redirect_hosts == ["xen-2.example", "10.0.0.3"]
    assert (row.insecure, row.adopt_automatically) == (False, True)
    page = form_of(root, row)
    assert page.one('//textarea[@name="redirect_hosts"]').text.strip() == "xen-2.example\n10.0.0.3"
    assert "CN=ours, until" in page.text


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"ca_certificate": "nonsense"}, "no certificate in PEM form"),
        ({"redirect_hosts": "ok\nhttps://no"}, "https://no"),
        ({"address": "http://xen-1.example"}, "only over TLS"),
        ({"kind": "libvirt", "address": "qemu:///system", "insecure": "on"}, "means nothing for KVM"),
    ],
)
def test_what_is_wrong_is_said_beside_its_field(root: Client, values: dict[str, str], said: str) -> None:
    answer = add(root, Hypervisor, **{**XEN, **values})
    assert said in errors(answer)
    assert not Hypervisor.objects.exists()


@pytest.mark.parametrize(
    ("kind", "address", "shown", "hidden"),
    [
        ("xenserver", "xen-1", {"ca_certificate", "insecure", "redirect_hosts"}, set()),
        ("vmware", "vcenter", {"ca_certificate", "insecure"}, {"redirect_hosts"}),
        ("libvirt", "qemu:///system", set(), {"ca_certificate", "insecure", "redirect_hosts"}),
        ("simulated", "demo", set(), {"ca_certificate", "insecure", "redirect_hosts"}),
    ],
)
def test_a_kind_shows_the_settings_that_mean_something_for_it(
    root: Client, kind: str, address: str, shown: set[str], hidden: set[str]
) -> None:
    row = endpoints.add_endpoint(SYSTEM, name="host", kind=kind, address=address)
    found = fields(form_of(root, row))
    assert shown | {"adopt_automatically"} <= found
    assert not hidden & found


def test_giving_up_the_check_is_warned_of_shown_in_the_list_and_written_down(root: Client) -> None:
    row = endpoints.add_endpoint(SYSTEM, name="pool", kind="xenserver", address="xen-1")
    page = form_of(root, row)
    help_text = page.one('//input[@name="insecure"]').get("aria-describedby")
    assert "can then read the password" in page.one(f'//*[@id="{help_text}"]').text_content()
    values = {"name": "pool", "address": "xen-1", "username": "", "password": "", "enabled": "on", "insecure": "on"}
    assert change(root, row, **values).status_code == 302
    event = Event.objects.get(action="hypervisor.insecure")
    assert (event.user_name, event.trigger) == ("root", "admin")
    assert "NOT checked" in root.get(reverse("admin:hypervisors_hypervisor_changelist")).content.decode()


def test_missing_privileges_are_shown_by_name(root: Client, people: People, cloud: Cloud) -> None:
    row = cloud.hypervisor
    assert "none" in form_of(root, row).one('//div[contains(@class, "field-privileges")]').text_content()
    endpoint_health.note_privileges(row.pk, ["VirtualMachine.State.CreateSnapshot", "<b>Datastore.Browse</b>"])
    shown = form_of(root, row).one('//div[contains(@class, "field-privileges")]').text_content()
    assert "VirtualMachine.State.CreateSnapshot" in shown
    assert "<b>Datastore.Browse</b>" in shown
    untried = endpoints.add_endpoint(SYSTEM, name="untried", kind="simulated", address="untried")
    assert "test the connection" in form_of(root, untried).text


def test_product_version_and_whether_it_is_a_simulator_are_shown(root: Client, cloud: Cloud) -> None:
    page = form_of(root, Hypervisor.objects.get(pk=cloud.hypervisor.pk))
    assert "Simulated hypervisor" in page.one('//div[contains(@class, "field-product")]').text_content()
    assert "yes: its machines are made up" in page.one('//div[contains(@class, "field-is_simulated")]').text_content()


def test_an_endpoint_says_whether_changes_made_elsewhere_show_at_once(root: Client, cloud: Cloud) -> None:
    def told() -> str:
        return str(form_of(root, cloud.hypervisor).one('//div[contains(@class, "field-followed")]').text_content())

    assert "nobody watches" in told()
    assert watch_lease.take(cloud.hypervisor.pk, "somebody")
    assert "within seconds" in told()
    watch_lease.give_back("somebody")
    assert "nobody watches" in told()
