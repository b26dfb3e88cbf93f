"""pyvmomi's types and methods over our own wire: calls out as SOAP, answers back as pyvmomi's objects.

The library gives the data model, writes requests and reads answers; this file bounds its reading. A document type (the
door of XML bombs) is refused, and so are answers with too many elements or too long a text, because each element
becomes Python objects many times its size. Reading a property through a managed object (`machine.config`) is refused as
well: it would fetch whole objects, one call each, and fails on servers that leave such a property unset. Properties are
read by paths, in `reading`.
"""

import functools
from collections.abc import Iterable
from typing import Any
from xml.parsers.expat import ExpatError, ParserCreate

from lxml import etree
from pyVmomi import vmodl
from pyVmomi.SoapAdapter import (
    NS_SEP,
    XMLNS_SOAPENV,
    GetHandlers,
    SetHandlers,
    SoapDeserializer,
    SoapResponseDeserializer,
    SoapStubAdapterBase,
)
from pyVmomi.VmomiSupport import GetServiceVersions, versionIdMap

from hypervisors.drivers.vmware.wire import Answer, Wire, plain
from hypervisors.errors import ConnectionLost, HypervisorError, Unreachable

ANSWER_ELEMENTS = 1_500_000
"""One answer may have so many elements: 1,000 machines with 5 snapshots each have about 400,000."""

TEXT_LENGTH = 1 << 20
TAG_BYTES = 1 << 20
"""One tag, or a comment, may have so many bytes: the parser keeps it whole until its end has come, and looks at all of it
again with each piece."""

VERSIONS_BYTES = 1 << 20


class _Refused(Exception):
    """The answer holds what no answer of a vSphere server holds."""


class _Fault(Exception):
    """Carries a fault of the server, or whatever stood in its place, out of the reading."""

    def __init__(self, fault: Any) -> None:
        super().__init__()
        self.fault = fault


class _Values(SoapDeserializer):  # type: ignore[misc]  # pyvmomi carries no types
    """pyvmomi's reader of values, with a limit on their number and length."""

    def __init__(self, stub: Any) -> None:
        super().__init__(stub)
        self._elements_left = ANSWER_ELEMENTS
        # The library's look-up of a type takes a lock and several dictionaries, for nearly every value.
        self.LookupWsdlType = functools.cache(super().LookupWsdlType)

    def StartElementHandler(self, tag: str, attributes: dict[str, str]) -> None:
        self._elements_left -= 1
        if self._elements_left < 0:
            raise _Refused("it has too many elements")
        super().StartElementHandler(tag, attributes)

    def CharacterDataHandler(self, data: str) -> None:
        if len(self.data) + len(data) > TEXT_LENGTH:
            raise _Refused("it has a text that is too long")
        self.data += data


class _Reader(SoapResponseDeserializer):  # type: ignore[misc]  # pyvmomi carries no types
    """pyvmomi's reader of an answer, fed piece by piece, so that time and size are looked at in between."""

    def __init__(self, stub: Any) -> None:
        super().__init__(stub)
        self.deser = _Values(stub)
        self._answered = False

    def read(self, chunks: Iterable[bytes], result_type: type) -> Any:
        """The result. Raises `_Fault` around the server's fault, and what the parser and the library raise on garbage."""
        self.resultType = result_type
        self.msg, self.data, self.isFault = "", "", False
        self.parser = ParserCreate(namespace_separator=NS_SEP)
        self.parser.buffer_text = True
        self.parser.buffer_size = 1 << 16
        self.parser.StartDoctypeDeclHandler = _refuse_document_type
        SetHandlers(self.parser, GetHandlers(self))
        fed = 0
        for chunk in chunks:
            self.parser.Parse(chunk, False)
            fed += len(chunk)
            if fed - self.parser.CurrentByteIndex > TAG_BYTES:
                raise _Refused("it has a tag that has no end")
        self.parser.Parse(b"", True)
        result = self.deser.GetResult()
        if self.isFault:
            result = result if result is not None else vmodl.RuntimeFault()
            result.msg = self.msg
            raise _Fault(result)
        if not self._answered:
            raise _Refused("it is not an answer")
        return result

    def StartElementHandler(self, tag: str, attributes: dict[str, str]) -> None:
        if tag.endswith("Response") or tag == XMLNS_SOAPENV + NS_SEP + "Fault":
            self._answered = True
        super().StartElementHandler(tag, attributes)

    def CharacterDataHandler(self, data: str) -> None:
        if len(self.data) + len(data) > TEXT_LENGTH:
            raise _Refused("it has a text that is too long")
        self.data += data


