"""What goes out, in the words of the contract. Ids are the public UUIDs; people are user names; sizes are bytes; times are
UTC. Rows come from `reading.rest_lists`, which annotates what stands here as `…_uuid`.
"""

from dataclasses import fields
from typing import Any

from drf_spectacular.utils import extend_schema_field, extend_schema_serializer
from rest_framework import serializers

from hypervisors.capabilities import Capabilities
from hypervisors.models import Hypervisor
from hypervisors.registry import KINDS
from snapshots.choices import (
    ACTIVE_JOB_STATES,
    JobAction,
    JobState,
    LimitKind,
    Origin,
    PowerState,
    SnapshotState,
    SnapshotType,
    TokenScope,
    Trigger,
)
from snapshots.limit_levels import Place
from snapshots.models import Event, Job, VirtualMachine, VMSnapshot


class Output(serializers.Serializer[Any]):
    """Base of all outputs: read only."""


def _id(source: str = "uuid", help_text: str = "", **options: Any) -> serializers.UUIDField:
    return serializers.UUIDField(source=source, read_only=True, help_text=help_text, **options)


def _link(source: str, noun: str) -> serializers.UUIDField:
    return _id(source, f"The `id` of the {noun}.")


def _link_or_null(source: str, help_text: str) -> serializers.UUIDField:
    return _id(source, help_text, allow_null=True)


class Ability(Output):
    """Whether one thing can be done with the machine, and why not."""

    allowed = serializers.BooleanField()
    reason = serializers.CharField(help_text="A sentence; empty when it is allowed.")


# One field per ability, so that the schema names each.
CapabilitiesOutput = type(
    "CapabilitiesOutput",
    (Output,),
    {"__doc__": "What can be done with the machine.", **{field.name: Ability() for field in fields(Capabilities)}},
)


class MachineOutput(Output):
    """A virtual machine, as last read from its hypervisor."""

    id = _id()
    name = serializers.CharField()
    hypervisor = _link("hypervisor_uuid", "hypervisor")
    power_state = serializers.ChoiceField(choices=PowerState.choices)
    account = _link_or_null("account_uuid", "The `id` of the account that owns it; null while it has no owner.")
    domain = _link_or_null("domain_uuid", "The `id` of that account's domain.")
    memory_bytes = serializers.IntegerField()
    folder = serializers.CharField(help_text="Where its administrators filed it; empty where there is no such thing.")
    resource_pool = serializers.CharField(help_text="The pool whose resources it uses; empty where there is none.")
    tags = serializers.ListField(child=serializers.CharField(), help_text="Its administrators' marks on it.")
    needs_consolidation = serializers.BooleanField(help_text="Removed VM snapshots left disks behind on the storage.")
    question = serializers.CharField(
        help_text="What its hypervisor waits to be told before it goes on with the machine; empty when there is nothing."
    )
    missing_since = serializers.DateTimeField(
        allow_null=True, help_text="Since when its hypervisor does not know it; null while it does."
    )
    snapshot_count = serializers.IntegerField()
    unadopted_count = serializers.IntegerField(
        help_text="How many of its VM snapshots were made elsewhere and not adopted: they count in no limit."
    )
    lost_count = serializers.IntegerField(help_text="How many of its VM snapshots its hypervisor has no more.")
    capabilities = serializers.SerializerMethodField()
    synced_at = serializers.DateTimeField(allow_null=True, help_text="When it was last read from its hypervisor.")

    @extend_schema_field(CapabilitiesOutput)
    def get_capabilities(self, machine: VirtualMachine) -> dict[str, Any]:
        """All abilities, those that were not known at the last reading as missing."""
        return machine.abilities.as_json()


class ErrorOutput(Output):
    """Why something ended without success."""

    code = serializers.CharField()
    detail = serializers.CharField()


