"""The fixed words of the product, as they stand in the database and in REST."""

from django.db.models import IntegerChoices, TextChoices


class Role(TextChoices):
    """What a membership allows. Reader and operator hold on an account, domain admin on a domain and all below it,
    root admin everywhere."""

    READER = "reader", "Reader"
    OPERATOR = "operator", "Operator"
    DOMAIN_ADMIN = "domain_admin", "Domain admin"
    ROOT_ADMIN = "root_admin", "Root admin"


class SnapshotState(TextChoices):
    """States of a VM snapshot. Removed ones have no row any more; their jobs and events keep the name."""

    ALLOCATED = "Allocated", "Waiting to be taken"
    CREATING = "Creating", "Being taken"
    READY = "Ready", "Ready"
    REVERTING = "Reverting", "Being reverted to"
    EXPUNGING = "Expunging", "Being deleted"
    ERROR = "Error", "Failed"


class SnapshotType(TextChoices):
    """What a VM snapshot holds."""

    DISK = "Disk", "Disks"
    DISK_AND_MEMORY = "DiskAndMemory", "Disks and memory"


class Origin(TextChoices):
    """Who took a VM snapshot."""

    VMSNAP = "vmsnap", "Taken here"
    ELSEWHERE = "elsewhere", "Made elsewhere"


GONE = "gone_on_hypervisor"
"""The error code of a VM snapshot that is lost: it was on the hypervisor and is not any more."""


class PowerState(TextChoices):
    """Power state of a machine."""

    RUNNING = "running", "Running"
    STOPPED = "stopped", "Stopped"
    SUSPENDED = "suspended", "Suspended"
    UNKNOWN = "unknown", "Unknown"


class JobAction(TextChoices):
    """What a job does."""

    CREATE_SNAPSHOT = "create_snapshot", "Take VM snapshot"
    REVERT_SNAPSHOT = "revert_snapshot", "Revert to VM snapshot"
    DELETE_SNAPSHOT = "delete_snapshot", "Delete VM snapshot"
    DELETE_SNAPSHOT_TREE = "delete_snapshot_tree", "Delete VM snapshot and descendants"
    DELETE_ALL_SNAPSHOTS = "delete_all_snapshots", "Delete all VM snapshots"
    RENAME_SNAPSHOT = "rename_snapshot", "Rename VM snapshot"
    START_MACHINE = "start_machine", "Start machine"
    STOP_MACHINE = "stop_machine", "Stop machine"
    ATTACH_VOLUME = "attach_volume", "Attach volume"
    DETACH_VOLUME = "detach_volume", "Detach volume"
    CONSOLIDATE_DISKS = "consolidate_disks", "Consolidate disks"
    SYNC_MACHINE = "sync_machine", "Read machine from its hypervisor"
    SYNC_HYPERVISOR = "sync_hypervisor", "Read everything from the hypervisor"
    CHECK_CONNECTION = "check_connection", "Test connection"


class JobState(TextChoices):
    """States of a job; the last three are final."""

    QUEUED = "queued", "Waiting"
    RUNNING = "running", "Running"
    SUCCEEDED = "succeeded", "Done"
    FAILED = "failed", "Failed"
    CANCELLED = "cancelled", "Cancelled"


ACTIVE_JOB_STATES = (JobState.QUEUED, JobState.RUNNING)
FINAL_JOB_STATES = (JobState.SUCCEEDED, JobState.FAILED, JobState.CANCELLED)


class Trigger(TextChoices):
    """Through which door an action came."""

    PAGE = "page", "Page"
    API = "api", "REST"
    ADMIN = "admin", "Admin"
    SCHEDULE = "schedule", "Schedule"
    SYSTEM = "system", "System"


class Frequency(TextChoices):
    """How often a schedule takes VM snapshots."""

    HOURLY = "hourly", "Hourly"
    DAILY = "daily", "Daily"
    WEEKLY = "weekly", "Weekly"
    MONTHLY = "monthly", "Monthly"


class TokenScope(TextChoices):
    """What an API token may be used for."""

    READ = "read", "Read only"
    OPERATE = "operate", "Read and act"


class LimitKind(TextChoices):
    """What can be limited, on an account or a domain. The first two are shared by everything below; the others hold for
    each machine, or each VM snapshot, by itself."""

    SNAPSHOTS = "snapshots", "VM snapshots"
    BYTES = "bytes", "Estimated bytes"
    PER_MACHINE = "per_machine", "VM snapshots per machine"
    AGE_DAYS = "age_days", "Age in days"


UNLIMITED = -1
"""The value of a limit that does not limit."""


class UsageType(IntegerChoices):
    """Types of usage records, by the numbers CloudStack gave them (its `UsageTypes`)."""

    VM_SNAPSHOT = 25, "VM snapshot"
    VM_SNAPSHOT_ON_PRIMARY = 27, "VM snapshot on primary storage"


class UsageChange(TextChoices):
    """Why a usage event was written."""

    CREATE = "create", "Taken"
    ADOPT = "adopt", "Adopted"
    REVERT = "revert", "Reverted to"
    RESIZE = "resize", "Size changed"
    TRANSFER = "transfer", "Moved"
    DELETE = "delete", "Gone"


class PeriodLength(TextChoices):
    """How long the periods are that usage is billed by."""

    HOUR = "hour", "Hour"
    DAY = "day", "Day"
    MONTH = "month", "Month"


class PriceUnit(TextChoices):
    """What a price is for. What is allocated is the size of the machine's volumes in type 25, the estimate in type 27."""

    HOUR = "hour", "VM snapshot and hour"
    ALLOCATED = "allocated", "allocated GiB and hour"
    MEASURED = "measured", "measured GiB and hour"


class SampleStep(TextChoices):
    """How far apart the samples of a capacity series are."""

    RAW = "raw", "As taken"
    HOUR = "hour", "By hour"
    DAY = "day", "By day"
