"""Every call the XenServer driver makes exists in XenAPI, with these parameters, for the roles that the driver names.

A tour through all the driver does is recorded where the official client sends its requests, and compared with the
published data model: with what the simulator carries of it, and with the releases in which calls and fields came.
"""

import json
from dataclasses import dataclass, field
from typing import Any

import pytest
import XenAPI

from hypervisors import errors
from hypervisors.drivers.xenserver import changes, privileges, records
from hypervisors.drivers.xenserver import errors as xenserver_errors
from hypervisors.drivers.xenserver.driver import XenServerDriver
from hypervisors.records import PowerAfterRevert
from hypervisors.xen_simulator.model import ASYNC, CLASSES, TABLE, Type, find_message
from hypervisors.xen_simulator.process import XenSimulator
from tests.xen_simulator.model_table import release_of

from ..contract import Watching, request
from .pool import add_machine, client_of, disks_of_the_pool, login_to

RELEASES = [
    "rio", "miami", "symc", "orlando", "orlando-update-1", "george", "midnight-ride", "cowley", "boston", "tampa",
    "clearwater", "vgpu-tech-preview", "vgpu-productisation", "clearwater-felton", "clearwater-whetstone", "creedence",
    "cream", "indigo", "dundee", "ely", "falcon", "inverness", "jura", "kolkata", "lima", "naples", "oslo", "plymouth",
    "quebec", "stockholm", "stockholm_psr",
]  # fmt: skip
"""In the order of time; numbered ones came after them."""
OLDEST_SUPPORTED = "stockholm"
"""The release of Citrix Hypervisor 8.2 and XCP-ng 8.2."""


@dataclass
class Tour:
    calls: list[tuple[str, tuple[Any, ...]]] = field(default_factory=list)

    def messages(self) -> set[str]:
        return {message.removeprefix(ASYNC) for message, _ in self.calls}


@pytest.fixture(scope="module")
def tour(tmp_path_factory: pytest.TempPathFactory) -> Tour:
    made = Tour()
    patch = pytest.MonkeyPatch()
    with XenSimulator(tmp_path_factory.mktemp("xenserver-calls"), world="empty") as pool:
        machine, other = add_machine(pool, name="a", folder="/a"), add_machine(pool, name="b", power="Suspended")
        really = XenAPI.Session.xenapi_request

        def recorded(self: Any, message: str, params: tuple[Any, ...]) -> Any:
            made.calls.append((message, params))
            return really(self, message, params)

        patch.setattr(XenAPI.Session, "xenapi_request", recorded)
        with XenServerDriver(login_to(pool)) as driver:
            _go_everywhere(pool, driver, machine, other)
    patch.undo()
    return made


def _go_everywhere(pool: XenSimulator, driver: XenServerDriver, machine: str, other: str) -> None:
    watch = Watching()
    cursor = driver.wait_for_changes("", 0.0).cursor
    driver.read_inventory()
    driver.describe()
    driver.list_pools()
    driver.missing_privileges()
    disk = driver.create_snapshot(machine, request("disk"), watch)
    driver.start(machine, watch)
    memory = driver.create_snapshot(machine, request("memory", memory=True), watch)
    driver.rename_snapshot(machine, memory.native_id, "renamed", "described")
    api = client_of(pool).xenapi
    ref = api.VM.get_by_uuid(machine)
    api.VM.set_name_label(ref, "another name")
    api.VM.set_name_description(ref, "another description")
    api.VM.remove_from_other_config(ref, "folder")
    driver.revert_to(machine, memory.native_id, PowerAfterRevert.AS_SNAPSHOT, watch)
    driver.operation_in_flight(machine)
    driver.revert_to(machine, disk.native_id, PowerAfterRevert.RUNNING, watch)
    driver.delete_with_descendants(machine, disk.native_id, watch)
    with pytest.raises(errors.NotFound):
        driver.delete_snapshot(machine, disk.native_id, watch)
    driver.finish_deletions(machine, watch)
    driver.create_snapshot(machine, request("one of all"), watch)
    driver.delete_all(machine, watch)
    (volume,) = driver.read_machine(machine).volumes
    driver.detach_volume(machine, volume.native_id, watch)
    driver.attach_volume(machine, volume.native_id)
    _stop_a_snapshot(pool, driver, machine)
    driver.stop(machine, False, watch)
    driver.stop(other, True, watch)
    paused = add_machine(pool, name="c", power="Paused")
    driver.start(paused, watch)
    driver.wait_for_changes(cursor, 0.0)
    assert disks_of_the_pool(pool)


def _stop_a_snapshot(pool: XenSimulator, driver: XenServerDriver, machine: str) -> None:
    pool.control.hold("VM.snapshot", step="disk-0")
    with pytest.raises(errors.Cancelled):
        driver.create_snapshot(machine, request("to be stopped"), _StopsOnTheWay())


@dataclass
class _StopsOnTheWay(Watching):
    """Asks to stop, but not before it begins."""

    asked: int = 0

    def cancel_requested(self) -> bool:
        self.asked += 1
        return self.asked > 1


