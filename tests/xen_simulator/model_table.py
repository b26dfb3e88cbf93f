"""Makes the simulator's own table of XenAPI from the published data model: `python -m tests.xen_simulator.model_table`.

The data model lies beside the checkout where the product is developed, and nowhere else; the table is what is shipped.
Beside the table goes, for the tests alone, what cannot be seen in it: its fingerprint, and the releases in which fields and
messages came. So the tests say the same where the data model is not.
"""

import hashlib
import json
from pathlib import Path
from typing import Any

from hypervisors.xen_simulator.model import TABLE

CUT = Path(__file__).with_name("cut.json")
DATA_MODEL = Path(__file__).parents[3] / "shared" / "reference" / "xenapi-datamodel.json"
CLASSES = [
    "session",
    "event",
    "task",
    "VM",
    "VM_metrics",
    "VM_guest_metrics",
    "VBD",
    "VDI",
    "SR",
    "PBD",
    "VIF",
    "network",
    "host",
    "host_metrics",
    "pool",
]
# Families of codes that the model knows by their beginning only; a number follows it (storage back ends).
NUMBERED = "SR_BACKEND_FAILURE_"


def data_model() -> dict[str, Any]:
    """The published data model, cut down to what a snapshot manager touches."""
    model: dict[str, Any] = json.loads(DATA_MODEL.read_text(encoding="utf-8"))
    return model


def table_of(model: dict[str, Any]) -> dict[str, Any]:
    """What the simulator carries of it: its classes with all fields and messages, and every error code."""
    return {
        "classes": {name: _class(model["classes"][name]) for name in CLASSES},
        "errors": model["errors"],
        "generic_errors": model["about"]["generic_errors"],
    }


def _class(entry: dict[str, Any]) -> dict[str, Any]:
    return {
        "enums": entry["enums"],
        "fields": {name: _field(field) for name, field in entry["fields"].items()},
        "messages": {name: _message(message) for name, message in entry["messages"].items()},
    }


def _field(entry: dict[str, Any]) -> list[Any]:
    """[type, access, default or null, writers, 1 where it can be read by its own message]"""
    access = {"RW": "w", "RO/constructor": "c", "RO/runtime": "r"}[entry["access"]]
    return [entry["type"], access, entry.get("default"), entry.get("writers", {}), int(entry.get("getter", True))]


def _message(entry: dict[str, Any]) -> list[Any]:
    """[params, result, errors, least role, state, 1 if asynchronous too, 1 if it needs a session]"""
    role = entry["min_role"].removesuffix("+client-cert")
    return [
        entry["params"],
        entry["result"],
        sorted(set(entry.get("errors", []))),
        role,
        entry.get("state", ""),
        int(entry["async"]),
        int(entry.get("needs_session", True)),
    ]


def written(table: dict[str, Any]) -> str:
    """The table as text, one field, message or code to a line, so that a difference can be read."""
    lines = ["{", ' "classes": {']
    for name, entry in table["classes"].items():
        lines.append(f"  {json.dumps(name)}: {{")
        for part in ("enums", "fields", "messages"):
            lines.append(f"   {json.dumps(part)}: {{")
            lines += _joined(f"    {json.dumps(key)}: {json.dumps(value)}" for key, value in entry[part].items())
            lines.append("   }" + ("," if part != "messages" else ""))
        lines.append("  }" + ("," if name != CLASSES[-1] else ""))
    lines += [" },", ' "errors": {']
    lines += _joined(f"  {json.dumps(code)}: {json.dumps(names)}" for code, names in table["errors"].items())
    lines += [" },", f' "generic_errors": {json.dumps(table["generic_errors"])}', "}"]
    return "\n".join(lines) + "\n"


def _joined(items: Any) -> list[str]:
    rows = list(items)
    return [row + "," for row in rows[:-1]] + rows[-1:]


def cut_of(model: dict[str, Any]) -> dict[str, Any]:
    """What the tests know of the model without having it."""
    since = {
        name: {part: _by_release(model["classes"][name][part]) for part in ("fields", "messages")} for name in CLASSES
    }
    return {"sha256": fingerprint(written(table_of(model))), "since": since}


def fingerprint(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _by_release(entries: dict[str, Any]) -> dict[str, str]:
    """The names that came in each release, with blanks between them."""
    names: dict[str, list[str]] = {}
    for name, entry in entries.items():
        names.setdefault(entry["in"], []).append(name)
    return {release: " ".join(sorted(names[release])) for release in sorted(names)}


def cut() -> dict[str, Any]:
    """What was cut last time. Raises OSError where it is missing."""
    kept: dict[str, Any] = json.loads(CUT.read_text(encoding="utf-8"))
    return kept


def release_of(class_name: str, part: str, name: str) -> str | None:
    """The release in which a field or message (`part`: fields, messages) came; None where the class has none so called."""
    releases = cut()["since"][class_name][part].items()
    return next((release for release, names in releases if name in names.split()), None)


if __name__ == "__main__":
    TABLE.write_text(written(table_of(data_model())), encoding="utf-8")
    CUT.write_text(json.dumps(cut_of(data_model()), indent=1) + "\n", encoding="utf-8")
