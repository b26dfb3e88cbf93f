"""Trees, labels and volume ids from XenServer's records, also from such as no server in order would give."""

from typing import Any

import pytest

from hypervisors.drivers.xenserver.marks import (
    NO_MACHINE,
    TOKEN,
    VOLUME,
    label_of,
    marked_name,
    storable,
    token_mark,
    volume_ids,
    volume_mark,
)
from hypervisors.drivers.xenserver.reading import pool_records, target_of
from hypervisors.drivers.xenserver.records import NULL, Contents
from hypervisors.drivers.xenserver.tree import descendants_first, forest_of, moment, snapshots_by_machine
from hypervisors.records import SnapshotForest, SnapshotKind

TOKEN_TEXT = "11111111-2222-4333-8444-555555555555"


def vm(name: str, parent: str = NULL, **more: Any) -> dict[str, Any]:
    return {
        "uuid": f"uuid of {name}",
        "name_label": name,
        "name_description": "",
        "power_state": "Halted",
        "is_a_snapshot": name != "machine",
        "is_a_template": name != "machine",
        "is_control_domain": False,
        "snapshot_of": "machine" if name != "machine" else NULL,
        "snapshot_time": "20260101T12:00:00Z",
        "parent": parent,
        "suspend_VDI": NULL,
        "VBDs": [],
        "other_config": {},
        **more,
    }


def forest(**records: dict[str, Any]) -> SnapshotForest:
    machines = {"machine": vm("machine"), **records}
    contents = Contents(whole=True, machines=machines)
    return forest_of(contents, machines["machine"], snapshots_by_machine(machines)["machine"])


def shape(forest: SnapshotForest) -> dict[str, str | None]:
    return {
        snapshot.name: snapshot.parent_id and snapshot.parent_id.removeprefix("uuid of ")
        for snapshot in forest.snapshots
    }


# Trees


def test_a_tree_has_parents_before_children_whatever_order_they_come_in() -> None:
    seen = forest(leaf=vm("leaf", "middle"), middle=vm("middle", "root"), root=vm("root"))
    assert list(shape(seen).items()) == [("root", None), ("middle", "root"), ("leaf", "middle")]


def test_a_tree_may_have_several_roots() -> None:
    seen = forest(one=vm("one"), two=vm("two"), below=vm("below", "two"))
    assert shape(seen) == {"one": None, "two": None, "below": "two"}


@pytest.mark.parametrize("parent", ["OpaqueRef:gone", "", "machine", "of another machine"])
def test_a_snapshot_whose_parent_is_not_among_them_is_a_root(parent: str) -> None:
    other = vm("of another machine", snapshot_of="another machine")
    seen = forest(orphan=vm("orphan", parent), below=vm("below", "orphan"), other=other)
    assert shape(seen) == {"orphan": None, "below": "orphan"}


def test_snapshots_that_hang_on_each_other_in_a_circle_are_all_shown_once() -> None:
    seen = forest(a=vm("a", "c"), b=vm("b", "a"), c=vm("c", "b"), d=vm("d", "d"), root=vm("root"))
    assert shape(seen).keys() == {"a", "b", "c", "d", "root"}
    known: set[str] = set()
    for snapshot in seen.snapshots:
        assert snapshot.parent_id is None or snapshot.parent_id in known
        known.add(snapshot.native_id)
    assert len(seen.snapshots) == 5


@pytest.mark.parametrize(
    ("parent", "current"), [("one", "uuid of one"), (NULL, None), ("OpaqueRef:gone", None), ("elsewhere", None)]
)
def test_the_machine_stands_on_its_parent(parent: str, current: str | None) -> None:
    other = vm("elsewhere", snapshot_of="another machine")
    seen = forest(machine=vm("machine", parent), one=vm("one"), elsewhere=other)
    assert seen.current_id == current


def test_a_chain_of_ten_thousand_is_walked() -> None:
    chain = {f"s{n}": vm(f"s{n}", f"s{n - 1}" if n else NULL) for n in range(10_000)}
    seen = forest(**dict(reversed(chain.items())))
    assert [snapshot.name for snapshot in seen.snapshots] == list(chain)
    assert descendants_first(seen, "uuid of s9990") == [f"uuid of s{n}" for n in range(9999, 9989, -1)]


