"""Targets that a file must meet, instead of a timestep: a quality, a size, a rate, or a PSNR."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, Protocol

from diffcodec.errors import ConfigError

DEFAULT_TIMESTEP = 32
"""The timestep at which a file ends if no timestep, quality or target is given: about quality 50 on photographs."""


class Measured(Protocol):
    """A file's figures, as in its `Report`, each computed only when it is read."""

    @property
    def file_bytes(self) -> int: ...  # noqa: D102
    @property
    def bpp(self) -> float: ...  # noqa: D102
    @property
    def psnr_db(self) -> float: ...  # noqa: D102


@dataclass(frozen=True)
class Target:
    """What a file must meet, made by `Target.quality`, `Target.bytes`, `Target.bpp` or `Target.psnr`.

    Args:
        quantity: `quality`, or the name of a figure in the file's `Report`.
        value: the quality, upper bound of a size or rate, lower bound of a PSNR.

    Raises:
        ConfigError: if the value is not a finite number above 0, or for a quality not within 0 to 100.
    """

    quantity: Literal["quality", "file_bytes", "bpp", "psnr_db"]
    value: float

    def __post_init__(self) -> None:
        try:
            is_valid = 0 <= self.value <= 100 if self.is_quality else 0 < self.value < math.inf
        except TypeError:
            is_valid = False
        if not is_valid and self.is_quality:
            raise ConfigError(f"quality: expected 0 to 100, found {self.value!r}")
        if not is_valid:
            names = {"file_bytes": "number of bytes", "bpp": "number of bits per pixel", "psnr_db": "PSNR in dB"}
            raise ConfigError(f"expected a finite {names[self.quantity]} above 0, found {self.value!r}")

    @classmethod
    def quality(cls, value: float) -> Target:
        """A perceived quality from 0 to 100: 100 is visually lossless, 50 is near t = 32. See `quality_search`."""
        return cls("quality", value)

    @classmethod
    def bytes(cls, most: int) -> Target:
        """The finest file of at most `most` bytes, including header, alpha plane and checksums."""
        return cls("file_bytes", most)

    @classmethod
    def bpp(cls, most: float) -> Target:
        """The finest file of at most `most` bits per pixel, including header, alpha plane and checksums."""
        return cls("bpp", most)

    @classmethod
    def psnr(cls, least_db: float) -> Target:
        """The coarsest file whose picture, restored in 8 bits, has at least this PSNR; alpha is exact."""
        return cls("psnr_db", least_db)

    def per_pixel(self, pixels: int) -> Target:
        """The target for a part of a picture of so many pixels: a size becomes a rate."""
        return Target.bpp(8 * self.value / pixels) if self.quantity == "file_bytes" else self

    @property
    def is_quality(self) -> bool:
        """Whether it is a quality, which files meet approximately."""
        return self.quantity == "quality"

    @property
    def is_limit(self) -> bool:
        """Whether the value is an upper bound, which coarse files meet."""
        return self.quantity in ("file_bytes", "bpp")

    def is_met_by(self, file: Measured) -> bool:
        """Whether a file meets the target."""
        found = getattr(file, self.quantity)
        return bool(found <= self.value if self.is_limit else found >= self.value)

    def explain_miss(self, nearest: Measured, timestep: int) -> str:
        """Message for a target that no file meets.

        Args:
            nearest: the coarsest file if the target is a limit, else the finest one.
            timestep: where it ends.
        """
        # Rounded in the direction that makes the printed value a target that can be met.
        if self.quantity == "psnr_db":
            psnr_db = math.floor(100 * nearest.psnr_db) / 100
            return (
                f"a PSNR of {self.value:g} dB cannot be reached: the finest lossy file (t = {timestep}) has "
                f"{psnr_db:.2f} dB; t = 0 is lossless"
            )
        if self.quantity == "file_bytes":
            limit, found = f"{self.value} byte{'s' * (self.value != 1)}", f"{nearest.file_bytes} bytes"
        else:
            limit, found = f"{self.value:g} bpp", f"{math.ceil(1000 * nearest.bpp) / 1000:.3f} bpp"
        return f"no file of at most {limit}: the coarsest, at t = {timestep}, takes {found}"
