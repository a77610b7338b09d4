"""Bits per sample of a picture file, which Pillow often reduces to 8 silently."""

from __future__ import annotations

import re
from typing import Any

from PIL import Image

_DEEP_MODES = {"I": 32, "F": 32}

# Start of a JPEG 2000 codestream, and the offset from there to the depth of the first component.
_JPEG2000_START = b"\xff\x4f\xff\x51"
_JPEG2000_DEPTH_PLACE = 42


def bits_per_sample(image: Image.Image, head: bytes = b"") -> int:
    """Bits per sample; 8 if there are fewer.

    Args:
        image: opened, but not loaded yet.
        head: the first bytes of its file, if they are known.
    """
    found = [int(image.info.get("bit_depth", 8))]  # set by pillow-heif
    if image.mode.startswith("I;"):
        found.append(16)
    found += [_of_decoder(tile[0], tile[3]) for tile in getattr(image, "tile", ())]
    if image.format == "JPEG2000" and (start := head.find(_JPEG2000_START)) >= 0:
        found += [(byte & 0x7F) + 1 for byte in head[start + _JPEG2000_DEPTH_PLACE :][:1]]
    if image.format == "AVIF" and (start := head.find(b"av1C")) >= 0:
        # Two flags of the AV1 codec configuration: more than 8 bits, and 12 bits.
        found += [8 + 2 * (byte >> 6 & 1) + 2 * (byte >> 5 & 1) for byte in head[start + 6 :][:1]]
    # 16-bit files may have mode I, too.
    return max(found) if max(found) > 8 else _DEEP_MODES.get(image.mode, 8)


def _of_decoder(decoder: str, arguments: Any) -> int:
    """Bits from the decoder's arguments: a raw mode such as `RGB;16B`; for a PPM file, raw mode and largest value."""
    if decoder in ("ppm", "ppm_plain") and isinstance(arguments, tuple):
        return int(arguments[1]).bit_length()
    return 16 if re.search(r"(?<!BGR);16", str(arguments)) else 8  # BGR;16 has 16 bits per pixel
