"""The work on one shard: read, compress or restore, write, and the manifest last."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from diffcodec.config import PICTURE_SUFFIXES
from diffcodec.dataset import compress_batch, restore_batch
from diffcodec.dataset.batch_callable import BatchCallable
from diffcodec.dataset.columns import Columns
from diffcodec.dataset.manifest import ATTEMPTS, FailedMember, Kind, Manifest, read_manifest
from diffcodec.dataset.places import Folder
from diffcodec.dataset.reading import DamagedShard, Row, ShardReader
from diffcodec.dataset.shards import Shard, ShardFormat
from diffcodec.dataset.writing import Result, ShardWriter, Written, open_writer, output_of
from diffcodec.errors import DatasetError, DiffCodecError
from diffcodec.json_config import JsonConfig

_NOT_IN_TABLES = ("dfc", "notes", "network_s", "coding_s")
EMPTY: dict[Kind, dict[str, Any]] = {
    "compress": {key: value for key, value in compress_batch.EMPTY.items() if key not in _NOT_IN_TABLES},
    "restore": restore_batch.EMPTY,
}
"""Columns of tables beside the data, as of a row that failed. Not seconds: the same pictures make the same bytes."""


@dataclass(frozen=True)
class DatasetJob:
    """What is done with every shard. Picklable.

    Args:
        kind: `compress` or `restore`.
        destination: URL of the folder of the results.
        format: of the results.
        arguments: of `CompressBatch` or `RestoreBatch`.
        data_column: of the pictures (or files) in tables.
        name_column: of their names in tables.
        retry_failed: whether to do shards again that are complete but for failed pictures.
    """

    kind: Kind
    destination: str
    format: ShardFormat
    arguments: dict[str, Any]
    data_column: str = "image"
    name_column: str = "name"
    retry_failed: bool = False

    @property
    def result_column(self) -> str:
        """Column of the results in tables."""
        return "dfc" if self.kind == "compress" else "image"

    @property
    def suffixes(self) -> tuple[str, ...]:
        """Suffixes of the members that are worked on."""
        return PICTURE_SUFFIXES if self.kind == "compress" else (".dfc",)

    @property
    def reader(self) -> ShardReader:
        """Reads the shards."""
        return ShardReader(self.suffixes, self.data_column, self.name_column)


@dataclass(frozen=True)
class Outcome(JsonConfig):
    """What became of a shard.

    Args:
        stem: of the shard.
        manifest: None if the shard is not complete.
        is_new: whether it was done now; otherwise it was up to date.
        error: why it is not complete; empty if it is.
    """

    stem: str
    manifest: Manifest | None = None
    is_new: bool = False
    error: str = ""


MOST_ATTEMPTS = 3
"""How often a shard is tried whose worker is killed."""


@dataclass
class ShardWork:
    """Does shards, one after the other; loads the network when the first picture comes.

    Args:
        job: what to do.
        counts_attempts: whether to give up a shard whose worker was killed several times; for engines that try again
            without end.
    """

    job: DatasetJob
    counts_attempts: bool = False
    _callable: BatchCallable | None = None
    _destination: Folder = field(init=False)

    def __post_init__(self) -> None:
        self._destination = Folder(self.job.destination)

    def __call__(self, shard: Shard) -> Outcome:
        """Do a shard, unless it is done. What is wrong with it is in the outcome."""
        try:
            version = self.job.reader.version(shard)
            if (found := self._complete(shard, version)) is not None:
                return Outcome(shard.stem, found)
            if self.counts_attempts:
                self._count_attempt(shard)
            manifest = self._do(shard, version)
            if self.counts_attempts:
                self._destination.remove(f"{ATTEMPTS}/{shard.stem}")
            return Outcome(shard.stem, manifest, is_new=True)
        except DiffCodecError as error:
            return Outcome(shard.stem, error=str(error))

    def _count_attempt(self, shard: Shard) -> None:
        """Count an attempt before it begins.

        Raises:
            DatasetError: if the shard has been tried too often.
        """
        name = f"{ATTEMPTS}/{shard.stem}"
        before = len(self._destination.read(name) or b"")
        if before >= MOST_ATTEMPTS:
            raise DatasetError(f"{shard.stem}: its worker was killed {before} times, perhaps for lack of memory")
        self._destination.write(name, b"." * (before + 1))

    def _complete(self, shard: Shard, version: str) -> Manifest | None:
        """The manifest of a shard whose result is there, made of the same source."""
        found = read_manifest(self._destination, shard.stem)
        if found is None or found.source_version != version or (found.failed and self.job.retry_failed):
            return None
        if self.job.format != "folder" and self._destination.version(found.output) != found.output_version:
            return None
        return found

    def _do(self, shard: Shard, version: str) -> Manifest:
        begin, job = time.perf_counter(), self.job
        written = Written(output_of(job.format, shard))
        count = Tally()
        with open_writer(job.format, self._destination, shard, job.result_column, written) as writer:
            self._fill(writer, shard, count)
        output_version = "" if job.format == "folder" else self._destination.version(written.output)
        manifest = Manifest(
            shard.stem,
            shard.source,
            version,
            written.output,
            output_version or "",
            written.sha256,
            written.names,
            count.members,
            count.copied,
            tuple(count.failed),
            count.pixels,
            count.dfc_bytes,
            round(time.perf_counter() - begin, 3),
            round(count.codec_seconds, 3),
            memory_bytes(),
        )
        manifest.write(self._destination)
        return manifest

    def _fill(self, writer: ShardWriter, shard: Shard, count: Tally) -> None:
        names = ResultNames(self.job)
        try:
            for chunk in self.job.reader.chunks(shard):
                keeps_others = shard.format == self.job.format
                rows = [row for row in chunk.rows if keeps_others or not row.is_copied]
                writer.add(list(self._results(rows, names, count)), chunk.others if keeps_others else None)
        except DamagedShard as error:
            count.failed.append(FailedMember(PurePosixPath(shard.source).name, str(error)))

    def _results(self, rows: Sequence[Row], names: ResultNames, count: Tally) -> Iterator[Result]:
        """The results of a chunk's rows, one for each."""
        kind = self.job.kind
        worked = [row for row in rows if not row.is_copied and not row.problem]
        found = iter(self._work(worked, count) if worked else ())
        for row in rows:
            taken = not row.is_copied and not row.problem
            columns = {**EMPTY[kind], **(next(found) if taken else {"error": row.problem})}
            name = names.of(row)
            error = columns["error"] or ("" if name else "its result would have the name of another one")
            if error:
                count.failed.append(FailedMember(row.name, error))
                data = None
            elif row.is_copied:
                count.copied += 1
                data = row.data
            else:
                data = columns[self.job.result_column]
                count.add(columns, data if kind == "compress" else row.data)
            yield Result(name or row.name, data, {key: columns[key] for key in EMPTY[kind]} | {"error": error})

    def _work(self, rows: Sequence[Row], count: Tally) -> list[dict[str, Any]]:
        if self._callable is None:
            self._callable = self._load()
        begin = time.perf_counter()
        found: Columns = self._callable(
            {self.job.data_column: [row.data for row in rows], "name": [row.name for row in rows]}
        )
        count.codec_seconds += time.perf_counter() - begin
        return [{key: values[place] for key, values in found.items()} for place in range(len(rows))]

    def _load(self) -> BatchCallable:
        if self.job.kind == "compress":
            return compress_batch.CompressBatch(image=self.job.data_column, **self.job.arguments)
        return restore_batch.RestoreBatch(dfc=self.job.data_column, **self.job.arguments)


