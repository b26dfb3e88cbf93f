"""What this product writes into the description of a VM snapshot in vSphere, and reads out of it.

The description is set together with the snapshot, in one call, so a snapshot whose answer was lost can be recognised by
it. It is what the user typed, then an empty line, then one line of ours:

    Kernel 6.1 → 6.12, ask Dora first.

    [vmsnap 0b9f0c5e-6f7e-4a55-9d65-4c8f3a2b7d11 disk "The whole name where vSphere would not keep it"]

That is the token ("-" for a snapshot made elsewhere that was renamed here), whether memory was asked for, and the name
where it is longer than vSphere keeps or has characters that it rewrites. Only the last line counts, and only if it has
exactly this form; whatever stands there otherwise is the user's. Somebody may rename the snapshot in vSphere, which
leaves the description alone: then the name that is kept here no longer begins like the snapshot's, and does not count.
"""

import json
import re
from dataclasses import dataclass

from hypervisors.errors import Rejected

NAME_LENGTH = 80
"""vSphere's clients take names of 80 characters; counted in UTF-16 units, of which some letters need two."""

_NOBODY = "-"
_MARK = re.compile(r'\[vmsnap ([^\s\]"]{1,64})(?: (disk|memory))?(?: ("[^\n]{0,8000}"))?\]')
# Entity names are kept with / \ and % written as %2f, %5c and %25; and clients trim names.
_REWRITTEN = re.compile(r"[/\\%]|^\s|\s$")
# What XML 1.0 cannot hold: https://www.w3.org/TR/xml/#charsets
_NOT_XML = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_ESCAPES = {"%2f": "/", "%5c": "\\", "%25": "%"}


@dataclass(frozen=True, slots=True)
class Note:
    """Name and description as the user knows them, the token, and whether memory was asked for (None: not said)."""

    name: str
    description: str
    token: str | None = None
    memory: bool | None = None


def unescaped(name: str) -> str:
    """An inventory name as people wrote it: vSphere keeps "a/b" as "a%2fb"."""
    return re.sub(r"%(?:2[fF]|5[cC]|25)", lambda found: _ESCAPES[found.group().lower()], name)


def clipped(name: str) -> str:
    """The name as it is given to vSphere."""
    while len(name.encode("utf-16-le", "surrogatepass")) > 2 * NAME_LENGTH:
        over = len(name.encode("utf-16-le", "surrogatepass")) // 2 - NAME_LENGTH
        name = name[: -max(1, over // 2)]
    return name


def packed(note: Note) -> str:
    """The description for vSphere. Raises `Rejected` for text that cannot be sent."""
    text = note.description.replace("\r\n", "\n").replace("\r", "\n")
    if _NOT_XML.search(note.name + text):
        raise Rejected("Name or description hold characters that vSphere cannot store.")
    keeps_name = note.name != clipped(note.name) or _REWRITTEN.search(note.name) is not None
    if note.token is None and note.memory is None and not keeps_name and unpacked(note.name, text).description == text:
        return text
    parts = [f"[vmsnap {note.token or _NOBODY}"]
    if note.memory is not None:
        parts.append("memory" if note.memory else "disk")
    if keeps_name:
        parts.append(json.dumps(note.name, ensure_ascii=False))
    footer = " ".join(parts) + "]"
    return f"{text}\n\n{footer}" if text else footer


def unpacked(name: str, text: str) -> Note:
    """What a snapshot's name and description in vSphere say; the inverse of `packed`."""
    body, _, last = text.replace("\r\n", "\n").rpartition("\n")
    mark = _MARK.fullmatch(last.rstrip())
    if mark is None or (body and not body.endswith("\n")):
        return Note(name, text)
    told, memory, kept = mark.groups()
    return Note(
        name=_whole_name(name, kept),
        description=body.removesuffix("\n"),
        token=None if told == _NOBODY else told,
        memory=None if memory is None else memory == "memory",
    )


def _whole_name(name: str, kept: str | None) -> str:
    if kept is None:
        return name
    try:
        whole = str(json.loads(kept))
    except ValueError:
        return name
    same = clipped(whole).strip()
    return whole if same in (name.strip(), unescaped(name).strip()) else name
