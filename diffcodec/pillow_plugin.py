"""Pillow reads and writes .dfc files once this module is imported.

>>> import diffcodec.pillow_plugin
>>> from PIL import Image
>>> image = Image.open("photo.png")
>>> image.save("photo.dfc", timestep=50)
>>> Image.open("photo.dfc").size  # the network is loaded when pixels are accessed
(192, 192)

docs/pictures.md lists the options of `save`. Errors are those that Pillow's users expect: OSError for files,
ValueError for options; their `__cause__` is diffcodec's exception.
"""

from __future__ import annotations

import io
import os
import warnings
from collections.abc import Hashable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Lock
from typing import IO, TYPE_CHECKING, Any

from PIL import Image, ImageFile, UnidentifiedImageError

from diffcodec.bitstream.container import read_container, read_partial
from diffcodec.bitstream.layout import MAGIC, MAX_HEADER_BYTES, read_header
from diffcodec.coding.stream import ParsedStream
from diffcodec.coding.targets import DEFAULT_TIMESTEP, Target
from diffcodec.config import DEFAULT_MAX_PIXEL_EVALUATIONS, DEFAULT_MAX_PIXELS
from diffcodec.errors import ConfigError, DiffCodecError, StreamError, TargetError
from diffcodec.images import picture_from_pil, picture_to_pil
from diffcodec.images.exif import MARKER
from diffcodec.images.metadata import Metadata
from diffcodec.model.description import describe_file, find_bundled
from diffcodec.model.locations import default_model, find_model

if TYPE_CHECKING:
    from PIL._imaging import PixelAccess

    from diffcodec.codec import DiffusionCodec
    from diffcodec.coding.reconstruction import ReconstructionKind

FORMAT = "DFC"

_SETTINGS = {
    "partial": "ImageFile.LOAD_TRUNCATED_IMAGES",
    "model": "the image's attribute `model`",
    "max_pixel_evaluations": "the image's attribute `max_pixel_evaluations`",
}
"""How to set parameters that errors name."""

_TARGETS = {"quality": Target.quality, "max_bytes": Target.bytes, "max_bpp": Target.bpp, "psnr": Target.psnr}
_FOREIGN_OPTIONS = {"lossless"}
"""Options of other formats that would set the quality. They are refused; all other foreign options are ignored."""

_CODEC_OPTIONS = ("channel", "speed", "effort", "seed", "steps", "repeat_front")


class DfcImageFile(ImageFile.ImageFile):
    """A .dfc file as a Pillow image: size, mode and `info` are from its header, pixels are restored on demand.

    Set the attributes before pixels are accessed.

    Attributes:
        timestep: restore a coarser version: the last level that is not finer.
        decoder: how to make a picture from the noisy state at the file's end: `auto`, `mean`, `mirrored`,
            `short-flow`, `flow` or `ancestral`.
        model: the model that made the file, if it is not a bundled one.
        max_pixel_evaluations: refuse files whose steps take more evaluations of the network times pixels.
    """

    format = FORMAT
    format_description = "diffcodec"
    timestep: int | None = None
    decoder: ReconstructionKind = "auto"
    model: str | None = None
    max_pixel_evaluations: int = DEFAULT_MAX_PIXEL_EVALUATIONS
    _is_restored = True  # for images that have been unpickled

    def _open(self) -> None:
        assert self.fp is not None
        try:
            stream = read_header(self.fp.read(MAX_HEADER_BYTES), name=self._name)
        except StreamError as error:
            raise UnidentifiedImageError(str(error)) from error
        header = stream.header
        self._mode = header.colour.name + ("" if stream.alpha_bytes is None else "A")
        self._size = header.width, header.height
        self._is_restored = False
        self.info |= {"timestep": header.timestep, "model": header.fingerprint.hex(), "file_bytes": stream.total_bytes}
        if stream.metadata_bytes is not None:
            with suppress(StreamError):  # damage is reported when pixels are accessed
                packet = read_partial(self._data(), max_pixels=self._max_pixels).container.metadata
                metadata = Metadata.from_bytes(packet or b"")
                items = {"icc_profile": metadata.icc_profile, "exif": metadata.exif}
                self.info |= {name: item for name, item in items.items() if item is not None}

    @property
    def _name(self) -> str:
        return os.fsdecode(self.filename) if self.filename else "the image"

    @property
    def _max_pixels(self) -> int:
        """No further limit: Pillow has already checked its own."""
        return max(self.width * self.height, DEFAULT_MAX_PIXELS)

    def _data(self) -> bytes:
        """The whole file."""
        if self.fp is None:
            raise ValueError("the image file is closed")
        self.fp.seek(0)
        return self.fp.read()

    def verify(self) -> None:
        """Check the file's length and checksums without restoring the picture. It must be reopened afterwards.

        Raises:
            OSError: if they are wrong.
        """
        with _pillow_errors():
            read_container(self._data(), max_pixels=self._max_pixels, name=self._name)
        super().verify()

    def load(self) -> PixelAccess | None:
        """Restore the picture, if it is not restored yet.

        Raises:
            OSError: if the file is damaged, or its model is not available. If it is cut, and
                `ImageFile.LOAD_TRUNCATED_IMAGES` is set, it is restored up to the cut.
            ValueError: if the file has no such timestep or decoder.
        """
        if not self._is_restored:
            raw = self._restored().tobytes()
            if self.fp is not None and self._exclusive_fp:
                self.fp.close()
            self.fp = io.BytesIO(raw)
            self.tile = [ImageFile._Tile("raw", (0, 0, *self.size), 0, self.mode)]
            self._is_restored = True
        return super().load()

    def _restored(self) -> Image.Image:
        with _pillow_errors():
            stream = ParsedStream.parse(
                self._data(), partial=ImageFile.LOAD_TRUNCATED_IMAGES, max_pixels=self._max_pixels, name=self._name
            )
            model = find_bundled(stream.header.fingerprint, stream.name) if self.model is None else self.model
            with _CODECS.borrow(model) as codec:
                restored = codec.decompress(
                    stream,
                    timestep=self.timestep,
                    reconstruction=self.decoder,
                    max_pixel_evaluations=self.max_pixel_evaluations,
                )
        self.info["timestep"] = restored.timestep
        if restored.problem is not None:
            warnings.warn(
                f"{self._name} {restored.problem}: this is step {restored.step} of {restored.steps}", stacklevel=3
            )
        image = picture_to_pil(restored.picture)
        if image.mode != self.mode:
            image.putalpha(255)  # the alpha plane is missing from the cut file
        return image