def test_siblings_come_in_the_order_of_their_age() -> None:
    seen = forest(
        young=vm("young", snapshot_time="20260301T00:00:00Z"), old=vm("old", snapshot_time="20260101T00:00:00Z")
    )
    assert [snapshot.name for snapshot in seen.snapshots] == ["old", "young"]


def test_a_suspended_snapshot_holds_memory_and_its_image_counts() -> None:
    disks = {"image": {"physical_utilisation": "700"}, "leaf": {"physical_utilisation": "30"}}
    slot = {"VM": "s", "VDI": "leaf", "type": "Disk", "userdevice": "0"}
    record = vm("s", power_state="Suspended", suspend_VDI="image", VBDs=["slot"])
    contents = Contents(whole=True, machines={"machine": vm("machine"), "s": record}, disks=disks, slots={"slot": slot})
    (seen,) = forest_of(contents, contents.machines["machine"], {"s": record}).snapshots
    assert (seen.kind, seen.measured_bytes) == (SnapshotKind.DISK_AND_MEMORY, 730)
    disks["leaf"]["physical_utilisation"] = "-1"
    (seen,) = forest_of(contents, contents.machines["machine"], {"s": record}).snapshots
    assert seen.measured_bytes is None


@pytest.mark.parametrize(
    "text", ["20260102T03:04:05Z", "20260102T03:04:05", "2026-01-02T03:04:05Z", "20260102T03:04:05.5Z"]
)
def test_times_are_read_in_every_form_that_releases_write(text: str) -> None:
    assert moment(text).isoformat() == "2026-01-02T03:04:05+00:00"


def test_a_time_that_is_none_is_the_beginning_of_time() -> None:
    assert moment("yesterday").isoformat() == "1970-01-01T00:00:00+00:00"


# Labels


def test_a_label_is_read_at_every_step_of_its_writing() -> None:
    name, description = "before [vmsnap] it\nall", "as described"
    steps = [
        vm("s", name_label=marked_name(name, TOKEN_TEXT), name_description="the machine's"),
        vm("s", name_label=marked_name(name, TOKEN_TEXT), name_description=description),
        vm(
            "s",
            name_label=marked_name(name, TOKEN_TEXT),
            name_description=description,
            other_config={TOKEN: token_mark(TOKEN_TEXT, "uuid of s")},
        ),
        vm(
            "s",
            name_label=name,
            name_description=description,
            other_config={TOKEN: token_mark(TOKEN_TEXT, "uuid of s")},
        ),
    ]
    labels = [label_of(record) for record in steps]
    assert {label.name for label in labels} == {name}
    assert {label.token for label in labels} == {TOKEN_TEXT}
    assert [label.description for label in labels] == ["", "", description, description]


def test_a_token_that_was_copied_from_another_snapshot_does_not_count() -> None:
    label = label_of(vm("s", other_config={TOKEN: token_mark(TOKEN_TEXT, "uuid of another")}))
    assert (label.name, label.token) == ("s", None)


def test_a_name_that_looks_like_ours_stays_as_it_was_given() -> None:
    given = marked_name("mine", "99999999-2222-4333-8444-555555555555")
    record = vm("s", name_label=given, other_config={TOKEN: token_mark(TOKEN_TEXT, "uuid of s")})
    assert (label_of(record).name, label_of(record).token) == (given, TOKEN_TEXT)


@pytest.mark.parametrize("text", ["a\x00b", "a\x1bb", "\ud800", "\uffff", "\x0b"])
def test_what_xml_cannot_hold_is_not_storable(text: str) -> None:
    assert not storable(text)
    assert storable("tab\tline\nreturn\r😀")


# Volume ids


def disk(uuid: str, mark: str = "") -> dict[str, Any]:
    return {"uuid": uuid, "other_config": {VOLUME: mark} if mark else {}}


