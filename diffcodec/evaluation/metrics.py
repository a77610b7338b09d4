"""Distortion of 8-bit pictures: MSE, RMSE, PSNR, MS-SSIM and HaarPSI (library piq), SSIMULACRA 2."""

from __future__ import annotations

import math
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from diffcodec.errors import ConfigError, ImageError
from diffcodec.images.error import psnr_db

if TYPE_CHECKING:
    import torch

MS_SSIM_WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)
"""Exponents of the five scales, from fine to coarse (Wang, Simoncelli and Bovik 2003, section 3.2)."""

_WINDOW = 11  # pixels, the width of the Gaussian window with a standard deviation of 1.5

MS_SSIM_MIN_SIDE = _WINDOW
"""In pixels: a picture must hold the window of MS-SSIM."""

HAARPSI_MIN_SIDE = 16
"""In pixels: the width of HaarPSI's largest wavelet."""

SSIMULACRA2_SCALES = 6

SSIMULACRA2_MIN_SIDE = 113
"""In pixels: below it libjxl's program leaves out scales, which shifts the weights of the others."""

_SSIMULACRA2_BLUR = (0.26462110549, 0.21292859204, 0.10933537278, 0.03601111466, 0.00941436781)
"""From its centre outwards: impulse response of libjxl's recursive Gaussian of standard deviation 1.5."""


@dataclass(frozen=True)
class Distortion:
    """Distortion of a restored picture.

    Args:
        mse: mean squared error over all subpixels, in squared grey levels.
        rmse: its root, in grey levels.
        psnr_db: 10 log10(255^2 / mse) in dB; None if the picture is exact.
        ms_ssim: multi-scale structural similarity, 0 to 1; None below 11 pixels in either direction.
    """

    mse: float
    rmse: float
    psnr_db: float | None
    ms_ssim: float | None


def measure_distortion(original: NDArray[np.uint8], restored: NDArray[np.uint8]) -> Distortion:
    """Compares two pictures; MS-SSIM as in `measure_ms_ssim`.

    Args:
        original: uint8, shape (H, W, 3) or (H, W).
        restored: same type and shape.

    Raises:
        ImageError: if a type or shape is wrong.
        ConfigError: if piq is not installed.
    """
    _check(original, restored)
    mse = float(np.mean((original.astype(np.float64) - restored) ** 2))
    return Distortion(mse, math.sqrt(mse), psnr_db(mse) if mse else None, measure_ms_ssim(original, restored))


def ms_ssim_scales(height: int, width: int) -> int:
    """Number of scales of MS-SSIM, of five, for which a picture is large enough.

    At scale i (from 0) the picture is halved i times and must still hold a window of 11 x 11: 11 pixels are
    enough for one scale, 21 for two, 41 for three, 81 for four and 161 for all five.

    Args:
        height, width: in pixels.

    Returns:
        0 to 5.
    """
    halvings = (min(height, width) - 1) // (_WINDOW - 1)
    return min(halvings.bit_length(), len(MS_SSIM_WEIGHTS))


def measure_ms_ssim(original: NDArray[np.uint8], restored: NDArray[np.uint8]) -> float | None:
    """Multi-scale structural similarity, averaged over colour channels.

    Wang, Simoncelli and Bovik (2003), as implemented in piq: 11 x 11 Gaussian windows entirely inside the picture.
    Other libraries: pytorch-msssim, the usual one for learned codecs, agrees within 1e-5 at 512 x 512 but does not
    support pictures below 161 pixels; torchmetrics includes reflected borders at the last scale, which at 32 x 32
    changes the mean over JPEG files by 0.01 and single pictures by 0.1 and more; scikit-image has only one scale.

    Pictures below 161 pixels have fewer scales (`ms_ssim_scales`), and the standard weights of these are
    divided by their sum: two scales with weights 0.136 and 0.864 at 32 x 32, plain SSIM at 11 to 20 pixels.
    Values with different numbers of scales are not comparable.

    Args:
        original: uint8, shape (H, W, 3) or (H, W).
        restored: same type and shape.

    Returns:
        0 to 1, or None if height or width is below 11.

    Raises:
        ImageError: if a type or shape is wrong.
        ConfigError: if piq is not installed.
    """
    _check(original, restored)
    scales = ms_ssim_scales(*original.shape[:2])
    if not scales:
        return None
    multi_scale_ssim = _library("piq", "MS-SSIM").multi_scale_ssim
    import torch

    # Double precision takes four times as long with large pictures, and changes only the sixth digit.
    precision = torch.float32 if scales == len(MS_SSIM_WEIGHTS) else torch.float64
    one, other = (_planes(pixels).to(precision) for pixels in (restored, original))
    weights = torch.tensor(MS_SSIM_WEIGHTS[:scales], dtype=precision)  # piq divides them by their sum
    return float(multi_scale_ssim(one, other, data_range=255, scale_weights=weights))