class SnapshotOutput(Output):
    """A VM snapshot."""

    id = _id()
    name = serializers.CharField()
    description = serializers.CharField()
    state = serializers.ChoiceField(choices=SnapshotState.choices)
    type = serializers.ChoiceField(choices=SnapshotType.choices)
    parent = serializers.SerializerMethodField()  # type: ignore[assignment]  # named like the field's own attribute
    current = serializers.BooleanField(help_text="The machine as it runs now stems from this one.")
    virtual_machine = _link("machine_uuid", "virtual machine")
    origin = serializers.ChoiceField(choices=Origin.choices)
    adopted_at = serializers.DateTimeField(
        allow_null=True, help_text="When one made elsewhere was made ours; null for one that was not."
    )
    created_at = serializers.DateTimeField()
    created_by = serializers.CharField(
        source="created_by_name", allow_null=True, help_text="User name; null when made elsewhere or the user is gone."
    )
    schedule = _link_or_null("schedule_uuid", "The `id` of the schedule that took it and will delete it, or null.")
    estimated_bytes = serializers.IntegerField(
        help_text="By how much the machine's estimated allocation would fall if this VM snapshot alone were deleted."
    )
    measured_bytes = serializers.IntegerField(
        allow_null=True, help_text="What the hypervisor says it occupies; null where it cannot say."
    )

    error = serializers.SerializerMethodField()

    @extend_schema_field(ErrorOutput(allow_null=True))
    def get_error(self, snapshot: VMSnapshot) -> dict[str, str] | None:
        """What went wrong with it; `gone_on_hypervisor` for a lost one."""
        return {"code": snapshot.error_code, "detail": snapshot.error_detail} if snapshot.error_code else None

    @extend_schema_field(serializers.UUIDField(allow_null=True, help_text="The `id` of the parent; null for a root."))
    def get_parent(self, snapshot: VMSnapshot) -> str | None:
        """The parent's id, never that of the hidden anchor above the roots."""
        return None if snapshot.parent_above is None else str(snapshot.parent_uuid)


@extend_schema_serializer(component_name="SnapshotNode")
class NodeOutput(SnapshotOutput):
    """A VM snapshot with those that stem from it. For the schema: `tree_json` writes the children."""

    children = serializers.SerializerMethodField()

    @extend_schema_field({"type": "array", "items": {"$ref": "#/components/schemas/SnapshotNode"}})
    def get_children(self, _: VMSnapshot) -> list[Any]:
        """Direct children, oldest first."""
        raise NotImplementedError


class TreeHeadOutput(Output):
    """What is said of a tree as a whole."""

    virtual_machine = serializers.UUIDField(help_text="The `id` of the virtual machine.")
    current = serializers.UUIDField(
        allow_null=True, help_text="The `id` of the current VM snapshot; null when the machine stems from none."
    )
    snapshot_count = serializers.IntegerField()
    estimated_bytes = serializers.IntegerField(
        help_text="The machine's estimated allocation: allocated size of its volumes × max(paths − 1, 0), plus the memory "
        "its VM snapshots hold."
    )
    measured_bytes = serializers.IntegerField(
        allow_null=True, help_text="The sum of what the hypervisor measures; null when it measured none."
    )
    synced_at = serializers.DateTimeField(
        allow_null=True, help_text="When the machine was last read from its hypervisor."
    )


class TreeOutput(TreeHeadOutput):
    """The tree of one machine."""

    nodes = NodeOutput(many=True, help_text="The roots; all others below them in `children`.")


class JobOutput(Output):
    """One asynchronous action."""

    id = _id()
    action = serializers.ChoiceField(choices=JobAction.choices)
    state = serializers.ChoiceField(choices=JobState.choices)
    progress = serializers.IntegerField(min_value=0, max_value=100, help_text="Percent.")
    error = serializers.SerializerMethodField()
    virtual_machine = _link_or_null("machine_uuid", "The `id` of the virtual machine; null for a job on a hypervisor.")
    snapshot = _link_or_null("snapshot_uuid", "The `id` of the VM snapshot, kept after its deletion.")
    requested_by = serializers.CharField(
        source="requested_by_name", allow_null=True, help_text="User name; null when the product itself asked."
    )
    created_at = serializers.DateTimeField()
    started_at = serializers.DateTimeField(allow_null=True)
    finished_at = serializers.DateTimeField(allow_null=True)

    @extend_schema_field(ErrorOutput(allow_null=True))
    def get_error(self, job: Job) -> dict[str, str] | None:
        """Null unless the job failed or was cancelled."""
        # While a job runs, a code says why its outcome is being looked for, which is no error yet.
        if job.state in ACTIVE_JOB_STATES or not job.error_code:
            return None
        return {"code": job.error_code, "detail": job.error_detail}


