"""Small data sets of pictures as folders, tar shards and Parquet files."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from PIL import Image

from tests.conftest import smooth_pixels


def png(height: int = 9, width: int = 8, seed: int = 0) -> bytes:
    file = io.BytesIO()
    Image.fromarray(smooth_pixels(height, width, seed)).save(file, "PNG")
    return file.getvalue()


def write_tar(path: Path, members: Mapping[str, bytes]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as archive:
        for name, data in members.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    return path


def read_tar(path: Path) -> dict[str, bytes]:
    with tarfile.open(path) as archive:
        members = archive.getmembers()
        assert len({member.name for member in members}) == len(members)
        return {member.name: archive.extractfile(member).read() for member in members}  # type: ignore[union-attr]


def write_parquet(path: Path, rows: list[dict[str, Any]]) -> Path:
    import pyarrow
    import pyarrow.parquet

    path.parent.mkdir(parents=True, exist_ok=True)
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), path)
    return path


def make_tars(folder: Path, shards: int = 3, pictures: int = 4) -> Path:
    """Shards of samples, each of a picture and a label; every second picture has another size."""
    for shard in range(shards):
        members: dict[str, bytes] = {}
        for place in range(pictures):
            key = f"{shard:02}{place:03}"
            members[f"{key}.png"] = png(9 - place % 2, 8, 100 * shard + place)
            members[f"{key}.cls"] = str(place).encode()
        write_tar(folder / f"train-{shard:03}.tar", members)
    return folder


def results_of(folder: Path) -> dict[str, bytes]:
    """All files below a folder but manifests, which hold seconds."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and "_manifests" not in path.parts
    }
