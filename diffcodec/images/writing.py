"""Writing pictures to files."""

import io
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from PIL import Image

from diffcodec.errors import ConfigError, ImageError
from diffcodec.files import atomic_write
from diffcodec.images.exif import without_layout
from diffcodec.images.metadata import Metadata
from diffcodec.images.picture import Picture, check_picture, picture_to_pil
from diffcodec.images.pillow_errors import translated

_MAX_JPEG_EXIF_BYTES = 65533
"""Capacity of a segment of a JPEG file."""


@dataclass(frozen=True)
class _Format:
    """A format's capabilities; all but JPEG and AVIF are written losslessly.

    Args:
        modes: of pictures that it can hold.
        options: for Pillow.
        holds_metadata: whether it can hold colour profiles and EXIF.
    """

    modes: tuple[str, ...]
    options: Mapping[str, object] = field(default_factory=dict)
    holds_metadata: bool = True


_FORMATS = {
    "PNG": _Format(("RGB", "L", "RGBA", "LA")),
    "TIFF": _Format(("RGB", "L", "RGBA", "LA"), {"compression": "tiff_adobe_deflate"}),
    "WEBP": _Format(("RGB", "RGBA"), {"lossless": True, "exact": True}),
    "BMP": _Format(("RGB", "L"), holds_metadata=False),
    "PPM": _Format(("RGB", "L"), holds_metadata=False),
    "JPEG": _Format(("RGB", "L"), {"quality": 95, "subsampling": 0}),
    "AVIF": _Format(("RGB", "RGBA"), {"quality": 95, "subsampling": "4:4:4"}),
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
    ".avif": "AVIF",
}


def picture_format(path: str | Path) -> str:
    """The name of the format of a path's suffix.

    Raises:
        ImageError: if pictures cannot be written in it.
    """
    extension = Path(path).suffix.lower()
    if extension not in _EXTENSIONS:
        found = f"pictures cannot be written as '{extension}'" if extension else "its name has no suffix"
        raise ImageError(f"{path}: {found}; use one of {', '.join(sorted(_EXTENSIONS))}")
    return _EXTENSIONS[extension]


def check_mode(mode: str, format: str, name: str = "the picture") -> None:
    """Checks that a format can hold pictures of a mode.

    Args:
        mode: RGB, L, RGBA or LA.
        format: PNG, TIFF, WEBP, BMP, PPM, JPEG or AVIF.
        name: of the file, for messages.

    Raises:
        ImageError: if it cannot, or there is no such format.
    """
    if format not in _FORMATS:
        raise ImageError(f"{name}: pictures cannot be written as {format}; use one of {', '.join(_FORMATS)}")
    if mode not in _FORMATS[format].modes:
        raise ImageError(f"{name}: {format} cannot hold {mode} pictures; write PNG instead")
    Image.init()
    if format not in Image.SAVE:
        raise ImageError(f"{name}: the installed Pillow cannot write {format}: update it, or write PNG")


def metadata_left_out(metadata: Metadata, format: str) -> str:
    """Metadata that `write_picture` leaves out, as a phrase for people; empty if none.

    Args:
        metadata: of a picture.
        format: as for `check_mode`.
    """
    left_out = []
    if metadata.icc_profile is not None and not _FORMATS[format].holds_metadata:
        left_out.append("a colour profile (colours may look different)")
    if metadata.exif is not None and not _holds_exif(metadata.exif, format):
        left_out.append("its EXIF block")
    return f"{format} cannot hold {' and '.join(left_out)}" if left_out else ""


def _holds_exif(exif: bytes, format: str) -> bool:
    return _FORMATS[format].holds_metadata and (format != "JPEG" or len(exif) <= _MAX_JPEG_EXIF_BYTES)


def write_picture(
    picture: Picture, target: str | Path | BinaryIO, format: str | None = None, *, name: str | None = None
) -> None:
    """Writes a picture, losslessly in all formats but JPEG and AVIF. An existing file is replaced, as a whole.

    Includes its colour profile and EXIF block if the format can hold them, see `metadata_left_out`.

    Args:
        picture: to write.
        target: a path or an open binary file.
        format: PNG, TIFF, WEBP, BMP, PPM, JPEG or AVIF; by default that of the path's suffix, or PNG for a file.
        name: of the file, for messages; by default the path.

    Raises:
        WrongTypeError: if it is not a `Picture`.
        ImageError: if the format is unknown or cannot hold the mode, or the file cannot be written.
    """
    check_picture(picture)
    path = Path(target) if isinstance(target, str | Path) else None
    name = name or (str(path) if path else "the picture")
    if format is None:
        format = picture_format(path) if path else "PNG"
    check_mode(picture.mode, format, name)
    buffer = io.BytesIO()
    with translated(name, "cannot be written"):
        picture_to_pil(picture).save(buffer, format, **_options(picture.metadata, format))
    try:
        if isinstance(target, str | Path):
            with atomic_write(target, overwrite=True) as file:
                file.write(buffer.getvalue())
        else:
            target.write(buffer.getvalue())
    except ConfigError as error:  # what `atomic_write` says names the file
        raise ImageError(str(error)) from error
    except OSError as error:
        raise ImageError(f"{name} cannot be written: {error.strerror or error}") from error


def _options(metadata: Metadata, format: str) -> dict[str, object]:
    """Pillow's options for a format, and for the metadata that it can hold."""
    options = dict(_FORMATS[format].options)
    if metadata.icc_profile is not None and _FORMATS[format].holds_metadata:
        options["icc_profile"] = metadata.icc_profile
    if metadata.exif is not None and _holds_exif(metadata.exif, format):
        options["exif"] = metadata.exif
        if format == "TIFF":
            exif = Image.Exif()
            exif.load(metadata.exif)
            # Pillow's compressed TIFF files cannot hold positions (GPS).
            options |= {"exif": without_layout(exif).tobytes(), "compression": None}
    return options
