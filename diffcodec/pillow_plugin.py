"""Pillow reads and writes .dfc files once this module is imported.

>>> import diffcodec.pillow_plugin
>>> from PIL import Image
>>> image = Image.open("photo.png")
>>> image.save("photo.dfc", timestep=50)
>>> Image.open("photo.dfc").size  # the network is loaded when pixels are asked for
(192, 192)

What can be passed to `save` is in docs/pictures.md. Errors are those that Pillow's users expect: OSError for files,
ValueError for options; what diffcodec raised is their `__cause__`.
"""

from __future__ import annotations

import io
import os
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from threading import Lock
from typing import IO, TYPE_CHECKING, Any

from PIL import Image, ImageFile, UnidentifiedImageError

from diffcodec.bitstream.container import DEFAULT_MAX_PIXELS, read_container, read_partial
from diffcodec.bitstream.layout import MAGIC, MAX_HEADER_BYTES, read_header
from diffcodec.errors import ConfigError, DiffCodecError, StreamError, TargetError
from diffcodec.images import picture_from_pil, picture_to_pil
from diffcodec.images.exif import MARKER
from diffcodec.metadata import Metadata
from diffcodec.targets import DEFAULT_TIMESTEP, Target

if TYPE_CHECKING:
    from PIL._imaging import PixelAccess

    from diffcodec.codec import DiffusionCodec
    from diffcodec.decoders import DecoderKind

FORMAT = "DFC"

_INSTEAD_OF_OPTIONS = {
    "with --partial": "with ImageFile.LOAD_TRUNCATED_IMAGES",
    "with --model": "as the image's attribute `model`",
}
"""What messages recommend on the command line, and what there is for it here."""

_TARGETS = {"max_bytes": Target.bytes, "max_bpp": Target.bpp, "psnr": Target.psnr}
_FOREIGN_OPTIONS = {"quality", "lossless"}
"""Of other formats; those that are ignored here say nothing of how much is lost."""

_CODEC_OPTIONS = ("channel", "effort", "seed", "steps")


class DfcImageFile(ImageFile.ImageFile):
    """A .dfc file as a Pillow image: size, mode and `info` are those of its header, pixels are restored when needed.

    Attributes:
        timestep: set before pixels are asked for, a coarser version is restored: the last level that is not finer.
        decoder: likewise, what makes a picture of the noisy state at the file's end: `mean`, `flow` or `ancestral`.
        model: likewise, the model that made the file, if it is none of the bundled ones.
    """

    format = FORMAT
    format_description = "diffcodec"
    timestep: int | None = None
    decoder: DecoderKind = "mean"
    model: str | None = None
    _is_restored = True  # of an image that has been unpickled

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
        self.info |= {
            "timestep": header.timestep, "model": header.fingerprint.hex(), "file_bytes": stream.total_bytes,
        }  # fmt: skip
        if stream.metadata_bytes is not None:
            with suppress(StreamError):  # damage is told of when pixels are asked for
                packet = read_partial(self._data(), max_pixels=self._max_pixels).container.metadata
                metadata = Metadata.from_bytes(packet or b"")
                items = {"icc_profile": metadata.icc_profile, "exif": metadata.exif}
                self.info |= {name: item for name, item in items.items() if item is not None}

    @property
    def _name(self) -> str:
        return os.fsdecode(self.filename) if self.filename else "the image"

    @property
    def _max_pixels(self) -> int:
        """Pillow has a limit of its own, which it has checked."""
        return max(self.width * self.height, DEFAULT_MAX_PIXELS)

    def _data(self) -> bytes:
        """The whole file."""
        if self.fp is None:
            raise ValueError("the image file is closed")
        self.fp.seek(0)
        return self.fp.read()

    def verify(self) -> None:
        """Check the file's length and checksums, without restoring the picture; then it must be opened again.

        Raises:
            OSError: if they are wrong.
        """
        with _pillow_errors():
            read_container(self._data(), max_pixels=self._max_pixels, name=self._name)
        super().verify()

    def load(self) -> PixelAccess | None:
        """Restore the picture, if that has not been done.

        Raises:
            OSError: if the file is damaged, or its model is not at hand. If it is cut, and
                `ImageFile.LOAD_TRUNCATED_IMAGES` is set, what comes before the cut is restored.
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
        from diffcodec.codec import DiffusionCodec

        data, name = self._data(), self._name

        def load_codec() -> DiffusionCodec:
            return (
                DiffusionCodec.from_pretrained(self.model) if self.model else DiffusionCodec.for_stream(data, name=name)
            )

        with _pillow_errors(), _CODECS.borrow(str(self.model or self.info["model"]), load_codec) as codec:
            preview = codec.restore(
                data, timestep=self.timestep, decoder=self.decoder, partial=ImageFile.LOAD_TRUNCATED_IMAGES,
                max_pixels=self._max_pixels, name=name,
            )  # fmt: skip
        self.info["timestep"] = preview.timestep
        if preview.problem is not None:
            warnings.warn(f"{name} {preview.problem}: this is step {preview.step} of {preview.steps}", stacklevel=3)
        image = picture_to_pil(preview.picture)
        if image.mode != self.mode:
            image.putalpha(255)  # the alpha plane was behind the cut
        return image


class _Codecs:
    """The codecs that were used last, for one thread at a time: a network takes all cores anyway."""

    MOST = 4

    def __init__(self) -> None:
        self._lock = Lock()
        self._codecs: dict[str, DiffusionCodec] = {}  # by fingerprint, the newest last
        self._fingerprints: dict[str, str] = {}

    @contextmanager
    def borrow(self, model: str, load: Callable[[], DiffusionCodec]) -> Iterator[DiffusionCodec]:
        """The codec of a model, which is named or known by its fingerprint; loaded if need be."""
        with self._lock:
            codec = self._codecs.pop(self._fingerprints.get(model, model), None) or load()
            self._fingerprints[model] = fingerprint = codec.fingerprint.hex()
            self._codecs.pop(fingerprint, None)
            self._codecs[fingerprint] = codec
            if len(self._codecs) > self.MOST:
                del self._codecs[next(iter(self._codecs))]
            yield codec


_CODECS = _Codecs()


@contextmanager
def _pillow_errors() -> Iterator[None]:
    """Errors of diffcodec as Pillow's users expect them."""
    try:
        yield
    except (ConfigError, TargetError) as error:
        raise ValueError(str(error)) from error
    except DiffCodecError as error:
        message = str(error)
        for option, attribute in _INSTEAD_OF_OPTIONS.items():
            message = message.replace(option, attribute)
        raise OSError(message) from error


