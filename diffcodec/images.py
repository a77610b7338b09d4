"""Pictures between files, Pillow, uint8 arrays and the unit range; lossless coding of the alpha plane."""

import io
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import IntEnum
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from diffcodec.deflate import deflate, inflate
from diffcodec.errors import CorruptStreamError, ImageError
from diffcodec.metadata import Metadata

DEFAULT_MAX_PIXELS = 89_478_485
"""Most pixels that are read unless the caller asks for more: the number above which Pillow warns."""

_MODES = ("RGB", "L", "RGBA", "LA")

# Still pictures in pixels. Not EPS and the like, for which Pillow would start another program.
_READABLE = (
    "PNG", "JPEG", "MPO", "WEBP", "BMP", "TIFF", "PPM", "AVIF", "JPEG2000", "JXL", "GIF", "ICO", "TGA", "QOI", "DIB",
)  # fmt: skip

# What each format takes without changing a pixel (JPEG excepted), and how it is told to.
_FORMATS: dict[str, tuple[tuple[str, ...], dict[str, object]]] = {
    "PNG": (_MODES, {}),
    "TIFF": (_MODES, {"compression": "tiff_adobe_deflate"}),
    "WEBP": (("RGB", "RGBA"), {"lossless": True, "exact": True}),
    "BMP": (("RGB", "L"), {}),
    "PPM": (("RGB", "L"), {}),
    "JPEG": (("RGB", "L"), {"quality": 95, "subsampling": 0}),
}
_EXTENSIONS = {
    ".png": "PNG",
    ".tif": "TIFF",
    ".tiff": "TIFF",
    ".webp": "WEBP",
    ".bmp": "BMP",
    ".ppm": "PPM",
    ".pgm": "PPM",
    ".pnm": "PPM",
    ".jpg": "JPEG",
    ".jpeg": "JPEG",
}


@dataclass(frozen=True, eq=False)
class Picture:
    """A picture of 8 bits per sample.

    Args:
        pixels: uint8, shape (H, W, 3) for colour or (H, W) for grey.
        alpha: uint8, shape (H, W); None if opaque throughout.
        metadata: what was read along with the pixels and is to be kept; empty if nothing.

    Raises:
        ImageError: if shapes or types are others, or there are no pixels.
    """

    pixels: NDArray[np.uint8]
    alpha: NDArray[np.uint8] | None = None
    metadata: Metadata = field(default_factory=Metadata)

    def __post_init__(self) -> None:
        shape = self.pixels.shape
        if self.pixels.dtype != np.uint8 or len(shape) not in (2, 3) or shape[2:] not in ((), (3,)):
            raise ImageError(f"pixels must be uint8 (H, W, 3) or (H, W), not {self.pixels.dtype} {shape}")
        if 0 in shape:
            raise ImageError(f"a picture needs at least one pixel, not {self.width} x {self.height}")
        if self.alpha is not None and (self.alpha.dtype != np.uint8 or self.alpha.shape != shape[:2]):
            raise ImageError(f"alpha must be uint8 {shape[:2]}, not {self.alpha.dtype} {self.alpha.shape}")

    @property
    def width(self) -> int:
        """In pixels."""
        return int(self.pixels.shape[1])

    @property
    def height(self) -> int:
        """In pixels."""
        return int(self.pixels.shape[0])

    @property
    def mode(self) -> str:
        """Pillow's name of the mode: RGB, L, RGBA or LA."""
        return ("RGB" if self.pixels.ndim == 3 else "L") + ("" if self.alpha is None else "A")


