"""Folders of data sets, local or in an object store, named by paths or fsspec's URLs. Torch-free."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, BinaryIO, cast

from diffcodec.errors import DatasetError, DiffCodecError
from diffcodec.files import atomic_write, remove_unfinished

if TYPE_CHECKING:
    from fsspec import AbstractFileSystem


FLAT = {"s3", "s3a", "gs", "gcs", "abfs", "abfss", "az", "adl", "oss", "oci", "memory"}
"""Protocols of stores without folders, where making one could make a bucket of a misspelt name."""


@dataclass(frozen=True)
class Entry:
    """A file or folder in a listing.

    Args:
        name: relative to the folder that was listed.
        is_folder: whether it is a folder.
        version: changes when the file does: its length, and its tag or time of change.
    """

    name: str
    is_folder: bool
    version: str


@contextmanager
def reaching(url: str) -> Iterator[None]:
    """Turns errors of files and stores into a DatasetError that names the place."""
    try:
        yield
    except DiffCodecError:
        raise
    except FileNotFoundError as error:
        raise DatasetError(f"{url} does not exist") from error
    except ImportError as error:
        raise DatasetError(f"{url}: a package is missing: {error}") from error
    except Exception as error:  # stores raise exceptions of their own
        reason = error.strerror if isinstance(error, OSError) and error.strerror else error
        raise DatasetError(f"{url} cannot be read or written: {reason}") from error


class Folder:
    """A folder; need not exist.

    Args:
        url: a path, or a URL such as `s3://bucket/folder`. Credentials and endpoints are those of fsspec's
            implementation, from its environment variables or files.

    Raises:
        DatasetError: if fsspec knows no such protocol, or its package is missing.
    """

    def __init__(self, url: str) -> None:
        from fsspec.core import url_to_fs
        from fsspec.implementations.local import LocalFileSystem

        self.url = url.rstrip("/") or url
        fs: AbstractFileSystem
        with reaching(url):
            fs, path = url_to_fs(url)
        self.fs, self.root = fs, str(path).rstrip("/")
        self.is_local = isinstance(fs, LocalFileSystem)
        self._protocols = set(fs.protocol if isinstance(fs.protocol, tuple | list) else (fs.protocol,))
        self.is_in_memory = "memory" in self._protocols

    def name_of(self, name: str) -> str:
        """The URL of a file in the folder."""
        return f"{self.url}/{name}" if name else self.url

    def entries(self, below: str = "") -> list[Entry]:
        """What is in a subfolder, by name; links to folders are left out, as they may form cycles.

        Raises:
            DatasetError: if it cannot be listed.
        """
        path = self._path(below)
        with reaching(self.name_of(below)):
            listed: list[dict[str, Any]] = self.fs.ls(path, detail=True, refresh=True)
        found = []
        for info in listed:
            full = str(info["name"]).rstrip("/")
            is_folder = info["type"] == "directory"
            # Some stores list the folder itself.
            if full == path or (is_folder and info.get("islink")):
                continue
            found.append(Entry(full.rpartition("/")[2], is_folder, version_of(info)))
        return sorted(found, key=lambda entry: entry.name)

    def version(self, name: str = "") -> str | None:
        """The version of a file, see `Entry`; None if there is none.

        Raises:
            DatasetError: if the store cannot be reached.
        """
        with reaching(self.name_of(name)):
            try:
                info = self.fs.info(self._path(name))
            except FileNotFoundError:
                return None
        return version_of(info)

    def is_folder(self) -> bool:
        """Whether the folder exists, and is one."""
        with reaching(self.url):
            return bool(self.fs.isdir(self._path("")))

    @contextmanager
    def open(self, name: str = "") -> Iterator[BinaryIO]:
        """A file to read.

        Raises:
            DatasetError: if it does not exist, or cannot be opened. Errors inside are not changed.
        """
        with reaching(self.name_of(name)):
            file = self.fs.open(self._path(name), "rb")
        with file:
            yield cast(BinaryIO, file)

    def read(self, name: str) -> bytes | None:
        """The content of a small file; None if there is none.

        Raises:
            DatasetError: if it cannot be read.
        """
        with reaching(self.name_of(name)):
            try:
                return cast(bytes, self.fs.cat_file(self._path(name)))
            except FileNotFoundError:
                return None

    def read_json(self, name: str) -> Any:
        """The content of a JSON file; None if there is none, or it is not JSON."""
        data = self.read(name)
        try:
            return None if data is None else json.loads(data)
        except ValueError:
            return None

    def write(self, name: str, data: bytes) -> None:
        """Write a small file; it appears complete or not at all.

        Raises:
            DatasetError: if it cannot be written.
        """
        with self.publishing(name) as file:
            file.write(data)

    @contextmanager
    def publishing(self, name: str) -> Iterator[IO[bytes]]:
        """A file to write, which gets its name when it is complete. An existing one is replaced.

        In a store it is gathered in a temporary file first: closing an upload after an error would complete it.

        Raises:
            DatasetError: if it cannot be written. Errors inside are not changed.
        """
        path = self._path(name)
        if self.is_local:
            with reaching(self.name_of(name)):
                os.makedirs(os.path.dirname(path) or ".", exist_ok=True)
            with atomic_write(path, overwrite=True) as file:
                yield file
            return
        with tempfile.NamedTemporaryFile(prefix="diffcodec-") as gathered:
            yield gathered
            gathered.flush()
            with reaching(self.name_of(name)):
                if not FLAT & self._protocols:
                    self.fs.makedirs(path.rpartition("/")[0], exist_ok=True)
                self.fs.put_file(gathered.name, path)

    def remove(self, name: str) -> None:
        """Remove a file, or a folder with all that is in it, if it exists.

        Raises:
            DatasetError: if it cannot be removed.
        """
        path = self._path(name)
        with reaching(self.name_of(name)):
            if self.is_local and os.path.isdir(path):
                shutil.rmtree(path)
            elif self.fs.exists(path):
                self.fs.rm(path, recursive=True)

    def remove_unfinished(self) -> None:
        """Remove temporary files that killed workers left; stores have none."""
        if self.is_local:
            for folder, _, files in os.walk(self.root):
                if any(name.startswith(".diffcodec-") for name in files):
                    remove_unfinished(Path(folder))

    def _path(self, name: str) -> str:
        return f"{self.root}/{name}" if name else self.root


def version_of(info: dict[str, Any]) -> str:
    """What changes with a file, of fsspec's description of it."""
    tag = next((info[key] for key in ("ETag", "etag", "md5Hash", "mtime", "LastModified") if info.get(key)), "")
    return f"{info.get('size')} {str(tag).strip(chr(34))}".strip()
