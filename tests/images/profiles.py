"""A colour profile other than sRGB's."""

from __future__ import annotations

from PIL import ImageCms


def linear_profile() -> bytes:
    """A profile of light as it is, without sRGB's curve."""
    data = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    curve = b"curv" + bytes(4) + (1).to_bytes(4, "big") + (256).to_bytes(2, "big") + b"\0\0"
    for entry in range(132, 132 + 12 * int.from_bytes(data[128:132], "big"), 12):
        if data[entry + 1 : entry + 4] == b"TRC":
            place = int.from_bytes(data[entry + 4 : entry + 8], "big")
            data[place : place + len(curve)], data[entry + 8 : entry + 12] = curve, (14).to_bytes(4, "big")
    return bytes(data)


LINEAR = linear_profile()  # made once: lcms puts the time into it
