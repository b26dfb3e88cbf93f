"""The fixture `product`: one running demo for all tests of a process, whatever folder they are in, as it takes long to
start."""

from collections.abc import Iterator

import pytest

from tests.browser.running_product import Product, running_product
from tests.vsphere_simulator.binary import built, why_not


@pytest.fixture(scope="session")
def product() -> Iterator[Product]:
    """The demo, with real machines, a simulated XenServer pool and, where it can be built, a simulated vCenter."""
    if not why_not():
        built()  # where the demo looks too, so that its vCenter is there from the beginning
    with running_product() as product:
        if not product.lab.is_up:
            pytest.skip("the lab of real machines cannot run on this computer: " + product.log.read_text()[-500:])
        yield product
