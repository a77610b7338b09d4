"""The payload of a file for t = 0: number of steps or kind of storage, checksum, and coded bytes."""

from __future__ import annotations

import zlib
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from diffcodec.bitstream.container import write_varint
from diffcodec.errors import CorruptStreamError, TruncatedStreamError
from diffcodec.lossless.stored import StoredKind

_CRC_BYTES = 4
_FIRST_STEPS = len(StoredKind)
_MAX_NUMBER_BYTES = 3


@dataclass(frozen=True)
class LosslessPayload:
    """A parsed payload.

    Args:
        steps: number of levels visited before the pixels are coded; 0 for a stored picture.
        stored: format of a stored picture; None if it is coded with the model.
        checksum: CRC-32 of the pixels; 0 for a stored picture.
        body: the coder's bytes, or the stored picture.
    """

    steps: int
    stored: StoredKind | None
    checksum: int
    body: bytes

    def to_bytes(self) -> bytes:
        """The payload of the file."""
        if self.stored is not None:
            return bytes([self.stored]) + self.body
        number = self.steps - 1 + _FIRST_STEPS
        return write_varint(number) + self.checksum.to_bytes(_CRC_BYTES, "big") + self.body

    @classmethod
    def from_bytes(cls, data: bytes) -> LosslessPayload:
        """Parse what `to_bytes` returned, or the beginning of it.

        Raises:
            TruncatedStreamError: if it ends before the body.
            CorruptStreamError: if it violates the format.
        """
        number = 0
        for place in range(_MAX_NUMBER_BYTES):
            if place >= len(data):
                raise TruncatedStreamError("the payload is cut before its first step")
            number |= (data[place] & 0x7F) << 7 * place
            if data[place] < 0x80:
                break
        else:
            raise CorruptStreamError("the number of steps is too long")
        begin = place + 1
        if place and data[place] == 0:
            raise CorruptStreamError("the number of steps is padded with zeros")
        if number < _FIRST_STEPS:
            return cls(0, StoredKind(number), 0, data[begin:])
        if len(data) < begin + _CRC_BYTES:
            raise TruncatedStreamError("the payload is cut before its first step")
        checksum = int.from_bytes(data[begin : begin + _CRC_BYTES], "big")
        return cls(number + 1 - _FIRST_STEPS, None, checksum, data[begin + _CRC_BYTES :])


def pixel_checksum(pixels: NDArray[np.uint8]) -> int:
    """CRC-32 of pixels (H, W, 3) or (H, W), row by row, the samples of a pixel together."""
    return zlib.crc32(np.ascontiguousarray(pixels).tobytes())
