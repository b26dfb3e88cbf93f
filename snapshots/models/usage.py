"""What is billed: how each VM snapshot that counts came, changed and went.

Rows here name what they are about by public id and by the name it had, and refer to no other row: a usage record outlives
its account, domain, machine and pool.
"""

import uuid

from django.db import models
from django.db.models import F, Q

from snapshots.choices import PeriodLength, PriceUnit, UsageChange, UsageType
from snapshots.models.inventory import VirtualMachine


class UsageFacts(models.Model):
    """One VM snapshot as it is billed: whose it is, where it lies, and how large it is.

    `volume_bytes` is the allocated size of its machine's volumes, `estimated_bytes` its share of the machine's estimate
    (the shares of all make up the whole), `measured_bytes` what the hypervisor says it occupies, None while unknown.
    `pool` is the storage pool of the machine's first volume. What is not known has no id and an empty name.
    """

    snapshot_uuid = models.UUIDField()
    snapshot_name = models.CharField(max_length=255)
    machine_uuid = models.UUIDField()
    machine_name = models.CharField(max_length=255)
    account_uuid = models.UUIDField()
    account_name = models.CharField(max_length=255)
    domain_uuid = models.UUIDField()
    domain_name = models.CharField(max_length=255)
    pool_uuid = models.UUIDField(null=True)
    pool_name = models.CharField(max_length=255, blank=True)
    hypervisor_uuid = models.UUIDField()
    hypervisor_name = models.CharField(max_length=255)
    volume_bytes = models.BigIntegerField()
    estimated_bytes = models.BigIntegerField()
    measured_bytes = models.BigIntegerField(null=True)

    class Meta:
        abstract = True


PLACE = ("machine_uuid", "account_uuid", "domain_uuid", "pool_uuid", "hypervisor_uuid")
NAMES = ("snapshot_name", "machine_name", "account_name", "domain_name", "pool_name", "hypervisor_name")
SIZES = ("volume_bytes", "estimated_bytes", "measured_bytes")
FACTS = ("snapshot_uuid", *PLACE, *NAMES, *SIZES)
"""The columns of `UsageFacts`: where it belongs, how all that was called, how large it was."""


class OpenUsage(UsageFacts):
    """A VM snapshot that is billed at this moment. `since` is when its last usage event was, UTC. Kept by `ledger`."""

    machine = models.ForeignKey(VirtualMachine, on_delete=models.PROTECT, related_name="open_usage")
    since = models.DateTimeField()

    class Meta:
        constraints = [models.UniqueConstraint(fields=("snapshot_uuid",), name="one_open_usage_per_snapshot")]

    def __str__(self) -> str:
        return self.snapshot_name


class UsagePeriod(models.Model):
    """A stretch of time that is billed: its usage stands in records that never change any more. `start` belongs to it,
    `end` to the next; both are UTC. Periods follow each other without gap, and `number` counts them in the order of time.
    `month` is the first day of the month in which all of it lies, in the zone in which it was closed. Made by
    `services.usage_aggregation`; the database refuses to change or delete one."""

    uuid = models.UUIDField(default=uuid.uuid4, unique=True, editable=False)
    number = models.BigIntegerField(unique=True)
    start = models.DateTimeField(unique=True)
    end = models.DateTimeField(unique=True)
    length = models.CharField(max_length=8, choices=PeriodLength)
    month = models.DateField(db_index=True)
    closed_at = models.DateTimeField()

    class Meta:
        ordering = ("-start",)
        constraints = [models.CheckConstraint(name="usage_period_takes_time", condition=Q(start__lt=F("end")))]

    def __str__(self) -> str:
        return f"{self.start:%Y-%m-%d %H:%M} to {self.end:%Y-%m-%d %H:%M} UTC"


