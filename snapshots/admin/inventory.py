"""Admin pages of what the hypervisors hold: machines and volumes, which are shared out to accounts here, pools and VM
snapshots, which are only looked at."""

from collections.abc import Callable
from typing import Any

from django import forms
from django.contrib import admin
from django.contrib.admin.helpers import ActionForm
from django.db.models import QuerySet
from django.http import HttpRequest
from django.template.defaultfilters import filesizeformat

from snapshots.access import Actor
from snapshots.admin.acting import ActingAdmin, ActingForm, ReadingAdmin
from snapshots.admin.tenancy import account_choice
from snapshots.models import Account, PoolPolicy, StoragePool, VirtualMachine, VMSnapshot, Volume
from snapshots.pool_room import PoolRoom, policy_in_force, rooms_of
from snapshots.services import tenancy
from snapshots.services.pool_policies import set_policy


class AccountChosenForm(ActionForm):
    """The account that an action gives the chosen rows to; empty takes them from theirs."""

    account = forms.ModelChoiceField(Account.objects.none(), required=False, label="Account:", empty_label="(none)")

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        account_choice(self.fields["account"])  # type: ignore[arg-type]  # the field above


class AssigningAdmin(ActingAdmin):
    """Rows that are read from a hypervisor; only the account that owns them is ours to change."""

    may_change = True
    action_form = AccountChosenForm
    actions = ("give",)
    assign: Callable[[Actor, Any, Account | None], None]

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> tuple[str, ...]:
        return tuple(name for name in self.fields or () if isinstance(name, str) and name != "account")

    def formfield_for_foreignkey(self, db_field: Any, request: HttpRequest, **kwargs: Any) -> Any:
        field = super().formfield_for_foreignkey(db_field, request, **kwargs)
        if field is not None and db_field.name == "account":
            field.required = False
            return account_choice(field)
        return field

    def change(self, actor: Actor, row: Any, values: dict[str, Any]) -> None:
        if "account" in values and values["account"] != row.account:
            self.assign(actor, row, values["account"])

    @admin.action(description="Give the chosen ones to an account", permissions=["act"])
    def give(self, request: HttpRequest, queryset: QuerySet[Any]) -> None:
        chosen = request.POST.get("account")  # the stock view has checked it by AccountChosenForm
        account = Account.objects.get(pk=chosen) if chosen else None
        self.each_by_service(
            request,
            queryset,
            lambda actor, row: self.assign(actor, row, account),
            f"Now of {account.name}: {{count}}." if account else "Now of no account: {count}.",
        )


def _size(count: int | None) -> str:
    return "unknown" if count is None else filesizeformat(count)


@admin.register(VirtualMachine)
class MachineAdmin(AssigningAdmin):
    """Machines."""

    list_display = ("name", "hypervisor", "account", "power_state", "snapshot_count", "missing_since", "synced_at")
    list_filter = (("account", admin.EmptyFieldListFilter), "hypervisor", "power_state")
    list_select_related = ("hypervisor", "account")
    search_fields = ("name", "native_id", "account__name")
    fields = (
        "name",
        "hypervisor",
        "account",
        "power_state",
        "memory",
        "snapshot_count",
        "native_id",
        "uuid",
        "missing_since",
        "synced_at",
        "created_at",
    )

    @admin.display(description="memory", ordering="memory_bytes")
    def memory(self, machine: VirtualMachine) -> str:
        return _size(machine.memory_bytes)

    def assign(self, actor: Actor, row: VirtualMachine, account: Account | None) -> None:
        tenancy.assign_machine(actor, machine=row, account=account)


@admin.register(Volume)
class VolumeAdmin(AssigningAdmin):
    """Volumes. Attached ones belong to their machine's account; loose ones are given away here."""

    list_display = ("name", "hypervisor", "pool", "machine", "account", "size", "missing_since")
    list_filter = (("machine", admin.EmptyFieldListFilter), "hypervisor", "pool")
    list_select_related = ("hypervisor", "pool", "machine", "account")
    search_fields = ("name", "native_id", "machine__name", "account__name")
    fields = (
        "name",
        "hypervisor",
        "pool",
        "machine",
        "target",
        "account",
        "format",
        "size",
        "used",
        "native_id",
        "uuid",
        "missing_since",
    )

    def get_readonly_fields(self, request: HttpRequest, obj: Volume | None = None) -> tuple[str, ...]:
        attached = obj is not None and obj.machine_id is not None
        return (*super().get_readonly_fields(request, obj), *(("account",) if attached else ()))

    @admin.display(description="size", ordering="capacity_bytes")
    def size(self, volume: Volume) -> str:
        return _size(volume.capacity_bytes)

    @admin.display(description="used", ordering="used_bytes")
    def used(self, volume: Volume) -> str:
        return _size(volume.used_bytes)

    def assign(self, actor: Actor, row: Volume, account: Account | None) -> None:
        tenancy.assign_volume(actor, volume=row, account=account)


