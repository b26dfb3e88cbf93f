"""The disks of the pool: one sparse file per VDI, layered as the real file-based repositories layer theirs.

A file holds a page of its own (what a VHD spends on header and footer) and behind it, at its place, what was written to
this layer; the rest are holes. A snapshot makes the file a hidden base copy under two new, empty leaves. Sizes are
what the file system says that the files occupy, so a leaf that nobody destroys shows as the space it costs.

Knows files only. Which VDI lies on which is said by the records (`sm_config["vhd-parent"]`), kept in `disks`.
"""

import errno
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

PAGE = 4096
CHUNK = 1 << 20


@dataclass(frozen=True)
class Storage:
    """A folder with a folder for each storage repository. VDIs and repositories are named by uuid."""

    folder: Path

    def path(self, sr: str, vdi: str) -> Path:
        """The file of a VDI."""
        return self.folder / sr / f"{vdi}.layer"

    def add_repository(self, sr: str) -> None:
        """Make room for a repository."""
        (self.folder / sr).mkdir(parents=True, exist_ok=True)

    def create(self, sr: str, vdi: str) -> None:
        """An empty layer: its own page and nothing else."""
        with open(self.path(sr, vdi), "xb") as file:
            file.write(vdi.encode().ljust(PAGE, b"\0"))

    def rename(self, sr: str, vdi: str, new: str) -> None:
        """Let another VDI have this layer."""
        os.replace(self.path(sr, vdi), self.path(sr, new))

    def delete(self, sr: str, vdi: str) -> None:
        """Delete the layer, if it is there."""
        self.path(sr, vdi).unlink(missing_ok=True)

    def used(self, sr: str, vdi: str) -> int:
        """Bytes that the layer occupies; 0 when the file is gone."""
        try:
            return os.stat(self.path(sr, vdi)).st_blocks * 512
        except FileNotFoundError:
            return 0

    def is_empty(self, sr: str, vdi: str) -> bool:
        """Whether nothing was written to this layer."""
        return self.path(sr, vdi).stat().st_size <= PAGE

    def keep_only(self, sr: str, known: set[str]) -> None:
        """Delete layers that no VDI owns: a killed process may leave some behind."""
        for path in (self.folder / sr).iterdir():
            if path.stem not in known:
                path.unlink()

    # What guests write and read

    def write(self, sr: str, chain: Sequence[str], offset: int, content: bytes) -> None:
        """Write to the top of a chain (the leaf first), whole pages at a time."""
        first = offset // PAGE * PAGE
        last = -(-(offset + len(content)) // PAGE) * PAGE
        pages = bytearray(self.read(sr, chain, first, last - first))
        pages[offset - first : offset - first + len(content)] = content
        with open(self.path(sr, chain[0]), "r+b") as file:
            file.seek(PAGE + first)
            file.write(pages)

    def read(self, sr: str, chain: Sequence[str], offset: int, length: int) -> bytes:
        """Read through a chain: for each page the topmost layer that has it counts."""
        found = bytearray(length)
        for vdi in reversed(chain):
            with open(self.path(sr, vdi), "rb") as file:
                for start, end in _extents(file.fileno(), PAGE + offset, PAGE + offset + length):
                    file.seek(start)
                    found[start - PAGE - offset : end - PAGE - offset] = file.read(end - start).ljust(
                        end - start, b"\0"
                    )
        return bytes(found)

    def merge(self, sr: str, vdi: str, base: str) -> None:
        """Write what the layer holds into the base below it."""
        with open(self.path(sr, vdi), "rb") as source, open(self.path(sr, base), "r+b") as target:
            for start, end in _extents(source.fileno(), PAGE, os.fstat(source.fileno()).st_size):
                source.seek(start)
                target.seek(start)
                for _ in range(start, end, CHUNK):
                    target.write(source.read(min(CHUNK, end - source.tell())))


def _extents(descriptor: int, start: int, end: int) -> Iterator[tuple[int, int]]:
    """The parts of a file, between two places, that hold data and are no holes."""
    end = min(end, os.fstat(descriptor).st_size)
    while start < end:
        try:
            data = os.lseek(descriptor, start, os.SEEK_DATA)
        except OSError as error:
            if error.errno != errno.ENXIO:
                raise
            return  # nothing but a hole from here on
        hole = os.lseek(descriptor, data, os.SEEK_HOLE)
        if data < end:
            yield data, min(hole, end)
        start = hole
