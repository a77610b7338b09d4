"""Crops of photographs at equal bytes, coded by every codec."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from files_of_size import files_around
from matplotlib.figure import Figure
from numpy.typing import NDArray
from photo_folder import middle
from photographs.measure import kodak_name

from diffcodec.codec import DiffusionCodec
from diffcodec.errors import ConfigError
from diffcodec.evaluation.baselines import Baseline
from diffcodec.evaluation.metrics import measure_distortion
from diffcodec.images import Picture, picture_to_pil, read_picture
from figures.records import CodecResult
from figures.strip import FAR, Cell, Column, Group
from figures.strip import draw_strip as draw_groups

STRIP_BPP = (0.15, 0.4)
"""Rates of the strip, in bits per pixel."""

SIDE = 192
"""Pixels of a crop."""

LEFT_OUT = ("jpeg-444",)
"""At such rates JPEG with half the chroma is the better one, and a sheet has room for six codecs."""

LEGEND = (
    "Below the crops: bytes and PSNR of the whole picture. Heads: mean bytes of these pictures, and their ratio to "
    f"diffcodec's; bold: beyond {FAR - 1:.0%}."
)


@dataclass(frozen=True)
class Coded:
    """A whole picture from a file, and the length of that."""

    pixels: NDArray[np.uint8]
    file_bytes: int


def choose_pictures(files: Sequence[Path], wanted: str) -> list[Picture]:
    """Pictures by their names, or the first ones where none has such a name.

    Args:
        files: of the data set.
        wanted: names without suffix, joined by commas.

    Raises:
        ConfigError: if only some of the names are there, or a picture is smaller than a crop.
    """
    names = [kodak_name(name.strip()) for name in wanted.split(",")]
    by_name = {kodak_name(path.stem): path for path in files}
    missing = [name for name in names if name not in by_name]
    if missing and len(missing) < len(names):
        raise ConfigError(f"--strip-pictures: there is no {', '.join(missing)} among the pictures of this set")
    chosen = list(files[: len(names)]) if missing else [by_name[name] for name in names]
    pictures = []
    for path in chosen:
        picture = Picture(read_picture(path).pixels)
        if min(picture.width, picture.height) < SIDE:
            raise ConfigError(
                f"{path}: expected {SIDE} x {SIDE} pixels or more, found "
                f"{picture.width} x {picture.height}: choose others with --strip-pictures"
            )
        pictures.append(picture)
    return pictures


def crop_groups(
    codec: DiffusionCodec,
    ours: CodecResult,
    baselines: Sequence[Baseline],
    pictures: Sequence[Picture],
    rates: Sequence[float],
) -> list[Group]:
    """Code pictures at every rate: each of ours once, cut to the rates, and others' as near as their settings allow.

    Args:
        codec: ours.
        ours: its results, which say how far the pictures must be compressed.
        baselines: the others.
        pictures: at least as large as a crop.
        rates: bits per pixel.
    """
    timestep = _timestep_beyond(ours, max(rates))
    streams = [codec.compress(picture, timestep=timestep) for picture in pictures]
    groups = []
    for bpp in rates:
        coded = []
        for picture, stream in zip(pictures, streams, strict=True):
            data = codec.truncate(stream, int(bpp * picture.width * picture.height / 8))
            coded.append(Coded(codec.decompress(data).pixels, len(data)))
        columns = [_column("diffcodec", "", coded, pictures)]
        for baseline in baselines:
            if baseline.name not in LEFT_OUT:
                columns.append(_peer_column(baseline, coded, pictures))
        groups.append(Group(f"about {bpp:g} bits per pixel: {columns[0].mean_bytes:.0f} bytes", tuple(columns)))
    return groups


def nearest_in_bytes(baseline: Baseline, picture: Picture, wanted: int) -> tuple[int, Coded]:
    """A codec's file whose length is nearest to a number of bytes, by ratio, and its setting."""
    low, high = round(baseline.parameters[0]), round(baseline.parameters[-1])
    tried = files_around(baseline, picture_to_pil(picture), wanted, low, high)
    best = min(tried, key=lambda setting: abs(math.log(len(tried[setting]) / wanted)))
    restored = np.asarray(baseline.decode(tried[best]).convert(picture.mode))
    return best, Coded(restored, len(tried[best]))


def crop(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The middle of a picture."""
    return middle(pixels, SIDE)


def draw_crops(groups: Sequence[Group], pictures: Sequence[Picture]) -> Figure:
    """The sheet: for every rate a row for each picture, the original first."""
    originals = [Picture(np.ascontiguousarray(crop(picture.pixels))) for picture in pictures]
    return draw_groups(groups, originals, legend=LEGEND)


def _timestep_beyond(ours: CodecResult, bpp: float) -> int:
    """The coarsest measured timestep at which every picture has more bits than these.

    Raises:
        ConfigError: if no file is that long.
    """
    found = [
        max(int(row["timestep"]) for row in point.rows)
        for point in ours.points
        if min(row["bpp"] for row in point.rows) > bpp
    ]
    if not found:
        raise ConfigError(
            f"{ours.path}: no point of more than {bpp:g} bits per pixel in all pictures: measure to a "
            "smaller --timestep"
        )
    return max(found)


def _peer_column(baseline: Baseline, ours: Sequence[Coded], pictures: Sequence[Picture]) -> Column:
    found = [nearest_in_bytes(baseline, picture, own.file_bytes) for picture, own in zip(pictures, ours, strict=True)]
    settings = [setting for setting, _ in found]
    words = f"{baseline.unit}={min(settings)}" + (f" to {max(settings)}" if len(set(settings)) > 1 else "")
    return _column(baseline.label, words, [coded for _, coded in found], pictures)


def _column(label: str, setting: str, coded: Sequence[Coded], pictures: Sequence[Picture]) -> Column:
    cells = [
        Cell(crop(each.pixels), each.file_bytes, measure_distortion(picture.pixels, each.pixels).psnr_db)
        for each, picture in zip(coded, pictures, strict=True)
    ]
    return Column(label, setting, float(np.mean([each.file_bytes for each in coded])), tuple(cells))
