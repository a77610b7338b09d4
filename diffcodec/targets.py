"""What a file must meet, where no timestep is given: a size, a rate, or a PSNR."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, Protocol

from diffcodec.errors import ConfigError

DEFAULT_TIMESTEP = 50
"""Where a file ends if neither a timestep nor a target says so."""


class Measured(Protocol):
    """A file's figures, as in its `Report`; those that no target asks for may cost nothing."""

    @property
    def file_bytes(self) -> int: ...  # noqa: D102
    @property
    def bpp(self) -> float: ...  # noqa: D102
    @property
    def psnr_db(self) -> float: ...  # noqa: D102


@dataclass(frozen=True)
class Target:
    """What a file must meet: made by `Target.bytes`, `Target.bpp` or `Target.psnr`.

    Args:
        quantity: name of the figure in the file's `Report`.
        value: the most that a size or a rate may be, the least that a PSNR may be.

    Raises:
        ConfigError: if the value is not a finite number above 0.
    """

    quantity: Literal["file_bytes", "bpp", "psnr_db"]
    value: float

    def __post_init__(self) -> None:
        try:
            makes_sense = 0 < self.value < math.inf
        except TypeError:
            makes_sense = False
        if not makes_sense:
            names = {"file_bytes": "number of bytes", "bpp": "number of bits per pixel", "psnr_db": "PSNR in dB"}
            raise ConfigError(f"target: expected a finite {names[self.quantity]} above 0, found {self.value!r}")

    @classmethod
    def bytes(cls, most: int) -> Target:
        """The finest file of at most that many bytes: header, alpha plane and checksum count."""
        return cls("file_bytes", most)

    @classmethod
    def bpp(cls, most: float) -> Target:
        """The finest file of at most that many bits per pixel: header, alpha plane and checksum count."""
        return cls("bpp", most)

    @classmethod
    def psnr(cls, least_db: float) -> Target:
        """The coarsest file whose picture, as it is restored in 8 bits, has at least that PSNR; alpha is exact."""
        return cls("psnr_db", least_db)

    @property
    def is_limit(self) -> bool:
        """Whether the files that meet it are the coarse ones."""
        return self.quantity != "psnr_db"

    def is_met_by(self, file: Measured) -> bool:
        """Whether a file meets the target."""
        found = getattr(file, self.quantity)
        return bool(found <= self.value if self.is_limit else found >= self.value)

    def explain_miss(self, nearest: Measured, timestep: int) -> str:
        """Why there is no such file.

        Args:
            nearest: the coarsest file if the target is a limit, the finest one if not.
            timestep: where it ends.
        """
        # Rounded towards what can be had, so that the number may be asked for.
        if self.quantity == "file_bytes":
            wanted, found = f"file of at most {self.value} bytes", f"takes {nearest.file_bytes} bytes"
        elif self.quantity == "bpp":
            bpp = math.ceil(1000 * nearest.bpp) / 1000
            wanted, found = f"file of at most {self.value:g} bpp", f"takes {bpp:.3f} bpp"
        else:
            psnr_db = math.floor(100 * nearest.psnr_db) / 100
            wanted, found = f"PSNR of {self.value:g} dB", f"gives {psnr_db:.2f} dB"
        if self.is_limit:
            return f"no {wanted}: the coarsest, at t = {timestep}, {found}"
        return f"no {wanted}: the finest noisy state, t = {timestep}, {found}; t = 0 is lossless"
