"""Compresses the pictures of a batch of columns, for Ray Data, Spark, Hugging Face datasets and the like."""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Unpack

from diffcodec.coding.options import CompressionSettings, CompressOptions, checked_settings
from diffcodec.dataset.attempts import Failed, alike, attempt, failure
from diffcodec.dataset.batch_callable import BatchCallable, options_in
from diffcodec.dataset.columns import Columns, as_file, as_pixels, bytes_of
from diffcodec.images import Keep, Picture, as_picture, read_picture

if TYPE_CHECKING:
    from pathlib import Path

    from diffcodec.codec import DiffusionCodec
    from diffcodec.coding.report import Bitstream
    from diffcodec.config import Precision

Size = tuple[int, int, str]
"""Width, height and mode of a picture."""

Compressed = tuple[Picture, "Bitstream"]

EMPTY: dict[str, Any] = {
    "dfc": b"",
    "error": "",
    "width": 0,
    "height": 0,
    "mode": "",
    "timestep": 0,
    "steps": 0,
    "file_bytes": 0,
    "bpp": math.nan,
    "psnr_db": math.nan,
    "notes": "",
    "network_s": 0.0,
    "coding_s": 0.0,
}
"""The columns that are added, with the values of a row that failed."""


class CompressBatch(BatchCallable):
    """A callable from a batch of columns to a batch of columns, which holds the network.

    Construct it once a worker. A pickled one holds its options only; unpickling it loads the network again.

    A call returns the columns of the batch but that of the pictures, and adds: `dfc`, the file; `error`, why there is
    none, else empty; `width`, `height`, `mode`, `timestep`, `steps`, `file_bytes`, `bpp`, `psnr_db` (NaN unless
    `measure`), `network_s` and `coding_s` as in the codec's `Report`; and `notes` on conversions of the picture.
    Pictures are bytes of a file, Pillow images, uint8 arrays (H, W, 3), (H, W, 1) or (H, W), or Hugging Face's
    {bytes, path}. Those of one size and mode go through the network together, at most 16. The last bits of a
    network's output depend on that company, so equal files need equal batches.

    Args:
        image: column of the pictures.
        name: column of their names, for messages; it may be missing.
        model: as for `load_checkpoint`; None: for each picture the bundled one for its size.
        allow_pickle: see `load_checkpoint`.
        device, precision: see `DiffusionCodec`.
        threads: number of threads of a call; None: as many as the process may use.
        first_frame: see `read_picture`.
        keep: see `read_picture`; None: `meaning` for lossless files, else `nothing`.
        options: see `CompressionSettings`. `measure` is off unless given.

    Raises:
        ConfigError, CheckpointError: as `DiffusionCodec.from_pretrained` and `CompressionSettings`.
    """

    def __init__(
        self,
        *,
        image: str = "image",
        name: str = "name",
        model: str | Path | None = None,
        allow_pickle: bool = False,
        device: str = "cpu",
        precision: Precision = "auto",
        threads: int | None = 1,
        first_frame: bool = False,
        keep: Keep | None = None,
        **options: Unpack[CompressOptions],
    ) -> None:
        super().__init__(options_in(locals()), name=name, threads=threads, device=device, precision=precision)
        self.image, self.model, self.first_frame = image, model, first_frame
        self.options: CompressOptions = {"measure": False, **options}
        self.settings = checked_settings(CompressionSettings, self.options)
        lossless: Keep = "meaning" if options.get("timestep") == 0 else "nothing"
        self.keep = lossless if keep is None else keep
        self._codecs: dict[str, DiffusionCodec] = {}
        if model is not None:
            self._load(str(model), allow_pickle)

    def __call__(self, batch: Columns) -> dict[str, Sequence[Any]]:
        """Compress the pictures of a batch.

        Raises:
            ConfigError: if the batch has no column of pictures. Whatever is wrong with a picture is in its row.
        """
        return self._changed(batch, self.image, "image", EMPTY)

    def _rows(self, values: Sequence[Any], called: Sequence[str]) -> list[dict[str, Any]]:
        sizes = {place: self._peek(value) for place, value in enumerate(values)}
        found: dict[int, Compressed | Failed] = {}
        # Read group by group: the pictures of a whole batch may need more memory than there is.
        for group in self._alike(sizes):
            found |= self._read_and_compress({place: (values[place], called[place]) for place in group})
        return [_row(found[place]) for place in range(len(values))]

    def _read_and_compress(self, named: Mapping[int, tuple[Any, str]]) -> dict[int, Compressed | Failed]:
        """The outcomes of pictures that seem to be alike, each with its name."""
        found: dict[int, Compressed | Failed] = {}
        pictures: dict[int, Picture] = {}
        for place, (value, name) in named.items():
            try:
                pictures[place] = self._read(value, name)
            except Exception as error:  # any library may fail at a picture, with any exception
                found[place] = failure(error)

        def compress(places: Sequence[int]) -> list[Compressed]:
            members = [pictures[place] for place in places]
            codec = self._codec_for(members[0])
            return list(zip(members, codec.compress_batch(members, **self.options), strict=True))

        sizes = {place: (each.width, each.height, each.mode) for place, each in pictures.items()}
        for group in self._alike(sizes):
            found |= attempt(compress, group, raise_bugs=self._raises_bugs)
        return found

    def _alike(self, sizes: Mapping[int, Size]) -> list[list[int]]:
        """A search for a target takes other steps for every picture, and lossless files depend on last bits."""
        alone = self.settings.goal is not None or self.settings.end == 0
        keys = {place: None if alone or not size[0] else size for place, size in sizes.items()}
        return alike(keys, {place: width * height for place, (width, height, _) in sizes.items()})

    def _peek(self, value: Any) -> Size:
        """Width, height and mode of a picture before it is decoded; zeros if they are unknown: reading says why."""
        from PIL import Image

        try:
            if (data := bytes_of(value)) is None:
                picture = as_picture(as_pixels(value))
                return picture.width, picture.height, picture.mode
            with warnings.catch_warnings(action="ignore"), Image.open(as_file(data, "")) as image:
                return *image.size, image.mode
        except Exception:  # Pillow raises almost anything
            return 0, 0, ""

    def _read(self, value: Any, name: str) -> Picture:
        if (data := bytes_of(value)) is None:
            return as_picture(as_pixels(value))
        return read_picture(as_file(data, name), first_frame=self.first_frame, keep=self.keep)

    def _codec_for(self, picture: Picture) -> DiffusionCodec:
        from diffcodec.model.locations import default_model

        name = default_model(picture.width, picture.height) if self.model is None else str(self.model)
        return self._codecs.get(name) or self._load(name)

    def _load(self, name: str, allow_pickle: bool = False) -> DiffusionCodec:
        from diffcodec.codec import DiffusionCodec

        codec = DiffusionCodec.from_pretrained(name, allow_pickle=allow_pickle, **self._evaluation)
        self._codecs[name] = codec
        return codec


def _row(outcome: Compressed | Failed) -> dict[str, Any]:
    if isinstance(outcome, Failed):
        return {**EMPTY, "error": outcome.error}
    picture, stream = outcome
    report = stream.report
    figures = {name: getattr(report, name) for name in EMPTY if hasattr(report, name)}
    return {**EMPTY, **figures, "dfc": stream.data, "steps": len(report.steps), "notes": "; ".join(picture.notes)}
