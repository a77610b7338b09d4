"""SSIMULACRA 2: how visible the difference between two pictures is."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from diffcodec.images.error import check_pair

SSIMULACRA2_MIN_SIDE = 113
"""In pixels: below it libjxl's program leaves out scales, which shifts the weights of the others."""

SAMPLED_PIXELS = 1 << 20
"""Pictures with more pixels are measured in windows, by `SampledSsimulacra2`."""

SAMPLE_SIDE = 448
"""In pixels: of these windows, at most four."""

_SCALES = 6

_BLUR = (0.26462110549, 0.21292859204, 0.10933537278, 0.03601111466, 0.00941436781)
"""From its centre outwards: impulse response of libjxl's recursive Gaussian of standard deviation 1.5."""

Planes = NDArray[np.floating[Any]]
"""Of shape (H, W, channels)."""


class _Scale(NamedTuple):
    """The original at one scale: in XYB, blurred, and its square blurred."""

    planes: Planes
    mean: Planes
    mean_square: Planes


class Ssimulacra2:
    """SSIMULACRA 2.1 of restored versions of one picture, fitted to the opinions of people (Sneyers 2023).

    100 is the same picture, 90 visually lossless, 70 high quality, 50 medium, 30 low; bad pictures are below 0.

    Colours, maps, weights and polynomial are those of the package ssimulacra2 (0.3.0). Its blur and its number of
    scales are not those of libjxl: its scores of JPEG photographs are up to 6 too low at quality 10, and 2 at quality
    50; with sides below 225 pixels, where it leaves out a scale, they are off by 20 and more. So blur and scales are
    computed here (benchmarks/ssimulacra2_scores.py). Results agree to six digits with the Rust port of libjxl's
    program (rust-av/ssimulacra2), computed in double precision; the port itself computes in single precision.

    Args:
        original: uint8, sRGB, shape (H, W, 3) or (H, W), at least SSIMULACRA2_MIN_SIDE pixels in both directions.
        dtype: of the computation. Single precision takes half the time, and changes the second decimal.
    """

    def __init__(self, original: NDArray[np.uint8], dtype: type[np.floating[Any]] = np.float64) -> None:
        self.original, self.dtype = original, dtype
        self._scales = [
            _Scale(planes, _blurred(planes), _blurred(planes * planes)) for planes in _pyramid(original, dtype)
        ]

    def score(self, restored: NDArray[np.uint8]) -> float:
        """At most 100.

        Args:
            restored: as the original.

        Raises:
            ImageError: if type or shape differ from the original's.
        """
        check_pair(self.original, restored)
        package, result = _package(), _package().Msssim()
        for x, y in zip(self._scales, _pyramid(restored, self.dtype), strict=True):
            mean_y, both = _blurred(y), _blurred(x.planes * y)
            scale = package.MsssimScale()
            scale.avg_ssim = package.ssim_map(x.mean, mean_y, x.mean_square, _blurred(y * y), both)
            scale.avg_edgediff = package.edge_diff_map(x.planes, x.mean, y, mean_y)
            result.scales.append(scale)
        return float(result.score())


class SampledSsimulacra2:
    """SSIMULACRA 2 of pictures of any size, in single precision: of large ones in windows, of small ones mirrored.

    A picture of more than SAMPLED_PIXELS pixels is measured in windows of SAMPLE_SIDE pixels, spread evenly, whose
    scores are averaged; one below SSIMULACRA2_MIN_SIDE is continued by mirroring until it is large enough.

    Args:
        original: uint8, sRGB, shape (H, W, 3) or (H, W).
    """

    def __init__(self, original: NDArray[np.uint8]) -> None:
        self.windows = list(_sample_windows(*original.shape[:2]))
        self.scorers = [Ssimulacra2(_mirrored(original[window]), np.float32) for window in self.windows]

    def score(self, restored: NDArray[np.uint8]) -> float:
        """At most 100, of a picture of the original's shape."""
        pairs = zip(self.windows, self.scorers, strict=True)
        return float(np.mean([scorer.score(_mirrored(restored[window])) for window, scorer in pairs]))


def _sample_windows(height: int, width: int) -> Iterator[tuple[slice, slice]]:
    """The windows in which a picture is measured."""
    if height * width <= SAMPLED_PIXELS:
        yield slice(None), slice(None)
        return
    rows, columns = (_spread(side) for side in (height, width))
    yield from ((row, column) for row in rows for column in columns)


def _spread(side: int) -> list[slice]:
    """Two stretches of SAMPLE_SIDE in the middles of a side's halves, or the whole side where they would overlap."""
    if side < 2 * SAMPLE_SIDE:
        return [slice(None)]
    return [slice(middle - SAMPLE_SIDE // 2, middle + SAMPLE_SIDE // 2) for middle in (side // 4, side * 3 // 4)]


def _mirrored(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Pixels continued by mirroring to at least SSIMULACRA2_MIN_SIDE in both directions."""
    missing = [max(0, SSIMULACRA2_MIN_SIDE - side) for side in pixels.shape[:2]]
    return np.pad(pixels, [(0, each) for each in missing] + [(0, 0)] * (pixels.ndim - 2), mode="symmetric")


def measure_ssimulacra2(original: NDArray[np.uint8], restored: NDArray[np.uint8]) -> float | None:
    """SSIMULACRA 2 of two pictures, which are not interchangeable: see `Ssimulacra2`.

    Args:
        original: uint8, sRGB, shape (H, W, 3) or (H, W).
        restored: same type and shape.

    Returns:
        At most 100, or None if height or width is below SSIMULACRA2_MIN_SIDE.

    Raises:
        ImageError: if a type or shape is wrong.
    """
    check_pair(original, restored)
    if min(original.shape[:2]) < SSIMULACRA2_MIN_SIDE:
        return None
    return Ssimulacra2(original).score(restored)


def in_colour(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Pixels (H, W, 3) of pixels (H, W, 3) or (H, W)."""
    return np.stack([pixels] * 3, axis=2) if pixels.ndim == 2 else pixels


def _package() -> Any:
    # Loaded when it is needed: most commands do without.
    from ssimulacra2 import ssimulacra2

    return ssimulacra2


def _pyramid(pixels: NDArray[np.uint8], dtype: type[np.floating[Any]]) -> Iterator[Planes]:
    """The picture in XYB at all scales, from fine to coarse."""
    package = _package()
    linear = package.srgb_to_linear(in_colour(pixels)).astype(dtype)
    for number in range(_SCALES):
        linear = package.downsample(linear, 2, 2).astype(dtype) if number else linear
        yield package.make_positive_xyb(package.linear_rgb_to_xyb(linear)).astype(dtype)


def _blurred(planes: Planes) -> Planes:
    """Planes (H, W, channels), filtered as SSIMULACRA 2 does, with zeros beyond the borders."""
    from scipy.ndimage import correlate1d

    weights = np.array([*_BLUR[:0:-1], *_BLUR])
    rows: Planes = correlate1d(planes, weights, axis=0, mode="constant")
    return correlate1d(rows, weights, axis=1, mode="constant")  # type: ignore[no-any-return]
