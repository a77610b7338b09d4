"""What a file holds besides the signal: the alpha plane and metadata."""

from __future__ import annotations

from typing import NamedTuple

from diffcodec.images import Picture, encode_alpha


class Packets(NamedTuple):
    """A file's content besides the payload: encoded alpha plane and metadata; None where there is none."""

    alpha: bytes | None
    metadata: bytes | None


def encoded_packets(picture: Picture) -> Packets:
    """The alpha and metadata packets of a picture.

    Raises:
        ImageError: if its metadata is too long.
    """
    alpha = None if picture.alpha is None else encode_alpha(picture.alpha)
    return Packets(alpha, picture.metadata.to_bytes() if picture.metadata else None)