def _refuse_document_type(*_: object) -> None:
    raise _Refused("it has a document type")


class Stub(SoapStubAdapterBase):  # type: ignore[misc]  # pyvmomi carries no types
    """Carries out pyvmomi's calls on a wire. Each ends at `until`, a time of `time.monotonic`.

    Raises the server's faults as they are, and `hypervisors.errors` for everything about the connection.
    """

    def __init__(self, wire: Wire, path: str, version: str) -> None:
        super().__init__(version)
        self._wire, self._path = wire, path
        self.requestContext = None  # The library's serializer asks for it.
        self.until = 0.0

    def InvokeMethod(self, managed: Any, info: Any, arguments: Any, outerStub: Any = None) -> Any:
        request = self.SerializeRequest(managed, info, arguments)
        headers = {"SOAPAction": self.versionId, "Content-Type": "text/xml; charset=UTF-8", "User-Agent": "VMSnap"}
        answer = self._wire.exchange("POST", self._path, request, headers, self.until)
        if answer.status not in (200, 500):
            self._wire.drop()
            raise ConnectionLost(f"The server at {self._wire.place} answered with HTTP status {answer.status}.")
        return self._understood(answer, info.result)

    def InvokeAccessor(self, managed: Any, info: Any) -> Any:
        raise TypeError(f"Properties are read by paths only, not {info.name} of a managed object.")

    def _understood(self, answer: Answer, result_type: type) -> Any:
        try:
            return _Reader(self).read(answer.chunks(), result_type)
        except HypervisorError:
            raise
        except _Fault as carried:
            if isinstance(carried.fault, vmodl.MethodFault):
                raise carried.fault from None
            self._wire.drop()
            raise ConnectionLost(f"{self._wire.place} failed without a fault that can be read.") from carried
        except (ExpatError, _Refused) as error:
            self._wire.drop()
            raise ConnectionLost(f"The answer of {self._wire.place} cannot be read: {plain(error)}.") from error
        except Exception as error:
            # The library trusts its server and fails in many ways on values of the wrong kind.
            self._wire.drop()
            raise ConnectionLost(f"The answer of {self._wire.place} is not one of a vSphere server.") from error


def newest_common_version(wire: Wire, path: str, until: float) -> str:
    """The newest version of the API that the server and the library both speak, by the list the server publishes.

    Raises `Unreachable` where there is none, and as `Wire.exchange`.
    """
    answer = wire.exchange("GET", f"{path}/vimServiceVersions.xml", b"", {"User-Agent": "VMSnap"}, until)
    body = b"".join(_at_most(answer.chunks(), VERSIONS_BYTES))
    if answer.status != 200 or len(body) > VERSIONS_BYTES:
        wire.drop()
        raise Unreachable(f"{wire.place} answers, but is no vSphere server: it does not tell the versions of its API.")
    told = _versions_in(body)
    for version in GetServiceVersions("vim25"):
        if versionIdMap.get(version) in told:
            return str(version)
    raise Unreachable(f"{wire.place} is no vSphere server, or speaks no version of the API that this product knows.")


def _at_most(chunks: Iterable[bytes], limit: int) -> Iterable[bytes]:
    """The chunks up to the one with which there are more bytes than `limit`."""
    total = 0
    for chunk in chunks:
        yield chunk
        total += len(chunk)
        if total > limit:
            return


def _versions_in(body: bytes) -> set[str]:
    parser = etree.XMLParser(resolve_entities=False, no_network=True, huge_tree=False, load_dtd=False)
    try:
        root = etree.fromstring(body, parser)
    except etree.XMLSyntaxError:
        return set()
    return {
        (version.text or "").strip()
        for namespace in root.iterfind("namespace")
        if (namespace.findtext("name") or "").strip() == "urn:vim25"
        for version in namespace.iter("version")
    }
