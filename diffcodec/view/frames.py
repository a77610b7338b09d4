"""The frames of a page: restorations of a stream's prefixes as data URIs, with sizes and errors."""

from __future__ import annotations

import base64
import io
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import chain, pairwise

from diffcodec.bitstream.container import StreamInfo
from diffcodec.coding.report import Restoration
from diffcodec.errors import ImageError
from diffcodec.images import Picture, picture_to_pil
from diffcodec.images.error import psnr_db, squared_error
from diffcodec.lossless.stored import MAX_WEBP_SIDE

LOSSLESS_PIXELS = 1 << 23
"""Most pixels, over all pictures, that a page holds losslessly: about 12 MB of photographs."""

LOSSY_PIXELS = 100_000_000
"""Most pixels that a page holds, unless that allows fewer than `FEWEST_FRAMES`: about 40 MB."""

FEWEST_FRAMES = 4

LOSSY_QUALITY = 95
"""Quality of lossy WebP: about 40 dB relative to the restored picture."""

Progress = Callable[[int, int], None]
"""Called with the number of steps done, and of all steps."""


@dataclass(frozen=True)
class Frame:
    """The restoration of one prefix of a stream.

    Args:
        step: number of steps in the prefix.
        timestep: the noise level t at its end.
        file_bytes: size of a file with this prefix.
        psnr_db: relative to the original, infinite if it is exact; None without an original.
        source: the picture, as a data URI.
    """

    step: int
    timestep: float
    file_bytes: int
    psnr_db: float | None
    source: str


@dataclass(frozen=True)
class Inlining:
    """How pictures are embedded, so that the page stays small enough to open.

    Args:
        lossless: whether as lossless WebP (PNG if the picture is too large for WebP), or as WebP of `LOSSY_QUALITY`.
        count: largest number of frames to show.
    """

    lossless: bool
    count: int

    @classmethod
    def of(cls, width: int, height: int, steps: int, *, with_original: bool) -> Inlining:
        """Choose for `steps` frames of width x height pixels, and an original of the same size."""
        pixels, others = width * height, int(with_original)
        lossless = max(width, height) > MAX_WEBP_SIDE or (steps + others) * pixels <= LOSSLESS_PIXELS
        return cls(lossless, min(steps, max(FEWEST_FRAMES, LOSSY_PIXELS // pixels - others)))

    def steps(self, steps: int) -> set[int]:
        """The steps whose frames are shown: evenly spaced, including the last one."""
        return {round(steps * place / self.count) for place in range(1, self.count + 1)}

    def source(self, picture: Picture) -> str:
        """A picture as a data URI."""
        if max(picture.width, picture.height) > MAX_WEBP_SIDE:
            return data_uri(picture, "PNG")
        if self.lossless:
            return data_uri(picture, "WEBP", lossless=True, exact=True)
        return data_uri(picture, "WEBP", quality=LOSSY_QUALITY)


@dataclass(frozen=True)
class Views:
    """Everything that a page shows of a stream.

    Args:
        frames: from coarse to fine.
        original: as a data URI, if there is one.
        inlining: how the pictures were embedded.
        steps: number of steps in the stream.
        problem: what is wrong with the stream, to follow its name; None if nothing is.
        verified: whether checksums cover all data that the pictures are made from.
        mode: of the pictures: RGB, L, RGBA or LA.
    """

    frames: tuple[Frame, ...]
    original: str | None
    inlining: Inlining
    steps: int
    problem: str | None
    verified: bool
    mode: str


def collect_views(
    restorations: Iterable[Restoration],
    info: StreamInfo,
    original: Picture | None,
    progress: Progress = lambda done, steps: None,
) -> Views:
    """Make the frames of a page; pictures that it does not show are discarded immediately.

    Args:
        restorations: from coarse to fine, at least one.
        info: the stream's lengths.
        original: of the size and colours of the restorations.
        progress: called after every step.
    """
    header = info.header
    frames: list[Frame] = []
    for restoration, is_last in mark_last(restorations):
        inlining = Inlining.of(header.width, header.height, restoration.steps, with_original=original is not None)
        if is_last or restoration.step in inlining.steps(restoration.steps):
            error = None if original is None else squared_error(original.pixels, restoration.picture.pixels)
            frames.append(
                Frame(
                    restoration.step,
                    restoration.timestep,
                    prefix_bytes(restoration, info),
                    None if error is None else psnr_db(error),
                    inlining.source(restoration.picture),
                )
            )
        progress(restoration.step, restoration.steps)
    return Views(
        tuple(frames),
        None if original is None else inlining.source(original),
        inlining,
        restoration.steps,
        restoration.problem,
        restoration.verified,
        restoration.picture.mode,
    )


def prefix_bytes(restoration: Restoration, info: StreamInfo) -> int:
    """Size of a file that ends after a restoration's step, including header, packets and checksums."""
    if restoration.step == restoration.steps:
        return info.total_bytes
    return replace(info, payload_bytes=-(-int(restoration.payload_bits) // 8)).laid_out().total_bytes


def check_original(original: Picture, info: StreamInfo, *, name: str, original_name: str) -> None:
    """Check that a picture can be the original of a stream.

    Raises:
        ImageError: if it has another size, or is in colour although the stream is grey.
    """
    header = info.header
    expected = f"{header.width} x {header.height} {header.colour.name}"
    colour = original.mode.removesuffix("A")
    if (original.width, original.height, colour) != (header.width, header.height, header.colour.name):
        raise ImageError(
            f"{original_name}: expected {expected}, the size and colours of {name}, found {original.width} x "
            f"{original.height} {colour} (turned upright): pass the original of the file"
        )


def mark_last(restorations: Iterable[Restoration]) -> Iterator[tuple[Restoration, bool]]:
    """Every restoration, and whether it is the last one, because a cut stream has fewer than it declares."""
    for restoration, following in pairwise(chain(restorations, [None])):
        assert restoration is not None
        yield restoration, following is None


def data_uri(picture: Picture, file_format: str, **options: object) -> str:
    """A picture as a data URI, in a format of Pillow with options.

    Includes its colour profile, so that the browser shows the same colours as other programs.
    """
    buffer = io.BytesIO()
    picture_to_pil(picture).save(buffer, file_format, icc_profile=picture.metadata.icc_profile, **options)
    return f"data:image/{file_format.lower()};base64,{base64.b64encode(buffer.getvalue()).decode()}"
