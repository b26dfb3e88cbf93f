"""Which rights the login lacks. XenServer tells a session its permissions; only its local administrator (root) has none
listed and may do everything.

The roles that hold each permission are those of the published data model: what takes, reverts and destroys snapshots
needs vm-power-admin or vm-admin, switching machines on and off vm-operator.
"""

from hypervisors.drivers.xenserver.session import Session

NEEDED: dict[str, str] = {
    "vm.snapshot": "vm-power-admin",
    "vm.checkpoint": "vm-power-admin",
    "vm.revert": "vm-power-admin",
    "vm.destroy": "vm-admin",
    "vm.set_name_label": "vm-admin",
    "vm.set_name_description": "vm-admin",
    "vm.add_to_other_config": "vm-admin",
    "vm.remove_from_other_config": "vm-admin",
    "vdi.add_to_other_config": "vm-admin",
    "vdi.remove_from_other_config": "vm-admin",
    "vdi.destroy": "vm-admin",
    "vbd.create": "vm-admin",
    "vbd.destroy": "vm-admin",
    "vbd.plug": "vm-admin",
    "vbd.unplug": "vm-admin",
    "vm.start": "vm-operator",
    "vm.resume": "vm-operator",
    "vm.unpause": "vm-operator",
    "vm.clean_shutdown": "vm-operator",
    "vm.hard_shutdown": "vm-operator",
}
"""Every permission whose calls change something here, with the least role that has it. Reading needs any role."""


def missing(session: Session) -> tuple[str, ...]:
    """The permissions that the session lacks, each with the least role that has it."""
    record = session.read("session.get_record", session.handle)
    if record["is_local_superuser"]:
        return ()
    held = {permission.lower().removeprefix("async.") for permission in record["rbac_permissions"]}
    return tuple(f"{permission} (role {role})" for permission, role in NEEDED.items() if permission not in held)
