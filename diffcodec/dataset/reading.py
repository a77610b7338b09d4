"""Reads shards in chunks of rows, each of which goes through a callable at once. Torch-free."""

from __future__ import annotations

import hashlib
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any, Self

from diffcodec.dataset.columns import path_of
from diffcodec.dataset.extras import needed_for
from diffcodec.dataset.places import Folder
from diffcodec.dataset.shards import Shard, is_taken, order
from diffcodec.errors import ConfigError, DatasetError

if TYPE_CHECKING:
    import pyarrow

CHUNK_ROWS, CHUNK_BYTES = 64, 64 << 20
"""Most rows, and most bytes, of a chunk: enough for full batches of pictures of a few sizes."""


CUT = "unexpected end of data"


@dataclass(frozen=True)
class Row:
    """A member of a shard.

    Args:
        name: of the member.
        data: bytes of a file, or what a table has instead.
        is_copied: whether it is no picture but goes along, such as a label.
        problem: why it cannot be used; empty if it can.
    """

    name: str
    data: Any
    is_copied: bool = False
    problem: str = ""


@dataclass(frozen=True)
class Chunk:
    """Consecutive rows of a shard.

    Args:
        rows: in their order.
        others: further columns of a table, of the same rows.
    """

    rows: list[Row]
    others: pyarrow.Table | None = None


class DamagedShard(DatasetError):
    """A shard ends early, because it is damaged; what comes before is good."""


class StrictMember(tarfile.TarInfo):
    """A member of an archive. Where tarfile would take a cut or damaged header for the archive's end, it raises."""

    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> Self:
        """The member of a header.

        Raises:
            tarfile.ReadError: if the header is cut or damaged.
        """
        if len(buf) != tarfile.BLOCKSIZE:
            raise tarfile.ReadError(CUT)
        try:
            return super().frombuf(buf, encoding, errors)
        except tarfile.HeaderError as error:
            if not any(buf):  # the end
                raise
            raise tarfile.ReadError(f"a header is damaged ({error})") from error


@dataclass(frozen=True)
class ShardReader:
    """Reads shards.

    Args:
        suffixes: of the files that are pictures (or .dfc files), in lower case.
        data_column, name_column: of tables; a table without names counts its rows.
    """

    suffixes: tuple[str, ...]
    data_column: str
    name_column: str

    def version(self, shard: Shard) -> str:
        """What changes when the shard's content does.

        Raises:
            DatasetError: if there is no such shard.
        """
        folder = Folder(shard.source)
        if shard.format == "folder":
            versions = [f"{entry.name} {entry.version}\n" for entry in self._entries(folder, shard)]
            return hashlib.sha256("".join(versions).encode("utf-8", "surrogateescape")).hexdigest()
        if (version := folder.version()) is None:
            raise DatasetError(f"{shard.source} does not exist")
        return version

    def chunks(self, shard: Shard) -> Iterator[Chunk]:
        """The shard's rows.

        Raises:
            DamagedShard: after the rows before the damage.
            DatasetError: if the shard cannot be reached.
            ConfigError: if a table has no such column.
        """
        folder = Folder(shard.source)
        if shard.format == "parquet":
            yield from self._of_table(folder)
            return
        rows: list[Row] = []
        size = 0
        try:
            for row in self._of_folder(folder, shard) if shard.format == "folder" else self._of_tar(folder):
                rows.append(row)
                size += len(row.data)
                if len(rows) == CHUNK_ROWS or size >= CHUNK_BYTES:
                    yield Chunk(rows)
                    rows, size = [], 0
        except DamagedShard:
            yield Chunk(rows)
            raise
        yield Chunk(rows)

    def _entries(self, folder: Folder, shard: Shard) -> list[Any]:
        taken = [entry for entry in folder.entries() if is_taken(entry, self.suffixes)]
        return [e for e in sorted(taken, key=order) if shard.first <= order(e)[0] <= shard.last]

    def _of_folder(self, folder: Folder, shard: Shard) -> Iterator[Row]:
        for entry in self._entries(folder, shard):
            data = folder.read(entry.name)
            yield Row(entry.name, data or b"", problem="" if data is not None else "it has disappeared")

    def _of_tar(self, folder: Folder) -> Iterator[Row]:
        """The files of an archive, which is read as a stream. A name that appears twice, or leads elsewhere, is bad."""
        seen: set[str] = set()
        with folder.open() as file:
            try:
                with tarfile.open(fileobj=file, mode="r|*", tarinfo=StrictMember) as archive:
                    for member in archive:
                        if not member.isfile():
                            continue
                        content = archive.extractfile(member)
                        assert content is not None
                        data = content.read()
                        if len(data) != member.size:
                            raise tarfile.ReadError(CUT)
                        name = member.name.removeprefix("./")
                        is_picture = name.lower().endswith(self.suffixes)
                        yield Row(name, data, not is_picture, _problem_of(name, seen))
                        seen.add(name)
            except (tarfile.TarError, EOFError) as error:
                raise DamagedShard(f"{folder.url} is damaged after {len(seen)} members: {error}") from error

    def _of_table(self, folder: Folder) -> Iterator[Chunk]:
        with needed_for("Parquet files"):
            import pyarrow
            import pyarrow.parquet

        with folder.open() as file:
            try:
                table_file = pyarrow.parquet.ParquetFile(file)
            except pyarrow.ArrowInvalid as error:
                raise DamagedShard(f"{folder.url} is not a Parquet file: {error}") from error
            columns = table_file.schema_arrow.names
            if self.data_column not in columns:
                raise ConfigError(
                    f"{folder.url} has no column {self.data_column!r}, only {', '.join(map(repr, columns))}",
                    parameters=["data_column"],
                )
            number = 0
            try:
                for batch in table_file.iter_batches(batch_size=CHUNK_ROWS):
                    table = pyarrow.Table.from_batches([batch])
                    values = table.column(self.data_column).to_pylist()
                    given = table.column(self.name_column).to_pylist() if self.name_column in columns else values
                    names = [value if isinstance(value, str) else path_of(value) for value in given]
                    rows = [
                        Row(name or f"{place:08}", value)
                        for place, (name, value) in enumerate(zip(names, values, strict=True), number)
                    ]
                    number += len(rows)
                    yield Chunk(rows, table.drop_columns([self.data_column]))
            except (pyarrow.ArrowInvalid, OSError) as error:
                raise DamagedShard(f"{folder.url} is damaged after {number} rows: {error}") from error


def _problem_of(name: str, seen: set[str]) -> str:
    if name in seen:
        return "its name appears twice in the shard"
    path = PurePosixPath(name)
    return "its name leads out of the folder" if path.is_absolute() or ".." in path.parts else ""
