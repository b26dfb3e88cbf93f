"""What may be written down about an endpoint: its address by kind, certificates, hosts, and who gives up checks."""

import logging

import pytest

from hypervisors.models import Hypervisor
from snapshots.models import Event
from snapshots.services import endpoints
from tests.certificates import certificate, private_key
from tests.domain.refusing import assert_refused


def added(root, kind="xenserver", address="xen-1.example", **settings) -> Hypervisor:
    return endpoints.add_endpoint(root, name="host", kind=kind, address=address, **settings)


@pytest.mark.parametrize(
    ("kind", "address"),
    [
        ("vmware", "vcenter.example"),
        ("vmware", "https://esxi.example:8443"),
        ("vmware", " https://10.0.0.1/ "),
        ("xenserver", "xen-1"),
        ("xenserver", "127.0.0.1:41234"),
        ("xenserver", "https://[fd00::1]:443"),
        ("libvirt", "qemu:///system"),
        ("libvirt", "qemu+tls://host.example/system"),
        ("libvirt", "test:///default"),
        ("simulated", "demo-1_b"),
    ],
)
def test_an_address_of_its_kind_is_kept(root, kind, address):
    assert added(root, kind, address).address == address.strip()


@pytest.mark.parametrize(
    ("kind", "address", "said"),
    [
        ("vmware", "http://vcenter.example", "only over TLS"),
        ("vmware", "ftp://vcenter.example", "only over TLS"),
        ("vmware", "https://me:secret@vcenter.example", "fields of their own"),
        ("vmware", "vcenter.example/sdk", "no path"),
        ("vmware", "vcenter.example?x=1", "no path"),
        ("vmware", "vcenter.example:99999", "no host name with a port"),
        ("vmware", "vcenter.example:0", "Port 0"),
        ("vmware", "vcenter example", "no host name"),
        ("vmware", "https://", "no host name"),
        ("xenserver", "-xen.example", "no host name"),
        ("xenserver", "300.1.1.1", "no host name"),
        ("xenserver", "[fd00::zz]", "no host name"),
        ("xenserver", "x" * 64 + ".example", "no host name"),
        ("libvirt", "host.example", "URI with a scheme"),
        ("libvirt", "x" * 2000, "At most 1024"),
        ("simulated", "../other", "letters, digits"),
    ],
)
def test_an_address_of_another_form_is_refused_with_the_form_it_has(root, kind, address, said):
    refusal = assert_refused(None, "invalid", lambda: added(root, kind, address))
    [sentence] = refusal.extra["fields"]["address"]
    assert said in sentence


def test_certificates_are_kept_without_what_stands_around_them(root):
    first, second = certificate("first"), certificate("second")
    kept = added(root, ca_certificate=f"# ours\n{first}\nand\r\n{second}\n").ca_certificate
    assert kept == first + second


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("nonsense", "no certificate in PEM form"),
        ("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----", "cannot be read"),
        (lambda: certificate()[:200], "cannot be read"),
        (lambda: certificate("old", days_from=-10, days_until=-2), "CN=old expired on"),
        (lambda: certificate("new", days_from=3), "CN=new is valid from"),
        (lambda: certificate() + private_key(), "private key"),
        ("x" * 200_001, "longer than"),
    ],
    ids=["text", "empty", "cut", "expired", "early", "key", "long"],
)
def test_what_is_no_certificate_to_trust_is_refused_with_what_is_wrong(root, text, said):
    given = text() if callable(text) else text
    refusal = assert_refused(None, "invalid", lambda: added(root, ca_certificate=given))
    assert said in refusal.extra["fields"]["ca_certificate"][0]
    assert "PRIVATE" not in refusal.detail


def test_redirect_hosts_are_kept_once_each_in_lower_case(root):
    hosts = [" Xen-2.example ", "10.0.0.3", "", "xen-2.example", "fd00::3"]
    assert added(root, redirect_hosts=hosts).redirect_hosts == ["xen-2.example", "10.0.0.3", "fd00::3"]


@pytest.mark.parametrize(
    "hosts",
    [["*"], ["xen-2.example:443"], ["https://xen-2.example"], ["a b"], ["ok", "-"], [f"h{n}" for n in range(65)]],
)
def test_what_is_no_host_is_no_redirect_host(root, hosts):
    refusal = assert_refused(None, "invalid", lambda: added(root, redirect_hosts=hosts))
    assert list(refusal.extra["fields"]) == ["redirect_hosts"]


@pytest.mark.parametrize(
    ("kind", "address", "settings"),
    [
        ("libvirt", "qemu:///system", {"insecure": True}),
        ("simulated", "demo", {"ca_certificate": certificate()}),
        ("vmware", "vcenter.example", {"redirect_hosts": ["other"]}),
    ],
)
def test_a_setting_that_means_nothing_for_the_kind_is_refused(root, kind, address, settings):
    refusal = assert_refused(None, "invalid", lambda: added(root, kind, address, **settings))
    assert list(refusal.extra["fields"]) == list(settings)


def test_giving_up_the_check_of_the_certificate_is_written_down_and_logged_once(root, caplog):
    row = added(root)
    assert not Event.objects.filter(action="hypervisor.insecure").exists()
    values = {"name": row.name, "address": row.address, "username": "", "password": None, "enabled": True}
    with caplog.at_level(logging.WARNING):
        endpoints.change_endpoint(root, hypervisor=row, **values, insecure=True)
        endpoints.change_endpoint(root, hypervisor=row, **values, insecure=True)
    event = Event.objects.get(action="hypervisor.insecure")
    assert (event.level, event.user_name, event.hypervisor) == ("warning", "root", row)
    assert "not checked" in event.detail
    assert [record.getMessage() for record in caplog.records if "certificate" in record.getMessage()] == [
        f"The certificate of hypervisor {row.pk} is not checked any more; chosen by root"
    ]
    assert "without checking" in Event.objects.filter(action="hypervisor.changed").latest("pk").detail


def test_an_endpoint_that_is_insecure_from_the_start_is_written_down_too(root):
    added(root, insecure=True)
    assert Event.objects.filter(action="hypervisor.insecure", level="warning").exists()


def test_settings_that_are_not_given_stay(root):
    row = added(root, ca_certificate=certificate(), redirect_hosts=["xen-2"], adopt_automatically=True, insecure=True)
    values = {"name": "other", "address": row.address, "username": "", "password": None, "enabled": False}
    endpoints.change_endpoint(root, hypervisor=row, **values)
    again = Hypervisor.objects.get(pk=row.pk)
    assert (again.ca_certificate, again.redirect_hosts) == (row.ca_certificate, ["xen-2"])
    assert again.adopt_automatically
    assert again.insecure
