"""The shards of a data set: tar files, Parquet files, or runs of pictures in a folder. Torch-free."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import PurePosixPath
from typing import Literal, get_args

from diffcodec.dataset.extras import needed_for
from diffcodec.dataset.places import Entry, Folder, reaching
from diffcodec.errors import ConfigError, DatasetError
from diffcodec.json_config import JsonConfig

ShardFormat = Literal["folder", "webdataset", "parquet"]

FORMATS: tuple[ShardFormat, ...] = get_args(ShardFormat)

SUFFIXES: dict[ShardFormat, tuple[str, ...]] = {"webdataset": (".tar", ".tar.gz", ".tgz"), "parquet": (".parquet",)}

FOLDER_SHARD = 1000
"""Pictures of a folder that make a shard."""


@dataclass(frozen=True)
class Shard(JsonConfig):
    """A part of a data set that one worker processes as a whole.

    Args:
        source: URL of the file; for pictures in a folder, of the folder.
        stem: name of the shard in the results, unique in the data set: its path below the source, without suffix.
        format: of the shard.
        below: folder of the results, if these are files of their own.
        first, last: names of the first and the last picture, for pictures in a folder.
    """

    source: str
    stem: str
    format: ShardFormat
    below: str = ""
    first: str = ""
    last: str = ""


def find_shards(source: str, suffixes: Iterable[str]) -> list[Shard]:
    """The shards of a source, by name.

    Args:
        source: a tar or Parquet file; a folder of such files, in subfolders, too; a folder of pictures; or a pattern of
            files: `train-{000000..000999}.tar`, which is not listed, or `part-*.parquet`.
        suffixes: of the files that are taken from folders.

    Raises:
        DatasetError: if there are none, or the source cannot be listed.
        ConfigError: if a folder holds several formats.
    """
    if any(letter in source for letter in "{*?["):
        return _of_pattern(source)
    if (format := format_of(source)) is not None:
        return [_of_file(Folder(source), "", PurePosixPath(source).name, format)]
    folder = Folder(source)
    if not folder.is_folder():
        raise DatasetError(f"{source} is neither a folder nor a tar or Parquet file")
    shards = list(_of_folder(folder, tuple(suffixes)))
    if not shards:
        raise DatasetError(f"{source}: expected tar files, Parquet files or files that end in {', '.join(suffixes)}")
    formats = sorted({shard.format for shard in shards})
    if len(formats) > 1:
        raise ConfigError(f"{source} holds several formats, {' and '.join(formats)}: name one, such as {source}/*.tar")
    return shards


def format_of(name: str) -> ShardFormat | None:
    """The format of a file of many pictures; None for other files."""
    return next((format for format, suffixes in SUFFIXES.items() if name.lower().endswith(suffixes)), None)


def stem_of(name: str) -> str:
    """A file's name without the suffix of its format."""
    found = next(suffix for suffixes in SUFFIXES.values() for suffix in suffixes if name.lower().endswith(suffix))
    return name[: -len(found)]


def runs_of(entries: Sequence[Entry], suffixes: tuple[str, ...]) -> list[list[Entry]]:
    """The pictures of a folder in runs of about FOLDER_SHARD, by name; those that differ by suffix stay together."""
    taken = [entry for entry in entries if is_taken(entry, suffixes)]
    runs: list[list[Entry]] = []
    for _, same in groupby(sorted(taken, key=order), lambda entry: order(entry)[0]):
        if not runs or len(runs[-1]) >= FOLDER_SHARD:
            runs.append([])
        runs[-1] += same
    return runs


def is_taken(entry: Entry, suffixes: tuple[str, ...]) -> bool:
    """Whether an entry of a folder is a visible file with one of the suffixes."""
    return not entry.is_folder and entry.name[0] not in "._" and entry.name.lower().endswith(suffixes)


def order(entry: Entry) -> tuple[str, str]:
    """Sort key of a picture: its name without suffix, then all of it."""
    return PurePosixPath(entry.name).stem, entry.name


def _of_folder(folder: Folder, suffixes: tuple[str, ...], below: str = "") -> Iterator[Shard]:
    """The shards of a folder, then those of its visible subfolders; one listing at a time is held."""
    entries = folder.entries(below)
    prefix = f"{below}/" if below else ""
    for entry in entries:
        if not entry.is_folder and entry.name[0] not in "._" and (format := format_of(entry.name)) is not None:
            yield _of_file(folder, prefix + entry.name, prefix + entry.name, format)
    for number, run in enumerate(runs_of(entries, suffixes)):
        first, last = (order(run[place])[0] for place in (0, -1))
        yield Shard(folder.name_of(below), f"{prefix}part-{number:05}", "folder", below, first, last)
    for entry in entries:
        if entry.is_folder and entry.name[0] not in "._":
            yield from _of_folder(folder, suffixes, prefix + entry.name)


def _of_file(folder: Folder, name: str, shown: str, format: ShardFormat) -> Shard:
    stem = stem_of(shown)
    return Shard(folder.name_of(name), stem, format, stem)


def _of_pattern(pattern: str) -> list[Shard]:
    """The files that match a pattern. Braces alone are not looked up: a file that is missing fails when it is read."""
    with needed_for("patterns of shards"):
        from braceexpand import braceexpand

    try:
        expanded = list(braceexpand(pattern))
    except ValueError as error:
        raise ConfigError(f"{pattern}: its braces are not balanced") from error
    fixed = re.split(r"[{*?\[]", pattern)[0].rpartition("/")[0]
    names: list[str] = []
    for each in expanded:
        if not any(letter in each for letter in "*?["):
            names.append(each)
            continue
        folder = Folder(each)
        with reaching(each):
            names += [str(folder.fs.unstrip_protocol(path)) for path in sorted(folder.fs.glob(folder.root))]
    root = Folder(fixed or ".")
    shards = []
    for name in dict.fromkeys(names):
        if (format := format_of(name)) is None:
            raise ConfigError(f"{name}: expected the name of a tar or Parquet file")
        file = Folder(name)
        shards.append(_of_file(file, "", file.root.removeprefix(f"{root.root}/"), format))
    if not shards:
        raise DatasetError(f"{pattern}: no file matches")
    return shards
