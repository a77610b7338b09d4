"""Raw deflate (RFC 1951) of what a packet holds, and safely back."""

import zlib

from diffcodec.errors import CorruptStreamError


def deflate(data: bytes) -> bytes:
    """The data, compressed."""
    deflater = zlib.compressobj(9, wbits=-zlib.MAX_WBITS)
    return deflater.compress(data) + deflater.flush()


def inflate(data: bytes, size: int, packet: str) -> bytes:
    """Undoes `deflate`. Never makes more than `size` bytes, and one.

    Args:
        data: what `deflate` returned.
        size: length of the original in bytes.
        packet: what messages call it.

    Raises:
        CorruptStreamError: if it is not the deflate stream of exactly so many bytes.
    """
    inflater = zlib.decompressobj(wbits=-zlib.MAX_WBITS)
    try:
        original = inflater.decompress(data, size + 1)
    except zlib.error as error:
        raise CorruptStreamError(f"the {packet} packet is damaged: {error}") from error
    if len(original) != size or not inflater.eof or inflater.unused_data:
        raise CorruptStreamError(f"the {packet} packet is damaged: it does not hold exactly {size} bytes")
    return original
