"""What a picture file carries besides pixels: the colour profile, and the notes of the camera."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Metadata:
    """What is kept of a picture file besides its pixels, byte for byte.

    Args:
        icc_profile: colour profile; without one, colours are sRGB.
        exif: EXIF block as Pillow gives it, beginning with its `Exif` marker. Its orientation says upright, since
            pixels are turned when they are read.
    """

    icc_profile: bytes | None = None
    exif: bytes | None = None

    def __bool__(self) -> bool:
        return self.icc_profile is not None or self.exif is not None
