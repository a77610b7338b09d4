"""Writes the results of a shard: files in a folder, a tar file, or a Parquet file. Torch-free.

The same results make the same bytes: no times, no owners, and row groups that depend on the rows only.
"""

from __future__ import annotations

import hashlib
import io
import tarfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import IO, TYPE_CHECKING, Any, Protocol

from diffcodec.dataset.extras import needed_for
from diffcodec.dataset.places import Folder
from diffcodec.dataset.shards import Shard, ShardFormat

if TYPE_CHECKING:
    import pyarrow
    import pyarrow.parquet

GROUP_ROWS, GROUP_BYTES = 1000, 64 << 20
"""A row group of a Parquet file ends when it has so many rows, or so many bytes."""


@dataclass(frozen=True)
class Result:
    """What became of a row.

    Args:
        name: of the result.
        data: bytes of the result; None if there is none.
        columns: further columns of a table.
    """

    name: str
    data: bytes | None
    columns: Mapping[str, Any]


@dataclass
class Written:
    """The results of a shard.

    Args:
        output: name below the destination.
        sha256, names: see `Manifest`.
    """

    output: str
    sha256: str = ""
    names: tuple[str, ...] = ()


class ShardWriter(Protocol):
    """Writes results."""

    def add(self, results: Sequence[Result], others: pyarrow.Table | None) -> None:
        """Add the results of a chunk, with further columns of the table that they are from."""


@contextmanager
def open_writer(
    format: ShardFormat, destination: Folder, shard: Shard, data_column: str, written: Written
) -> Iterator[ShardWriter]:
    """A writer for a shard, whose result appears when all is well at the end.

    Args:
        format: of the result.
        destination: of all results.
        shard: the source.
        data_column: of tables.
        written: is filled in at the end.
    """
    if format == "folder":
        files = FileWriter(destination, shard.below)
        yield files
        written.sha256, written.names = files.digest.hexdigest(), tuple(files.names)
        return
    with destination.publishing(written.output) as file:
        hashing = HashingFile(file)
        if format == "webdataset":
            # Not closed on errors: that would write the end of an archive that is not complete.
            archive = tarfile.open(fileobj=hashing, mode="w|", format=tarfile.PAX_FORMAT)  # noqa: SIM115
            yield TarWriter(archive)
            archive.close()
        else:
            with needed_for("Parquet files"):
                import pyarrow.parquet  # noqa: F401 - before any work is done
            table = TableWriter(hashing, data_column)
            yield table
            table.close()
        written.sha256 = hashing.digest.hexdigest()


def output_of(format: ShardFormat, shard: Shard) -> str:
    """Name of a shard's result below the destination."""
    return {"folder": shard.below, "webdataset": f"{shard.stem}.tar", "parquet": f"{shard.stem}.parquet"}[format]


class HashingFile(io.RawIOBase):
    """Passes on what is written, and computes its digest."""

    def __init__(self, file: IO[bytes]) -> None:
        self.file, self.digest, self.length = file, hashlib.sha256(), 0

    def writable(self) -> bool:
        """It is."""
        return True

    def write(self, data: Any) -> int:
        """Write bytes."""
        self.digest.update(data)
        self.file.write(data)
        self.length += len(data)
        return len(data)

    def tell(self) -> int:
        """Number of bytes written."""
        return self.length


@dataclass
class FileWriter:
    """Writes every result to a file of its own.

    Args:
        destination: of all results.
        below: folder of the shard.
    """

    destination: Folder
    below: str
    digest: Any = field(default_factory=hashlib.sha256)
    names: list[str] = field(default_factory=list)

    def add(self, results: Sequence[Result], others: pyarrow.Table | None) -> None:
        """Write the files of a chunk."""
        for result in results:
            if result.data is not None:
                self.destination.write(f"{self.below}/{result.name}" if self.below else result.name, result.data)
                self.digest.update(digest_line(result.name, result.data))
                self.names.append(result.name)


def digest_line(name: str, data: bytes) -> bytes:
    """The line of a file in the digest of a folder."""
    return f"{name} {len(data)} {hashlib.sha256(data).hexdigest()}\n".encode("utf-8", "surrogateescape")


@dataclass
class TarWriter:
    """Writes an archive."""

    archive: tarfile.TarFile

    def add(self, results: Sequence[Result], others: pyarrow.Table | None) -> None:
        """Write the members of a chunk."""
        for result in results:
            if result.data is not None:
                member = tarfile.TarInfo(result.name)
                member.size = len(result.data)
                self.archive.addfile(member, io.BytesIO(result.data))


@dataclass
class TableWriter:
    """Writes a table; a row without result stays, with its error.

    Args:
        file: to write to.
        data_column: of the results.
    """

    file: HashingFile
    data_column: str
    _waiting: list[pyarrow.Table] = field(default_factory=list)
    _writer: pyarrow.parquet.ParquetWriter | None = None

    def add(self, results: Sequence[Result], others: pyarrow.Table | None) -> None:
        """Write the rows of a chunk."""
        import pyarrow

        if not results:
            return
        columns = {self.data_column: pyarrow.array([result.data for result in results], pyarrow.binary())}
        if others is None:
            columns = {"name": pyarrow.array([result.name for result in results], pyarrow.string()), **columns}
        for name, example in results[0].columns.items():
            kind = {str: pyarrow.string(), int: pyarrow.int64(), bool: pyarrow.bool_()}.get(
                type(example), pyarrow.float64()
            )
            columns[name] = pyarrow.array([result.columns[name] for result in results], kind)
        kept = {} if others is None else {name: others[name] for name in others.column_names if name not in columns}
        self._waiting.append(pyarrow.table({**kept, **columns}))
        rows, size = sum(len(table) for table in self._waiting), sum(table.nbytes for table in self._waiting)
        if rows >= GROUP_ROWS or size >= GROUP_BYTES:
            self._write_group()

    def close(self) -> None:
        """Write what is left, and the end of the table."""
        import pyarrow.parquet

        if self._waiting:
            self._write_group()
        if self._writer is None:  # a shard without rows
            empty = pyarrow.table({self.data_column: pyarrow.array([], pyarrow.binary())})
            pyarrow.parquet.write_table(empty, self.file)
        else:
            self._writer.close()

    def _write_group(self) -> None:
        import pyarrow.parquet

        group = pyarrow.concat_tables(self._waiting)
        self._waiting.clear()
        if self._writer is None:
            # Compressed files do not compress; a dictionary of them would only take memory.
            self._writer = pyarrow.parquet.ParquetWriter(self.file, group.schema, use_dictionary=False)
        self._writer.write_table(group, row_group_size=len(group))
