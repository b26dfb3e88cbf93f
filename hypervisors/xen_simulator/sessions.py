"""Logging in and out, and what a session may do."""

import time

from hypervisors.xen_simulator.errors import XenFailure
from hypervisors.xen_simulator.model import CLASSES, NULL, ROLES, Message
from hypervisors.xen_simulator.moment import now
from hypervisors.xen_simulator.pool import Call, Pool, Session, handles

SUPERUSER = "root"
SESSIONS_PER_USER = 500


def may(role: str, message: Message) -> bool:
    """Whether a role is allowed the message."""
    return message.role in ROLES and ROLES.index(role) >= ROLES.index(message.role)


def permission(message: Message) -> str:
    """The name of the permission that a message takes."""
    return message.full_name.lower()


def assert_may(call: Call, message: Message) -> None:
    """Raise RBAC_PERMISSION_DENIED, which names the permission, when the call's role does not allow the message."""
    if may(call.role, message):
        return
    allowed = ROLES[ROLES.index(message.role) :] if message.role in ROLES else ()
    words = f"No permission in user session. (Roles with this permission: {', '.join(allowed)})"
    raise XenFailure("RBAC_PERMISSION_DENIED", permission(message), words)


def find(pool: Pool, ref: str) -> Session:
    """The session, counted as active. Raises SESSION_INVALID."""
    session = pool.sessions.get(ref)
    if session is None:
        raise XenFailure("SESSION_INVALID", ref)
    moment = time.monotonic()
    if moment - session.last_active > pool.settings.session_seconds:
        end(pool, ref)
        raise XenFailure("SESSION_INVALID", ref)
    session.last_active = moment
    return session


def end(pool: Pool, ref: str) -> None:
    """End a session."""
    with pool.database.change():
        pool.sessions.pop(ref, None)
        if pool.database.has("session", ref):
            pool.database.delete("session", ref)


def end_all(pool: Pool) -> None:
    """End all sessions, as after a day without a call."""
    for ref in list(pool.sessions):
        end(pool, ref)


@handles("session.login_with_password")
def login(call: Call, name: str, password: str, _version: str = "", originator: str = "") -> str:
    """session.login_with_password"""
    pool = call.pool
    if pool.faults.redirect:
        raise XenFailure("HOST_IS_SLAVE", pool.faults.redirect)
    account = pool.accounts.get(name)
    if account is None or account.password != password:
        raise XenFailure("SESSION_AUTHENTICATION_FAILED")
    permissions = [] if name == SUPERUSER else sorted(_permissions(account.role))
    with pool.database.change():
        mine = [ref for ref, session in pool.sessions.items() if session.name == name]
        for ref in mine[: max(0, len(mine) - SESSIONS_PER_USER + 1)]:
            end(pool, ref)  # the oldest make room
        ref = pool.database.create(
            "session",
            this_host=pool.coordinator,
            this_user=NULL,
            last_active=now(),
            validation_time=now(),
            pool=False,
            is_local_superuser=name == SUPERUSER,
            auth_user_name=name,
            rbac_permissions=permissions,
            originator=originator,
        )
        pool.sessions[ref] = Session(name, account.role, time.monotonic())
    return ref


def _permissions(role: str) -> set[str]:
    messages = (message for entry in CLASSES.values() for message in entry.messages.values())
    return {permission(message) for message in messages if may(role, message)}


@handles("session.logout")
def logout(call: Call) -> None:
    """session.logout"""
    end(call.pool, call.session)
