"""Colour profiles (ICC): detection of sRGB, and conversion to sRGB."""

from __future__ import annotations

import io
from typing import cast

import numpy as np
from PIL import Image, ImageCms

SPACES = {"RGB": "RGB", "GRAY": "L", "CMYK": "CMYK", "Lab": "LAB"}
"""Pillow's modes for the colour spaces of profiles."""

# As in browsers. Screen profiles are a curve and a matrix, for which all intents are equivalent.
_INTENT = ImageCms.Intent.RELATIVE_COLORIMETRIC
# Pillow has names for flags since 10.3.
_FLAGS = ImageCms.Flags.BLACKPOINTCOMPENSATION if hasattr(ImageCms, "Flags") else cast("ImageCms.Flags", 0x2000)

_SAME_LEVELS = 1
"""Largest difference, in grey levels, between sRGB profiles, whose curves are rounded differently."""


class ProfileError(Exception):
    """A colour profile is damaged or unsupported."""


class ColourProfile:
    """A colour profile.

    Args:
        data: an ICC profile; None: the profile of Lab colours.

    Attributes:
        mode: Pillow's mode of its pictures: RGB, L, CMYK or LAB.
        name: the profile's own description, for messages.

    Raises:
        ProfileError: if it is damaged or unsupported.
    """

    def __init__(self, data: bytes | None) -> None:
        try:
            profile = ImageCms.createProfile("LAB") if data is None else io.BytesIO(data)
            self._profile = ImageCms.ImageCmsProfile(profile)
            space = self._profile.profile.xcolor_space.strip()
            name = self._profile.profile.profile_description or "unnamed"
        except (OSError, TypeError, ValueError, ImageCms.PyCMSError) as error:
            raise ProfileError("its colour profile is damaged") from error
        if space not in SPACES:
            raise ProfileError(f"its colour profile is for {_printable(space) or 'no known colour space'}")
        self.mode = SPACES[space]
        self.name = _printable(name)[:60].strip()

    @property
    def is_srgb(self) -> bool:
        """Whether it is equivalent to no profile: conversion to sRGB changes no level of sampled colours.

        Raises:
            ProfileError: if it cannot be used.
        """
        if self.mode not in ("RGB", "L"):
            return False
        levels = np.arange(0, 256, 15, dtype=np.uint8)
        cube = np.stack(np.meshgrid(levels, levels, levels), axis=-1).reshape(1, -1, 3)
        probe = cube if self.mode == "RGB" else levels[None]
        converted = np.asarray(self.to_srgb(Image.fromarray(probe)), np.int16)
        return bool(np.abs(converted - probe).max() <= _SAME_LEVELS)

    def to_srgb(self, image: Image.Image) -> Image.Image:
        """An image of the profile's mode in sRGB: L stays L, all others become RGB.

        Raises:
            ProfileError: if it cannot be used.
        """
        try:
            srgb = ImageCms.createProfile("sRGB")
            transform = ImageCms.buildTransform(self._profile, srgb, self.mode, "RGB", _INTENT, _FLAGS)
            converted = ImageCms.applyTransform(image, transform)
        except (OSError, ValueError, ImageCms.PyCMSError) as error:
            raise ProfileError(f"its colour profile '{self.name}' cannot be used") from error
        assert converted is not None  # it is None for a conversion in place
        return converted.getchannel("G") if self.mode == "L" else converted


def _printable(text: str) -> str:
    """The printable characters of a text from a file, which may be shown on a terminal."""
    return "".join(character for character in text if character.isprintable())
