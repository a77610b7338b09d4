"""Distortion of 8-bit pictures: MSE, RMSE, PSNR, MS-SSIM and HaarPSI (library piq)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from diffcodec.errors import ConfigError
from diffcodec.images.error import check_pair, psnr_db

if TYPE_CHECKING:
    import torch

MS_SSIM_WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)
"""Exponents of the five scales, from fine to coarse (Wang, Simoncelli and Bovik 2003, section 3.2)."""

_WINDOW = 11  # pixels, the width of the Gaussian window with a standard deviation of 1.5

MS_SSIM_MIN_SIDE = _WINDOW
"""In pixels: a picture must hold the window of MS-SSIM."""

HAARPSI_MIN_SIDE = 16
"""In pixels: the width of HaarPSI's largest wavelet."""


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
    check_pair(original, restored)
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
    check_pair(original, restored)
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
    check_pair(original, restored)
    if min(original.shape[:2]) < HAARPSI_MIN_SIDE:
        return None
    haarpsi = _library("piq", "HaarPSI").haarpsi
    return float(haarpsi(_planes(restored), _planes(original), data_range=255))


def _library(name: str, metric: str) -> Any:
    """An optional library.

    Raises:
        ConfigError: if it is not installed.
    """
    try:
        return import_module(name)
    except ImportError as error:
        raise ConfigError(f"{metric} needs {name}: pip install 'diffcodec[bench]'") from error


def _planes(pixels: NDArray[np.uint8]) -> torch.Tensor:
    """Double-precision planes, (1, channels, H, W)."""
    import torch

    channels_last = pixels.reshape(*pixels.shape[:2], -1)
    return torch.from_numpy(np.moveaxis(channels_last, 2, 0)[None].astype(np.float64))