class PoolPolicyForm(ActingForm):
    """How full the pool may become; what is left empty is the default of the installation."""

    warning_percent = forms.IntegerField(required=False, label="Warns above, %")
    threshold_percent = forms.IntegerField(required=False, label="Refuses above, %")
    overcommit = forms.DecimalField(
        required=False, label="Overcommit", help_text="How many times its size may be allocated."
    )

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        policy = PoolPolicy.objects.filter(pool=self.instance).first()
        for name in POLICY:
            self.fields[name].initial = getattr(policy, name, None)
            default = policy_in_force(None)[name]
            self.fields[name].widget.attrs["placeholder"] = f"default: {default}"


POLICY = ("warning_percent", "threshold_percent", "overcommit")


@admin.register(StoragePool)
class PoolAdmin(ActingAdmin):
    """Storage pools. What is read from the hypervisor is looked at; how full one may become is set here."""

    may_change = True
    form = PoolPolicyForm
    list_display = ("name", "hypervisor", "kind", "total", "free", "fullness", "active", "missing_since", "synced_at")
    list_filter = ("hypervisor", "active")
    list_select_related = ("hypervisor",)
    search_fields = ("name", "native_id")
    readonly_fields = (
        "name",
        "hypervisor",
        "kind",
        "total",
        "free",
        "fullness",
        "active",
        "native_id",
        "uuid",
        "missing_since",
        "synced_at",
    )
    fieldsets = (
        (None, {"fields": readonly_fields}),
        (
            "How full it may become",
            {"fields": POLICY, "description": "In percent of its size times the overcommit. Empty: the default."},
        ),
    )

    def get_changelist_instance(self, request: HttpRequest) -> Any:
        page = super().get_changelist_instance(request)
        # Once for the whole page, whose rows these very objects are.
        rooms = rooms_of(page.result_list)
        for pool in page.result_list:
            pool.room = rooms[pool.pk]
        return page

    @admin.display(description="allocated")
    def fullness(self, pool: StoragePool) -> str:
        room: PoolRoom = getattr(pool, "room", None) or rooms_of([pool])[pool.pk]
        return f"{_size(room.allocated_bytes)}, {room.percent} %" if room.percent is not None else "size unknown"

    def change(self, actor: Actor, row: StoragePool, values: dict[str, Any]) -> None:
        set_policy(actor, pool=row, **{name: values[name] for name in POLICY})

    @admin.display(description="size", ordering="total_bytes")
    def total(self, pool: StoragePool) -> str:
        return _size(pool.total_bytes)

    @admin.display(description="free", ordering="free_bytes")
    def free(self, pool: StoragePool) -> str:
        return _size(pool.free_bytes)


@admin.register(VMSnapshot)
class SnapshotAdmin(ReadingAdmin):
    """VM snapshots, without the hidden anchors. The tree is changed by jobs alone, so mptt's own admin is not used."""

    list_display = ("name", "machine", "type", "state", "current", "origin", "created_at", "created_by")
    list_filter = ("state", "type", "origin", "current")
    list_select_related = ("machine", "created_by")
    search_fields = ("name", "machine__name")
    ordering = ("-created_at", "-id")
    fields = (
        "name",
        "description",
        "machine",
        "parent_name",
        "type",
        "state",
        "error_code",
        "error_detail",
        "current",
        "origin",
        "created_at",
        "created_by",
        "schedule",
        "memory",
        "measured",
        "native_id",
        "uuid",
    )

    def get_queryset(self, request: HttpRequest) -> Any:
        return super().get_queryset(request).filter(parent__isnull=False)

    @admin.display(description="taken after")
    def parent_name(self, snapshot: VMSnapshot) -> str:
        return str(snapshot.parent)

    @admin.display(description="memory")
    def memory(self, snapshot: VMSnapshot) -> str:
        return _size(snapshot.memory_bytes)

    @admin.display(description="measured size")
    def measured(self, snapshot: VMSnapshot) -> str:
        return _size(snapshot.measured_bytes)