class VolumeOutput(Output):
    """A disk, attached or loose."""

    id = _id()
    name = serializers.CharField()
    virtual_machine = _link_or_null("machine_uuid", "The `id` of the machine it is attached to; null for a loose one.")
    target = serializers.CharField(help_text="Its place in the machine, for example vda; empty for a loose one.")
    account = _link_or_null("account_uuid", "The `id` of the owning account.")
    hypervisor = _link("hypervisor_uuid", "hypervisor")
    storage_pool = _link_or_null("pool_uuid", "The `id` of the storage pool it lies in; null when it lies in none.")
    format = serializers.CharField()
    capacity_bytes = serializers.IntegerField(help_text="Allocated size: what the guest sees.")
    used_bytes = serializers.IntegerField(allow_null=True, help_text="What it occupies; null when not measured.")


class HypervisorOutput(Output):
    """A managed endpoint."""

    id = _id()
    name = serializers.CharField()
    kind = serializers.ChoiceField(choices=[(key, kind.label) for key, kind in KINDS.items()])
    simulated = serializers.BooleanField()
    enabled = serializers.BooleanField()
    state = serializers.ChoiceField(choices=Hypervisor.State.choices)
    product = serializers.CharField()
    version = serializers.CharField()
    last_seen_at = serializers.DateTimeField(allow_null=True)
    synced_at = serializers.DateTimeField(allow_null=True, help_text="When everything in it was last read.")


class HeldOutput(Output):
    """What machines hold: volumes, the estimate of their VM snapshots, and what is measured of these."""

    volume_bytes = serializers.IntegerField()
    estimated_bytes = serializers.IntegerField()
    measured_bytes = serializers.IntegerField(allow_null=True, help_text="Null where the hypervisor measures nothing.")


class AllocationOutput(Output):
    """How full a pool is, in whole percent of its size × overcommit: volumes and the estimate of VM snapshots, of all."""

    percent = serializers.IntegerField(
        source="room.percent", allow_null=True, help_text="Null while its size is not known."
    )
    standing = serializers.ChoiceField(
        source="room.state",
        choices=["unknown", "ok", "warning", "over"],
        help_text="Where it is between its two lines.",
    )
    warning_percent = serializers.IntegerField(source="room.warning_percent")
    threshold_percent = serializers.IntegerField(
        source="room.threshold_percent", help_text="A VM snapshot that would make it fuller is refused."
    )
    overcommit = serializers.FloatField(source="room.overcommit")
    own = HeldOutput(help_text="What the machines that you see hold there.")
    all = HeldOutput(allow_null=True, help_text="What all hold there together; null unless you are a root admin.")


class PoolOutput(Output):
    """A storage pool."""

    id = _id()
    name = serializers.CharField()
    hypervisor = _link("hypervisor_uuid", "hypervisor")
    kind = serializers.CharField()
    active = serializers.BooleanField()
    total_bytes = serializers.IntegerField(allow_null=True)
    free_bytes = serializers.IntegerField(allow_null=True)
    allocation = AllocationOutput(source="as_seen")
    synced_at = serializers.DateTimeField(allow_null=True)


