"""The suite's cases: for each feature of the format and of the decoder a picture, and how it becomes a file."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import ImageCms

from conformance.models import DATA
from diffcodec import DiffusionCodec, Picture, read_picture
from diffcodec.bitstream.container import read_container, write_container
from diffcodec.images.metadata import Metadata

PHOTO = read_picture(DATA / "chelsea-192.png").pixels
ROWS, COLUMNS = np.mgrid[:48, :56]
EXIF = b"Exif\0\0II*\0\x08\0\0\0\x01\0\x0e\x01\x02\0\x05\0\0\0\x1a\0\0\0\0\0\0\0test\0"
"""A block with a description."""


@dataclass(frozen=True)
class Feature:
    """One case.

    Args:
        name: of its folder.
        text: what it is about.
        picture: to compress.
        compress: options of `compress`.
        model: of the suite; None: the bundled one for pictures of that size.
        restore: options of the case's expectation.
        change: what is done to the file, if anything.
    """

    name: str
    text: str
    picture: Picture
    compress: dict[str, Any]
    model: str | None = "tiny-small"
    restore: dict[str, Any] = field(default_factory=dict)
    change: Callable[[DiffusionCodec, bytes], bytes] = lambda codec, data: data


def crop(height: int, width: int, top: int = 40, left: int = 60) -> NDArray[np.uint8]:
    """A part of the photograph, (height, width, 3)."""
    return np.ascontiguousarray(PHOTO[top : top + height, left : left + width])


def colour(height: int, width: int, top: int = 40, left: int = 60) -> Picture:
    """A part of the photograph."""
    return Picture(crop(height, width, top, left))


def with_alpha(alpha: NDArray[Any]) -> Picture:
    """A grey picture with an alpha plane."""
    height, width = alpha.shape
    return Picture(np.ascontiguousarray(crop(height, width)[..., 1]), alpha.astype(np.uint8))


def features() -> Iterator[Feature]:
    """All cases."""
    yield from channels()
    yield from pictures()
    yield from structure()
    yield from lossless()
    yield from restoring()
    yield from refused()
    yield Feature("bundled-small", "the bundled model for small pictures", colour(32, 32), {"timestep": 20}, None)
    yield Feature("bundled-photo", "the bundled model of photographs", colour(66, 70), {"timestep": 60}, None)
    yield Feature(
        "bundled-lossless",
        "exact pixels with a bundled model",
        colour(24, 24),
        {"timestep": 0, "may_store": False},
        None,
    )


def channels() -> Iterator[Feature]:
    """Channel simulations, efforts, seeds, levels."""
    small = colour(16, 16)
    yield Feature("trellis", "the trellis channel at its default effort", small, {"timestep": 20})
    yield Feature("trellis-effort-8", "the smallest trellis", small, {"timestep": 20, "effort": 8})
    yield Feature("trellis-effort-16", "the largest trellis", small, {"timestep": 100, "effort": 16})
    yield Feature("trellis-lanes", "messages of several lanes", colour(40, 40), {"timestep": 1, "steps": 4})
    yield Feature("trellis-wide", "split labels", colour(48, 48), {"timestep": 400}, "tiny-photo")
    yield Feature("poisson", "the Poisson channel", small, {"timestep": 20, "channel": "poisson"})
    yield Feature("poisson-tiles", "it in tiles", colour(40, 70), {"timestep": 80, "channel": "poisson"}, "tiny-photo")
    yield Feature("seed", "a seed of 64 bits", small, {"timestep": 50, "seed": 2**63 + 5})
    yield Feature("list-short", "the shorter of the model's level lists", small, {"timestep": 10, "steps": 4})
    yield Feature("level-finest", "t = 1", small, {"timestep": 1})
    yield Feature("level-coarsest", "t = 1000", small, {"timestep": 1000})


def pictures() -> Iterator[Feature]:
    """Sizes, colours, alpha planes, metadata."""
    for height, width in ((1, 1), (1, 7), (9, 1), (3, 80), (17, 13)):
        yield Feature(
            f"size-{width}x{height}", "padding to the network's grid", colour(height, width), {"timestep": 20}
        )
    grey = np.ascontiguousarray(crop(19, 21)[..., 1])
    yield Feature("grey", "a grey picture with a network for colours", Picture(grey), {"timestep": 20})
    yield Feature("grey-network", "a network with one channel", Picture(grey), {"timestep": 20}, "tiny-grey")
    yield Feature(
        "uncalibrated", "a model without tables of its own", Picture(grey[:8]), {"timestep": 200}, "tiny-grey"
    )
    ramp = np.add.outer(np.arange(23), 3 * np.arange(17))
    noise = np.frombuffer(b"".join(zlib.crc32(bytes([k])).to_bytes(4, "big") for k in range(64)), np.uint8)
    for name, text, alpha in (
        ("constant", "one value", np.full((9, 10), 77)),
        ("plain", "rows as they are", noise.reshape(16, 16)),
        ("left", "differences from the left", np.add.outer(61 * np.arange(24) ** 2, 5 * np.arange(32))),
        ("up", "differences from above", np.add.outer(5 * np.arange(32), 61 * np.arange(24) ** 2)),
        ("binary", "bits", 255 * (np.hypot(*np.mgrid[-9:9, -10:11]) < 8)),
    ):
        yield Feature(
            f"alpha-{name}", f"an alpha plane: {text}", with_alpha(alpha.astype(np.int64) % 256), {"timestep": 50}
        )
    coloured = Picture(crop(23, 17), ramp.astype(np.uint8))
    yield Feature("alpha-colour", "colour with alpha", coloured, {"timestep": 50})
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    # The profile says when it was made.
    dated = profile[:24] + bytes(12) + profile[36:]
    metadata = replace(colour(12, 10), metadata=Metadata(dated, EXIF))
    yield Feature("metadata", "a colour profile and an EXIF block", metadata, {"timestep": 50})
    yield Feature("metadata-exif", "an EXIF block", replace(metadata, metadata=Metadata(None, EXIF)), {"timestep": 50})


def structure() -> Iterator[Feature]:
    """Blocks, tiles, cut, damaged and shortened files."""
    large, photo = colour(48, 56), colour(48, 80)
    yield Feature("blocks", "a checksum for every block", large, {"timestep": 1})
    everything = replace(large, alpha=(4 * ROWS ^ COLUMNS).astype(np.uint8))
    everything = replace(everything, metadata=Metadata(None, EXIF))
    yield Feature("blocks-packets", "blocks, an alpha plane and metadata", everything, {"timestep": 1})
    yield Feature("tiles", "tiles, half resolution, bands that are not sent", photo, {"timestep": 50}, "tiny-photo")
    strip = Picture(np.ascontiguousarray(np.tile(crop(5, 100), (1, 3, 1))))
    yield Feature("tiles-strip", "a picture thinner than a tile", strip, {"timestep": 100}, "tiny-photo")
    yield Feature(
        "tiles-grey", "tiles of a grey picture", Picture(photo.pixels[..., 0].copy()), {"timestep": 50}, "tiny-photo"
    )
    partial = {"partial": True}
    yield Feature("cut", "a file that was cut", large, {"timestep": 1}, restore=partial, change=cut_to(0.6))
    yield Feature(
        "cut-tiles", "a file with tiles that was cut", photo, {"timestep": 50}, "tiny-photo", partial, cut_to(0.5)
    )
    yield Feature(
        "cut-to-nothing", "a file cut after its header", large, {"timestep": 1}, restore=partial, change=cut_to(0.005)
    )
    yield Feature("damaged", "a damaged block", large, {"timestep": 1}, restore=partial, change=flip(0.7, 0x81))
    yield Feature(
        "corrected", "a file with a wrong bit", photo, {"timestep": 50}, "tiny-photo", partial, flip(0.3, 0x10)
    )
    repeated = {"timestep": 1, "repeat_front": True}
    yield Feature("repeated", "a file that repeats its front", large, repeated)
    yield Feature("repeated-lost", "such a file without its front", large, repeated, restore=partial, change=zero_front)
    yield Feature("shortened", "a file that `truncate` shortened", colour(24, 24), {"timestep": 2}, change=shorten(0.5))
    yield Feature(
        "shortened-lossless",
        "a shortened lossless file",
        colour(16, 16),
        {"timestep": 0, "may_store": False},
        change=shorten(0.3),
    )


def lossless() -> Iterator[Feature]:
    """t = 0."""
    coded, ramp = {"timestep": 0, "may_store": False}, np.add.outer(np.arange(12), 9 * np.arange(14)).astype(np.uint8)
    yield Feature("lossless", "exact pixels, coded with the model", colour(20, 18), coded)
    yield Feature("lossless-grey", "exact grey pixels", Picture(crop(14, 12)[..., 1].copy()), coded)
    yield Feature("lossless-alpha", "exact pixels and alpha", Picture(crop(12, 14), ramp), coded)
    yield Feature("lossless-tiles", "exact pixels in tiles", colour(34, 36), coded, "tiny-photo")
    flat = crop(16, 16) // 64 * 64
    yield Feature("stored-webp", "stored as WebP", Picture(flat), {"timestep": 0})
    yield Feature("stored-png", "stored as PNG", Picture(np.ascontiguousarray(flat[..., 0])), {"timestep": 0})
    yield Feature("stored-alpha", "stored with alpha", Picture(flat, flat[..., 2].copy()), {"timestep": 0})


def restoring() -> Iterator[Feature]:
    """Reconstructions, and coarser versions of a file."""
    picture, options = colour(20, 20, 90, 100), {"timestep": 40}
    for kind, steps in (("mean", None), ("mirrored", None), ("short-flow", None), ("flow", 12), ("ancestral", 12)):
        how = {"reconstruction": kind, "reconstruction_steps": steps}
        yield Feature(f"decoder-{kind}", f"the reconstruction `{kind}`", picture, options, restore=how)
    yield Feature(
        "decoder-flow-tiles",
        "`flow` of a tiled file",
        colour(40, 70),
        options,
        "tiny-photo",
        {"reconstruction": "flow", "reconstruction_steps": 8},
    )
    yield Feature("coarser", "a coarser version of a file", picture, options, restore={"timestep": 300})
    yield Feature(
        "coarser-lossless",
        "a coarser version of a lossless file",
        colour(16, 16),
        {"timestep": 0, "may_store": False},
        restore={"timestep": 100},
    )


def refused() -> Iterator[Feature]:
    """Files that must not be restored."""
    picture, options = colour(12, 12), {"timestep": 50}
    for name, text, error, change in (
        ("damaged", "a file with a changed byte", "CorruptStreamError", flip(0.7, 0x10)),
        ("cut", "a cut file, unless asked for", "TruncatedStreamError", cut_to(0.7)),
        ("version", "a later version of the format", "UnsupportedVersionError", with_byte(2, 0x30)),
        ("model", "a file of an unknown model", "ModelMismatchError", with_byte(3, 0x5A)),
        ("other", "no .dfc file", "NotDfcError", lambda codec, data: b"PK" + data[2:]),
        ("too-short", "a payload that ends too soon", "CorruptStreamError", with_payload(b"\xff" * 3)),
    ):
        yield Feature(f"refused-{name}", text, picture, options, restore={"error": error}, change=change)


def cut_to(share: float) -> Callable[[DiffusionCodec, bytes], bytes]:
    """Keeps a share of the file, and at least its header."""
    return lambda codec, data: data[: max(20, int(share * len(data)))]


def zero_front(codec: DiffusionCodec, data: bytes) -> bytes:
    """Loses the first 100 bytes."""
    return bytes(100) + data[100:]


def flip(share: float, bits: int) -> Callable[[DiffusionCodec, bytes], bytes]:
    """Flips bits of the byte after a share of the file."""

    def change(codec: DiffusionCodec, data: bytes) -> bytes:
        place = int(share * len(data))
        return data[:place] + bytes([data[place] ^ bits]) + data[place + 1 :]

    return change


def shorten(share: float) -> Callable[[DiffusionCodec, bytes], bytes]:
    """Shortens the file to a share of its length."""
    return lambda codec, data: codec.truncate(data, int(share * len(data)))


def with_byte(place: int, value: int) -> Callable[[DiffusionCodec, bytes], bytes]:
    """Sets a byte and corrects the checksum at the end."""

    def change(codec: DiffusionCodec, data: bytes) -> bytes:
        content = data[:place] + bytes([value]) + data[place + 1 : -4]
        return content + zlib.crc32(content).to_bytes(4, "big")

    return change


def with_payload(payload: bytes) -> Callable[[DiffusionCodec, bytes], bytes]:
    """Replaces the payload."""

    def change(codec: DiffusionCodec, data: bytes) -> bytes:
        return write_container(replace(read_container(data), payload=payload))

    return change
