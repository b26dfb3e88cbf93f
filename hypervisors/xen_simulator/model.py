"""XenAPI as data: classes, fields, messages, types and error codes, read from `model.json`.

The table is cut from the published data model by tests/xen_simulator/model_table.py, and a test compares the two. The
rest of the simulator asks here what exists, so that it cannot answer to what XenAPI has not.
"""

import functools
import json
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

TABLE = Path(__file__).with_name("model.json")
NULL = "OpaqueRef:NULL"
NEVER = "19700101T00:00:00Z"
# From the least to the most; each may do what those before it may.
ROLES = ("read-only", "vm-operator", "vm-admin", "vm-power-admin", "pool-operator", "pool-admin")
ASYNC = "Async."
# Codes of storage back ends: the model knows their common beginning, a number follows it.
_NUMBERED = re.compile(r"(SR_BACKEND_FAILURE)_\d+")


@dataclass(frozen=True, slots=True)
class Type:
    """A type of the model. `kind` is a basic type, or ref, enum, set, map, record; `of` names the class or enum,
    `items` the types within."""

    kind: str
    of: str = ""
    items: tuple["Type", ...] = ()

    def nothing(self) -> Any:
        """The value of a field that nobody has set."""
        match self.kind:
            case "int":
                return 0
            case "float":
                return 0.0
            case "bool":
                return False
            case "datetime":
                return NEVER
            case "ref":
                return NULL
            case "set":
                return []
            case "map":
                return {}
        return ""


@functools.cache
def type_named(text: str) -> Type:
    """The type written so in the model: "int", "VM ref", "enum vdi_type set", "(string -> string) map"."""
    text = text.strip()
    if text.endswith(" map"):
        key, _, value = text.removesuffix(" map")[1:-1].partition(" -> ")
        return Type("map", items=(type_named(key), type_named(value)))
    for suffix, kind in ((" set", "set"), (" ref", "ref"), (" record", "record")):
        if text.endswith(suffix):
            inner = text.removesuffix(suffix)
            return Type("set", items=(type_named(inner),)) if kind == "set" else Type(kind, inner)
    if text.startswith("enum "):
        return Type("enum", text.removeprefix("enum "))
    return Type(text)


@dataclass(frozen=True, slots=True)
class Field:
    """A field of a class. `access`: w may be set, c only at creation, r never. `writers`: message -> least role."""

    name: str
    type: Type
    access: str
    default: Any
    writers: dict[str, str]
    getter: bool


@dataclass(frozen=True, slots=True)
class Parameter:
    """A parameter in its place; an optional one may be left off the end."""

    name: str
    type: Type
    optional: bool = False


@dataclass(frozen=True, slots=True)
class Message:
    """A call that exists. `accessor` holds the field that it does no more than read or set."""

    name: str
    class_name: str
    params: tuple[Parameter, ...]
    result: Type
    errors: tuple[str, ...]
    role: str
    state: str = ""
    asynchronous: bool = False
    needs_session: bool = True
    accessor: Field | None = None

    @property
    def full_name(self) -> str:
        """As it is called: "VM.snapshot"."""
        return f"{self.class_name}.{self.name}"


@dataclass(frozen=True, slots=True)
class Class:
    """A class with what belongs to it."""

    name: str
    enums: dict[str, tuple[str, ...]]
    fields: dict[str, Field]
    messages: dict[str, Message] = field(default_factory=dict)


def _default(kind: Type, text: str | None) -> Any:
    """The value of a default as the model writes it in OCaml's manner."""
    if text is None or text in ("Null", NULL):
        return kind.nothing()
    match kind.kind:
        case "int":
            return int(text)
        case "float":
            return float(text)
        case "bool":
            return text == "true"
        case "set":
            inner = text.strip("{}")
            return [_default(kind.items[0], part.strip()) for part in inner.split(",")] if inner else []
        case "map":
            return dict(re.findall(r'"([^"]*)" -> "([^"]*)"', text))
    return text.strip('"')


