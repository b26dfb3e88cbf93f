"""The simulator's table is the published model, and what goes over the wire is of the model's types."""

from typing import Any

import pytest
import XenAPI

from hypervisors.xen_simulator.model import CLASSES, NULL, TABLE, Message, Type, find_message
from hypervisors.xen_simulator.pool import HANDLERS
from tests.xen_simulator.client import details, ended, unconnected
from tests.xen_simulator.conforming import faults_of
from tests.xen_simulator.ground import Ground
from tests.xen_simulator.model_table import DATA_MODEL, cut, cut_of, data_model, fingerprint, table_of, written

MESSAGES = [message for entry in CLASSES.values() for message in entry.messages.values()]


def test_the_table_is_cut_from_the_published_data_model() -> None:
    table = TABLE.read_text(encoding="utf-8")
    assert fingerprint(table) == cut()["sha256"], "written by hand, not cut"
    if DATA_MODEL.exists():  # only where the product is developed
        assert table == written(table_of(data_model()))
        assert cut() == cut_of(data_model())


def test_every_handler_answers_a_message_that_exists() -> None:
    from hypervisors.xen_simulator import dispatch

    assert dispatch.WITH_HANDLERS
    assert [name for name in HANDLERS if find_message(name) is None] == []


@pytest.fixture(scope="module")
def lively(xen: Any) -> Any:
    """The simulator with something of every kind in it."""
    from tests.xen_simulator.client import logged_in

    with logged_in(xen) as api:
        ground = Ground(xen, api)
        running = ground.machine("running", disks=2, power="Running", tags=["a"], blocked={"clone": "no"}, pci=True)
        ground.do("VM.snapshot", running, "taken")
        other = ground.machine("other", power="Running")
        ground.do("VM.checkpoint", other, "kept")
        ground.machine("asleep", power="Suspended")
        api.task.create("of a client", "does nothing")
    return xen


@pytest.mark.parametrize("name", [name for name in CLASSES if name not in ("event", "session")])
def test_records_are_whole_and_of_the_models_types(lively: Any, api: Any, name: str) -> None:
    records = getattr(api, name).get_all_records()
    assert records
    faults = faults_of(Type("map", items=(Type("ref", name), Type("record", name))), records, name)
    assert faults == []
    for ref in list(records)[:3]:
        assert getattr(api, name).get_record(ref).keys() == CLASSES[name].fields.keys()
        assert getattr(api, name).get_by_uuid(records[ref]["uuid"]) == ref
    assert set(getattr(api, name).get_all()) == set(records)


@pytest.mark.parametrize("name", [name for name in CLASSES if name not in ("event", "session")])
def test_every_getter_gives_what_the_record_says(lively: Any, api: Any, name: str) -> None:
    ref = getattr(api, name).get_all()[-1]
    record = getattr(api, name).get_record(ref)
    for field in CLASSES[name].fields.values():
        value = getattr(api, f"{name}.get_{field.name}")(ref)
        assert faults_of(field.type, value, f"{name}.get_{field.name}") == []
        assert value == record[field.name] or field.type.kind in ("datetime", "float")


def test_the_sessions_own_record_is_whole(api: Any, xen: Any) -> None:
    session = unconnected(xen)
    session.login_with_password("root", xen.password)
    record = session.xenapi.session.get_record(session.handle)
    assert faults_of(Type("record", "session"), record, "session") == []
    assert record["is_local_superuser"] is True


def _refused(session: Any, called: str, *params: Any) -> list[str]:
    answer = getattr(session, called)(*params)
    assert answer["Status"] == "Failure", called
    found: list[str] = answer["ErrorDescription"]
    return found


def test_every_message_counts_its_parameters_and_wants_a_session(xen: Any) -> None:
    session = unconnected(xen)
    for message in MESSAGES:
        most = len(message.params) + message.needs_session
        params = ["nobody's session"] + ["x"] * len(message.params)
        too_many = _refused(session, message.full_name, *params, "one more", "and another")
        assert too_many == [
            "MESSAGE_PARAMETER_COUNT_MISMATCH", message.full_name, str(most), str(len(params) + 2)
        ]  # fmt: skip
        if message.needs_session:
            assert _refused(session, message.full_name, *params) == ["SESSION_INVALID", "nobody's session"]


WRONG: dict[str, Any] = {
    "int": "many",
    "float": "much",
    "bool": "yes",
    "enum": "neither",
    "set": {},
    "map": [],
    "record": [],
}


def test_every_parameter_is_of_its_type_or_named_as_wrong(xen: Any, api: Any) -> None:
    session = unconnected(xen)
    session.login_with_password("root", xen.password)
    checked = 0
    for message in MESSAGES:
        kinds = [param for param in message.params if param.type.kind in WRONG]
        if not kinds or message.state == "removed" or not message.needs_session:
            continue
        wrong = kinds[0]
        given = [WRONG[wrong.type.kind] if param is wrong else _fitting(param.type) for param in message.params]
        assert _refused(session, message.full_name, session.handle, *given) == ["FIELD_TYPE_ERROR", wrong.name], (
            message.full_name
        )
        checked += 1
    assert checked > 50


