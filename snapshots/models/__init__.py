"""The rows, one file per group of nouns. What must never be false is a database constraint here; rules that span rows
are services."""

from snapshots.models.capacity import CapacitySample, MachineAllocation, PoolPolicy
from snapshots.models.event import Event
from snapshots.models.inventory import ImportRule, StoragePool, VirtualMachine, Volume
from snapshots.models.job import IdempotencyKey, Job
from snapshots.models.limits import Limit, LimitUse
from snapshots.models.schedule import Schedule
from snapshots.models.snapshot import VMSnapshot
from snapshots.models.tenancy import Account, ApiToken, Domain, Membership, User
from snapshots.models.usage import OpenUsage, UsageEvent, UsageMonth, UsagePeriod, UsagePrice, UsageRecord

__all__ = [
    "Account",
    "ApiToken",
    "CapacitySample",
    "Domain",
    "Event",
    "IdempotencyKey",
    "ImportRule",
    "Job",
    "Limit",
    "LimitUse",
    "MachineAllocation",
    "Membership",
    "OpenUsage",
    "PoolPolicy",
    "Schedule",
    "StoragePool",
    "UsageEvent",
    "UsageMonth",
    "UsagePeriod",
    "UsagePrice",
    "UsageRecord",
    "User",
    "VMSnapshot",
    "VirtualMachine",
    "Volume",
]