def ids_of(*machines: tuple[str, list[dict[str, Any]]], loose: tuple[dict[str, Any], ...] = ()) -> list[str]:
    """The ids of the machines' disks and then the loose ones, each as "machine uuid", disks."""
    contents = Contents(whole=True)
    records = []
    for machine_id, disks in machines:
        record = vm("machine", uuid=machine_id)
        for place, entry in enumerate(disks):
            ref = f"disk of {machine_id} at {place}"
            contents.disks[ref] = entry
            slot = f"slot of {machine_id} at {place}"
            contents.slots[slot] = {"VDI": ref, "type": "Disk", "userdevice": str(place)}
            record["VBDs"].append(slot)
        records.append(record)
    free = []
    for number, entry in enumerate(loose):
        contents.disks[f"loose {number}"] = entry
        free.append(f"loose {number}")
    uuids = {entry["uuid"] for entry in contents.disks.values()}
    return list(volume_ids(contents, records, free, uuids.__contains__).values())


def test_a_disk_without_a_mark_has_its_own_uuid() -> None:
    assert ids_of(("m", [disk("x")]), loose=(disk("y"),)) == ["x", "y"]


def test_a_marked_disk_has_the_id_that_it_was_given() -> None:
    assert ids_of(("m", [disk("new", volume_mark("x", "m"))])) == ["x"]
    assert ids_of(loose=(disk("new", volume_mark("x")),)) == ["x"]


def test_a_mark_of_another_machine_does_not_count() -> None:
    assert ids_of(("clone", [disk("new", volume_mark("x", "m"))])) == ["new"]
    assert ids_of(loose=(disk("new", volume_mark("x", "m")),)) == ["new"]
    assert ids_of(("m", [disk("new", volume_mark("x", NO_MACHINE))])) == ["new"]


def test_an_id_belongs_to_the_disk_of_that_uuid() -> None:
    copy, original = disk("new", volume_mark("x", "m")), disk("x", volume_mark("x", "m"))
    assert ids_of(("m", [copy, original])) == ["new", "x"]
    assert ids_of(("m", [copy]), loose=(original,)) == ["new", "x"]


def test_of_two_copies_in_one_machine_the_first_has_the_id() -> None:
    assert ids_of(("m", [disk("a", volume_mark("x", "m")), disk("b", volume_mark("x", "m"))])) == ["x", "b"]


def test_of_two_loose_copies_none_has_the_id() -> None:
    assert ids_of(loose=(disk("a", volume_mark("x")), disk("b", volume_mark("x")))) == ["a", "b"]


def test_an_attached_disk_goes_before_a_loose_one() -> None:
    assert ids_of(("m", [disk("a", volume_mark("x", "m"))]), loose=(disk("b", volume_mark("x")),)) == ["x", "b"]


# Small things


@pytest.mark.parametrize(
    ("place", "target"),
    [("0", "xvda"), ("3", "xvdd"), ("25", "xvdz"), ("26", "xvdaa"), ("hdc", "hdc"), ("701", "xvdzz")],
)
def test_a_place_is_told_as_the_guest_sees_it(place: str, target: str) -> None:
    assert target_of(place) == target


def test_repositories_that_hold_no_disks_are_no_pools_and_unplugged_ones_have_no_size() -> None:
    def repository(**more: Any) -> dict[str, Any]:
        usual = {"name_label": "", "type": "ext", "content_type": "user", "physical_size": "100"}
        return usual | {"physical_utilisation": "130", "uuid": "u"} | more

    contents = Contents(
        whole=True,
        repositories={
            "full": repository(),
            "away": repository(uuid="away"),
            "unknown": repository(uuid="unknown", physical_size="-1"),
            "iso": repository(content_type="iso"),
            "tools": repository(is_tools_sr=True),
            "drive": repository(type="udev", content_type="disk"),
        },
        connections={
            ref: {"SR": ref, "currently_attached": ref != "away"} for ref in ("full", "away", "unknown", "iso", "tools")
        },
    )
    seen = {pool.native_id: (pool.active, pool.total_bytes, pool.free_bytes) for pool in pool_records(contents)}
    assert seen == {"u": (True, 100, 0), "away": (False, None, None), "unknown": (False, None, None)}