class UsageEvent(UsageFacts):
    """From `at` (UTC) on, the VM snapshot is billed as the facts say, or is not billed any more (`alive` is false).

    Rows are only ever added. Those of one VM snapshot never go back in time; of two with the same time the one with the
    larger key came later. The closing of a period notes on each event it counted in which `period` that was, and whether
    the event is `carried`: the last one of a VM snapshot that is still billed, with which the next closing begins.
    """

    uuid = models.UUIDField(default=uuid.uuid4, unique=True, editable=False)
    at = models.DateTimeField()
    change = models.CharField(max_length=16, choices=UsageChange)
    alive = models.BooleanField()
    period = models.ForeignKey(UsagePeriod, null=True, on_delete=models.PROTECT, related_name="events", editable=False)
    carried = models.BooleanField(default=False, editable=False)

    class Meta:
        ordering = ("-at", "-pk")
        indexes = [
            models.Index(fields=("snapshot_uuid", "at", "id"), name="usage_event_by_snapshot"),
            models.Index(fields=("at",), name="usage_event_by_time"),
            models.Index(fields=("snapshot_uuid", "at", "id"), condition=Q(carried=True), name="usage_event_carried"),
            # How one machine grew.
            models.Index(fields=("machine_uuid", "at", "id"), name="usage_event_by_machine"),
            models.Index(
                fields=("account_uuid", "machine_uuid"), condition=Q(carried=True), name="usage_event_carried_of"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.get_change_display()}: {self.snapshot_name}"


class UsageRecord(UsageFacts):
    """What one VM snapshot used in one period at one place (account, domain, machine, pool, hypervisor), by type.

    `start` and `end` (UTC) bound the use, `microseconds` is how long it lasted. Type 25 bills the size of the machine's
    volumes, type 27 the estimate and what the hypervisor measures. Size times time is exact: `…_kib_hours` whole
    KiB-hours, and `…_rest` byte-microseconds beyond them, so that no size and no sum leaves 64 bits (see
    `usage_arithmetic`). For `unmeasured_microseconds` nothing was measured, which counts as 0 bytes. The cost is in whole
    units of `currency` and billionths beyond them, None where no price was valid. The facts are those at `end`.

    A record that `corrects` an earlier period is the difference between what was recorded for that and what is right, and
    may be negative. The database refuses to change or delete a record.
    """

    # No index: nobody looks one up by it, and at random places it would be what costs most in a closing.
    uuid = models.UUIDField(default=uuid.uuid4, editable=False)
    period = models.ForeignKey(UsagePeriod, on_delete=models.PROTECT, related_name="records")
    corrects = models.ForeignKey(
        UsagePeriod, null=True, on_delete=models.PROTECT, related_name="corrections", db_index=False
    )
    type = models.PositiveSmallIntegerField(choices=UsageType)
    start = models.DateTimeField()
    end = models.DateTimeField()
    microseconds = models.BigIntegerField()
    allocated_kib_hours = models.BigIntegerField()
    allocated_rest = models.BigIntegerField()
    measured_kib_hours = models.BigIntegerField()
    measured_rest = models.BigIntegerField()
    unmeasured_microseconds = models.BigIntegerField()
    cost_whole = models.BigIntegerField(null=True)
    cost_rest = models.BigIntegerField(null=True)
    currency = models.CharField(max_length=16, blank=True)

    class Meta:
        ordering = ("-start", "-pk")
        constraints = [
            models.CheckConstraint(name="usage_record_corrects_another_period", condition=~Q(corrects=F("period"))),
            models.CheckConstraint(
                name="usage_record_cost_is_whole",
                condition=Q(cost_whole=None, cost_rest=None) | Q(cost_whole__isnull=False, cost_rest__isnull=False),
            ),
        ]
        indexes = [
            models.Index(fields=("start", "id"), name="usage_record_by_time"),
            models.Index(fields=("account_uuid", "start", "id"), name="usage_record_by_account"),
            models.Index(fields=("domain_uuid", "start", "id"), name="usage_record_by_domain"),
            models.Index(fields=("machine_uuid", "start", "id"), name="usage_record_by_machine"),
            models.Index(fields=("pool_uuid", "start", "id"), name="usage_record_by_pool"),
            models.Index(fields=("snapshot_uuid", "id"), name="usage_record_by_snapshot"),
            models.Index(fields=("corrects",), condition=Q(corrects__isnull=False), name="usage_record_correction"),
        ]

    def __str__(self) -> str:
        return f"{self.get_type_display()}: {self.snapshot_name}"


class UsageMonth(models.Model):
    """What one machine of one account used in one month, by type: the sum of the records of all periods of that month, with
    their corrections. Kept by `services.usage_months` in the transaction that writes the records; nothing else stands in
    it, so that it can be made again from them.

    The columns are those of a record, but that size times time is in whole GiB-hours and byte-microseconds beyond them: a
    sum of records may be larger than 64 bits of KiB-hours. `machine_name` is that of the last closing.
    """

    month = models.DateField()
    account_uuid = models.UUIDField()
    machine_uuid = models.UUIDField()
    machine_name = models.CharField(max_length=255)
    type = models.PositiveSmallIntegerField(choices=UsageType)
    records = models.BigIntegerField()
    microseconds = models.BigIntegerField()
    allocated_gib_hours = models.BigIntegerField()
    allocated_rest = models.BigIntegerField()
    measured_gib_hours = models.BigIntegerField()
    measured_rest = models.BigIntegerField()
    unmeasured_microseconds = models.BigIntegerField()
    cost_whole = models.BigIntegerField(null=True)
    cost_rest = models.BigIntegerField(null=True)
    currency = models.CharField(max_length=16, blank=True)

    class Meta:
        ordering = ("-month", "machine_name", "type")
        constraints = [
            # Begins with the machine: a closing looks for the rows of many machines at once.
            models.UniqueConstraint(
                fields=("machine_uuid", "month", "account_uuid", "type"), name="one_usage_month_of_each_machine"
            ),
            models.CheckConstraint(
                name="usage_month_cost_is_whole",
                condition=Q(cost_whole=None, cost_rest=None) | Q(cost_whole__isnull=False, cost_rest__isnull=False),
            ),
        ]
        indexes = [models.Index(fields=("account_uuid", "month"), name="usage_month_by_account")]

    def __str__(self) -> str:
        return f"{self.get_type_display()}: {self.machine_name}, {self.month:%Y-%m}"


class UsagePrice(models.Model):
    """What one unit of a type of usage costs in a pool, or in all that have no price of their own (`pool_uuid` None).

    In billionths of the currency. Valid from `valid_from` on, until `valid_until` or for good (UTC). Kept by
    `services.usage_prices`.
    """

    uuid = models.UUIDField(default=uuid.uuid4, unique=True, editable=False)
    type = models.PositiveSmallIntegerField(choices=UsageType)
    unit = models.CharField("per", max_length=16, choices=PriceUnit)
    pool_uuid = models.UUIDField(null=True, blank=True)
    pool_name = models.CharField(max_length=255, blank=True)
    billionths = models.BigIntegerField()
    currency = models.CharField(max_length=16)
    valid_from = models.DateTimeField()
    valid_until = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering = ("type", "pool_name", "-valid_from")
        constraints = [
            models.CheckConstraint(name="usage_price_is_not_negative", condition=Q(billionths__gte=0)),
            models.CheckConstraint(
                name="usage_price_is_valid_for_a_time",
                condition=Q(valid_until=None) | Q(valid_until__gt=F("valid_from")),
            ),
            models.CheckConstraint(
                name="usage_price_of_volumes_is_not_measured",
                condition=~Q(type=UsageType.VM_SNAPSHOT, unit=PriceUnit.MEASURED),
            ),
        ]

    def __str__(self) -> str:
        return f"{self.get_type_display()} per {self.get_unit_display()}, {self.pool_name or 'all pools'}"
