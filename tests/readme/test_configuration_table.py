"""The README's configuration table tells the defaults that settings.py has. (That it names every setting and no other is
for `tests/house`.)"""

import ast
import re

import pytest

from tests.readme.blocks import HOUSE, section

READERS = {"text", "secret", "number", "whole", "yes", "listed", "choice", "zone"}


def readings() -> dict[str, tuple[str, object]]:
    """Each setting with its reader and its default; ... stands for a default that is worked out at start."""
    found: dict[str, tuple[str, object]] = {}
    for call in ast.walk(ast.parse((HOUSE / "vmsnap_site/settings.py").read_text(encoding="utf-8"))):
        if not isinstance(call, ast.Call) or not call.args or not isinstance(call.args[0], ast.Constant):
            continue
        match call.func:
            case ast.Attribute(value=ast.Name(id="env"), attr=reader) if reader in READERS:
                pass
            case ast.Name(id="kept_secret" as reader):
                pass
            case _:
                continue
        try:
            default = ast.literal_eval(call.args[1]) if reader != "kept_secret" else ...
        except (IndexError, ValueError):
            default = ...
        found[str(call.args[0].value)] = (reader, default)
    return found


SETTINGS = readings()
ROWS = dict(re.findall(r"^\| `VMSNAP_([A-Z_]+)` \| (.*?) \|", section("Configuration"), re.MULTILINE))


@pytest.mark.parametrize("name", sorted(name for name, (_, default) in SETTINGS.items() if default is not ...))
def test_the_readme_tells_the_default(name: str) -> None:
    _, default = SETTINGS[name]
    match default:
        case bool():
            told = "`yes`" if default else "`no`"
        case []:
            told = "none"
        case list():
            told = f"`{','.join(default)}`"
        case _:
            told = f"`{default}`"
    assert ROWS[name] == told


def test_the_readme_names_exactly_the_settings_that_may_be_files() -> None:
    secret = {f"VMSNAP_{name}_FILE" for name, (reader, _) in SETTINGS.items() if reader in {"secret", "kept_secret"}}
    assert set(re.findall(r"`(VMSNAP_[A-Z_]+_FILE)`", section("Configuration"))) == secret