def _fits(value: Any, kind: Type) -> bool:
    match kind.kind:
        case "bool":
            return isinstance(value, bool)
        case "float":
            return isinstance(value, float)
        case "set":
            return isinstance(value, list) and all(_fits(part, kind.items[0]) for part in value)
        case "map" | "record":
            return isinstance(value, dict)
        case "ref":
            return isinstance(value, str) and value.startswith("OpaqueRef:")
        case "string":
            return isinstance(value, str) and not value.startswith("OpaqueRef:")
    return isinstance(value, str)


def test_every_call_exists_with_these_parameters(tour: Tour) -> None:
    for called, params in tour.calls:
        if called == "session.logout":
            continue
        message = find_message(called.removeprefix(ASYNC))
        assert message is not None, called
        assert message.state not in ("deprecated", "removed"), called
        assert message.asynchronous or not called.startswith(ASYNC), called
        needed = sum(not parameter.optional for parameter in message.params)
        assert needed <= len(params) <= len(message.params), called
        for value, parameter in zip(params, message.params, strict=False):
            assert _fits(value, parameter.type), (called, parameter.name, value)


def test_records_that_are_sent_have_the_fields_of_their_class(tour: Tour) -> None:
    sent = [(called, params[0]) for called, params in tour.calls if called.endswith(".create")]
    assert sent
    for called, record in sent:
        fields = CLASSES[called.partition(".")[0]].fields
        for name, value in record.items():
            assert fields[name].access != "r", name
            assert _fits(value, fields[name].type), (name, value)


def test_every_right_that_is_needed_is_named_with_its_least_role_and_no_other(tour: Tour) -> None:
    roles = {}
    for name in tour.messages() - {"session.logout"}:
        message = find_message(name)
        assert message is not None
        if message.role != "read-only":
            roles[name.lower()] = message.role
    assert roles == privileges.NEEDED


def test_what_takes_long_is_asked_for_as_a_task(tour: Tour) -> None:
    long = {"snapshot", "checkpoint", "revert", "start", "resume", "unpause", "clean_shutdown", "hard_shutdown"}
    for called, _ in tour.calls:
        name = called.removeprefix(ASYNC)
        if name in {f"VM.{message}" for message in long} | {"VM.destroy", "VDI.destroy", "VBD.plug", "VBD.unplug"}:
            assert called.startswith(ASYNC), called


def test_every_call_was_there_in_the_oldest_supported_release(tour: Tour) -> None:
    for name in tour.messages():
        class_name, _, message = name.partition(".")
        since = release_of(class_name, "messages", message) or _release_of_field(class_name, message)
        assert _is_in(since), (name, since)


def test_every_field_that_is_taken_for_granted_was_there_in_the_oldest_supported_release() -> None:
    for class_name, names in records.FIELDS.items():
        for name in names:
            assert _is_in(release_of(class_name, "fields", name)), (class_name, name)


def _release_of_field(class_name: str, accessor: str) -> str | None:
    for beginning in ("get_", "set_", "add_to_", "remove_from_"):
        if accessor.startswith(beginning) and (since := release_of(class_name, "fields", accessor[len(beginning) :])):
            return since
    raise AssertionError(f"{accessor} is neither a message nor an accessor")


def _is_in(release: str | None) -> bool:
    return release in RELEASES and RELEASES.index(release) <= RELEASES.index(OLDEST_SUPPORTED)


def test_every_field_that_is_kept_exists() -> None:
    for class_name, names in records.FIELDS.items():
        assert names <= CLASSES[class_name].fields.keys(), class_name
    by_lower_case = {name.lower(): entry for name, entry in CLASSES.items()}
    for class_name, looked_at in changes._LOOKED_AT.items():
        assert set(looked_at) <= by_lower_case[class_name].fields.keys(), class_name


# Error codes

ERRORS: dict[str, list[str] | None] = json.loads(TABLE.read_text(encoding="utf-8"))["errors"]
NUMBERED = {"SR_BACKEND_FAILURE_44", "SR_BACKEND_FAILURE_109"}
"""Codes of storage back ends: the model knows what they begin with."""


def test_every_code_that_is_told_in_words_exists() -> None:
    assert xenserver_errors._BY_CODE.keys() - NUMBERED <= ERRORS.keys()


@pytest.mark.parametrize("count", range(5))
def test_every_code_is_told_whatever_parameters_it_comes_with(count: int) -> None:
    for code in [*ERRORS, *NUMBERED, "SOMETHING_NEW"]:
        error = xenserver_errors.told([code, *[f"parameter {number}" for number in range(count)]])
        assert type(error) in vars(errors).values()
        assert code in error.detail
        assert error.detail[0].isupper()
        assert len(error.detail) < 700


@pytest.mark.parametrize("details", [[], None, "text", [None], [["nested"]], [""], {"a": 1}, 7])
def test_what_is_no_list_of_code_and_parameters_is_told_all_the_same(details: object) -> None:
    assert xenserver_errors.told(details).detail


def test_references_are_not_told_to_people() -> None:
    error = xenserver_errors.told(["VM_REVERT_FAILED", "OpaqueRef:1234", "OpaqueRef:5678"])
    assert "OpaqueRef" not in error.detail


def test_the_whole_list_is_kept_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("INFO"):
        xenserver_errors.told(["VM_REVERT_FAILED", "OpaqueRef:1234", "OpaqueRef:5678"])
    assert "OpaqueRef:1234" in caplog.text
    assert "OpaqueRef:5678" in caplog.text