class EventOutput(Output):
    """One line of history: who, what, on what, when, from where, how it ended."""

    id = _id()
    at = serializers.DateTimeField()
    action = serializers.CharField(help_text="A dotted name, for example snapshot.create.succeeded.")
    level = serializers.ChoiceField(choices=Event.Level.choices)
    detail = serializers.CharField()
    user = serializers.CharField(source="user_name", help_text="User name at that time; empty for the product itself.")
    trigger = serializers.ChoiceField(choices=Trigger.choices)
    from_address = serializers.CharField(allow_null=True)
    account = _link_or_null("account_uuid", "The `id` of the account it belongs to.")
    hypervisor = _link_or_null("hypervisor_uuid", "The `id` of the hypervisor.")
    virtual_machine = _link_or_null("machine_uuid", "The `id` of the virtual machine.")
    virtual_machine_name = serializers.CharField(source="machine_name")
    snapshot = _link_or_null("snapshot_uuid", "The `id` of the VM snapshot, kept after its deletion.")
    snapshot_name = serializers.CharField()
    job = _link_or_null("job_uuid", "The `id` of the job.")


class AccountOutput(Output):
    """An owner of machines."""

    id = _id()
    name = serializers.CharField()
    domain = _link("domain_uuid", "domain")
    created_at = serializers.DateTimeField()


class DomainOutput(Output):
    """An organisation."""

    id = _id()
    name = serializers.CharField()
    parent = _link_or_null(  # type: ignore[assignment]  # named like the field's own attribute
        "parent_uuid", "The `id` of the domain above; null at the top of what you see."
    )


class LimitSourceOutput(Output):
    """Where a limit comes from."""

    place = serializers.ChoiceField(choices=[place.value for place in (Place.ACCOUNT, Place.DOMAIN, Place.DEFAULT)])
    id = serializers.UUIDField(allow_null=True, help_text="Null for a default, and for a domain you do not see.")
    name = serializers.CharField(help_text="Empty where `id` is null.")


class LimitOutput(Output):
    """A limit of one kind."""

    kind = serializers.ChoiceField(choices=LimitKind.choices)
    value = serializers.IntegerField(allow_null=True, help_text="What was set here; null for nothing.")
    effective = serializers.IntegerField(
        help_text="What holds here: of `snapshots` and `bytes` the least of this and all above that you see, of the others "
        "the nearest; -1 for no limit."
    )
    source = LimitSourceOutput()  # type: ignore[assignment]  # named like the field's own attribute
    used = serializers.IntegerField(
        allow_null=True,
        help_text="What is in use; null for kinds that hold for each machine or VM snapshot by itself, and for a domain "
        "that you do not administer where `effective` is -1.",
    )


class LimitsOutput(Output):
    """The limits of an account or a domain."""

    id = _id("on.uuid", "The `id` of the account or domain.")
    place = serializers.ChoiceField(choices=[Place.ACCOUNT.value, Place.DOMAIN.value])
    name = serializers.CharField(source="on.name")
    limits = LimitOutput(many=True)


class LoweredOutput(Output):
    """A limit that was lowered with one above it."""

    account = serializers.UUIDField(source="account.uuid", default=None, allow_null=True)
    domain = serializers.UUIDField(source="domain.uuid", default=None, allow_null=True)
    kind = serializers.ChoiceField(choices=LimitKind.choices)
    value = serializers.IntegerField()


class LimitsSetOutput(LimitsOutput):
    """The limits of an account or a domain, just set."""

    lowered = LoweredOutput(many=True, help_text="Limits set below it that were higher, and are lowered.")


class TokenOutput(Output):
    """One of your own API tokens. Its text is shown once only, when it is made."""

    id = _id()
    name = serializers.CharField()
    scope = serializers.ChoiceField(choices=TokenScope.choices)
    created_at = serializers.DateTimeField(source="created")
    expires_at = serializers.DateTimeField(source="expiry", allow_null=True)


class NewTokenOutput(TokenOutput):
    """A token just made."""

    token = serializers.CharField(help_text="The text to send. It cannot be had again.")


class ProblemOutput(Output):
    """An error (RFC 9457). A refusal may add machine-readable facts of its own, such as `job` or `snapshots`."""

    type = serializers.CharField()
    title = serializers.CharField()
    status = serializers.IntegerField()
    detail = serializers.CharField()
    code = serializers.CharField(help_text="Stable, for programs.")
    fields = serializers.DictField(  # type: ignore[assignment]  # a field named like the serializer's own property
        child=serializers.ListField(child=serializers.CharField()), required=False
    )