def _save(image: Image.Image, file: IO[bytes], filename: str | bytes) -> None:
    """Writes an image, as `Image.save` asks for it.

    Raises:
        OSError: if its mode cannot be written.
        ValueError: if the options do not fit together, or no file meets them.
    """
    from diffcodec.checkpoint import default_model
    from diffcodec.codec import DiffusionCodec

    options: Mapping[str, Any] = getattr(image, "encoderinfo", {})
    if foreign := sorted(_FOREIGN_OPTIONS & set(options)):
        raise ValueError(
            f"DFC has no {foreign[0]}: pass timestep (0 is lossless, 1 the finest, 1000 the coarsest), max_bytes "
            "or psnr"
        )
    goals = {name: options[name] for name in ("timestep", *_TARGETS) if options.get(name) is not None}
    if len(goals) > 1:
        raise ValueError(f"expected only one of timestep, {', '.join(_TARGETS)}, found {' and '.join(goals)}")
    goal, value = next(iter(goals.items()), ("timestep", DEFAULT_TIMESTEP))
    model = options.get("model") or default_model(*image.size)
    with _pillow_errors():
        picture = picture_from_pil(
            _with_profile(image, options), keep="metadata" if "icc_profile" in options else "meaning",
            exif=_exif_block(options.get("exif")),
        )  # fmt: skip
        for note in picture.notes:
            warnings.warn(f"{os.fsdecode(filename) or 'the image'}: {note}", stacklevel=3)
        with _CODECS.borrow(str(model), lambda: DiffusionCodec.from_pretrained(model)) as codec:
            stream = codec.compress(
                picture,
                timestep=value if goal == "timestep" else None,
                target=_TARGETS[goal](value) if goal in _TARGETS else None,
                **{name: options[name] for name in _CODEC_OPTIONS if options.get(name) is not None},
            )
    file.write(stream.data)


def _with_profile(image: Image.Image, options: Mapping[str, Any]) -> Image.Image:
    """The image with the colour profile that the options name, if they do."""
    if "icc_profile" in options:
        image = image.copy()
        image.info["icc_profile"] = options["icc_profile"]
    return image


def _exif_block(exif: Image.Exif | bytes | None) -> bytes | None:
    """The EXIF block that the options name, with its marker.

    Raises:
        ValueError: if it is none.
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
