"""Lossless coding of the alpha plane."""

from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

from diffcodec.errors import CorruptStreamError
from diffcodec.images.deflate import deflate, inflate


class AlphaMethod(IntEnum):
    """Coding methods of an alpha plane, as numbered in the packet's first byte."""

    CONSTANT = 0
    """One value for all pixels, one byte."""
    PLAIN = 1
    """Raw deflate of the rows."""
    LEFT = 2
    """Raw deflate of each row's differences from the left neighbour, modulo 256."""
    UP = 3
    """Raw deflate of the differences from the row above, modulo 256."""
    BINARY = 4
    """Raw deflate of one bit per pixel, for planes of 0 and 255: rows of whole bytes, first pixel highest."""


def encode_alpha(alpha: NDArray[np.uint8]) -> bytes:
    """Codes an alpha plane, shape (H, W), losslessly with the shortest method of `AlphaMethod`."""
    first = int(alpha.flat[0])
    if (alpha == first).all():
        return bytes([AlphaMethod.CONSTANT, first])
    rows = {
        AlphaMethod.PLAIN: alpha,
        AlphaMethod.LEFT: np.diff(alpha, axis=1, prepend=np.uint8(0)),
        AlphaMethod.UP: np.diff(alpha, axis=0, prepend=np.uint8(0)),
    }
    if np.isin(alpha, (0, 255)).all():
        rows[AlphaMethod.BINARY] = np.packbits(alpha > 0, axis=1)
    return min((bytes([method]) + deflate(plane.tobytes()) for method, plane in rows.items()), key=len)


def decode_alpha(data: bytes, width: int, height: int) -> NDArray[np.uint8]:
    """Undoes `encode_alpha`: uint8, shape (height, width). Never allocates more than width x height bytes.

    Raises:
        CorruptStreamError: if the packet does not hold a plane of this size.
    """
    if not data or data[0] not in tuple(AlphaMethod):
        raise CorruptStreamError(f"the alpha packet is damaged: it starts with {data[:1].hex() or 'nothing'}")
    method, body = AlphaMethod(data[0]), data[1:]
    if method is AlphaMethod.CONSTANT:
        if len(body) != 1:
            raise CorruptStreamError(f"the alpha packet is damaged: expected 1 byte, found {len(body)}")
        return np.full((height, width), body[0], np.uint8)
    row_bytes = -(-width // 8) if method is AlphaMethod.BINARY else width
    rows = np.frombuffer(inflate(body, height * row_bytes, "alpha"), np.uint8).reshape(height, row_bytes)
    if method is AlphaMethod.LEFT:
        return np.cumsum(rows, axis=1, dtype=np.uint8)
    if method is AlphaMethod.UP:
        return np.cumsum(rows, axis=0, dtype=np.uint8)
    if method is AlphaMethod.BINARY:
        return np.unpackbits(rows, axis=1, count=width) * np.uint8(255)
    return rows.copy()
