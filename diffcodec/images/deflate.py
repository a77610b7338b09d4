"""Raw deflate (RFC 1951) of packets, and inflate with a size limit."""

import zlib

from diffcodec.errors import CorruptStreamError


def deflate(data: bytes) -> bytes:
    """The data as a raw deflate stream, at the highest level."""
    deflater = zlib.compressobj(9, wbits=-zlib.MAX_WBITS)
    return deflater.compress(data) + deflater.flush()


def inflate(data: bytes, size: int, packet: str) -> bytes:
    """Undoes `deflate`. Never allocates more than `size` + 1 bytes.

    Args:
        data: result of `deflate`.
        size: length of the original in bytes.
        packet: its name in messages.

    Raises:
        CorruptStreamError: if it is not the deflate stream of exactly `size` bytes.
    """
    inflater = zlib.decompressobj(wbits=-zlib.MAX_WBITS)
    try:
        original = inflater.decompress(data, size + 1)
    except zlib.error as error:
        raise CorruptStreamError(f"the {packet} packet is damaged: {error}") from error
    if len(original) != size or not inflater.eof or inflater.unused_data:
        raise CorruptStreamError(f"the {packet} packet is damaged: it does not hold exactly {size} bytes")
    return original
