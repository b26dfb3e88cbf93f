"""Typed readers for settings that come from the environment, all with the prefix `VMSNAP_`.

A secret may instead be given as `VMSNAP_<NAME>_FILE`, the path of a file that holds it. A value of the wrong form
raises `ImproperlyConfigured` and names the variable. This room is for `settings.py` alone.
"""

import os
from pathlib import Path

from django.core.exceptions import ImproperlyConfigured

PREFIX = "VMSNAP_"


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


def number(name: str, default: float, *, least: float = 0) -> float:
    """A number not below `least`."""
    raw = os.environ.get(PREFIX + name)
    if raw is None:
        return default
    try:
        value = float(raw)
    except ValueError:
        raise ImproperlyConfigured(f"{PREFIX}{name} must be a number, not {raw!r}.") from None
    if not value >= least:
        raise ImproperlyConfigured(f"{PREFIX}{name} must be at least {least:g}, not {raw!r}.")
    return value


def whole(name: str, default: int, *, least: int = 0) -> int:
    """A whole number not below `least`."""
    value = number(name, default, least=least)
    raw = os.environ.get(PREFIX + name, "").strip().lstrip("+-")
    if raw.isascii() and raw.isdigit():
        # Bytes of large installations are more than a floating point number can tell apart.
        return int(os.environ[PREFIX + name])
    if value != int(value):
        raise ImproperlyConfigured(f"{PREFIX}{name} must be a whole number.")
    return int(value)


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


def listed(name: str, default: list[str]) -> list[str]:
    """Values separated by commas."""
    raw = os.environ.get(PREFIX + name)
    if raw is None:
        return default
    return [part.strip() for part in raw.split(",") if part.strip()]
