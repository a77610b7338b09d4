"""Compares two pictures of any mode: figures, and a picture of their difference."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from diffcodec.errors import ConfigError, ImageError
from diffcodec.evaluation.metrics import MS_SSIM_MIN_SIDE, measure_ms_ssim
from diffcodec.images import Picture, picture_from_pil, picture_to_pil
from diffcodec.images.error import PEAK, psnr_db, squared_error
from diffcodec.images.visibility import SSIMULACRA2_MIN_SIDE, in_colour, measure_ssimulacra2

Pixels = NDArray[np.uint8]

BACKGROUNDS = (26, 230)
"""Grey levels over which transparent pictures are compared: 10 % and 90 %, as in libjxl's ssimulacra2."""


@dataclass(frozen=True)
class Comparison:
    """How far a picture is from an original.

    Args:
        rmse: root of the mean squared error over all subpixels, in grey levels.
        psnr_db: in dB; None if the pictures are equal.
        ms_ssim: see `measure_ms_ssim`; None if it is missing.
        ssimulacra2: see `measure_ssimulacra2`; None if it is missing.
        missing: why a figure is missing, by its name.
        notes: how the modes of the pictures were matched.
    """

    rmse: float
    psnr_db: float | None
    ms_ssim: float | None
    ssimulacra2: float | None
    missing: dict[str, str]
    notes: tuple[str, ...]


def compare(original: Picture, other: Picture, names: tuple[str, str] = ("the original", "the other")) -> Comparison:
    """Measures a picture against an original.

    If one is grey and the other in colour, both are compared in colour. If one has an alpha plane, both are laid over a
    dark and over a light background, and the worse figure of the two counts; the colours of what is invisible do not.

    Args:
        original: in sRGB.
        other: in sRGB, of the same size.
        names: of the two, for messages.

    Raises:
        ImageError: if their sizes differ.
    """
    pairs = _pairs(original, other, names)
    worst = max(squared_error(*pair) for pair in pairs)
    missing: dict[str, str] = {}

    def worst_of(name: str, label: str, least: int, measure: Callable[[Pixels, Pixels], float | None]) -> float | None:
        try:
            found = [measure(*pair) for pair in pairs]
        except ConfigError as error:  # its library is not installed
            missing[name] = str(error)
            return None
        known = [value for value in found if value is not None]
        if not known:
            missing[name] = f"{label} needs sides of at least {least} pixels"
        return min(known, default=None)

    return Comparison(
        math.sqrt(worst),
        psnr_db(worst) if worst else None,
        worst_of("ms_ssim", "MS-SSIM", MS_SSIM_MIN_SIDE, measure_ms_ssim),
        worst_of("ssimulacra2", "SSIMULACRA 2", SSIMULACRA2_MIN_SIDE, measure_ssimulacra2),
        missing,
        tuple(_notes(original, other)),
    )


def difference(
    original: Picture, other: Picture, gain: int, names: tuple[str, str] = ("the original", "the other")
) -> Picture:
    """|original - other| times a gain, clipped at 255: black where they are equal.

    Args:
        original, other, names: as in `compare`; of two backgrounds, the one with the larger error is taken.
        gain: at least 1.

    Raises:
        ImageError: if their sizes differ.
    """
    one, two = max(_pairs(original, other, names), key=lambda pair: squared_error(*pair))
    apart = np.abs(one.astype(np.int32) - two) * gain
    return Picture(apart.clip(0, PEAK).astype(np.uint8))


def in_srgb(picture: Picture) -> Picture:
    """The picture, with its colours converted to sRGB if it has another profile, as its notes then say."""
    if picture.metadata.icc_profile is None:
        return picture
    image = picture_to_pil(picture)
    image.info["icc_profile"] = picture.metadata.icc_profile
    return picture_from_pil(image, keep="nothing")


def _pairs(original: Picture, other: Picture, names: tuple[str, str]) -> list[tuple[Pixels, Pixels]]:
    """The pixels to compare, of one shape: one pair, or one for each background."""
    if (original.width, original.height) != (other.width, other.height):
        sizes = [
            f"{name} with {each.width} x {each.height}" for name, each in zip(names, (original, other), strict=True)
        ]
        raise ImageError(f"expected two pictures of the same size, found {' and '.join(sizes)} pixels")
    pictures: tuple[Picture, ...] = original, other
    if original.pixels.ndim != other.pixels.ndim:
        pictures = tuple(Picture(in_colour(each.pixels), each.alpha) for each in (original, other))
    first, second = pictures
    if first.alpha is None and second.alpha is None:
        return [(first.pixels, second.pixels)]
    return [(_over(level, first), _over(level, second)) for level in BACKGROUNDS]


def _over(level: int, picture: Picture) -> Pixels:
    """The picture over a grey background."""
    if picture.alpha is None:
        return picture.pixels
    alpha = picture.alpha.astype(np.int32).reshape(*picture.alpha.shape, *[1] * (picture.pixels.ndim - 2))
    return ((picture.pixels * alpha + level * (PEAK - alpha) + PEAK // 2) // PEAK).astype(np.uint8)


def _notes(original: Picture, other: Picture) -> list[str]:
    notes = []
    if original.pixels.ndim != other.pixels.ndim:
        notes.append("one is grey and the other in colour: both are compared in colour")
    if original.alpha is not None or other.alpha is not None:
        dark, light = BACKGROUNDS
        notes.append(
            f"transparency: both are compared over a dark and over a light background (grey {dark} and {light}), and "
            "the worse figure counts"
        )
    return notes
