"""Runs over whole data sets: what is checked first, and the table of errors at the end. Torch-free."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from diffcodec.dataset.engine import Workers, run_shards
from diffcodec.dataset.manifest import ATTEMPTS, ERRORS, OPTIONS, Manifest, start, stems_of
from diffcodec.dataset.places import Folder
from diffcodec.dataset.shards import Shard, ShardFormat, find_shards
from diffcodec.dataset.verification import Verification
from diffcodec.dataset.work import DatasetJob, Outcome, ShardWork
from diffcodec.dataset.writing import output_of
from diffcodec.errors import ConfigError, DatasetError
from diffcodec.model.locations import DEFAULT_MODEL, PHOTO_MODEL
from diffcodec.model.named import describe_model

UNIMPORTANT = ("device", "precision", "threads", "model", "allow_pickle")
"""Arguments that change no more than last digits of files, or are covered by the models' fingerprints."""


PICTURE_FORMAT = "picture format"


@dataclass
class Totals:
    """Sums over shards.

    Args:
        done, up_to_date, missing: numbers of shards.
        manifests: sums over the shards that are complete, of those done now and of the others.
    """

    done: int = 0
    up_to_date: int = 0
    missing: int = 0
    members: int = 0
    new_members: int = 0
    failed: int = 0
    pixels: int = 0
    dfc_bytes: int = 0
    seconds: float = 0.0
    codec_seconds: float = 0.0
    memory_bytes: int = 0
    problems: list[str] = field(default_factory=list)

    def add(self, outcome: Outcome) -> None:
        """Count a shard."""
        found = outcome.manifest
        if found is None:
            self.missing += 1
            self.problems.append(outcome.error)
            return
        self.failed += len(found.failed)
        self.members += found.members
        self.pixels += found.pixels
        self.dfc_bytes += found.dfc_bytes
        if not outcome.is_new:
            self.up_to_date += 1
            return
        self.done += 1
        self.new_members += found.members
        self.seconds += found.seconds
        self.codec_seconds += found.codec_seconds
        self.memory_bytes = max(self.memory_bytes, found.memory_bytes)

    @property
    def bpp(self) -> float:
        """Bits a pixel of all files."""
        return 8 * self.dfc_bytes / self.pixels if self.pixels else 0.0


@dataclass(frozen=True)
class DatasetRun:
    """A run over a data set, see `open_run`.

    Args:
        shards: of the source.
        job: what is done with each of them.
        workers: who does it.
    """

    shards: list[Shard]
    job: DatasetJob
    workers: Workers

    def start(self, *, force: bool) -> None:
        """Begin or continue the results.

        Args:
            force: see `manifest.start`.

        Raises:
            ConfigError: if there are results of other options, and `force` is false.
            DatasetError: if the destination cannot be written.
        """
        destination = Folder(self.job.destination)
        destination.remove_unfinished()
        destination.remove(ATTEMPTS)
        start(destination, self.options(), force=force)

    def options(self) -> dict[str, Any]:
        """All that results depend on, as JSON."""
        job, arguments = self.job, self.job.arguments
        names = {"format": PICTURE_FORMAT}  # "format" is that of the data set
        own = {
            names.get(key, key): _plain(value)
            for key, value in arguments.items()
            if key not in UNIMPORTANT and value is not None
        }
        model, models = arguments.get("model"), []
        if model is not None or job.kind == "compress":
            allow_pickle = bool(arguments.get("allow_pickle"))
            for name in [DEFAULT_MODEL, PHOTO_MODEL] if model is None else [model]:
                models.append(describe_model(name, allow_pickle=allow_pickle).fingerprint.hex())
        columns = {"data column": job.data_column, "name column": job.name_column}
        return {"kind": job.kind, "format": job.format, **columns, **own, "models": models}

    def outcomes(self) -> Iterator[Outcome]:
        """Do the shards; afterwards `_errors.csv` at the destination names all failures, if there are any.

        Raises:
            ConfigError, DatasetError: as `run_shards`.
        """
        destination = Folder(self.job.destination)
        table = io.StringIO()
        writer = csv.writer(table, lineterminator="\n")
        writer.writerow(("shard", "name", "error"))
        rows: list[tuple[str, str, str]] = []
        work = partial(ShardWork, self.job, self.workers.count != 0)
        for outcome in run_shards(work, self.shards, self.workers):
            rows += _errors_of(outcome)
            yield outcome
        destination.remove_unfinished()
        destination.remove(ATTEMPTS)
        writer.writerows(sorted(rows))
        if rows:
            destination.write(ERRORS, table.getvalue().encode("utf-8", "backslashreplace"))
        else:
            destination.remove(ERRORS)


def open_run(
    source: str, job: Callable[[ShardFormat], DatasetJob], workers: Workers, format: ShardFormat | None = None
) -> DatasetRun:
    """A run over a data set, once it is known to be possible.

    Args:
        source: URL of the data set, see `find_shards`.
        job: the job, for a format of the results.
        workers: who does it.
        format: of the results; None: that of the source.

    Raises:
        DatasetError: if there are no shards.
        ConfigError: if results would replace or join the source, or a place is in the memory of one process.
    """
    suffixes = job("folder").suffixes
    shards = find_shards(source, suffixes)
    run = DatasetRun(shards, job(format or shards[0].format), workers)
    destination = Folder(run.job.destination)
    if workers.count != 0 and (destination.is_in_memory or Folder(shards[0].source).is_in_memory):
        raise ConfigError("memory:// exists in one process only: use no workers but this one", parameters=["workers"])
    stems: set[str] = set()
    for shard in shards:
        root = Folder(shard.source).root
        own = f"{destination.root}/{output_of(run.job.format, shard)}" if shard.format != "folder" else ""
        if root in (destination.root, own) or destination.root.startswith(f"{root}/"):
            raise ConfigError(f"{destination.url} would mix results with their source {shard.source}: name another")
        if shard.stem in stems:
            raise ConfigError(f"two shards would both be written to {shard.stem}: process them into two folders")
        stems.add(shard.stem)
    return run


def verify(destination: str, source: str | None, workers: Workers) -> tuple[list[Shard], Iterator[Outcome]]:
    """Verify results.

    Args:
        destination: of the results.
        source: to compare them with, as far as names go; None: only check the results themselves.
        workers: who does it.

    Returns:
        The shards, and their outcomes as they come.

    Raises:
        DatasetError: if there are no results.
    """
    folder = Folder(destination)
    options = folder.read_json(OPTIONS)
    try:
        columns = options["data column"], options["name column"]
        arguments = {"format": options[PICTURE_FORMAT]} if PICTURE_FORMAT in options else {}
        job = DatasetJob(options["kind"], destination, options["format"], arguments, *columns)
    except (TypeError, KeyError) as error:
        raise DatasetError(f"{destination} holds no results of `dataset`: {OPTIONS} is missing or damaged") from error
    if source is None:
        shards = [Shard("", stem, job.format) for stem in stems_of(folder)]
    else:
        shards = find_shards(source, job.suffixes)
    return shards, run_shards(partial(Verification, job, source is not None), shards, workers)


def _errors_of(outcome: Outcome) -> list[tuple[str, str, str]]:
    found: Manifest | None = outcome.manifest
    if found is None:
        return [(outcome.stem, "", outcome.error)]
    return [(outcome.stem, member.name, member.error) for member in found.failed]


def _plain(value: Any) -> Any:
    return value if isinstance(value, str | int | float | bool | None) else repr(value)
