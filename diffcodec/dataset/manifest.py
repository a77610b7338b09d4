"""What is known of a data set's results: options, and a manifest for each shard, written last. Torch-free."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from diffcodec.dataset.places import Folder
from diffcodec.errors import ConfigError
from diffcodec.json_config import JsonConfig

MANIFESTS = "_manifests"
"""Folder of the manifests; readers of data sets skip names that begin with _."""

ATTEMPTS = "_attempts"
"""Folder of counts of attempts at shards that are not complete."""

OPTIONS = "_options.json"
ERRORS = "_errors.csv"

Kind = Literal["compress", "restore"]


@dataclass(frozen=True)
class FailedMember(JsonConfig):
    """A picture or file of a shard that has no result, and why."""

    name: str
    error: str


@dataclass(frozen=True)
class Manifest(JsonConfig):
    """A shard that is complete.

    Args:
        stem: of the shard.
        source: URL of the shard.
        source_version: of the shard's file, or a digest of its files' names and versions.
        output: name of the result below the destination; a folder if results are files of their own.
        output_version: of the result's file; empty for a folder.
        sha256: of the result's file; for a folder, of the lines `name length sha256` of all files.
        names: of the results, if they are files of their own.
        members: number of results: pictures that worked.
        copied: other members of a tar file, which are copied.
        failed: pictures without result.
        pixels: of the pictures that worked.
        dfc_bytes: of all .dfc files written or read.
        seconds: that the shard took.
        codec_seconds: those of them spent in compressing or restoring.
        memory_bytes: of the worker at the end of the shard.
    """

    stem: str
    source: str
    source_version: str
    output: str
    output_version: str
    sha256: str
    names: tuple[str, ...]
    members: int
    copied: int
    failed: tuple[FailedMember, ...]
    pixels: int
    dfc_bytes: int
    seconds: float
    codec_seconds: float
    memory_bytes: int

    def write(self, destination: Folder) -> None:
        """Write the manifest."""
        destination.write(manifest_name(self.stem), (json.dumps(self.to_dict(), indent=1) + "\n").encode())


def manifest_name(stem: str) -> str:
    """Where the manifest of a shard is, below the destination."""
    return f"{MANIFESTS}/{stem}.json"


def read_manifest(destination: Folder, stem: str) -> Manifest | None:
    """The manifest of a shard; None if there is none, or it is not one."""
    found = destination.read_json(manifest_name(stem))
    try:
        return None if found is None else Manifest.from_dict(found)
    except ConfigError:
        return None


def stems_of(destination: Folder, below: str = MANIFESTS) -> list[str]:
    """The shards that have a manifest, by name."""
    found: list[str] = []
    for entry in destination.entries(below):
        name = f"{below}/{entry.name}"
        if entry.is_folder:
            found += stems_of(destination, name)
        elif name.endswith(".json"):
            found.append(name.removeprefix(f"{MANIFESTS}/").removesuffix(".json"))
    return found


def start(destination: Folder, options: Mapping[str, Any], *, force: bool) -> None:
    """Begin or continue a data set's results.

    Args:
        destination: of the results.
        options: all that results depend on, as JSON.
        force: whether to discard the manifests of results that were made with other options.

    Raises:
        ConfigError: if there are such results, and `force` is false.
    """
    wanted = json.loads(json.dumps(options))
    found = destination.read_json(OPTIONS)
    if found == wanted and not force:
        return
    if found is not None and not force:
        differing = sorted(key for key in {*found, *wanted} if found.get(key) != wanted.get(key))
        raise ConfigError(
            f"{destination.url} holds results that were made with another {' and another '.join(differing)}: name "
            "another folder, or start anew",
            parameters=["force"],
        )
    destination.remove(MANIFESTS)
    destination.write(OPTIONS, (json.dumps(wanted, indent=1) + "\n").encode())
