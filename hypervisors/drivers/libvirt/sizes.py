"""How large the memory images inside qcow2 files are, read from the files' own snapshot tables.

libvirt does not tell. QEMU's monitor would, but using it through libvirt marks the machine as tainted for good, which
costs its owner the distribution's support. So the few bytes are read that the format keeps for it: the header and the
table of snapshots (https://qemu.readthedocs.io/en/latest/interop/qcow2.html), from the file where the daemon is on this
computer and the file may be read, else through libvirt's own download of a piece of the volume. Both work while the
machine runs, because QEMU writes a new table before it lets the header point to it.

The tag of a snapshot in the file is its name in libvirt. What the disks' part of a snapshot occupies is not recorded in
the format (its clusters are shared with the running state), so it is not told.
"""

import os
import struct
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Any

import libvirt

_MAGIC = b"QFI\xfb"
_HEADER = struct.Struct(">4s56xIQ")
_ENTRY = struct.Struct(">QIHHIIQII")
# Fixed part, 24 bytes of extra data, an id of a few digits, a name that is a file name; twice that to be sure.
_BYTES_PER_ENTRY = 1024

ReadPiece = Callable[[int, int], bytes]


def memory_sizes(opened: Any, paths: Iterable[str], local: bool, wanted: set[str]) -> dict[str, int]:
    """Bytes of the memory image per snapshot name, over these image files; stops once all `wanted` are known.

    A file that cannot be read or is no qcow2 file adds nothing: then the size stays unknown.
    """
    sizes: dict[str, int] = {}
    for path in paths:
        table = _table_of_file(path) if local else None
        if table is None:
            table = _table_of_volume(opened, path)
        for name, size in table.items():
            if size:
                sizes[name] = sizes.get(name, 0) + size
        if wanted <= sizes.keys():
            break
    return sizes


def snapshot_table(read: ReadPiece) -> dict[str, int]:
    """Names in a qcow2 file's snapshot table with the bytes of memory each holds; empty for another format."""
    header = read(0, _HEADER.size)
    if len(header) < _HEADER.size:
        return {}
    magic, count, offset = _HEADER.unpack(header)
    if magic != _MAGIC or not count:
        return {}
    data = read(offset, count * _BYTES_PER_ENTRY)
    sizes = {}
    place = 0
    for _ in range(count):
        if place + _ENTRY.size > len(data):
            break
        _, _, id_length, name_length, _, _, _, size, extra = _ENTRY.unpack_from(data, place)
        start = place + _ENTRY.size
        if extra >= 8:
            (size,) = struct.unpack_from(">Q", data, start)
        name_start = start + extra + id_length
        sizes[data[name_start : name_start + name_length].decode(errors="replace")] = int(size)
        place = (name_start + name_length + 7) // 8 * 8
    return sizes


def _table_of_file(path: str) -> dict[str, int] | None:
    try:
        file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        return snapshot_table(lambda offset, length: os.pread(file, length, offset))
    finally:
        os.close(file)


def _table_of_volume(opened: Any, path: str) -> dict[str, int]:
    try:
        volume = opened.storageVolLookupByPath(path)
        return snapshot_table(lambda offset, length: _downloaded(opened, volume, offset, length))
    except libvirt.libvirtError as error:
        if error.get_error_domain() == libvirt.VIR_FROM_RPC:
            raise
        return {}  # In no pool, or the pool cannot hand out pieces: the size stays unknown.


def _downloaded(opened: Any, volume: Any, offset: int, length: int) -> bytes:
    stream = opened.newStream()
    volume.download(stream, offset, length)
    pieces = bytearray()
    try:
        while len(pieces) < length and (piece := stream.recv(length - len(pieces))):
            pieces += piece
        stream.finish()
    except libvirt.libvirtError:
        with suppress(libvirt.libvirtError):  # the first error tells more, and is raised
            stream.abort()
        raise
    return bytes(pieces)
