"""Converts Pillow's modes and colour profiles: the codec's pictures are RGB or grey, in sRGB."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal, get_args

import numpy as np
from PIL import Image

from diffcodec.errors import ConfigError, ImageError
from diffcodec.images.metadata import Metadata
from diffcodec.images.picture import Picture
from diffcodec.images.profiles import ColourProfile, ProfileError

Keep = Literal["nothing", "meaning", "metadata"]
"""Metadata to keep. `nothing`: convert colours to sRGB. `meaning`: leave pixels unchanged, and keep a colour profile
unless it is sRGB. `metadata`: leave pixels unchanged, and keep any profile and the EXIF block."""


def check_keep(keep: str) -> None:
    """Check what metadata to keep.

    Raises:
        ConfigError: if it is not a `Keep`.
    """
    if keep not in get_args(Keep):
        raise ConfigError(f"keep: expected one of {', '.join(get_args(Keep))}, found {keep!r}")


_TAKEN = ("RGB", "L", "RGBA", "LA")

# Modes of Pillow whose conversion is exact.
_EXACT = {"1": "L", "RGBX": "RGB", "PA": "RGBA", **{mode: mode for mode in _TAKEN}}

# Modes whose conversion rounds, and their names.
_ROUNDED = {
    "CMYK": "CMYK",
    "YCbCr": "YCbCr",
    "HSV": "HSV",
    "LAB": "Lab",
    "RGBa": "premultiplied alpha",
    "La": "premultiplied alpha",
}


@dataclass
class _Conversion:
    """An image during conversion to the codec's colours.

    Args:
        image: loaded; replaced, never modified.
        profile: its colour profile.
        notes: on conversions, for people; appended to.
    """

    image: Image.Image
    profile: bytes | None
    notes: list[str] = field(default_factory=list)

    def to_taken_mode(self) -> None:
        """Converts to RGB, L, RGBA or LA."""
        image = self.image
        if image.mode == "P":
            self.image = image.convert("RGBA" if image.has_transparency_data else "RGB")
        elif image.mode in _EXACT:
            self.image = _with_alpha(image.convert(_EXACT[image.mode]), image)
        elif image.mode in _ROUNDED:
            self._round(_ROUNDED[image.mode])
        else:
            raise ImageError(f"the picture has mode {image.mode}: convert it to RGB or L with 8 bits per sample first")
        # A colour profile does not fit grey samples.
        if image.mode in ("P", "PA") and self.profile is None and _is_grey(self.image):
            self.image = self.image.convert("LA" if "A" in self.image.getbands() else "L")

    def _round(self, name: str) -> None:
        image = self.image
        if image.mode in ("RGBa", "La"):
            self.image = image.convert({"RGBa": "RGBA", "La": "LA"}[image.mode])
            self.notes.append(f"converted from {name} to {self.image.mode}")
            return
        if image.mode in ("CMYK", "LAB"):
            converted = self._by_profile() if image.mode == "CMYK" else ColourProfile(None).to_srgb(image)
            self.image, self.profile = converted or image.convert("RGB"), None
            how = "" if converted else ", without a usable profile: its colours are approximate"
            self.notes.append(f"converted from {name} to RGB{how}")
            return
        self.image = image.convert("RGB")
        self.notes.append(f"converted from {name} to RGB")

    def _by_profile(self) -> Image.Image | None:
        """The image in sRGB; None if it has no usable profile."""
        if self.profile is None:
            return None
        try:
            profile = ColourProfile(self.profile)
            return profile.to_srgb(self.image) if profile.mode == self.image.mode else None
        except ProfileError:
            return None

    def settle_profile(self, keep: Keep) -> None:
        """Converts to sRGB, keeps the profile, or drops a useless one."""
        if self.profile is None:
            return
        mode = "RGB" if self.image.mode.startswith("RGB") else "L"
        try:
            profile = ColourProfile(self.profile)
            if profile.mode != mode:
                # Grey pictures made from colour ones often still have the colour profile.
                if not profile.is_srgb:
                    raise ProfileError(f"its colour profile '{profile.name}' is for {profile.mode}, not for {mode}")
                self.profile = None
            elif keep != "metadata" and profile.is_srgb:
                self.profile = None
            elif keep == "nothing":
                converted = profile.to_srgb(self.image.convert(mode))
                if "A" in self.image.getbands():
                    converted.putalpha(self.image.getchannel("A"))
                self.image, self.profile = converted, None
                self.notes.append(f"colours converted from '{profile.name}' to sRGB")
        except ProfileError as error:
            self.profile = None
            self.notes.append(f"{error}: ignored, the pixels are unchanged")


def picture_from_pil(image: Image.Image, *, keep: Keep = "meaning", exif: bytes | None = None) -> Picture:
    """The picture of a Pillow image; it is not turned upright.

    RGB, L, RGBA and LA are unchanged. Palettes and single bits become the mode that holds the same colours;
    CMYK, YCbCr, Lab, HSV and premultiplied alpha are converted, which the picture's notes report.

    Args:
        image: of 8 bits per sample.
        keep: whether to keep the colour profile, see `Keep`.
        exif: EXIF block of the picture.

    Raises:
        ConfigError: if `keep` has another value.
        ImageError: if it has no pixels, or a mode that cannot be converted without loss of depth.
    """
    check_keep(keep)
    conversion = _Conversion(image, image.info.get("icc_profile") or None)
    conversion.to_taken_mode()
    conversion.settle_profile(keep)
    planes = np.asarray(conversion.image)
    metadata, notes = Metadata(conversion.profile, exif), tuple(conversion.notes)
    if not conversion.image.mode.endswith("A"):
        return Picture(np.array(planes), None, metadata, notes)
    pixels = planes[..., 0] if conversion.image.mode == "LA" else planes[..., :3]
    return Picture(np.array(pixels, order="C"), np.array(planes[..., -1], order="C"), metadata, notes)


def _with_alpha(image: Image.Image, original: Image.Image) -> Image.Image:
    """A transparent colour as an alpha plane."""
    if "transparency" not in original.info or image.mode not in ("RGB", "L"):
        return image
    return original.convert(image.mode + "A")


def _is_grey(image: Image.Image) -> bool:
    colours = np.asarray(image)[..., :3]
    return bool((colours == colours[..., :1]).all())
