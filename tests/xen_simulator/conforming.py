"""Whether a value, as the official client hands it out, is of a type of the model."""

import re
import xmlrpc.client
from typing import Any

from hypervisors.xen_simulator.model import CLASSES, ENUMS, Type

_DATE = re.compile(r"\d{8}T\d\d:\d\d:\d\dZ")
_REF = re.compile(r"OpaqueRef:(NULL|[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12})")


def faults_of(kind: Type, value: Any, where: str) -> list[str]:
    """What is wrong with the value, each with the place; empty when it is of the type."""
    match kind.kind:
        case "set":
            if not isinstance(value, list):
                return [f"{where}: no list but {value!r}"]
            return [fault for item in value for fault in faults_of(kind.items[0], item, f"{where}[]")]
        case "map":
            if not isinstance(value, dict):
                return [f"{where}: no map but {value!r}"]
            keys = [fault for key in value for fault in faults_of(kind.items[0], key, f"{where} key")]
            return keys + [f for key, item in value.items() for f in faults_of(kind.items[1], item, f"{where}.{key}")]
        case "record":
            return _faults_of_record(kind.of, value, where)
    return [] if _is_basic(kind, value) else [f"{where}: {value!r} is no {kind.kind} {kind.of}"]


def _is_basic(kind: Type, value: Any) -> bool:
    match kind.kind:
        case "int":
            return isinstance(value, str) and re.fullmatch(r"-?\d+", value) is not None
        case "float":
            return isinstance(value, float)
        case "bool":
            return isinstance(value, bool)
        case "datetime":
            return isinstance(value, xmlrpc.client.DateTime) and _DATE.fullmatch(value.value) is not None
        case "enum":
            return value in ENUMS[kind.of]
        case "ref":
            return isinstance(value, str) and _REF.fullmatch(value) is not None
        case "void":
            return bool(value == "")
    return isinstance(value, str)


def _faults_of_record(class_name: str, value: Any, where: str) -> list[str]:
    fields = CLASSES[class_name].fields
    if not isinstance(value, dict):
        return [f"{where}: no record but {value!r}"]
    found = [f"{where}: fields {sorted(value.keys() ^ fields.keys())}"] if value.keys() != fields.keys() else []
    for name in value.keys() & fields.keys():
        found += faults_of(fields[name].type, value[name], f"{where}.{name}")
    return found
