"""Configurations of networks, schedules and models, and limits that several parts share."""

from __future__ import annotations

from typing import Literal, get_args

from diffcodec.config.latent import LatentConfig
from diffcodec.config.models import LEAST_BETA, ModelConfig, PredictionKind, ScheduleConfig, ScheduleKind, VarianceKind
from diffcodec.config.networks import ExternalNetworkConfig, NetworkConfig, PlainUNetConfig, UNetConfig

__all__ = [
    "DEFAULT_EFFORT",
    "DEFAULT_MAX_PIXELS",
    "DEFAULT_MAX_PIXEL_EVALUATIONS",
    "GREY_LEVELS_PER_UNIT",
    "LEAST_BETA",
    "MAX_EFFORT",
    "MIN_EFFORT",
    "PICTURE_SUFFIXES",
    "PRECISIONS",
    "ExternalNetworkConfig",
    "LatentConfig",
    "ModelConfig",
    "NetworkConfig",
    "PlainUNetConfig",
    "Precision",
    "PredictionKind",
    "ScheduleConfig",
    "ScheduleKind",
    "UNetConfig",
    "VarianceKind",
]

Precision = Literal["auto", "fp32", "bf16"]
"""Precision of network evaluations; `auto`: bf16 where the hardware has it and the rounding error does not matter."""

PRECISIONS: tuple[Precision, ...] = get_args(Precision)

GREY_LEVELS_PER_UNIT = 127.5
"""Networks see pixels v as v / GREY_LEVELS_PER_UNIT - 1, in [-1, 1]."""

DEFAULT_MAX_PIXELS = 89_478_485
"""Default limit of a picture's pixels: the number above which Pillow warns."""

DEFAULT_MAX_PIXEL_EVALUATIONS = 3_000_000_000
"""Default limit of pixels times evaluations: a photograph of 46 megapixels at 64 steps, the most of a bundled model."""

MIN_EFFORT, DEFAULT_EFFORT, MAX_EFFORT = 8, 12, 16
"""Search effort of channels: log2 of the number of trellis states."""

PICTURE_SUFFIXES = (
    ".png",
    ".jpg",
    ".jpeg",
    ".jpe",
    ".jfif",
    ".webp",
    ".bmp",
    ".tif",
    ".tiff",
    ".ppm",
    ".pgm",
    ".pbm",
    ".pnm",
    ".avif",
    ".jp2",
    ".j2k",
    ".jxl",
    ".heic",
    ".heif",
    ".mpo",
    ".gif",
    ".tga",
    ".qoi",
    ".ico",
    ".icns",
    ".pcx",
    ".sgi",
)
"""Suffixes of the pictures that are taken from folders and archives."""
