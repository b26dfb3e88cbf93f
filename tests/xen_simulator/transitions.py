"""What happens to a machine's tree, as data: tree before, call, tree after.

The states and answers of a XenServer pool, as far as they are known of the real server. Verbs: snapshot, checkpoint,
revert and destroy work on a name; start, suspend and halt on the machine. `tree` says of each snapshot its parent, by
names, None for a root; `stands` is the snapshot that the machine stems from (VM.parent). `refused` is the code where the
last call is refused; the tree is the one before then. The table is run through the simulator by
`test_transitions`, and can be run through a driver.
"""

from dataclasses import dataclass, field

Step = tuple[str, str]


@dataclass(frozen=True)
class Transition:
    """One row. `power` is the machine's power state afterwards, `power_at_first` the one before everything."""

    name: str
    before: tuple[Step, ...]
    call: Step
    tree: dict[str, str | None]
    stands: str | None
    power_at_first: str = "Halted"
    power: str = "Halted"
    refused: str = ""
    states: dict[str, str] = field(default_factory=dict)


S, C, R, D = "snapshot", "checkpoint", "revert", "destroy"
CHAIN = ((S, "a"), (S, "b"), (S, "c"))
FORKED = ((S, "a"), (S, "b"), (R, "a"), (S, "c"))

TRANSITIONS: tuple[Transition, ...] = (
    Transition("the first snapshot is a root", (), (S, "a"), {"a": None}, "a"),
    Transition("the second is below the first", ((S, "a"),), (S, "b"), {"a": None, "b": "a"}, "b"),
    Transition("a revert moves where the machine stands", CHAIN, (R, "a"), {"a": None, "b": "a", "c": "b"}, "a"),
    Transition("after a revert the tree forks", (*CHAIN[:2], (R, "a")), (S, "c"), {"a": None, "b": "a", "c": "a"}, "c"),
    Transition("children of a destroyed one move up", CHAIN, (D, "b"), {"a": None, "c": "a"}, "c"),
    Transition("children of a destroyed root are roots", FORKED, (D, "a"), {"b": None, "c": None}, "c"),
    Transition("the machine moves up with the one it stands on", CHAIN, (D, "c"), {"a": None, "b": "a"}, "b"),
    Transition("destroying the only one leaves the machine at the beginning", ((S, "a"),), (D, "a"), {}, None),
    Transition("a snapshot after the root was destroyed starts anew", ((S, "a"), (D, "a")), (S, "b"), {"b": None}, "b"),
    Transition(
        "two roots grow on their own", (*FORKED, (D, "a"), (R, "b")), (S, "d"), {"b": None, "c": None, "d": "b"}, "d"
    ),
    Transition(
        "a revert to a disk snapshot leaves a running machine halted",
        ((S, "a"),),
        (R, "a"),
        {"a": None},
        "a",
        "Running",
    ),
    Transition(
        "a snapshot leaves a running machine running",
        (),
        (S, "a"),
        {"a": None},
        "a",
        "Running",
        "Running",
        "",
        {"a": "Halted"},
    ),
    Transition(
        "a checkpoint of a running machine holds its memory",
        (),
        (C, "a"),
        {"a": None},
        "a",
        "Running",
        "Running",
        "",
        {"a": "Suspended"},
    ),
    Transition(
        "a checkpoint of a suspended machine holds its memory too",
        (("suspend", ""),),
        (C, "a"),
        {"a": None},
        "a",
        "Running",
        "Suspended",
        "",
        {"a": "Suspended"},
    ),
    Transition(
        "a checkpoint of a paused machine holds no memory",
        (("pause", ""),),
        (C, "a"),
        {"a": None},
        "a",
        "Running",
        "Paused",
        "",
        {"a": "Halted"},
    ),
    Transition(
        "a revert to a checkpoint leaves the machine suspended",
        ((C, "a"),),
        (R, "a"),
        {"a": None},
        "a",
        "Running",
        "Suspended",
    ),
    Transition(
        "a revert of a halted machine to a checkpoint leaves it suspended",
        ((C, "a"), ("halt", "")),
        (R, "a"),
        {"a": None},
        "a",
        "Running",
        "Suspended",
    ),
    Transition(
        "a halted machine has no memory to keep", ((S, "a"),), (C, "b"), {"a": None}, "a", refused="VM_BAD_POWER_STATE"
    ),
    Transition(
        "a machine is nothing to revert to",
        ((S, "a"),),
        ("revert the machine", ""),
        {"a": None},
        "a",
        refused="REVERT_ONLY_ALLOWED_ON_SNAPSHOT",
    ),
    Transition(
        "a snapshot has no snapshots of its own",
        ((S, "a"),),
        ("snapshot of", "a"),
        {"a": None},
        "a",
        refused="VM_IS_SNAPSHOT",
    ),
    Transition("a snapshot is not started", ((S, "a"),), ("start of", "a"), {"a": None}, "a", refused="VM_IS_SNAPSHOT"),
    Transition(
        "a running machine is not destroyed",
        ((S, "a"),),
        ("destroy the machine", ""),
        {"a": None},
        "a",
        "Running",
        "Running",
        "VM_BAD_POWER_STATE",
    ),
)
