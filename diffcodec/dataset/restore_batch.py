"""Restores the .dfc files of a batch of columns."""

from __future__ import annotations

import io
from collections.abc import Hashable, Sequence
from typing import TYPE_CHECKING, Any, Unpack

from diffcodec.coding.options import DecompressionSettings, DecompressOptions, checked_settings
from diffcodec.coding.stream import ParsedStream
from diffcodec.dataset.attempts import Failed, alike, attempt, failure
from diffcodec.dataset.batch_callable import BatchCallable, options_in
from diffcodec.dataset.columns import Columns, bytes_of
from diffcodec.errors import WrongTypeError, kind_of
from diffcodec.images import check_mode, write_picture

if TYPE_CHECKING:
    from pathlib import Path

    from diffcodec.codec import DiffusionCodec
    from diffcodec.coding.report import Restoration
    from diffcodec.config import Precision

EMPTY: dict[str, Any] = {"error": "", "width": 0, "height": 0, "mode": "", "timestep": 0.0, "verified": False}
"""The columns that are added beside the pictures, with the values of a row that failed."""


class RestoreBatch(BatchCallable):
    """A callable from a batch of columns to a batch of columns, which holds the networks.

    Construct it once a worker. A pickled one holds its options only; unpickling it loads the network again.

    A call returns the columns of the batch but that of the files, and adds: the pictures; `error`, why there is
    none, else empty; `width`, `height`, `mode`, `timestep` and `verified`, as in a `Restoration`. Files of one size
    that end at one level go through the network together, at most 16; the pictures do not depend on that.

    Args:
        dfc: column of the .dfc files, bytes.
        image: column of the pictures that is added.
        name: column of the files' names, for messages; it may be missing.
        format: of the pictures: PNG, TIFF, WEBP and so on as for `write_picture`, or `array` for uint8 arrays
            (H, W, 3) or (H, W), without an alpha plane. A row that failed has empty bytes, or None.
        model: as for `load_checkpoint`; None: the bundled one that made each file.
        allow_pickle: see `load_checkpoint`.
        device, precision: see `DiffusionCodec`.
        threads: number of threads of a call; None: as many as the process may use.
        options: see `DecompressionSettings`.

    Raises:
        ConfigError, CheckpointError: as `DiffusionCodec.from_pretrained` and `DecompressionSettings`.
        ImageError: if there is no such format.
    """

    def __init__(
        self,
        *,
        dfc: str = "dfc",
        image: str = "image",
        name: str = "name",
        format: str = "PNG",
        model: str | Path | None = None,
        allow_pickle: bool = False,
        device: str = "cpu",
        precision: Precision = "auto",
        threads: int | None = 1,
        **options: Unpack[DecompressOptions],
    ) -> None:
        super().__init__(options_in(locals()), name=name, threads=threads, device=device, precision=precision)
        self.dfc, self.image, self.format = dfc, image, format
        self.options: DecompressOptions = options
        self.settings = checked_settings(DecompressionSettings, options)
        if format != "array":
            check_mode("RGB", format)
        self._codecs: dict[bytes, DiffusionCodec] = {}
        self._codec: DiffusionCodec | None = None
        if model is not None:
            from diffcodec.codec import DiffusionCodec

            self._codec = DiffusionCodec.from_pretrained(model, allow_pickle=allow_pickle, **self._evaluation)

    def __call__(self, batch: Columns) -> dict[str, Sequence[Any]]:
        """Restore the files of a batch.

        Raises:
            ConfigError: if the batch has no column of files. Whatever is wrong with a file is in its row.
        """
        return self._changed(batch, self.dfc, "dfc", (self.image, *EMPTY))

    def _rows(self, values: Sequence[Any], called: Sequence[str]) -> list[dict[str, Any]]:
        rows: dict[int, dict[str, Any]] = {}
        streams: dict[int, ParsedStream] = {}
        for place, (value, name) in enumerate(zip(values, called, strict=True)):
            try:
                streams[place] = self._read(value, name)
            except Exception as error:  # whatever is wrong with a file is in its row
                rows[place] = self._failed(failure(error))

        def restore(places: Sequence[int]) -> list[dict[str, Any]]:
            return self._restore([streams[place] for place in places])

        keys: dict[int, Hashable] = {
            place: stream.batch_key if stream.is_complete else None for place, stream in streams.items()
        }
        for group in alike(keys, {place: stream.header.pixels for place, stream in streams.items()}):
            for place, outcome in attempt(restore, group, raise_bugs=self._raises_bugs).items():
                rows[place] = self._failed(outcome) if isinstance(outcome, Failed) else outcome
        return [rows[place] for place in range(len(values))]

    def _read(self, value: Any, name: str) -> ParsedStream:
        if (data := bytes_of(value)) is None:
            raise WrongTypeError(f"{name}: expected the bytes of a .dfc file, found {kind_of(value)}")
        settings = self.settings
        stream = ParsedStream.parse(data, partial=settings.partial, max_pixels=settings.max_pixels, name=name)
        _ = stream.batch_key  # its payload is parsed here, where a failure is that of this file alone
        return stream

    def _restore(self, streams: Sequence[ParsedStream]) -> list[dict[str, Any]]:
        codec = self._codec or self._bundled(streams[0])
        return [self._row(each) for each in codec.decompress_batch(streams, **self.options)]

    def _bundled(self, stream: ParsedStream) -> DiffusionCodec:
        from diffcodec.codec import DiffusionCodec

        fingerprint = stream.header.fingerprint
        if fingerprint not in self._codecs:
            self._codecs[fingerprint] = DiffusionCodec.for_stream(stream, **self._evaluation)
        return self._codecs[fingerprint]

    def _row(self, restored: Restoration) -> dict[str, Any]:
        picture = restored.picture
        figures = {"width": picture.width, "height": picture.height, "mode": picture.mode}
        figures |= {"timestep": float(restored.timestep), "verified": restored.verified}
        if self.format == "array":
            return {**EMPTY, **figures, self.image: picture.pixels}
        file = io.BytesIO()
        write_picture(picture, file, self.format)
        return {**EMPTY, **figures, self.image: file.getvalue()}

    def _failed(self, outcome: Failed) -> dict[str, Any]:
        return {**EMPTY, self.image: None if self.format == "array" else b"", "error": outcome.error}
