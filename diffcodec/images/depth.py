"""How many bits the samples of a picture file have, which Pillow often cuts to 8 without a word."""

from __future__ import annotations

import re
from typing import Any

from PIL import Image

_DEEP_MODES = {"I": 32, "F": 32}

# Start of a JPEG 2000 codestream, and where from there the depth of the first component is.
_JPEG2000_START = b"\xff\x4f\xff\x51"
_JPEG2000_DEPTH_PLACE = 42


def bits_per_sample(image: Image.Image, head: bytes = b"") -> int:
    """Bits of a sample, 8 if it has fewer.

    Args:
        image: as it was opened, before it is loaded.
        head: the first bytes of its file, as far as they are known.
    """
    found = [int(image.info.get("bit_depth", 8))]  # pillow-heif says it
    if image.mode.startswith("I;"):
        found.append(16)
    found += [_of_decoder(tile[0], tile[3]) for tile in getattr(image, "tile", ())]
    if image.format == "JPEG2000" and (start := head.find(_JPEG2000_START)) >= 0:
        found += [(byte & 0x7F) + 1 for byte in head[start + _JPEG2000_DEPTH_PLACE :][:1]]
    if image.format == "AVIF" and (start := head.find(b"av1C")) >= 0:
        # Two flags of the AV1 codec configuration: more than 8 bits, and 12 of them.
        found += [8 + 2 * (byte >> 6 & 1) + 2 * (byte >> 5 & 1) for byte in head[start + 6 :][:1]]
    # Files of 16 bits come in mode I, too.
    return max(found) if max(found) > 8 else _DEEP_MODES.get(image.mode, 8)


def _of_decoder(decoder: str, arguments: Any) -> int:
    """What Pillow's decoder is told: a raw mode such as `RGB;16B`; for a PPM file, raw mode and largest value."""
    if decoder in ("ppm", "ppm_plain") and isinstance(arguments, tuple):
        return int(arguments[1]).bit_length()
    return 16 if re.search(r"(?<!BGR);16", str(arguments)) else 8  # BGR;16 is 16 bits a pixel
