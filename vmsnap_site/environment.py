"""Typed readers for settings that come from the environment, all with the prefix `VMSNAP_`.

A secret may instead be given as `VMSNAP_<NAME>_FILE`, the path of a file that holds it. A value of the wrong form
raises `ImproperlyConfigured` and names the variable. This room is for `settings.py` alone.
"""

import os
from collections.abc import Sequence
from pathlib import Path
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from django.core.exceptions import ImproperlyConfigured

PREFIX = "VMSNAP_"

# The most that times and limits may be, so that no reckoning with them leaves the calendar or the columns they stand in.
YEAR = 31_536_000
"""In seconds."""
CENTURY = 36_500
"""In days."""
MOST_OF_A_LIMIT = 2**63 - 1


def text(name: str, default: str) -> str:
    """The variable's text, or the default when it is unset."""
    return os.environ.get(PREFIX + name, default)


def secret(name: str, default: str = "") -> str:
    """A secret from the variable, or from the file that `…_FILE` names (its surrounding white space is dropped)."""
    path = os.environ.get(f"{PREFIX}{name}_FILE")
    if path is None:
        return text(name, default)
    if PREFIX + name in os.environ:
        raise ImproperlyConfigured(f"Set {PREFIX}{name} or {PREFIX}{name}_FILE, not both.")
    try:
        return Path(path).read_text(encoding="utf-8").strip()
    except OSError as error:
        raise ImproperlyConfigured(f"{PREFIX}{name}_FILE: cannot read {path}: {error.strerror}") from error


def number(name: str, default: float, *, least: float = 0, most: float) -> float:
    """A number from `least` to `most`."""
    raw = os.environ.get(PREFIX + name)
    if raw is None:
        return default
    try:
        value = float(raw)
    except ValueError:
        raise ImproperlyConfigured(f"{PREFIX}{name} must be a number, not {raw!r}.") from None
    _require_between(name, value, least, most)
    return value


def whole(name: str, default: int, *, least: int = 0, most: int) -> int:
    """A whole number from `least` to `most`."""
    raw = os.environ.get(PREFIX + name)
    if raw is None:
        return default
    try:
        # Bytes of large installations are more than a floating point number can tell apart.
        value = int(raw)
    except ValueError:
        given = number(name, default, least=least, most=most)
        value = int(given)
        if value != given:
            raise ImproperlyConfigured(f"{PREFIX}{name} must be a whole number, not {raw!r}.") from None
    _require_between(name, value, least, most)
    return value


def _require_between(name: str, value: float, least: float, most: float) -> None:
    # Written so that what is no number ("nan") is refused too.
    if not least <= value <= most:
        raise ImproperlyConfigured(f"{PREFIX}{name} must be from {least} to {most}, not {os.environ[PREFIX + name]!r}.")


def yes(name: str, default: bool) -> bool:
    """yes/no, true/false, on/off or 1/0."""
    raw = os.environ.get(PREFIX + name)
    if raw is None:
        return default
    answers = {"yes": True, "true": True, "on": True, "1": True, "no": False, "false": False, "off": False, "0": False}
    try:
        return answers[raw.strip().lower()]
    except KeyError:
        raise ImproperlyConfigured(f"{PREFIX}{name} must be yes or no, not {raw!r}.") from None


def choice(name: str, default: str, among: Sequence[str]) -> str:
    """One of these words."""
    value = text(name, default)
    if value not in among:
        raise ImproperlyConfigured(f"{PREFIX}{name} must be one of {', '.join(among)}, not {value!r}.")
    return value


def zone(name: str, default: str) -> str:
    """The name of a time zone, such as `Europe/Berlin`."""
    value = text(name, default)
    try:
        ZoneInfo(value)
    except (ZoneInfoNotFoundError, ValueError, OSError):  # the last two: names that no zone can have, folders
        raise ImproperlyConfigured(f"{PREFIX}{name} must name a time zone, not {value!r}.") from None
    return value


def listed(name: str, default: list[str]) -> list[str]:
    """Values separated by commas."""
    raw = os.environ.get(PREFIX + name)
    if raw is None:
        return default
    return [part.strip() for part in raw.split(",") if part.strip()]