def read_picture(
    source: str | Path | BinaryIO | Image.Image, *, max_pixels: int = DEFAULT_MAX_PIXELS,
    formats: Sequence[str] = _READABLE,
) -> Picture:  # fmt: skip
    """Reads a still picture of 8 bits per sample, turned upright as its EXIF orientation says.

    RGB, L, RGBA and LA are taken as they are, and a PNG's transparent colour becomes an alpha plane. Of
    an MPO file (a camera's JPEG with extra views) the first picture is taken. Colour profiles are ignored.

    Args:
        source: a file's path, an open binary file, or a Pillow image, which stays open.
        max_pixels: refuse larger pictures before decoding them. Pillow's own limit is twice the default.
        formats: names of formats that a file may have, as Pillow has them; of a Pillow image it is not asked.

    Raises:
        ImageError: for everything else: other modes, several frames, damaged or missing files, too many
            pixels. The message names the file.
    """
    if isinstance(source, Image.Image):
        return _to_picture(source, getattr(source, "filename", "") or "the image", max_pixels)
    name = str(source) if isinstance(source, str | Path) else str(getattr(source, "name", "the image"))
    with _translated(name):
        Image.init()
        image = Image.open(source, formats=[name for name in formats if name in Image.OPEN])
    with image:
        return _to_picture(image, name, max_pixels)


def picture_to_pil(picture: Picture) -> Image.Image:
    """The picture as a Pillow image of its mode."""
    image = Image.fromarray(picture.pixels)
    if picture.alpha is not None:
        image.putalpha(Image.fromarray(picture.alpha))
    return image


def picture_format(path: str | Path) -> str:
    """The name of the format that a path's extension stands for.

    Raises:
        ImageError: if it stands for none that pictures are written in.
    """
    extension = Path(path).suffix.lower()
    if extension not in _EXTENSIONS:
        raise ImageError(
            f"{path}: pictures are not written as '{extension}'; use one of {', '.join(sorted(_EXTENSIONS))}"
        )
    return _EXTENSIONS[extension]


def check_mode(mode: str, format: str, name: str = "the picture") -> None:
    """Checks that a format can hold pictures of a mode.

    Args:
        mode: RGB, L, RGBA or LA.
        format: PNG, TIFF, WEBP, BMP, PPM or JPEG.
        name: of the file, for messages.

    Raises:
        ImageError: if it cannot, or there is no such format.
    """
    if format not in _FORMATS:
        raise ImageError(f"{name}: pictures are not written as {format}; use one of {', '.join(_FORMATS)}")
    if mode not in _FORMATS[format][0]:
        raise ImageError(f"{name}: {format} cannot hold {mode} pictures; write PNG instead")


def write_picture(
    picture: Picture, target: str | Path | BinaryIO, format: str | None = None, *, name: str | None = None
) -> None:
    """Writes a picture: exactly in all formats but JPEG. A path's file is replaced.

    Args:
        picture: what to write.
        target: a path or an open binary file.
        format: PNG, TIFF, WEBP, BMP, PPM or JPEG; by default what the path's extension says, for a file PNG.
        name: of the file, for messages; by default the path.

    Raises:
        ImageError: if the format is unknown or cannot hold the mode, or the file cannot be written.
    """
    path = Path(target) if isinstance(target, str | Path) else None
    name = name or (str(path) if path else "the picture")
    if format is None:
        format = picture_format(path) if path else "PNG"
    check_mode(picture.mode, format, name)
    buffer = io.BytesIO()
    with _translated(name, "cannot be written"):
        picture_to_pil(picture).save(buffer, format, **_FORMATS[format][1])
    try:
        if isinstance(target, str | Path):
            Path(target).write_bytes(buffer.getvalue())
        else:
            target.write(buffer.getvalue())
    except OSError as error:
        raise ImageError(f"{name} cannot be written: {error.strerror or error}") from error


