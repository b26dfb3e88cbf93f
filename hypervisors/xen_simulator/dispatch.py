"""From a call that came in to its answer, driven by the table of messages (`model`).

What exists, how many parameters it takes and of which types, whether it needs a session and which role, whether it runs
asynchronously: all of that is read from the table. The handlers (`pool.HANDLERS`) only do the work; getters, setters and
bulk reads need none.
"""

from typing import Any

from hypervisors.xen_simulator import attachments, disks, events, machines, power, sessions, snapshots, tasks, wire
from hypervisors.xen_simulator.errors import XenFailure
from hypervisors.xen_simulator.model import ASYNC, Message, Type, find_message
from hypervisors.xen_simulator.pool import HANDLERS, Call, Pool

# Imported for the handlers that they register.
WITH_HANDLERS = (attachments, disks, events, machines, power, sessions, snapshots, tasks)


def answer(pool: Pool, called: str, raw: list[Any]) -> str:
    """Carry out a call and return its result, written. Raises `XenFailure`."""
    message = find_message(called)
    if message is None:
        raise XenFailure("MESSAGE_METHOD_UNKNOWN", called)
    asynchronous = called.startswith(ASYNC)
    call = Call(pool, (ASYNC if asynchronous else "") + message.full_name)
    params = _admit(call, message, called, raw)
    if message.state == "removed":
        raise XenFailure("MESSAGE_REMOVED")
    if not asynchronous:
        return _carry_out(call, message, params)
    return wire.value(pool.tasks.start(call, call.called, lambda: _result(message, _carry_out(call, message, params))))


def _admit(call: Call, message: Message, called: str, raw: list[Any]) -> list[Any]:
    """Check number and session, and read the parameters; they come back without the session."""
    least = sum(not param.optional for param in message.params) + message.needs_session
    most = len(message.params) + message.needs_session
    if not least <= len(raw) <= most:
        raise XenFailure("MESSAGE_PARAMETER_COUNT_MISMATCH", called, str(most), str(len(raw)))
    rest = raw
    if message.needs_session:
        call.session = wire.read(Type("string"), raw[0], "session_id")
        session = sessions.find(call.pool, call.session)
        call.user, call.role = session.name, session.role
        rest = raw[1:]
    call.pool.faults.note(call.called, call.user, len(rest))
    return [wire.read(param.type, thing, param.name) for param, thing in zip(message.params, rest, strict=False)]


def _carry_out(call: Call, message: Message, params: list[Any]) -> str:
    """Do the work and return the result, written."""
    if message.needs_session:
        sessions.assert_may(call, message)
    call.pool.faults.pass_step(call.called, None, call)
    handler = HANDLERS.get(message.full_name)
    if handler is not None:
        result = handler(call, *params)
        return result.written() if isinstance(result, events.Batch) else wire.write(message.result, result)
    return _by_table(call, message, params)


def _result(message: Message, written: str) -> str:
    """How a task keeps a result."""
    return "" if message.result.kind == "void" else written


def _by_table(call: Call, message: Message, params: list[Any]) -> str:
    """Messages whose meaning is in their name."""
    database, class_name = call.database, message.class_name
    with database.change():
        if message.accessor is not None:
            return _access(call, message, params)
        match message.name:
            case "get_all":
                return wire.array(wire.value(ref) for ref in database.tables[class_name])
            case "get_all_records":
                return wire.struct((ref, database.record(class_name, ref)) for ref in database.tables[class_name])
            case "get_record":
                return database.record(class_name, params[0])
            case "get_by_uuid":
                return wire.value(database.by_uuid(class_name, params[0]))
            case "get_by_name_label":
                return wire.array(wire.value(ref) for ref in database.where(class_name, name_label=params[0]))
    raise XenFailure("NOT_IMPLEMENTED", message.full_name)


def _access(call: Call, message: Message, params: list[Any]) -> str:
    """Read or set one field."""
    database, class_name, entry = call.database, message.class_name, message.accessor
    if entry is None:  # pragma: no cover - `_by_table` asks first
        raise XenFailure("INTERNAL_ERROR", message.full_name)
    ref, name = params[0], entry.name
    values = database.row(class_name, ref).values
    held = values[name]
    verb = message.name.removesuffix(name)
    match verb:
        case "get_":
            return wire.write(entry.type, held)
        case "set_":
            database.set(class_name, ref, **{name: params[1]})
        case "add_to_":
            if params[1] in held:
                raise XenFailure("MAP_DUPLICATE_KEY", class_name, name, values["uuid"], params[1])
            database.put(class_name, ref, name, params[1], params[2])
        case "remove_from_":
            database.drop(class_name, ref, name, params[1])
        case "add_":
            database.set(class_name, ref, **{name: [*held, params[1]] if params[1] not in held else held})
        case "remove_":
            database.set(class_name, ref, **{name: [item for item in held if item != params[1]]})
    return wire.write(message.result, None)
