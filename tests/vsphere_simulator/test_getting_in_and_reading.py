"""Who is let in, and how what is there is read, on a vCenter and on a host without one."""

import ssl
import threading
from pathlib import Path
from typing import Any

import pytest
from pyVmomi import vim, vmodl

from .certificates import make_certificates
from .client import Client, Collector, spec_of_all
from .server import VsphereSimulator
from .world import Machine


def test_who_does_not_trust_its_authority_is_not_let_near(server: VsphereSimulator, tmp_path: Path) -> None:
    other = make_certificates(tmp_path).authority_pem()
    with pytest.raises(ssl.SSLCertVerificationError):
        Client(server, ca_certificate=other)


def test_a_wrong_password_is_refused(server: VsphereSimulator) -> None:
    with pytest.raises(vim.fault.InvalidLogin):
        Client(server, password="wrong")


def test_it_says_that_it_is_a_simulator_and_which(client: Client, model: str) -> None:
    about = client.content.about
    assert about.fullName.endswith("(simulator)")
    assert "simulator" in about.vendor
    assert about.apiType == {"vcenter": "VirtualCenter", "esxi": "HostAgent"}[model]


def test_without_a_session_every_call_meets_not_authenticated(server: VsphereSimulator, client: Client) -> None:
    machine = client.machine("off")
    server.end_sessions()
    for call in (lambda: client.read(machine, "name"), lambda: client.take(machine, "no"), machine.PowerOnVM_Task):
        with pytest.raises(vim.fault.NotAuthenticated):
            call()


def test_a_waiting_call_hears_of_the_end_of_its_session(server: VsphereSimulator, client: Client) -> None:
    collector = client.content.propertyCollector.CreatePropertyCollector()
    collector.CreateFilter(spec_of_all(client.view(vim.VirtualMachine), vim.VirtualMachine, "name"), False)
    version = collector.WaitForUpdatesEx("", Collector.WaitOptions(maxWaitSeconds=0)).version
    met: list[BaseException] = []

    def wait() -> None:
        try:
            collector.WaitForUpdatesEx(version, Collector.WaitOptions(maxWaitSeconds=50))
        except vmodl.MethodFault as fault:
            met.append(fault)

    waiting = threading.Thread(target=wait)
    waiting.start()
    # Whether the call has begun by now does not matter: a call that comes later is refused likewise.
    server.end_sessions()
    waiting.join(60)
    assert [type(each) for each in met] == [vim.fault.NotAuthenticated]


# Reading


def test_answers_come_in_pages_when_asked_for(client: Client) -> None:
    view = client.view(vim.VirtualMachine)
    collector = client.content.propertyCollector
    first = collector.RetrievePropertiesEx(
        [spec_of_all(view, vim.VirtualMachine, "name")], Collector.RetrieveOptions(maxObjects=1)
    )
    second = collector.ContinueRetrievePropertiesEx(first.token)
    assert [each.propSet[0].val for each in [*first.objects, *second.objects]] == ["off", "on"]
    assert second.token is None
    with pytest.raises(vmodl.query.InvalidProperty):
        collector.ContinueRetrievePropertiesEx(first.token)


def test_changes_are_told_once_and_what_is_unset_is_told_too(server: VsphereSimulator, client: Client) -> None:
    collector = client.content.propertyCollector.CreatePropertyCollector()
    view = client.view(vim.VirtualMachine)
    collector.CreateFilter(spec_of_all(view, vim.VirtualMachine, "name", "snapshot.currentSnapshot"), False)
    machine = client.machine("off")

    def updates(version: str) -> tuple[str, Any]:
        found = collector.WaitForUpdatesEx(version, Collector.WaitOptions(maxWaitSeconds=0))
        if found is None:
            return version, []
        told = [
            (each.kind, {change.name: change.val for change in each.changeSet})
            for filtered in found.filterSet
            for each in filtered.objectSet
        ]
        return found.version, told

    version, told = updates("")
    assert told == [("enter", {"name": "off"}), ("enter", {"name": "on"})]
    assert updates(version) == (version, [])
    snapshot = client.take(machine, "one")
    version, told = updates(version)
    assert told == [("modify", {"snapshot.currentSnapshot": snapshot})]
    client.outcome(snapshot.RemoveSnapshot_Task(False))
    version, told = updates(version)
    assert told == [("modify", {"snapshot.currentSnapshot": None})]
    server.add_machine(Machine("new"))
    version, told = updates(version)
    assert told == [("enter", {"name": "new"})]
    server.delete_machine("new")
    version, told = updates(version)
    assert told == [("leave", {})]
    with pytest.raises(vmodl.query.InvalidCollectorVersion):
        updates("1")


def test_calls_are_counted(server: VsphereSimulator, client: Client) -> None:
    before = server.calls().get("CurrentTime", 0)
    vim.ServiceInstance("ServiceInstance", client.stub).CurrentTime()
    assert server.calls()["CurrentTime"] == before + 1


def test_folders_pools_and_custom_attributes_are_where_they_were_asked_for(client: Client, model: str) -> None:
    machine = client.machine("on")
    seen = client.read(machine, "parent", "resourcePool", "customValue")
    assert client.read(seen["resourcePool"], "name")["name"] == "gold"
    if model == "vcenter":
        assert client.read(seen["parent"], "name")["name"] == "production"
        assert [each.value for each in seen["customValue"]] == ["sales"]
