"""Arrays of pictures as bytes.

A chunk is the bytes `DFCS`, the number of axes (1 byte), their lengths (4 bytes each, as all numbers the lowest byte
first), the length of every file (4 bytes each), and the .dfc files, one for each picture of the last three axes.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass, field
from threading import Lock
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from diffcodec.coding.options import MAX_BATCH, CompressionSettings
from diffcodec.coding.stream import ParsedStream
from diffcodec.coding.targets import DEFAULT_TIMESTEP
from diffcodec.errors import ConfigError, CorruptStreamError, ImageError

if TYPE_CHECKING:
    from diffcodec.codec import DiffusionCodec

MAGIC = b"DFCS"


@dataclass(frozen=True)
class StackCodec:
    """Codes arrays of pictures; loads its network at the first of them, and works for one thread at a time.

    Args:
        timestep: noise level at which files end, 1 (finest) to 1000; 0 is lossless.
        model: as for `load_checkpoint`; None: the bundled one for the size of the pictures.

    Raises:
        ConfigError: if the timestep is no integer, or negative.
    """

    timestep: int = DEFAULT_TIMESTEP
    model: str | None = None
    _codecs: dict[bytes | str, DiffusionCodec] = field(default_factory=dict, repr=False, compare=False)
    _lock: Any = field(default_factory=Lock, repr=False, compare=False)

    def __post_init__(self) -> None:
        timestep = CompressionSettings(timestep=self.timestep).timestep
        if timestep is None or timestep < 0:
            raise ConfigError(f"timestep: expected 0 to 1000, found {self.timestep!r}")
        if self.model is not None and not isinstance(self.model, str):
            raise ConfigError(f"model: expected a name or None, found {self.model!r}")

    def __reduce__(self) -> tuple[Any, ...]:
        return StackCodec, (self.timestep, self.model)

    def encode(self, array: NDArray[np.uint8]) -> bytes:
        """The bytes of an array of pictures.

        Args:
            array: uint8, (..., H, W, 3) or (..., H, W, 1).

        Raises:
            ImageError: if it is another array.
            ConfigError, CheckpointError: if there is no such timestep or model.
        """
        check_pictures(array.shape, array.dtype)
        pictures = array.reshape(-1, *array.shape[-3:])
        with self._lock:
            codec = self._codec_for(array.shape[-2], array.shape[-3])
            files: list[bytes] = []
            for first in range(0, len(pictures), self._most):
                group = np.ascontiguousarray(pictures[first : first + self._most])
                made = codec.compress_batch(group, timestep=self.timestep, measure=False)
                files += [stream.data for stream in made]
        head = struct.pack(f"<{array.ndim}I", *array.shape) + struct.pack(f"<{len(files)}I", *map(len, files))
        return b"".join([MAGIC, bytes([array.ndim]), head, *files])

    def decode(self, data: bytes) -> NDArray[np.uint8]:
        """The array of pictures, as far as its timestep holds it.

        Raises:
            StreamError: if the bytes are damaged, or made by another model.
            CheckpointError: if there is no such model.
        """
        shape, files = split(data)
        if not files:
            return np.zeros(shape, np.uint8)
        streams = [ParsedStream.parse(file, name=f"picture {k} of a chunk") for k, file in enumerate(files, 1)]
        with self._lock:
            codec = self._codec_of(streams[0])
            restored = [each.pixels for each in codec.decompress_batch(streams)]
        if any(pixels.shape != (shape[-3:] if shape[-1] == 3 else shape[-3:-1]) for pixels in restored):
            raise CorruptStreamError("a chunk is damaged: its pictures have other sizes than it says")
        return np.stack(restored).reshape(shape)

    @property
    def _most(self) -> int:
        """Pictures that are compressed together; lossless files depend on last bits, and are made alone."""
        return 1 if self.timestep == 0 else MAX_BATCH

    def _codec_for(self, width: int, height: int) -> DiffusionCodec:
        from diffcodec.model.locations import default_model

        return self._load(default_model(width, height) if self.model is None else self.model)

    def _codec_of(self, stream: ParsedStream) -> DiffusionCodec:
        from diffcodec.codec import DiffusionCodec

        if self.model is not None:
            return self._load(self.model)
        fingerprint = stream.header.fingerprint
        if fingerprint not in self._codecs:
            self._codecs[fingerprint] = DiffusionCodec.for_stream(stream)
        return self._codecs[fingerprint]

    def _load(self, name: str) -> DiffusionCodec:
        from diffcodec.codec import DiffusionCodec

        if name not in self._codecs:
            codec = DiffusionCodec.from_pretrained(name)
            self._codecs.update({name: codec, codec.fingerprint: codec})
        return self._codecs[name]


def check_pictures(shape: Sequence[int], dtype: Any) -> None:
    """Check that an array holds pictures.

    Raises:
        ImageError: if it does not.
    """
    if np.dtype(dtype) != np.uint8 or len(shape) < 3 or shape[-1] not in (1, 3):
        raise ImageError(f"expected an array of uint8, (..., H, W, 3) or (..., H, W, 1), found {dtype} {tuple(shape)}")


def split(data: bytes) -> tuple[tuple[int, ...], list[bytes]]:
    """The shape of a chunk's array, and its files.

    Raises:
        CorruptStreamError: if it is damaged.
    """
    if data[: len(MAGIC)] != MAGIC or len(data) < len(MAGIC) + 1:
        raise CorruptStreamError("a chunk is damaged, or not of the codec dfc: it does not begin with DFCS")
    at, axes = len(MAGIC) + 1, data[len(MAGIC)]
    try:
        shape = struct.unpack_from(f"<{axes}I", data, at)
        at += 4 * axes
        check_pictures(shape, np.uint8)
        count = int(np.prod(shape[:-3], dtype=object))
        if 4 * count > len(data):
            raise CorruptStreamError(f"a chunk is damaged: it claims {count} pictures in {len(data)} bytes")
        lengths = struct.unpack_from(f"<{count}I", data, at)
    except (struct.error, ImageError) as error:
        raise CorruptStreamError(f"a chunk is damaged: {error}") from error
    at += 4 * count
    if len(data) != at + sum(lengths):
        raise CorruptStreamError(f"a chunk is damaged: expected {at + sum(lengths)} bytes, found {len(data)}")
    ends = at + np.cumsum(lengths, dtype=np.int64)
    return shape, [data[end - length : end] for end, length in zip(ends.tolist(), lengths, strict=True)]