def to_unit(pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Maps 0..255 to [-1, 1] by v / 127.5 - 1: shape (H, W, 3) or (H, W) to (C, H, W)."""
    planes = pixels[None] if pixels.ndim == 2 else np.moveaxis(pixels, 2, 0)
    unit: NDArray[np.float32] = np.ascontiguousarray(planes, np.float32) / np.float32(127.5) - np.float32(1)
    return unit


def from_unit(x: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Undoes `to_unit`, rounding to the nearest level and clipping: (C, H, W) to (H, W, 3) or (H, W).

    Raises:
        ValueError: if there are neither one nor three planes, or a value is not a number.
    """
    if x.ndim != 3 or x.shape[0] not in (1, 3):
        raise ValueError(f"x must have shape (1, H, W) or (3, H, W), not {x.shape}")
    if np.isnan(x).any():
        raise ValueError("x holds values that are not numbers")
    levels = np.rint(np.clip((x + 1) * 127.5, 0, 255)).astype(np.uint8)
    return np.ascontiguousarray(levels[0] if levels.shape[0] == 1 else np.moveaxis(levels, 0, 2))


class AlphaMethod(IntEnum):
    """How an alpha plane is coded, as numbered in the packet's first byte."""

    CONSTANT = 0
    """One value for all pixels, one byte."""
    PLAIN = 1
    """Raw deflate of the rows."""
    LEFT = 2
    """Raw deflate of each row's differences from the left neighbour, modulo 256."""
    UP = 3
    """Raw deflate of the differences from the row above, modulo 256."""
    BINARY = 4
    """Raw deflate of one bit a pixel, for planes of 0 and 255: rows of whole bytes, first pixel highest."""


def encode_alpha(alpha: NDArray[np.uint8]) -> bytes:
    """Codes an alpha plane, shape (H, W), without loss: the shortest of the methods of `AlphaMethod`."""
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
    """Undoes `encode_alpha`: uint8, shape (height, width). Never makes more than width x height bytes.

    Raises:
        CorruptStreamError: if the packet is not that of a plane of this size.
    """
    if not data or data[0] not in tuple(AlphaMethod):
        raise CorruptStreamError(f"the alpha packet is damaged: it starts with {data[:1].hex() or 'nothing'}")
    method, body = AlphaMethod(data[0]), data[1:]
    if method is AlphaMethod.CONSTANT:
        if len(body) != 1:
            raise CorruptStreamError(f"the alpha packet is damaged: {len(body)} bytes for one value")
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


def _to_picture(image: Image.Image, name: str, max_pixels: int) -> Picture:
    width, height = image.size
    if width * height > max_pixels:
        raise ImageError(f"{name} has {width} x {height} pixels, more than the limit of {max_pixels}")
    with _translated(name):
        frames = 1 if image.format == "MPO" else getattr(image, "n_frames", 1)
    if frames != 1:
        raise ImageError(f"{name} has {frames} frames, and only stills are taken: extract one frame first")
    if image.mode not in _MODES:
        raise ImageError(f"{name} has mode {image.mode}: convert it to {_advised_mode(image)} first")
    if any(_is_deep(tile[0], tile[3]) for tile in getattr(image, "tile", ())):
        raise ImageError(f"{name} has more than 8 bits per sample: convert it to 8 bits first")
    with _translated(name):
        image.load()
        if "transparency" in image.info and image.mode in ("RGB", "L"):
            image = image.convert(image.mode + "A")
        planes = np.asarray(ImageOps.exif_transpose(image))
    if not image.mode.endswith("A"):
        return Picture(np.array(planes))
    pixels = planes[..., 0] if image.mode == "LA" else planes[..., :3]
    return Picture(np.array(pixels, order="C"), np.array(planes[..., -1], order="C"))


def _is_deep(decoder: str, arguments: Any) -> bool:
    """Whether Pillow's decoder would cut samples to 8 bits.

    Its arguments tell: a raw mode such as `RGB;16B`; for a PPM file, raw mode and largest value.
    """
    if decoder in ("ppm", "ppm_plain") and isinstance(arguments, tuple):
        return int(arguments[1]) > 255
    return ";16" in str(arguments)


def _advised_mode(image: Image.Image) -> str:
    if image.mode in ("1", "I", "F") or image.mode.startswith("I;"):
        return "L"
    return "RGBA" if image.mode in ("PA", "RGBa", "La") or "transparency" in image.info else "RGB"


@contextmanager
def _translated(name: str, problem: str = "cannot be read as a picture") -> Iterator[None]:
    """Turns whatever Pillow raises into ImageError, and keeps its warnings in.

    Its plugins raise almost anything on damaged files (SyntaxError, struct.error, ...), so all is caught.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    except FileNotFoundError as error:
        raise ImageError(f"{name} does not exist") from error
    except UnidentifiedImageError as error:
        raise ImageError(f"{name} is not a picture in a known format, or is empty") from error
    except Exception as error:
        text = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise ImageError(f"{name} {problem}: {text or type(error).__name__}") from error
