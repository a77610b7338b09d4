"""Fallback for t = 0: WebP or PNG where smaller, as for screenshots, drawings, flat and tiny pictures.

The body is a lossless WebP file without its container of 20 bytes, or a PNG file if that is shorter or a side exceeds
WebP's limit of 16,383 pixels.
"""

from __future__ import annotations

import io
from enum import IntEnum

import numpy as np
from PIL import Image

from diffcodec.errors import CorruptStreamError, ImageError
from diffcodec.images import Picture, picture_to_pil, read_picture
from diffcodec.images.pillow_errors import translated

MAX_STORED_PIXELS = 178_956_970
"""Pillow's default limit: twice the number above which it warns."""

MAX_WEBP_SIDE = 16383
"""WebP's limit, in pixels."""

_RIFF_BYTES = 20


class StoredKind(IntEnum):
    """Format of a stored picture, as numbered in the file."""

    WEBP = 0
    PNG = 1


def store(picture: Picture) -> tuple[StoredKind, bytes]:
    """The shortest body for a picture, alpha included.

    Raises:
        ImageError: if it has more than MAX_STORED_PIXELS.
    """
    if picture.width * picture.height > MAX_STORED_PIXELS:
        raise ImageError(
            f"t = 0: expected at most {MAX_STORED_PIXELS} pixels, found {picture.width} x {picture.height}: compress "
            "the picture at t = 1, which is nearly lossless"
        )
    bodies = [(StoredKind.PNG, _encoded(picture, "PNG", optimize=True))]
    if max(picture.width, picture.height) <= MAX_WEBP_SIDE:
        webp = _encoded(picture, "WEBP", lossless=True, exact=True, quality=100, method=6)
        # RIFF, length, WEBP, VP8L, length; then the body, padded to an even length.
        length = int.from_bytes(webp[16:20], "little")
        if webp[8:16] == b"WEBPVP8L" and len(webp) == _RIFF_BYTES + length + length % 2:
            bodies.append((StoredKind.WEBP, webp[_RIFF_BYTES : _RIFF_BYTES + length]))
    return min(bodies, key=lambda body: len(body[1]))


def restore(kind: StoredKind, body: bytes, width: int, height: int, mode: str) -> Picture:
    """The stored picture.

    Args:
        kind, body: as `store` returned them.
        width, height, mode: of the picture, from the file's header: RGB, L, RGBA or LA.

    Raises:
        CorruptStreamError: if the body does not hold such a picture.
    """
    if kind is StoredKind.WEBP:
        chunk = b"VP8L" + len(body).to_bytes(4, "little") + body + b"\0" * (len(body) % 2)
        body = b"RIFF" + (4 + len(chunk)).to_bytes(4, "little") + b"WEBP" + chunk
    try:
        with translated("the body"):
            image = Image.open(io.BytesIO(body), formats=[kind.name])
        with image:
            if image.mode not in ("RGB", "L", "RGBA", "LA"):
                raise ImageError(f"the body has mode {image.mode}")
            # Never convert pixels, even if somebody has put a profile into the body.
            picture = read_picture(image, max_pixels=width * height, keep="meaning")
    except ImageError as error:
        raise CorruptStreamError("the stored picture cannot be read") from error
    pixels, alpha = picture.pixels, picture.alpha
    if mode.startswith("L") and pixels.ndim == 3:
        if (pixels != pixels[..., :1]).any():
            raise CorruptStreamError("the stored picture is in colour, but the header declares it as grey")
        pixels = np.ascontiguousarray(pixels[..., 0])
    if mode.endswith("A") and alpha is None:  # WebP drops an alpha plane that is opaque everywhere
        alpha = np.full((picture.height, picture.width), 255, np.uint8)
    restored = Picture(pixels, alpha)
    if (restored.width, restored.height, restored.mode) != (width, height, mode):
        raise CorruptStreamError("the stored picture's size or mode differs from the header's")
    return restored


def _encoded(picture: Picture, format: str, **options: object) -> bytes:
    image = picture_to_pil(picture)
    if format == "WEBP":
        image = image.convert("RGBA" if picture.alpha is not None else "RGB")
    file = io.BytesIO()
    image.save(file, format, **options)
    return file.getvalue()