def _fitting(kind: Type) -> Any:
    match kind.kind:
        case "int":
            return "1"
        case "float":
            return 1.0
        case "bool":
            return True
        case "set":
            return []
        case "map" | "record":
            return {}
        case "enum":
            return next(
                value
                for entry in CLASSES.values()
                for name, values in entry.enums.items()
                if name == kind.of
                for value in values
            )
    return NULL


def test_what_does_not_exist_is_not_answered(api: Any) -> None:
    for called in ("VM.snapshot_deeply", "Async.VM.get_all", "Async.VM_snapshot", "simulator.refuse", "VM"):
        with pytest.raises(XenAPI.Failure) as refused:
            getattr(api, called)()
        assert details(refused) == ["MESSAGE_METHOD_UNKNOWN", called]


def test_removed_messages_say_so(ground: Ground) -> None:
    vm = ground.machine(power="Running")
    for called in ("VM.snapshot_with_quiesce", "Async.VM.snapshot_with_quiesce"):
        with pytest.raises(XenAPI.Failure) as refused:
            getattr(ground.api, called)(vm, "quiet")
        assert details(refused) == ["MESSAGE_REMOVED"]
    assert "snapshot_with_quiesce" not in ground.api.VM.get_allowed_operations(vm)


def test_what_the_simulator_cannot_do_is_not_pretended(api: Any) -> None:
    with pytest.raises(XenAPI.Failure) as refused:
        api.SR.enable_database_replication(api.SR.get_all()[0])
    assert details(refused) == ["NOT_IMPLEMENTED", "SR.enable_database_replication"]


def test_results_of_calls_are_of_the_models_types(ground: Ground) -> None:
    api = ground.api
    vm, sr = ground.machine(power="Running", disks=1), ground.repository()
    results: dict[str, Any] = {"VM.snapshot": api.VM.snapshot(vm, "a"), "VM.checkpoint": api.VM.checkpoint(vm, "b")}
    snapshot = results["VM.snapshot"]
    results["VM.clone"] = api.VM.clone(snapshot, "twin")
    results["VM.copy"] = api.VM.copy(snapshot, "copy", sr)
    results["VM.revert"] = api.VM.revert(snapshot)
    results["VM.start"] = api.VM.start(vm, False, False)
    results["VM.get_allowed_VBD_devices"] = api.VM.get_allowed_VBD_devices(vm)
    results["VM.get_possible_hosts"] = api.VM.get_possible_hosts(vm)
    results["VM.compute_memory_overhead"] = api.VM.compute_memory_overhead(vm)
    made = {"name_label": "made", "SR": sr, "virtual_size": "1048576", "type": "user", "other_config": {}}
    results["VDI.create"] = vdi = api.VDI.create(made)
    results["VDI.snapshot"] = api.VDI.snapshot(vdi)
    results["VDI.clone"] = api.VDI.clone(vdi)
    results["VBD.create"] = vbd = api.VBD.create(
        {"VM": vm, "VDI": vdi, "userdevice": "9", "mode": "RW", "type": "Disk"}
    )
    results["VBD.plug"] = api.VBD.plug(vbd)
    results["VBD.unplug"] = api.VBD.unplug(vbd)
    results["SR.scan"] = api.SR.scan(sr)
    results["SR.get_supported_types"] = api.SR.get_supported_types()
    results["host.get_servertime"] = api.host.get_servertime(api.host.get_all()[0])
    results["event.get_current_id"] = api.event.get_current_id()
    results["VM.create"] = api.VM.create({"name_label": "empty", "memory_static_max": "1048576"})
    results["task.create"] = task = api.task.create("label", "description")
    results["task.destroy"] = api.task.destroy(task)
    for name, value in results.items():
        message = find_message(name)
        assert isinstance(message, Message)
        assert faults_of(message.result, value, name) == []


def test_a_task_keeps_its_result_as_a_written_value_and_nothing_for_void(ground: Ground) -> None:
    vm = ground.machine()
    taken = ended(ground.api, ground.api.Async.VM.snapshot(vm, "taken"))
    assert taken["result"].startswith("<value>OpaqueRef:")
    reverted = ended(ground.api, ground.api.Async.VM.revert(taken["result"][len("<value>") : -len("</value>")]))
    assert (reverted["status"], reverted["result"], reverted["progress"]) == ("success", "", 1.0)


def test_any_unicode_name_comes_back_as_it_was(ground: Ground) -> None:
    name = 'Ünï <cödé> & "quotes" \u2603 \U0001f40b ]]> \t\n end'
    vm = ground.machine()
    made = ground.do("VM.snapshot", vm, name)
    assert ground.api.VM.get_name_label(made) == name
    assert ground.api.VM.get_by_name_label(name) == [made]
    assert ground.api.VM.get_all_records()[made]["name_label"] == name


def test_the_host_says_that_it_is_a_simulator(api: Any) -> None:
    assert api.host.get_software_version(api.host.get_all()[0])["vmsnap_simulator"] == "yes"
