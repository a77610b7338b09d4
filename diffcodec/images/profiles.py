"""Colour profiles (ICC): whether one says sRGB, and the conversion to sRGB."""

from __future__ import annotations

import io

import numpy as np
from PIL import Image, ImageCms

SPACES = {"RGB": "RGB", "GRAY": "L", "CMYK": "CMYK", "Lab": "LAB"}
"""Pillow's modes for the colour spaces of profiles."""

# What browsers do. Profiles of screens are a curve and a matrix, for which all intents are the same.
_INTENT = ImageCms.Intent.RELATIVE_COLORIMETRIC
_FLAGS = ImageCms.Flags.BLACKPOINTCOMPENSATION

_SAME_LEVELS = 1
"""What profiles that all say sRGB differ by, because their curves are rounded."""


class ProfileError(Exception):
    """A colour profile is damaged, or of a kind that is not understood."""


class ColourProfile:
    """A colour profile.

    Args:
        data: an ICC profile; None is that of Lab colours.

    Attributes:
        mode: Pillow's mode of the pictures that it is for: RGB, L, CMYK or LAB.
        name: what it calls itself, for messages.

    Raises:
        ProfileError: if it is not understood.
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
            raise ProfileError(f"its colour profile is for {space}")
        self.mode = SPACES[space]
        # It is from a file, and may be printed on a terminal.
        self.name = "".join(character for character in name if character.isprintable())[:60].strip()

    @property
    def is_srgb(self) -> bool:
        """Whether it means what a picture without a profile means: no level of a sample of colours changes.

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
