"""Reconstructions at equal bytes: the settings are those of the result files, the pictures are coded afresh."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray
from PIL import Image

from diffcodec.codec import DiffusionCodec
from diffcodec.config import DEFAULT_EFFORT
from diffcodec.errors import ConfigError
from diffcodec.evaluation.datasets import Dataset
from diffcodec.evaluation.metrics import measure_distortion
from diffcodec.images import Picture, picture_to_pil
from figures.records import CodecResult, Point
from figures.style import PNG_DPI, WIDTH, new_sheet

FAR = 1.15
"""A mean size that differs by more than this factor is printed in bold: these pictures are not at equal bytes."""

LEGEND = (
    "Heads: mean bytes over the data set, and their ratio to diffcodec's; bold: no measured setting of this codec "
    f"comes within {FAR - 1:.0%}."
)

_CAPTION, _HEAD, _TITLE, _GAP = 0.20, 0.50, 0.34, 0.05  # inches
_SMALL = 8


class Coder(Protocol):
    """A peer that can code pictures: `diffcodec.evaluation.baselines.Baseline`."""

    def encode(self, image: Image.Image, parameter: float) -> bytes:
        """The file of an image."""

    def decode(self, data: bytes) -> Image.Image:
        """The image of a file."""


@dataclass(frozen=True)
class Cell:
    """One restored picture, the bytes that are counted of its file, and its PSNR (None if it is exact)."""

    pixels: NDArray[np.uint8]
    counted_bytes: int
    psnr_db: float | None


@dataclass(frozen=True)
class Column:
    """A codec at one setting, with its mean bytes over the whole data set."""

    label: str
    setting: str
    mean_bytes: float
    cells: tuple[Cell, ...]


@dataclass(frozen=True)
class Group:
    """Codecs at about the same bytes, ours first, and sentences about what is odd."""

    title: str
    columns: tuple[Column, ...]
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Counting:
    """What counts as a file's size: all of it, or what is left without the header.

    Args:
        column: of the result files.
        title: in words, before the number of bytes.
    """

    column: str
    title: str

    def bytes_of(self, data: bytes, header_bytes: float) -> int:
        """The bytes of a file that count."""
        return len(data) - (round(header_bytes) if self.column == "payload_bytes" else 0)


WHOLE_FILE = Counting("file_bytes", "whole files")
PAYLOAD = Counting("payload_bytes", "without headers")


def nearest_point(codec: CodecResult, timestep: int) -> Point:
    """The point of a result file of diffcodec whose timestep is nearest, by ratio."""
    return min(codec.points, key=lambda point: abs(np.log(point.parameter / timestep)) if point.parameter else np.inf)


def closest_in_bytes(codec: CodecResult, column: str, wanted: float) -> Point:
    """The point of a peer whose mean size is closest, by ratio."""
    return min(codec.points, key=lambda point: abs(float(np.log(max(mean_bytes(point, column), 0.1) / wanted))))


def mean_bytes(point: Point, column: str) -> float:
    """Mean size at a setting."""
    estimate = point.estimate(column)
    if estimate is None:
        raise ConfigError(f"{point.where}: {column} has no mean: run benchmarks/rate_distortion.py again")
    return estimate.mean


def check_origin(ours: CodecResult, codec: DiffusionCodec, dataset: Dataset) -> None:
    """Check that the pictures and the model at hand are those that were measured.

    Raises:
        ConfigError: if they are not.
    """
    if dataset.name != ours.dataset or ours.record.get("digest", dataset.digest) != dataset.digest:
        raise ConfigError(f"{ours.path} is of the pictures {ours.dataset}, not {dataset.name}: pass those with --data")
    measured = (ours.record.get("model") or {}).get("fingerprint")
    if measured != codec.fingerprint.hex():
        raise ConfigError(f"{ours.path} is of model {measured}, not {codec.fingerprint.hex()}: pass that with --model")


def encode_group(
    codec: DiffusionCodec,
    ours: CodecResult,
    peers: Sequence[CodecResult],
    coders: Mapping[str, Coder],
    pictures: Mapping[int, Picture],
    timestep: int,
    counting: Counting,
) -> Group:
    """Code pictures with our codec at a timestep, and with every peer at the setting closest in mean bytes.

    Args:
        codec: with the model of the result file.
        ours: its result file.
        peers: result files of the others.
        coders: by codec name; peers without one are left out.
        pictures: of one size and mode, by their number in the result files.
        timestep: the nearest one measured is taken.
        counting: what counts as bytes.
    """
    point = nearest_point(ours, timestep)
    streams = codec.compress_batch(
        list(pictures.values()),
        timestep=round(point.parameter),
        channel=str(ours.record.get("channel", "trellis")),
        effort=int(ours.record.get("effort", DEFAULT_EFFORT)),
        seed=int(ours.record.get("seed", 0)),
    )
    cells = [
        _cell(picture, codec.decompress(stream).pixels, counting.bytes_of(stream.data, stream.report.header_bytes))
        for picture, stream in zip(pictures.values(), streams, strict=True)
    ]
    wanted = mean_bytes(point, counting.column)
    columns = [Column("diffcodec", point.setting, wanted, tuple(cells))]
    notes = _differences(ours, point, pictures, columns[0], counting)
    for peer in peers:
        if peer.codec in coders and peer.points:
            chosen = closest_in_bytes(peer, counting.column, wanted)
            columns.append(_peer_column(peer, chosen, coders[peer.codec], pictures.values(), counting))
            notes += _differences(peer, chosen, pictures, columns[-1], counting)
    return Group(f"{counting.title}: {wanted:.0f} bytes in the mean", tuple(columns), tuple(notes))


def _peer_column(
    peer: CodecResult, point: Point, coder: Coder, pictures: Iterable[Picture], counting: Counting
) -> Column:
    cells = []
    header_bytes = mean_bytes(point, "header_bytes")
    for picture in pictures:
        data = coder.encode(picture_to_pil(picture), point.parameter)
        restored = np.asarray(coder.decode(data).convert(picture.mode))
        cells.append(_cell(picture, restored, counting.bytes_of(data, header_bytes)))
    return Column(peer.label, point.setting, mean_bytes(point, counting.column), tuple(cells))


def _differences(
    codec: CodecResult, point: Point, pictures: Iterable[int], column: Column, counting: Counting
) -> list[str]:
    """A sentence if files made now are not those of the result file, as with another version of a library."""
    recorded = {row.get("image"): row.get(counting.column) for row in point.rows}
    odd = [
        image
        for image, cell in zip(pictures, column.cells, strict=True)
        if recorded.get(image, cell.counted_bytes) != cell.counted_bytes
    ]
    if not odd:
        return []
    return [f"{codec.label}, {point.setting}: files made now differ in size from those of {codec.path.name}"]


def _cell(picture: Picture, restored: NDArray[np.uint8], counted_bytes: int) -> Cell:
    return Cell(restored, counted_bytes, measure_distortion(picture.pixels, restored).psnr_db)


def draw_strip(groups: Sequence[Group], originals: Sequence[Picture], *, legend: str = LEGEND) -> Figure:
    """Groups below each other; in each a row for every picture, with the original and a column for every codec.

    Args:
        groups: of the same pictures.
        originals: the pictures, squares of one size.
        legend: a sentence at the bottom.
    """
    across = 1 + max(len(group.columns) for group in groups)
    # Whole dots for every pixel, or some would be wider than others.
    pixels = originals[0].width
    dots = pixels * max(1, int(min(1.6, (WIDTH - _GAP) / across - _GAP) * PNG_DPI // pixels))
    side = dots / PNG_DPI
    group_height = _TITLE + _HEAD + len(originals) * (side + _CAPTION)
    height = group_height * len(groups) + 0.28
    sheet = new_sheet(height)
    top = height
    for group in groups:
        top -= _TITLE
        _write(sheet, _GAP, top + 0.06, group.title, fontsize=10, weight="bold")
        top -= _HEAD
        wanted = group.columns[0].mean_bytes
        _write(sheet, _GAP, top + 0.04, "original", fontsize=_SMALL)
        for place, column in enumerate(group.columns, start=1):
            _write_head(sheet, place * (side + _GAP) + _GAP, top + 0.04, column, wanted)
        for row, original in enumerate(originals):
            bottom = top - side
            _show(sheet, original.pixels, _GAP, bottom, side)
            for place, column in enumerate(group.columns, start=1):
                cell, left = column.cells[row], place * (side + _GAP) + _GAP
                _show(sheet, cell.pixels, left, bottom, side)
                psnr = "exact" if cell.psnr_db is None else f"{cell.psnr_db:.1f} dB"
                _write(sheet, left, bottom - 0.14, f"{cell.counted_bytes} B, {psnr}", fontsize=_SMALL)
            top = bottom - _CAPTION
    _write(sheet, _GAP, 0.08, legend, fontsize=_SMALL, color="#555555")
    return sheet


def _write_head(sheet: Figure, left: float, bottom: float, column: Column, wanted: float) -> None:
    ratio = column.mean_bytes / wanted
    far = not 1 / FAR <= ratio <= FAR
    _write(sheet, left, bottom + 0.30, column.label, fontsize=_SMALL, weight="bold")
    _write(sheet, left, bottom + 0.15, column.setting, fontsize=_SMALL)
    _write(
        sheet,
        left,
        bottom,
        f"{column.mean_bytes:.0f} B, {ratio:.2f}×",
        fontsize=_SMALL,
        weight="bold" if far else "normal",
        color="#a33f00" if far else "black",
    )


def _write(sheet: Figure, left: float, bottom: float, text: str, **options: Any) -> None:
    """Text at a place in inches."""
    width, height = sheet.get_size_inches()
    sheet.text(left / width, bottom / height, text, ha="left", va="bottom", **options)


def _show(sheet: Figure, pixels: NDArray[np.uint8], left: float, bottom: float, side: float) -> None:
    """A picture in a square, in inches, every pixel a sharp square."""
    width, height = sheet.get_size_inches()
    axes = sheet.add_axes((left / width, bottom / height, side / width, side / height))
    axes.imshow(pixels, interpolation="nearest", cmap="gray", vmin=0, vmax=255)
    axes.axis("off")
