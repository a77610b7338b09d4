"""Metadata of a picture file: the colour profile and the EXIF block."""

from __future__ import annotations

from dataclasses import dataclass

from diffcodec.errors import CorruptStreamError, ImageError, UnsupportedVersionError
from diffcodec.images.deflate import deflate, inflate

MAX_METADATA_BYTES = 1 << 24
"""Largest profile or EXIF block, in bytes. Printer profiles have about 2 MB, EXIF blocks of JPEG files up to 64 KB."""

_LENGTH_BYTES = 4
_ICC_PROFILE, _EXIF = 1, 2


@dataclass(frozen=True)
class Metadata:
    """Metadata kept from a picture file, byte for byte.

    Args:
        icc_profile: colour profile; None: colours are sRGB.
        exif: EXIF block as Pillow returns it, starting with its `Exif` marker. Its orientation is upright, because
            pixels are turned when they are read.
    """

    icc_profile: bytes | None = None
    exif: bytes | None = None

    def __bool__(self) -> bool:
        return self.icc_profile is not None or self.exif is not None

    def to_bytes(self) -> bytes:
        """The metadata packet: a byte of flags, the lengths of the items present, and the items, deflated.

        Raises:
            ImageError: if there is no item, or one of more than MAX_METADATA_BYTES.
        """
        kinds, items = 0, []
        for kind, item in ((_ICC_PROFILE, self.icc_profile), (_EXIF, self.exif)):
            if item is not None:
                kinds |= kind
                items.append(item)
        if not items:
            raise ImageError("there is no metadata to keep")
        if (longest := max(map(len, items))) > MAX_METADATA_BYTES:
            raise ImageError(
                f"the picture's profile or EXIF block has {longest} bytes, more than the limit of "
                f"{MAX_METADATA_BYTES}: compress it without its metadata"
            )
        lengths = b"".join(len(item).to_bytes(_LENGTH_BYTES, "big") for item in items)
        return bytes([kinds]) + lengths + deflate(b"".join(items))

    @classmethod
    def from_bytes(cls, packet: bytes) -> Metadata:
        """Undoes `to_bytes`. Never allocates more than the limit.

        Raises:
            UnsupportedVersionError: if it has items unknown to this release.
            CorruptStreamError: if it violates the format.
        """
        kinds = packet[0] if packet else 0
        if kinds & ~(_ICC_PROFILE | _EXIF):
            raise UnsupportedVersionError(f"the metadata packet has unknown parts (flags {kinds:#x}): update diffcodec")
        count = kinds.bit_count()
        start = 1 + count * _LENGTH_BYTES
        if not count or len(packet) < start:
            raise CorruptStreamError("the metadata packet is damaged: it is empty, or ends inside its lengths")
        lengths = [int.from_bytes(packet[at : at + _LENGTH_BYTES], "big") for at in range(1, start, _LENGTH_BYTES)]
        if max(lengths) > MAX_METADATA_BYTES:
            raise CorruptStreamError(f"the metadata packet is damaged: it claims {max(lengths)} bytes")
        items = inflate(packet[start:], sum(lengths), "metadata")
        profile = items[: lengths[0]] if kinds & _ICC_PROFILE else None
        return cls(profile, items[len(profile or b"") :] if kinds & _EXIF else None)