def _field(name: str, row: list[Any], enums: dict[str, tuple[str, ...]]) -> Field:
    written, access, default, writers, getter = row
    kind = type_named(written)
    value = _default(kind, default)
    if kind.kind == "enum" and default is None:
        value = enums[kind.of][0]
    return Field(name, kind, access, value, writers, bool(getter))


def _accessors(class_name: str, entry: Field) -> list[Message]:
    """The getter and the setters that the model implies for a field."""
    self = Parameter("self", Type("ref", class_name))
    made: list[Message] = []
    more: tuple[Parameter, ...]
    if entry.getter:
        made.append(Message(f"get_{entry.name}", class_name, (self,), entry.type, (), "read-only", accessor=entry))
    for name, role in entry.writers.items():
        if name.startswith("remove_from_"):
            more = (Parameter("key", entry.type.items[0]),)
        elif name.startswith("add_to_"):
            more = (Parameter("key", entry.type.items[0]), Parameter("value", entry.type.items[1]))
        elif name.startswith("set_"):
            more = (Parameter("value", entry.type),)
        else:
            more = (Parameter("value", entry.type.items[0]),)
        made.append(Message(name, class_name, (self, *more), Type("void"), (), role, accessor=entry))
    return made


def _behind(class_name: str, name: str, params: tuple[Parameter, ...], fields: dict[str, Field]) -> Field | None:
    """The field that a message of its own (one that the model lists) sets, to be told by its name and parameters."""
    for beginning, wanted in (("set_", 2), ("add_to_", 3), ("remove_from_", 2), ("add_", 2), ("remove_", 2)):
        entry = fields.get(name.removeprefix(beginning)) if name.startswith(beginning) else None
        if entry is not None and len(params) == wanted and params[0].type == Type("ref", class_name):
            return entry
    return None


def _message(class_name: str, name: str, row: list[Any], fields: dict[str, Field]) -> Message:
    params, result, errors, role, state, asynchronous, needs_session = row
    entries = tuple(
        Parameter(key.removesuffix("?"), type_named(kind), key.endswith("?")) for key, kind in params.items()
    )
    return Message(
        name=name,
        class_name=class_name,
        params=entries,
        result=type_named(result),
        errors=tuple(errors),
        role=role,
        state=state,
        asynchronous=bool(asynchronous),
        needs_session=bool(needs_session),
        accessor=_behind(class_name, name, entries, fields),
    )


def _class(name: str, entry: dict[str, Any]) -> Class:
    enums = {key: tuple(values) for key, values in entry["enums"].items()}
    fields = {key: _field(key, row, enums) for key, row in entry["fields"].items()}
    messages = {message.name: message for row in fields.values() for message in _accessors(name, row)}
    messages |= {key: _message(name, key, row, fields) for key, row in entry["messages"].items()}
    return Class(name, enums, fields, messages)


_TABLE: dict[str, Any] = json.loads(TABLE.read_text(encoding="utf-8"))
CLASSES: dict[str, Class] = {name: _class(name, entry) for name, entry in _TABLE["classes"].items()}
ENUMS: dict[str, tuple[str, ...]] = {name: values for entry in CLASSES.values() for name, values in entry.enums.items()}
ERRORS: dict[str, list[str] | None] = _TABLE["errors"]
GENERIC_ERRORS: frozenset[str] = frozenset(_TABLE["generic_errors"])
_BY_NAME: dict[str, Message] = {
    spelling: message
    for entry in CLASSES.values()
    for message in entry.messages.values()
    for spelling in (message.full_name, f"{entry.name}_{message.name}")
}


def find_message(called: str) -> Message | None:
    """The message a client calls so: "VM.snapshot", "VM_snapshot", "Async.VM.snapshot"; None when there is none."""
    if called.startswith(ASYNC):
        message = _BY_NAME.get(called.removeprefix(ASYNC)) if called.count(".") > 1 else None
        return message if message and message.asynchronous else None
    return _BY_NAME.get(called)


def error_parameters(code: str) -> list[str] | None:
    """The names of an error's parameters; None where the model declares none. KeyError when there is no such code."""
    numbered = _NUMBERED.fullmatch(code)
    return ERRORS[numbered[1] if numbered else code]
