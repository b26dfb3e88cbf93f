"""Where no machine is real, every page says so; where some are, only what is simulated is marked."""

import pytest

from hypervisors.models import Hypervisor
from snapshots.access import SYSTEM
from snapshots.services import endpoints
from tests.doors.browser_client import Browser

EVERYWHERE = ("/", "/jobs/", "/account/")


@pytest.mark.parametrize("path", EVERYWHERE)
def test_every_page_says_that_the_hypervisor_is_simulated(web, people, path):
    answer = Browser(people.alice).client.get(path)
    assert "made up" in answer.content.decode()


def test_the_sign_in_page_says_it_too(web, client):
    assert "made up" in client.get("/sign-in/").content.decode()


def test_with_a_real_hypervisor_beside_it_pages_that_show_no_machine_do_not_say_so(web, people):
    endpoints.add_endpoint(SYSTEM, name="real", kind="libvirt", address="qemu:///system")
    assert "made up" not in Browser(people.alice).client.get("/account/").content.decode()


def test_without_any_hypervisor_nothing_is_called_simulated(people):
    assert not Hypervisor.objects.exists()
    assert "made up" not in Browser(people.alice).client.get("/").content.decode()
