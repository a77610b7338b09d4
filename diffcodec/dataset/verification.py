"""Verifies results: that each shard is there as its manifest says, each file whole, nothing lost and nothing twice."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from itertools import zip_longest
from typing import Any, cast

from diffcodec.coding.stream import ParsedStream
from diffcodec.dataset.manifest import Manifest, read_manifest
from diffcodec.dataset.places import Folder
from diffcodec.dataset.reading import DamagedShard, Row, ShardReader
from diffcodec.dataset.shards import Shard
from diffcodec.dataset.work import DatasetJob, Outcome, ResultNames
from diffcodec.dataset.writing import digest_line
from diffcodec.errors import DatasetError, DiffCodecError


@dataclass(frozen=True)
class Verification:
    """Verifies a shard, given as its source.

    Args:
        job: that made the results.
        compare: whether to read the source, too, and compare names.
    """

    job: DatasetJob
    compare: bool

    def __call__(self, shard: Shard) -> Outcome:
        """The shard's manifest if all is well, else what is wrong."""
        destination = Folder(self.job.destination)
        try:
            manifest = read_manifest(destination, shard.stem)
            if manifest is None:
                raise DatasetError(f"{shard.stem} has no manifest: it is not complete")
            self._check(destination, shard, manifest)
            return Outcome(shard.stem, manifest)
        except DiffCodecError as error:
            return Outcome(shard.stem, error=str(error))

    def _check(self, destination: Folder, shard: Shard, manifest: Manifest) -> None:
        url = destination.name_of(manifest.output)
        names: list[str] = []
        digest = hashlib.sha256()
        for row in self._results(destination, manifest):
            names.append(row.name)
            if self.job.format == "folder":
                digest.update(digest_line(row.name, row.data))
            if self.job.kind == "compress" and (self.job.format == "parquet" or row.name.endswith(".dfc")):
                ParsedStream.parse(row.data, name=f"{url}: {row.name}")
        if self.job.format != "folder":
            with destination.open(manifest.output) as file:
                digest = hashlib.file_digest(cast(Any, file), "sha256")
        if len(names) != manifest.members + manifest.copied:
            raise DatasetError(f"{url}: expected {manifest.members + manifest.copied} members, found {len(names)}")
        if digest.hexdigest() != manifest.sha256:
            raise DatasetError(f"{url} has changed since it was written: its checksum is wrong")
        if self.compare:
            self._compare(url, shard, manifest, names)

    def _results(self, destination: Folder, manifest: Manifest) -> Iterator[Row]:
        """The members of a shard's result, a few at a time."""
        if self.job.format == "folder":
            for name in manifest.names:
                path = f"{manifest.output}/{name}" if manifest.output else name
                if (data := destination.read(path)) is None:
                    raise DatasetError(f"{destination.name_of(path)} is missing")
                yield Row(name, data)
            return
        reader = ShardReader((), self.job.result_column, self.job.name_column)
        for chunk in reader.chunks(Shard(destination.name_of(manifest.output), manifest.stem, self.job.format)):
            yield from (row for row in chunk.rows if row.data is not None)

    def _compare(self, url: str, shard: Shard, manifest: Manifest, names: list[str]) -> None:
        """Compare names with those that the source's members would have."""
        if self.job.reader.version(shard) != manifest.source_version:
            raise DatasetError(f"{shard.source} has changed since {url} was made")
        made = ResultNames(self.job)
        failed = [member.name for member in manifest.failed]
        expected = []
        with suppress(DamagedShard):  # the manifest names the damage
            for chunk in self.job.reader.chunks(shard):
                for row in chunk.rows:
                    if row.is_copied and shard.format != self.job.format:
                        continue
                    name = made.of(row)
                    if row.name in failed:
                        failed.remove(row.name)
                    elif name is not None:
                        expected.append(row.name if self.job.format == shard.format == "parquet" else name)
        if expected != names:
            odd = next((a or b for a, b in zip_longest(expected, names) if a != b), "")
            raise DatasetError(f"{url}: it has not the results of {shard.source}; the first difference is at {odd}")
