"""Whose address is written down: the client's where our own proxies tell it, never one that the client made up."""

import pytest
from django.test import override_settings

from snapshots.models import Event
from tests.doors.browser_client import Browser
from vmsnap_site.proxies import forwarded_address


@pytest.mark.parametrize(
    ("header", "proxies", "address"),
    [
        ("198.51.100.7", 1, "198.51.100.7"),
        ("made-up, 203.0.113.9, 198.51.100.7", 1, "198.51.100.7"),
        ("made-up, 203.0.113.9, 198.51.100.7", 2, "203.0.113.9"),
        ("2001:db8::1", 1, "2001:db8::1"),
        ("198.51.100.7", 0, None),
        ("198.51.100.7", 2, None),
        ("<script>", 1, None),
        ("", 1, None),
    ],
)
def test_only_what_our_own_proxies_added_is_believed(header, proxies, address):
    assert forwarded_address(header, proxies) == address


@pytest.mark.parametrize(("nearest", "written"), [("fe80::1%eth0", "fe80::1"), ("", None)])
def test_an_address_that_no_database_could_keep_stops_nothing(people, web, nearest, written):
    browser = Browser(people.alice)
    browser.client.defaults["REMOTE_ADDR"] = nearest
    assert browser.post(f"/machines/{web.uuid}/sync/").status < 400
    assert Event.objects.get(action="machine.sync.requested").from_address == written


@pytest.mark.parametrize(("proxies", "written"), [(1, "198.51.100.7"), (0, "127.0.0.1")])
def test_events_hold_the_address_of_the_client(people, web, proxies, written):
    with override_settings(PROXIES=proxies):
        browser = Browser(people.alice)
        browser.client.defaults["HTTP_X_FORWARDED_FOR"] = "spoofed, 198.51.100.7"
        assert browser.post(f"/machines/{web.uuid}/sync/").status < 400
    assert Event.objects.get(action="machine.sync.requested").from_address == written
