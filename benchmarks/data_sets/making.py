"""Pictures of a grid as tar and Parquet shards."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Sequence
from pathlib import Path

from diffcodec.evaluation.datasets import load_dataset
from diffcodec.images import write_picture

HERE = Path(__file__).parent.parent
BUNDLED = HERE / "data" / "cifar10-test-100.webp"


def pictures_from(data: Path | None, count: int) -> list[bytes]:
    """PNG files of a grid's tiles, from the start again if there are too few."""
    dataset = load_dataset(str(data or BUNDLED), limit=count if data else None)
    found = []
    for picture in dataset.pictures:
        file = io.BytesIO()
        write_picture(picture, file)
        found.append(file.getvalue())
    return [found[place % len(found)] for place in range(count)]


def parts(pictures: Sequence[bytes], shards: int) -> list[dict[str, bytes]]:
    """The pictures of each shard, by name."""
    each = -(-len(pictures) // shards)
    named = [(f"{place:06}.png", picture) for place, picture in enumerate(pictures)]
    return [dict(named[first : first + each]) for first in range(0, len(named), each)]


def write_shards(folder: Path, pictures: Sequence[bytes], shards: int) -> Path:
    """The pictures, each with a label, as WebDataset shards."""
    folder.mkdir(parents=True)
    for number, part in enumerate(parts(pictures, shards)):
        members: dict[str, bytes] = {}
        for name, data in part.items():
            members |= {name: data, name.replace(".png", ".cls"): b"0"}
        write_tar(folder / f"train-{number:03}.tar", members)
    return folder


def write_tar(path: Path, members: dict[str, bytes]) -> None:
    """An archive."""
    with tarfile.open(path, "w") as archive:
        for name, data in members.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))


def write_tables(folder: Path, pictures: Sequence[bytes], shards: int) -> Path:
    """The pictures, each with a label, as Parquet files."""
    import pyarrow
    import pyarrow.parquet

    folder.mkdir(parents=True)
    for number, part in enumerate(parts(pictures, shards)):
        columns = {"name": list(part), "image": list(part.values()), "label": [0] * len(part)}
        pyarrow.parquet.write_table(pyarrow.table(columns), folder / f"train-{number:03}.parquet")
    return folder