@dataclass
class Tally:
    """Sums over a shard, as in its manifest."""

    members: int = 0
    copied: int = 0
    pixels: int = 0
    dfc_bytes: int = 0
    codec_seconds: float = 0.0
    failed: list[FailedMember] = field(default_factory=list)

    def add(self, columns: dict[str, Any], dfc: Any) -> None:
        """Count a picture that worked."""
        self.members += 1
        self.pixels += columns["width"] * columns["height"]
        self.dfc_bytes += len(dfc)


@dataclass
class ResultNames:
    """Names of a shard's results: `a.png` becomes `a.dfc`; a second `a.jpg` becomes `a.jpg.dfc`."""

    job: DatasetJob
    _used: set[str] = field(default_factory=set)

    def of(self, row: Row) -> str | None:
        """The name of a row's result; None if others have taken it. In tables names need not be unique."""
        names = [row.name] if row.is_copied else self._names(row.name)
        if self.job.format == "parquet":
            return names[0]
        free = next((each for each in names if each not in self._used), None)
        if free is not None:
            self._used.add(free)
        return free

    def _names(self, name: str) -> list[str]:
        """The names that a result may have, the first free one."""
        if self.job.kind == "compress":
            path = PurePosixPath(name)
            return [*([str(path.with_suffix(".dfc"))] if path.suffix else []), f"{name}.dfc"]
        stem, suffix = name.removesuffix(".dfc"), f".{self.job.arguments.get('format', 'PNG').lower()}"
        return [f"{stem.removesuffix(suffix)}{suffix}", f"{stem}{suffix}"]


def memory_bytes() -> int:
    """Memory of this process now; 0 if the system does not say."""
    try:
        pages = Path("/proc/self/statm").read_text(encoding="ascii").split()[1]
    except OSError:
        return 0
    import resource

    return int(pages) * resource.getpagesize()
