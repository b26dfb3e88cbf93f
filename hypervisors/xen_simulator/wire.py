"""Values as XML-RPC carries them, by the types of the model: 64-bit integers as decimal digits, dates as
20260101T12:00:00Z, void as the empty text.

Answers are written by hand and not by `xmlrpc.client`, which knows no types; that also lets each record be written once
and kept until it changes. Requests are read by `xmlrpc.client`, then checked against the type that is due.
"""

import xmlrpc.client
from collections.abc import Callable, Iterable
from typing import Any, TypeVar
from xml.parsers.expat import ExpatError
from xml.sax.saxutils import escape

from hypervisors.xen_simulator.errors import XenFailure
from hypervisors.xen_simulator.model import CLASSES, ENUMS, Type

T = TypeVar("T")
# A carriage return would come back as a line feed.
_MORE = {"\r": "&#13;"}


class BadRequest(Exception):
    """What came is no XML-RPC call."""


def text(value: str) -> str:
    """Text as it stands between tags."""
    return escape(value, _MORE)


def value(inner: str) -> str:
    """A value of XML-RPC around what is written already."""
    return f"<value>{inner}</value>"


def struct(members: Iterable[tuple[str, str]]) -> str:
    """A struct of names and written values."""
    inside = "".join(f"<member><name>{text(name)}</name>{written}</member>" for name, written in members)
    return f"<value><struct>{inside}</struct></value>"


def array(items: Iterable[str]) -> str:
    """An array of written values."""
    return f"<value><array><data>{''.join(items)}</data></array></value>"


def write(kind: Type, thing: Any) -> str:
    """A value of this type. Records are written by `record`; here they are a mapping of fields."""
    return _WRITERS.get(kind.kind, _write_text)(kind, thing)


def _write_text(_kind: Type, thing: Any) -> str:
    return value(text(thing))


def _write_set(kind: Type, thing: Any) -> str:
    return array([write(kind.items[0], item) for item in thing])


def _write_map(kind: Type, thing: Any) -> str:
    return struct((str(key), write(kind.items[1], item)) for key, item in thing.items())


_WRITERS: dict[str, Callable[[Type, Any], str]] = {
    "int": lambda _kind, thing: f"<value>{int(thing)}</value>",
    "float": lambda _kind, thing: f"<value><double>{float(thing)!r}</double></value>",
    "bool": lambda _kind, thing: f"<value><boolean>{int(thing)}</boolean></value>",
    "datetime": lambda _kind, thing: f"<value><dateTime.iso8601>{thing}</dateTime.iso8601></value>",
    "void": lambda _kind, _thing: "<value></value>",
    "set": _write_set,
    "map": _write_map,
    "record": lambda kind, thing: record(kind.of, thing),
}


def record(class_name: str, values: dict[str, Any]) -> str:
    """A whole record of a class."""
    return struct((name, write(field.type, values[name])) for name, field in CLASSES[class_name].fields.items())


def success(written: str) -> bytes:
    """The answer that holds this value."""
    return _envelope(struct([("Status", value("Success")), ("Value", written)]))


def failure(failed: XenFailure) -> bytes:
    """The answer that holds this failure."""
    description = array(value(text(part)) for part in failed.description)
    return _envelope(struct([("Status", value("Failure")), ("ErrorDescription", description)]))


def _envelope(inner: str) -> bytes:
    answer = f"<?xml version='1.0'?><methodResponse><params><param>{inner}</param></params></methodResponse>"
    return answer.encode()


def read_call(body: bytes) -> tuple[str, list[Any]]:
    """The called name and the raw parameters. Raises `BadRequest`."""
    if b"<!" in body:
        raise BadRequest("no document types, comments or sections here")  # nothing to expand, nothing to bomb with
    try:
        params, name = xmlrpc.client.loads(body)
    except (ExpatError, xmlrpc.client.Error, ValueError, TypeError, LookupError, AttributeError) as error:
        raise BadRequest(f"{type(error).__name__}: {error}") from error
    if not name:
        raise BadRequest("no call in it")
    return name, list(params)


def read(kind: Type, thing: Any, name: str) -> Any:
    """A parameter of this type as the simulator keeps it. Raises FIELD_TYPE_ERROR with its name."""
    try:
        return _read(kind, thing)
    except (TypeError, ValueError, KeyError) as error:
        raise XenFailure("FIELD_TYPE_ERROR", name) from error


def _read(kind: Type, thing: Any) -> Any:
    match kind.kind:
        case "int":
            if isinstance(thing, bool):
                raise TypeError(thing)
            return int(thing)
        case "float":
            if isinstance(thing, bool | str):
                raise TypeError(thing)
            return float(thing)
        case "bool":
            return _only(bool, thing)
        case "datetime":
            return thing.value if isinstance(thing, xmlrpc.client.DateTime) else _only(str, thing)
        case "enum":
            if thing not in ENUMS[kind.of]:
                raise ValueError(thing)
            return thing
        case "set":
            return [_read(kind.items[0], item) for item in _only(list, thing)]
        case "map":
            return {_read(kind.items[0], key): _read(kind.items[1], item) for key, item in _only(dict, thing).items()}
        case "record":
            return _read_record(kind.of, _only(dict, thing))
    return _only(str, thing)


def _only(wanted: type[T], thing: Any) -> T:
    if not isinstance(thing, wanted):
        raise TypeError(thing)
    return thing


def _read_record(class_name: str, given: dict[str, Any]) -> dict[str, Any]:
    """The fields that are given, each of its type; what a constructor may not set is left out."""
    fields = CLASSES[class_name].fields
    return {
        name: read(fields[name].type, item, name)
        for name, item in given.items()
        if name in fields and fields[name].access != "r"
    }
