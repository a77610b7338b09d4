"""Formats that Pillow reads only with another package."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module

from PIL import Image

from diffcodec.errors import ImageError

_JXL_STARTS = (b"\xff\x0a", b"\0\0\0\x0cJXL \r\n\x87\n")
_HEIF_BRANDS = (b"heic", b"heix", b"hevc", b"hevx", b"heim", b"heis", b"mif1", b"msf1")


@dataclass(frozen=True)
class _Plugin:
    """A package that adds a format to Pillow.

    Args:
        format: Pillow's name of the format.
        label: common name of the format.
        module: to import.
        register: function of the module to call after the import; None: importing is enough.
        package: to install.
    """

    format: str
    label: str
    module: str
    register: str | None
    package: str


_JXL = _Plugin("JXL", "JPEG XL", "pillow_jxl", None, "pillow-jxl-plugin")
_HEIF = _Plugin("HEIF", "HEIC", "pillow_heif", "register_heif_opener", "pillow-heif")
_AVIF = _Plugin("AVIF", "AVIF", "pillow_avif", None, "'pillow>=11.3'")


def prepare(head: bytes, name: str) -> None:
    """Loads the package that Pillow needs for a file.

    Args:
        head: the first bytes of the file.
        name: of the file, for messages.

    Raises:
        ImageError: if a package is missing.
    """
    plugin = _needed(head)
    if plugin is None or plugin.format in Image.OPEN:
        return
    try:
        module = import_module(plugin.module)
    except ImportError as error:
        raise ImageError(
            f"{name} is a {plugin.label} picture, which needs another package: pip install {plugin.package}"
        ) from error
    if plugin.register:
        getattr(module, plugin.register)()


def _needed(head: bytes) -> _Plugin | None:
    if head.startswith(_JXL_STARTS):
        return _JXL
    if head[4:8] != b"ftyp":
        return None
    # The box lists the file's compatible brands; the first is its major brand.
    brands = [head[place : place + 4] for place in range(8, min(int.from_bytes(head[:4], "big"), len(head)), 4)]
    if b"avif" in brands or b"avis" in brands:
        return _AVIF
    return _HEIF if brands and brands[0] in _HEIF_BRANDS else None
