"""What no simulator shows rightly, checked on recorded facts: names and identity; and the library's own type information,
which says what each call needs and raises."""

from typing import Any

import pytest
from pyVmomi import vim, vmodl
from pyVmomi.VmomiSupport import GetVmodlType

from hypervisors import errors
from hypervisors.drivers.vmware import privileges
from hypervisors.drivers.vmware.errors import translated
from hypervisors.drivers.vmware.footer import NAME_LENGTH, Note, clipped, packed, unescaped, unpacked
from hypervisors.drivers.vmware.machines import (
    FOREST_PATHS,
    MACHINE_PATHS,
    SURROUNDING_PATHS,
    Surroundings,
    is_machine,
    native_ids,
    question_text,
)
from hypervisors.drivers.vmware.properties import Seen, filter_spec, only
from hypervisors.drivers.vmware.storage import DATASTORE_PATHS

from .recorded import seen


class TestNames:
    @pytest.mark.parametrize(
        ("kept", "name"),
        [("a%2fb", "a/b"), ("a%5Cb", "a\\b"), ("50%25", "50%"), ("%252f", "%2f"), ("plain", "plain"), ("100%", "100%")],
    )
    def test_names_of_the_inventory_are_unescaped_once(self, kept: str, name: str) -> None:
        assert unescaped(kept) == name

    @pytest.mark.parametrize("name", ["n" * 300, "𝔵" * 255, "👩‍💻" * 60, "x" * 79 + "𝔵", "short"])
    def test_a_clipped_name_is_short_enough_and_a_beginning(self, name: str) -> None:
        short = clipped(name)
        assert name.startswith(short)
        assert len(short.encode("utf-16-le")) <= 2 * NAME_LENGTH
        assert len(name) < NAME_LENGTH or len(short) >= NAME_LENGTH // 2 - 2

    @pytest.mark.parametrize(
        "description", ["", "one line", "two\nlines\n", "[vmsnap not-ours]", "x\n\n[vmsnap y disk]", "  "]
    )
    @pytest.mark.parametrize("name", ["plain", "a/b", "n" * 255, 'quo"te\\', "  spaces  "])
    @pytest.mark.parametrize(("token", "memory"), [("0b9f0c5e", True), ("0b9f0c5e", False), (None, None)])
    def test_what_is_packed_is_unpacked(self, name: str, description: str, token: Any, memory: Any) -> None:
        note = Note(name, description, token, memory)
        assert unpacked(clipped(name), packed(note)) == note

    def test_a_name_changed_elsewhere_wins_over_the_one_we_kept(self) -> None:
        text = packed(Note("n" * 200, "words", "t", False))
        assert unpacked("their name", text) == Note("their name", "words", "t", False)

    @pytest.mark.parametrize("rewritten", ["a%2fb", "a/b"])
    def test_a_name_that_the_server_rewrote_is_still_ours(self, rewritten: str) -> None:
        assert unpacked(rewritten, packed(Note("a/b", "", "t", False))).name == "a/b"

    @pytest.mark.parametrize(
        "text",
        [
            "[vmsnap]",
            "[vmsnap ]",
            "[vmsnap a b c]",
            "words [vmsnap t disk]",
            "words\n[vmsnap t disk]",
            "[vmsnap t disk]\n\nwords after it",
            '[vmsnap t disk "open]',
            "[vmsnap " + "t" * 100 + "]",
            "\u202e[vmsnap t disk]",
            "[" * 10_000,
        ],
    )
    def test_what_only_looks_like_our_line_is_the_users_text(self, text: str) -> None:
        assert unpacked("name", text) == Note("name", text)

    @pytest.mark.parametrize("kept", ['"\\ud800"', '"\\q"', '"' + "[" * 5000 + '"', '"other"'])
    def test_a_hostile_name_in_our_line_does_no_harm(self, kept: str) -> None:
        note = unpacked("name", f"words\n\n[vmsnap t disk {kept}]")
        assert (note.name, note.description, note.token) == ("name", "words", "t")

    @pytest.mark.parametrize("text", ["\x00", "\x1b[31m", "\ufffe", "\ud800"])
    def test_text_that_cannot_be_sent_is_rejected(self, text: str) -> None:
        for note in (Note(text, ""), Note("name", text, "t", True)):
            with pytest.raises(errors.Rejected):
                packed(note)

    def test_a_question_is_one_line_with_its_answers(self) -> None:
        question = vim.vm.QuestionInfo(
            id="1",
            text="msg.uuid.altered:This machine might have been\nmoved or copied.",
            choice=vim.option.ChoiceOption(
                choiceInfo=[vim.ElementDescription(key=key, label=key, summary="") for key in ("Cancel", "I Copied It")]
            ),
        )
        assert question_text(question) == "This machine might have been moved or copied (Cancel / I Copied It)"
        assert question_text(None) == ""


