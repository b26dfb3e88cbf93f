"""Opens a driver for an endpoint's row with the decrypted login and the configured timeout; always closes it."""

from collections.abc import Iterator
from contextlib import contextmanager

from django.conf import settings

from hypervisors.driver import HypervisorDriver, Login
from hypervisors.encrypted_text import CredentialKeyMissing
from hypervisors.errors import LoginRefused, Unreachable
from hypervisors.models import Hypervisor
from hypervisors.registry import load_driver


def login_for(hypervisor: Hypervisor) -> Login:
    """The login of an endpoint, its password in the clear: hand it to a driver and nothing else."""
    return Login(
        address=hypervisor.address,
        username=hypervisor.username,
        password=str(hypervisor.password),
        timeout_seconds=settings.HYPERVISOR_TIMEOUT_SECONDS,
        options=(("state_dir", str(settings.DATA_DIR / "simulated")),),
        ca_certificate=hypervisor.ca_certificate,
        insecure=hypervisor.insecure,
        redirect_hosts=tuple(hypervisor.redirect_hosts),
    )


@contextmanager
def open_driver(hypervisor_id: int) -> Iterator[HypervisorDriver]:
    """A connected driver for the endpoint with this primary key, closed at the end whatever happens.

    Raises `Unreachable`, `LoginRefused` (also when the stored login cannot be opened), `TimedOut`, `DriverMissing`.
    """
    hypervisor = Hypervisor.objects.get(pk=hypervisor_id)
    if not hypervisor.enabled:
        raise Unreachable(f"{hypervisor.name} is switched off in the settings of this product.")
    try:
        login = login_for(hypervisor)
    except CredentialKeyMissing as error:
        raise LoginRefused(str(error)) from error
    driver = load_driver(hypervisor.kind)(login)
    try:
        yield driver
    finally:
        driver.close()
