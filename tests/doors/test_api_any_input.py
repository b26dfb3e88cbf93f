"""Requests made up from the description itself, good and bad: none brings a fault to light, none is answered in a way the
description does not name.
"""

from collections.abc import Iterator
from typing import Any

import pytest
import schemathesis
from django.core.signals import request_finished, request_started
from django.db import close_old_connections
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from snapshots.models import VirtualMachine
from tests.builders import People, schedule, take
from tests.doors.api_client import Caller
from vmsnap_site.wsgi import application

CHECKS = (not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance)
EXAMPLES = 3


@pytest.fixture
def kept_connection() -> Iterator[None]:
    """Requests do not close the connection that holds the test's transaction, as Django's own test client sees to."""
    for signal in (request_started, request_finished):
        signal.disconnect(close_old_connections)
    yield
    for signal in (request_started, request_finished):
        signal.connect(close_old_connections)


def statuses_of(operation: Any, mode: schemathesis.GenerationMode, known: Any, headers: dict[str, str]) -> set[int]:
    """Call an operation a few times with made-up input, half of the times on the thing that is really there, check each
    answer and give the statuses that came."""
    seen: set[int] = set()

    @settings(
        max_examples=EXAMPLES,
        deadline=None,
        derandomize=True,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),  # they time the making of inputs, which a busy computer slows down
    )
    @given(case=operation.as_strategy(generation_mode=mode), really_there=st.booleans())
    def call(case: Any, really_there: bool) -> None:
        if really_there and known is not None and "id" in (case.path_parameters or {}):
            case.path_parameters["id"] = str(known)
        answer = case.call(headers={**(case.headers or {}), **headers})
        seen.add(answer.status_code)
        case.validate_response(answer, checks=CHECKS)

    call()
    return seen


@pytest.mark.parametrize("mode", list(schemathesis.GenerationMode))
def test_no_request_brings_a_fault_to_light(
    web: VirtualMachine, people: People, kept_connection: None, mode: schemathesis.GenerationMode
) -> None:
    snapshot = take(web, "one")
    volume = web.volumes.first()
    assert volume is not None
    known = {
        "virtual-machines": web.uuid,
        "snapshots": snapshot.uuid,
        "schedules": schedule(web).uuid,
        "volumes": volume.uuid,
        "hypervisors": web.hypervisor.uuid,
        "accounts": people.acme.uuid,
        "domains": people.engineering.uuid,
    }
    headers = Caller(people.root).headers
    schema = schemathesis.openapi.from_wsgi("/api/schema/?format=json", application)
    seen = {}
    for found in schema.get_all_operations():
        operation = found.ok()
        seen[operation.label] = statuses_of(operation, mode, known.get(operation.path.split("/")[3]), headers)
    assert len(seen) == sum(len(operations) for operations in schema.raw_schema["paths"].values())
    every = set().union(*seen.values())
    assert 400 in every
    assert mode == schemathesis.GenerationMode.NEGATIVE or {200, 202} <= every