class TestIdentity:
    A, B = "50000000-0000-4000-8000-00000000000a", "50000000-0000-4000-8000-00000000000b"

    def test_a_machine_goes_by_its_instance_uuid_and_else_by_its_reference(self) -> None:
        assert native_ids({"vm-1": self.A.upper(), "vm-2": None, "vm-3": "no uuid"}) == {
            "vm-1": self.A,
            "vm-2": "vm-2",
            "vm-3": "vm-3",
        }

    def test_of_two_with_the_same_uuid_the_older_keeps_it(self) -> None:
        assert native_ids({"vm-10": self.A, "vm-9": self.A, "vm-11": self.B}) == {
            "vm-9": self.A,
            "vm-10": f"{self.A}/vm-10",
            "vm-11": self.B,
        }

    def test_a_machine_that_may_not_be_read_is_not_taken_for_one_without_snapshots(self) -> None:
        denied = vim.fault.NoPermission(privilegeId="System.Read")
        machine = Seen(vim.VirtualMachine("vm-1", None), {"name": "web"}, {"snapshot": denied})
        assert not is_machine(machine)
        too_old = Seen(vim.VirtualMachine("vm-1", None), {}, {"snapshot": vmodl.query.InvalidProperty(name="snapshot")})
        assert is_machine(too_old)

    def test_a_template_is_no_machine(self) -> None:
        assert not is_machine(seen(summary__config__template=True))

    def test_a_folder_in_a_circle_has_an_end(self) -> None:
        around = Surroundings(places={"group-v1": ("a", "group-v2"), "group-v2": ("b", "group-v1")})
        assert around.folder(vim.Folder("group-v1", None)) == "/b/a"


class TestTheLibrarysOwnInformation:
    """What pyvmomi says that each call needs and may raise, against what this driver asks for and translates."""

    CALLS = {
        "VirtualMachine.State.CreateSnapshot": vim.VirtualMachine.CreateSnapshot,
        "VirtualMachine.State.RevertToSnapshot": vim.vm.Snapshot.Revert,
        "VirtualMachine.State.RemoveSnapshot": vim.vm.Snapshot.Remove,
        "VirtualMachine.State.RenameSnapshot": vim.vm.Snapshot.Rename,
        "VirtualMachine.Interact.PowerOn": vim.VirtualMachine.PowerOn,
        "VirtualMachine.Interact.PowerOff": vim.VirtualMachine.PowerOff,
    }

    @pytest.mark.parametrize("privilege", CALLS)
    def test_each_call_needs_the_privilege_that_the_check_asks_for(self, privilege: str) -> None:
        asked = {*privileges.FOR_MACHINES, *privileges.FOR_DATASTORES}
        assert privilege in asked
        needed = self.CALLS[privilege].info.privId
        assert needed in (privilege, "System.View", "System.Read")

    @pytest.mark.parametrize(
        "call", [vim.VirtualMachine.RemoveAllSnapshots, vim.VirtualMachine.ConsolidateDisks], ids=["all", "consolidate"]
    )
    def test_removing_all_and_consolidating_need_the_right_to_remove(self, call: Any) -> None:
        assert call.info.privId == "VirtualMachine.State.RemoveSnapshot"

    @pytest.mark.parametrize(
        "call",
        [
            vim.VirtualMachine.CreateSnapshot,
            vim.vm.Snapshot.Revert,
            vim.vm.Snapshot.Remove,
            vim.vm.Snapshot.Rename,
            vim.VirtualMachine.RemoveAllSnapshots,
            vim.VirtualMachine.ConsolidateDisks,
            vim.VirtualMachine.Reconfigure,
            vim.VirtualMachine.PowerOn,
            vim.VirtualMachine.PowerOff,
            vim.VirtualMachine.ShutdownGuest,
        ],
        ids=lambda call: call.info.wsdlName,
    )
    def test_every_fault_a_call_may_raise_has_words_of_its_own(self, call: Any) -> None:
        for name in call.info.faults:
            error = translated(_fault(name))
            assert error.detail.partition(" vSphere says:")[0] != "vSphere refused.", name

    @pytest.mark.parametrize(
        ("name", "kind"),
        [
            ("vim.fault.NotAuthenticated", errors.LoginRefused),
            ("vim.fault.NoActiveHostInCluster", errors.OutOfReach),
            ("vim.fault.VAppTaskInProgress", errors.Busy),
            ("vim.fault.InsufficientMemoryResourcesFault", errors.Rejected),
            ("vim.fault.NotEnoughCpus", errors.Rejected),
            ("vim.fault.InvalidLogin", errors.LoginRefused),
            ("vmodl.fault.SecurityError", errors.NotPermitted),
            ("vmodl.fault.MethodNotFound", errors.Unsupported),
            ("vmodl.fault.SystemError", errors.Rejected),
        ],
    )
    def test_the_special_class_decides_before_the_general_one(self, name: str, kind: type) -> None:
        assert type(translated(_fault(name))) is kind

    @pytest.mark.parametrize(
        ("version", "asked"), [("vim.version.version11", False), ("vim.version.version12", True)], ids=["6.5", "6.7"]
    )
    def test_a_property_is_asked_for_only_where_the_version_has_it(self, version: str, asked: bool) -> None:
        """A real server refuses the whole call for one that it does not know."""
        path = "capability.diskOnlySnapshotOnSuspendedVMSupported"
        assert path in MACHINE_PATHS
        wanted = (
            filter_spec(only([vim.Folder("group-d1", None)]), {vim.VirtualMachine: MACHINE_PATHS}, version)
            .propSet[0]
            .pathSet
        )
        assert (path in wanted) is asked
        assert set(MACHINE_PATHS) - set(wanted) <= {path}

    def test_all_that_is_read_exists_in_the_oldest_supported_version(self) -> None:
        paths = {**SURROUNDING_PATHS, vim.Datastore: DATASTORE_PATHS, vim.VirtualMachine: FOREST_PATHS}
        spec = filter_spec(only([vim.Folder("group-d1", None)]), paths, "vim.version.version11")
        assert {one.type: tuple(one.pathSet) for one in spec.propSet} == paths


def _fault(name: str) -> Any:
    return GetVmodlType(name)()
