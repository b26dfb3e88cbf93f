"""Serves single files of packages that hold much more than is used: a whole package would be gathered, compressed and
searched for references to files it does not bring along."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from django.conf import settings
from django.contrib.staticfiles.finders import BaseFinder
from django.core.checks import CheckMessage, Error
from django.core.files.storage import FileSystemStorage


class SingleFilesFinder(BaseFinder):
    """Finds the files of the setting `STATICFILES_SINGLE`: address below the static ones -> file."""

    def __init__(self, app_names: object = None, *args: object, **kwargs: object) -> None:
        self.files: dict[str, Path] = settings.STATICFILES_SINGLE

    def check(self, **kwargs: object) -> list[CheckMessage]:
        """An error for each file that is not there."""
        return [
            Error(f"{file} is missing.", hint="Install the front-end packages: npm ci.", id="vmsnap.E010")
            for file in self.files.values()
            if not file.is_file()
        ]

    def find(self, path: str, find_all: bool = False, **kwargs: Any) -> Any:
        """The file of an address: a path, with `find_all` a list of paths; nothing found is an empty list."""
        file = self.files.get(path.replace("\\", "/"))
        if file is None or not file.is_file():
            return []
        return [str(file)] if find_all else str(file)

    def list(self, ignore_patterns: object) -> Iterator[tuple[str, FileSystemStorage]]:
        """Each file's name with a storage that holds it, for gathering; the storage's prefix makes the address."""
        for address, file in self.files.items():
            storage = FileSystemStorage(location=file.parent)
            storage.prefix = str(Path(address).parent)  # type: ignore[attr-defined]  # what the gathering command reads
            yield file.name, storage
