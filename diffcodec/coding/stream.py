"""A parsed .dfc file: its header, its content as far as it is intact, and its steps. Torch-free."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass
from functools import cached_property
from pathlib import PurePath
from typing import Any

import numpy as np
from numpy.typing import NDArray

from diffcodec.bitstream.container import Container, Header, Reading, read_partial
from diffcodec.bitstream.entropy import PrefixReader, SymbolReader
from diffcodec.bitstream.lengths import LengthCoder
from diffcodec.coding.options import DecompressionSettings, as_integer
from diffcodec.coding.report import Bitstream
from diffcodec.coding.step_coding import IncomingPayload
from diffcodec.config import DEFAULT_MAX_PIXELS
from diffcodec.errors import (
    ConfigError,
    CorruptStreamError,
    TruncatedStreamError,
    WrongTypeError,
    kind_of,
    naming_stream,
)
from diffcodec.images import decode_alpha
from diffcodec.images.metadata import Metadata
from diffcodec.lossless.payload import LosslessPayload
from diffcodec.model.levels import Level
from diffcodec.model.tables import CodecTables

Data = bytes | bytearray | memoryview
"""The bytes of a .dfc file."""


@dataclass(frozen=True)
class ParsedStream:
    """A .dfc file, read once, with its checksums checked.

    Args:
        reading: content of the file, as far as it is intact.
        name: of the stream, for messages.
        max_pixels: limit with which it was read.
        file_bytes: length of the file.
    """

    reading: Reading
    name: str
    max_pixels: int
    file_bytes: int

    @classmethod
    def parse(
        cls, data: Data, *, partial: bool = False, max_pixels: int = DEFAULT_MAX_PIXELS, name: str = "the stream"
    ) -> ParsedStream:
        """Read a file.

        Args:
            data: its bytes.
            partial: accept a file that is cut or damaged, as far as it is intact.
            max_pixels: refuse larger pictures.
            name: of the file, for messages.

        Raises:
            StreamError: if it is not a .dfc file, or damaged or cut (without `partial`, or inside its header).
            ConfigError: if an argument is of a wrong type.
        """
        data, max_pixels = _as_bytes(data), as_integer("max_pixels", max_pixels, least=1)
        reading = read_partial(data, max_pixels=max_pixels, name=name)
        if not partial:
            reading.check(name)
        return cls(reading, name, max_pixels, len(data))

    @property
    def container(self) -> Container:
        """The file's content."""
        return self.reading.container

    @property
    def header(self) -> Header:
        """The file's header."""
        return self.container.header

    @property
    def is_complete(self) -> bool:
        """Whether the whole payload is there."""
        return self.reading.complete

    @cached_property
    def lossless(self) -> LosslessPayload | None:
        """The parsed payload of a stream for t = 0; None for other streams.

        Raises:
            StreamError: if it is malformed.
        """
        if self.header.timestep != 0:
            return None
        with naming_stream(self.name):
            try:
                return LosslessPayload.from_bytes(self.container.payload)
            except TruncatedStreamError as error:
                if self.is_complete:  # nothing is missing from the file, so it was written too short
                    raise CorruptStreamError(str(error)) from error
                raise

    @property
    def is_from_lossless(self) -> bool:
        """Whether the stream is lossless (t = 0), or was shortened from such a one."""
        origin = self.header.shortened
        return self.header.timestep == 0 or (origin is not None and origin.timestep == 0)

    @property
    def is_stored(self) -> bool:
        """Whether the payload is a picture in a plain lossless format, without steps."""
        return self.lossless is not None and self.lossless.stored is not None

    @property
    def batch_key(self) -> Hashable:
        """Streams with equal keys visit the same levels with the same shared noise, and can be restored together."""
        lossless = self.lossless
        return self.header, lossless and (lossless.steps, lossless.stored)

    @property
    def alpha(self) -> NDArray[np.uint8] | None:
        """The alpha plane, (H, W).

        Raises:
            StreamError: if it is malformed.
        """
        if self.container.alpha is None:
            return None
        with naming_stream(self.name):
            return decode_alpha(self.container.alpha, self.header.width, self.header.height)

    @property
    def metadata(self) -> Metadata:
        """Colour profile and EXIF.

        Raises:
            StreamError: if they are malformed.
        """
        if self.container.metadata is None:
            return Metadata()
        with naming_stream(self.name):
            return Metadata.from_bytes(self.container.metadata)

    def open_payload(self, tables: CodecTables) -> IncomingPayload:
        """A reader at the start of the entropy-coded part of the payload."""
        body = self.container.payload if self.lossless is None else self.lossless.body
        reader = SymbolReader(body) if self.is_complete else PrefixReader(body)
        return IncomingPayload(self.name, LengthCoder(tables.length_weights), reader)

    def stops(self, tables: CodecTables) -> list[Level]:
        """The levels that the stream visits.

        Raises:
            CorruptStreamError: if the model's list has fewer.
        """
        levels = tables.lists[self.header.level_list]
        if self.header.shortened is not None:
            steps = self.header.shortened.steps
        elif self.lossless is not None:
            steps = self.lossless.steps
        else:
            return levels.steps_to(tables.level(self.header.timestep))
        if steps > len(levels.levels):
            raise CorruptStreamError(f"{self.name} is damaged: it claims {steps} steps")
        return list(levels.levels[:steps])

    def steps_until(self, timestep: int | None, tables: CodecTables) -> int | None:
        """Number of steps up to the last level that is not finer than a timestep; None for the stream's own end.

        Raises:
            ConfigError: if the stream ends before the timestep, or stores its picture as a whole.
        """
        if timestep is None or (timestep == self.header.timestep and self.header.shortened is None):
            return None
        if self.is_stored:
            raise ConfigError(f"{self.name} stores its picture without the model: it has no coarser version")
        finest = self.header.timestep
        if 0 <= timestep < finest:
            raise ConfigError(f"timestep {timestep} is finer than {self.name}, which ends at {finest}")
        wanted = tables.level(timestep)
        return sum(level.log_snr <= wanted.log_snr for level in self.stops(tables))


Stream = ParsedStream | Bitstream | Data
"""A compressed picture: a result of `compress`, the bytes of a .dfc file, or a parsed stream."""


def is_stream(value: object) -> bool:
    """Whether a value is a single stream."""
    return isinstance(value, ParsedStream | Bitstream | Data)


def parsed(stream: Stream, settings: DecompressionSettings, name: str = "the stream") -> ParsedStream:
    """A stream, parsed unless it is already.

    Args:
        stream: in any form.
        settings: how to read it, if it is not parsed yet.
        name: of the stream, for messages.

    Raises:
        StreamError, ConfigError: as `ParsedStream.parse`.
    """
    if isinstance(stream, ParsedStream):
        return stream
    data = stream.data if isinstance(stream, Bitstream) else stream
    return ParsedStream.parse(data, partial=settings.partial, max_pixels=settings.max_pixels, name=name)


def _as_bytes(data: Any) -> bytes:
    """The bytes of a file.

    Raises:
        WrongTypeError: if they are of another type.
    """
    if isinstance(data, Data):
        return bytes(data)
    hint = ""
    if isinstance(data, PurePath):
        hint = ": pass path.read_bytes()"
    elif isinstance(data, str):
        hint = ": pass Path(name).read_bytes()"
    elif hasattr(data, "read"):
        hint = ": pass file.read()"
    raise WrongTypeError(f"expected the bytes of a .dfc file, found {kind_of(data)}{hint}")