class _Codecs:
    """Cache of the last used codecs, for one thread at a time: a network uses all cores anyway.

    A process may be forked at any time, such as by torch's DataLoader, even while another thread uses a codec.
    """

    MOST = 4

    def __init__(self) -> None:
        self._lock = Lock()
        self._codecs: dict[Hashable, DiffusionCodec] = {}  # the newest last
        self._is_forked = False

    def after_fork(self) -> None:
        """Makes the cache of a forked process usable. The thread that held the lock does not exist there."""
        if self._lock.locked():
            self._codecs = {}  # that thread may have left one half changed
        self._lock, self._is_forked = Lock(), True

    def _use_one_thread(self) -> None:
        """The threads of torch's pool do not exist in a forked process, which would wait for them forever."""
        import torch

        torch.set_num_threads(1)
        self._is_forked = False

    @contextmanager
    def borrow(self, model: str | Path) -> Iterator[DiffusionCodec]:
        """The codec of a model, loaded if it is not cached or its file has changed."""
        from diffcodec.codec import DiffusionCodec

        path = find_model(model)
        key = path, describe_file(path).fingerprint if path.is_file() else None
        with self._lock:
            if self._is_forked:
                self._use_one_thread()
            codec = self._codecs.pop(key, None) or DiffusionCodec.from_pretrained(path)
            self._codecs[key] = codec
            if len(self._codecs) > self.MOST:
                del self._codecs[next(iter(self._codecs))]
            yield codec


_CODECS = _Codecs()

if hasattr(os, "register_at_fork"):  # there is no fork on Windows
    os.register_at_fork(after_in_child=_CODECS.after_fork)


@contextmanager
def _pillow_errors() -> Iterator[None]:
    """Turns errors of diffcodec into those that Pillow's users expect."""
    try:
        yield
    except (ConfigError, TargetError) as error:
        raise ValueError(str(error)) from error
    except DiffCodecError as error:
        settings = [_SETTINGS[name] for name in error.parameters if name in _SETTINGS]
        raise OSError(f"{error} ({' or '.join(settings)})" if settings else str(error)) from error


def _save(image: Image.Image, file: IO[bytes], filename: str | bytes) -> None:
    """Writes an image, for `Image.save`.

    Raises:
        OSError: if its mode cannot be written.
        ValueError: if options contradict each other, or no file meets them.
    """
    options: Mapping[str, Any] = getattr(image, "encoderinfo", {})
    if foreign := sorted(_FOREIGN_OPTIONS & set(options)):
        raise ValueError(
            f"DFC has no {foreign[0]}: pass timestep (0 is lossless, 1 the finest, 1000 the coarsest), quality, "
            "max_bytes or psnr"
        )
    goals = {name: options[name] for name in ("timestep", *_TARGETS) if options.get(name) is not None}
    if len(goals) > 1:
        raise ValueError(f"expected only one of timestep, {', '.join(_TARGETS)}, found {' and '.join(goals)}")
    goal, value = next(iter(goals.items()), ("timestep", DEFAULT_TIMESTEP))
    model = options.get("model") or default_model(*image.size)
    with _pillow_errors():
        picture = picture_from_pil(
            _with_profile(image, options),
            keep="metadata" if "icc_profile" in options else "meaning",
            exif=_exif_block(options.get("exif")),
        )
        for note in picture.notes:
            warnings.warn(f"{os.fsdecode(filename) or 'the image'}: {note}", stacklevel=3)
        with _CODECS.borrow(model) as codec:
            stream = codec.compress(
                picture,
                timestep=value if goal == "timestep" else None,
                target=_TARGETS[goal](value) if goal in _TARGETS else None,
                measure=False,
                **{name: options[name] for name in _CODEC_OPTIONS if options.get(name) is not None},
            )
    file.write(stream.data)


def _with_profile(image: Image.Image, options: Mapping[str, Any]) -> Image.Image:
    """The image, with the colour profile of the options if they have one."""
    if "icc_profile" in options:
        image = image.copy()
        image.info["icc_profile"] = options["icc_profile"]
    return image


def _exif_block(exif: Image.Exif | bytes | None) -> bytes | None:
    """The EXIF block of the options, with its marker.

    Raises:
        ValueError: if it is not an EXIF block.
    """
    block = exif.tobytes() if isinstance(exif, Image.Exif) else exif
    if not block:
        return None
    if not isinstance(block, bytes) or not block.removeprefix(MARKER).startswith((b"II*\0", b"MM\0*")):
        raise ValueError("exif: expected an Image.Exif, or the bytes of an EXIF block")
    return MARKER + block.removeprefix(MARKER)


def _accept(prefix: bytes) -> bool:
    return prefix.startswith(MAGIC)


Image.register_open(FORMAT, DfcImageFile, _accept)
Image.register_save(FORMAT, _save)
Image.register_extension(FORMAT, ".dfc")
Image.register_mime(FORMAT, "image/x-diffcodec")
