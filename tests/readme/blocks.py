"""Reads the README: its sections and the shell commands in them."""

import re
from pathlib import Path

HOUSE = Path(__file__).resolve().parents[2]
README = HOUSE / "README.md"


def section(title: str, document: Path = README) -> str:
    """The text below this heading, up to the next heading of the same or a higher level."""
    found = re.search(
        rf"^(#+) {re.escape(title)}\n(.*?)(?=^#{{1,2}} |\Z)",
        document.read_text(encoding="utf-8"),
        re.MULTILINE | re.DOTALL,
    )
    assert found, f"{document.name} has no section “{title}”"
    return found[2]


def commands(text: str) -> list[str]:
    """The fenced `sh` blocks."""
    return re.findall(r"^```sh\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
