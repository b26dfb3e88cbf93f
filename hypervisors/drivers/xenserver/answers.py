"""Reading XML-RPC answers of a XenAPI server: only what is wanted, and never more than is good for us.

Records of XenAPI are large (a VM has about ninety fields, one of them a whole serialised machine), and a pool holds
thousands. So the fields nobody asked for are skipped while parsing, which is faster than the standard library's reader
and keeps little in memory. A server that is broken or hostile meets bounds: no document type (so no entities to blow
up), so many values, so much text. Types on the wire: integers of 64 bits are decimal texts, dates are texts.

Only `transport` enters here.
"""

from dataclasses import dataclass
from typing import Any
from xml.parsers import expat

MAX_VALUES = 2_000_000
"""How many names and values one answer may leave us with: several times those of 1,000 machines with 5 snapshots."""
MAX_TEXT = 96 << 20
"""How many characters these may have together."""
_TEXT_BUFFER = 32 << 10
MAX_TAG = 1 << 20
"""How many bytes one tag, or a comment, may have. The parser keeps it whole until its end has come, and looks at all of
it again with each piece."""
_MAX_DEPTH = 50
_MAX_PIECES = 512
"""Pieces of one text, each as large as the buffer at the most: 16 MiB."""


class BrokenAnswer(Exception):
    """The answer is not one of XenAPI, or larger than any that makes sense. The text is for people."""


@dataclass(frozen=True, slots=True)
class Keep:
    """Which members to keep of structs that are this deep: 1 is the envelope, 2 a single record or the map of a bulk
    read, 3 the records in it."""

    depth: int
    fields: frozenset[str]


class AnswerReader:
    """Feed it the document piece by piece; `finish` gives what it says. Raises `BrokenAnswer`."""

    def __init__(self, keep: Keep | None = None) -> None:
        self._keep_depth = keep.depth if keep else -1
        self._fields = keep.fields if keep else frozenset()
        self._names: dict[str, str] = {}
        self._stack: list[Any] = []
        self._marks: list[int] = []
        self._depth = 0
        self._text: list[str] = []
        self._untyped = False
        self._skipping = 0
        self._values = 0
        self._characters = 0
        self._fed = 0
        self._kind = ""
        self._parser = expat.ParserCreate()
        self._parser.buffer_size = _TEXT_BUFFER
        self._parser.buffer_text = True
        self._parser.StartDoctypeDeclHandler = _refuse_document_type
        self._listen()

    def feed(self, data: bytes) -> None:
        try:
            self._parser.Parse(data, False)
        except (expat.ExpatError, ValueError, IndexError) as error:
            raise BrokenAnswer(f"its XML cannot be read ({error})") from error
        self._fed += len(data)
        if self._fed - self._parser.CurrentByteIndex > MAX_TAG:
            raise BrokenAnswer("it holds a tag that has no end")
        values = len(self._stack) + self._values
        if len(self._text) > _MAX_PIECES or self._characters > MAX_TEXT or values > MAX_VALUES:
            raise BrokenAnswer("it holds more than an answer may")

    def finish(self) -> tuple[str, Any]:
        """“params” or “fault”, and the one value of it."""
        try:
            self._parser.Parse(b"", True)
        except (expat.ExpatError, ValueError, IndexError) as error:
            raise BrokenAnswer(f"its XML cannot be read ({error})") from error
        if self._kind not in ("params", "fault") or self._marks or len(self._stack) != 1:
            raise BrokenAnswer("it is no answer of XML-RPC")
        return self._kind, self._stack[0]

    def _listen(self) -> None:
        self._parser.StartElementHandler = self._start
        self._parser.EndElementHandler = self._end
        self._parser.CharacterDataHandler = self._text.append

    def _start(self, tag: str, _attributes: dict[str, str]) -> None:
        self._text.clear()
        if tag == "value":
            self._untyped = True
        elif tag in ("struct", "array"):
            self._untyped = False
            self._marks.append(len(self._stack))
            self._depth += tag == "struct"
            if len(self._marks) > _MAX_DEPTH:
                raise BrokenAnswer("it is nested deeper than an answer may be")

    def _end(self, tag: str) -> None:
        if tag == "value":
            if self._untyped:
                self._keep_text()
        elif tag == "name":
            self._member()
        elif tag == "string":
            self._keep_text()
        elif tag == "struct":
            mark = self._marks.pop()
            items = self._stack[mark:]
            del self._stack[mark:]
            self._values += len(items)
            self._depth -= 1
            self._stack.append(dict(zip(items[::2], items[1::2], strict=True)))
        elif tag == "array":
            mark = self._marks.pop()
            items = self._stack[mark:]
            del self._stack[mark:]
            self._values += len(items)
            self._stack.append(items)
        else:
            self._scalar(tag)

    def _scalar(self, tag: str) -> None:
        text = "".join(self._text)
        if tag == "boolean":
            self._push(_BOOLEANS[text.strip()] if text.strip() in _BOOLEANS else _no_boolean())
        elif tag == "double":
            self._push(float(text))
        elif tag in ("int", "i4", "i8"):
            if len(text) > 40:
                raise BrokenAnswer("it holds a number of too many digits")
            self._push(int(text))
        elif tag == "dateTime.iso8601":
            self._push(text.strip())
        elif tag == "nil":
            self._push(None)
        elif tag in ("params", "fault"):
            self._kind = tag
        elif tag not in ("member", "data", "param", "methodResponse"):
            raise BrokenAnswer(f"it holds the element {tag[:40]!r}, which XML-RPC does not know")

    def _keep_text(self) -> None:
        text = "".join(self._text)
        self._characters += len(text)
        self._push(text)

    def _push(self, value: Any) -> None:
        self._stack.append(value)
        self._untyped = False

    def _member(self) -> None:
        name = "".join(self._text)
        if self._depth == self._keep_depth and name not in self._fields:
            self._skipping = 1
            parser = self._parser
            parser.StartElementHandler = self._skip_start
            parser.EndElementHandler = self._skip_end
            parser.CharacterDataHandler = None
            return
        self._characters += len(name)
        # The same names come again with every record: one text for all of them.
        self._stack.append(self._names.setdefault(name, name) if len(self._names) < 10_000 else name)

    def _skip_start(self, _tag: str, _attributes: dict[str, str]) -> None:
        self._skipping += 1

    def _skip_end(self, _tag: str) -> None:
        self._skipping -= 1
        if not self._skipping:
            self._listen()


_BOOLEANS = {"0": False, "1": True}


def _no_boolean() -> bool:
    raise BrokenAnswer("it holds a boolean that is neither 0 nor 1")


def _refuse_document_type(*_: object) -> None:
    raise BrokenAnswer("it declares a document type, which no answer of XenAPI does")