def measure_haarpsi(original: NDArray[np.uint8], restored: NDArray[np.uint8]) -> float | None:
    """Haar wavelet-based perceptual similarity index: visibility of an error, without a trained network.

    Reisenhofer, Bosse, Kutyniok and Wiegand (2018), as implemented in piq: like the authors' code it first halves the
    pictures, compares Haar coefficients of two scales, weights them with those of a third, and in colour adds the
    means over 2 x 2 of the chroma planes of YIQ.

    Args:
        original: uint8, shape (H, W, 3) or (H, W).
        restored: same type and shape.

    Returns:
        0 to 1, or None if height or width is below 16.

    Raises:
        ImageError: if a type or shape is wrong.
        ConfigError: if piq is not installed.
    """
    _check(original, restored)
    if min(original.shape[:2]) < HAARPSI_MIN_SIDE:
        return None
    haarpsi = _library("piq", "HaarPSI").haarpsi
    return float(haarpsi(_planes(restored), _planes(original), data_range=255))


def measure_ssimulacra2(original: NDArray[np.uint8], restored: NDArray[np.uint8]) -> float | None:
    """SSIMULACRA 2.1: visibility of compression artefacts, fitted to the opinions of people (Sneyers 2023).

    100 is the same picture, 90 visually lossless, 70 high quality, 50 medium, 30 low; bad pictures are below 0. The two
    pictures are not interchangeable.

    Colours, maps, weights and polynomial are those of the package ssimulacra2 (0.3.0). Its blur and its number of
    scales are not those of libjxl: its scores of JPEG photographs are up to 6 too low at quality 10, and 2 at quality
    50; with sides below 225 pixels, where it leaves out a scale, they are off by 20 and more. So blur and scales are
    computed here (benchmarks/ssimulacra2_scores.py). Results agree to six digits with the Rust port of libjxl's
    program (rust-av/ssimulacra2), computed in double precision; the port itself computes in single precision.

    Args:
        original: uint8, sRGB, shape (H, W, 3) or (H, W).
        restored: same type and shape.

    Returns:
        At most 100, or None if height or width is below 113.

    Raises:
        ImageError: if a type or shape is wrong.
        ConfigError: if ssimulacra2 is not installed.
    """
    _check(original, restored)
    if min(original.shape[:2]) < SSIMULACRA2_MIN_SIDE:
        return None
    parts = _library("ssimulacra2", "SSIMULACRA 2").ssimulacra2
    linear = [parts.srgb_to_linear(in_colour(pixels)) for pixels in (original, restored)]
    result = parts.Msssim()
    for number in range(SSIMULACRA2_SCALES):
        if number:
            linear = [parts.downsample(each, 2, 2) for each in linear]
        x, y = (parts.make_positive_xyb(parts.linear_rgb_to_xyb(each)) for each in linear)
        mean_x, mean_y = _blurred(x), _blurred(y)
        scale = parts.MsssimScale()
        scale.avg_ssim = parts.ssim_map(mean_x, mean_y, _blurred(x * x), _blurred(y * y), _blurred(x * y))
        scale.avg_edgediff = parts.edge_diff_map(x, mean_x, y, mean_y)
        result.scales.append(scale)
    return float(result.score())


def _blurred(planes: NDArray[np.float64]) -> NDArray[np.float64]:
    """Planes (H, W, channels), filtered as SSIMULACRA 2 does, with zeros beyond the borders."""
    from scipy.ndimage import correlate1d

    weights = np.array([*_SSIMULACRA2_BLUR[:0:-1], *_SSIMULACRA2_BLUR])
    rows: NDArray[np.float64] = correlate1d(planes, weights, axis=0, mode="constant")
    return correlate1d(rows, weights, axis=1, mode="constant")  # type: ignore[no-any-return]


def _library(name: str, metric: str) -> Any:
    """An optional library.

    Raises:
        ConfigError: if it is not installed.
    """
    try:
        return import_module(name)
    except ImportError as error:
        raise ConfigError(f"{metric} needs {name}: pip install 'diffcodec[bench]'") from error


def in_colour(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Pixels (H, W, 3) of pixels (H, W, 3) or (H, W)."""
    return np.stack([pixels] * 3, axis=2) if pixels.ndim == 2 else pixels


def _planes(pixels: NDArray[np.uint8]) -> torch.Tensor:
    """Double-precision planes, (1, channels, H, W)."""
    import torch

    channels_last = pixels.reshape(*pixels.shape[:2], -1)
    return torch.from_numpy(np.moveaxis(channels_last, 2, 0)[None].astype(np.float64))


def _check(original: NDArray[np.uint8], restored: NDArray[np.uint8]) -> None:
    for name, pixels in (("original", original), ("restored", restored)):
        if pixels.dtype != np.uint8 or pixels.ndim not in (2, 3) or pixels.shape[2:] not in ((), (3,)):
            raise ImageError(f"{name}: expected uint8 (H, W, 3) or (H, W), found {pixels.dtype} {pixels.shape}")
        if 0 in pixels.shape:
            raise ImageError(f"{name}: expected at least one pixel, found {pixels.shape}")
    if original.shape != restored.shape:
        raise ImageError(f"expected two pictures of one shape, found {original.shape} and {restored.shape}")
