"""What a page shows of a stream: the pictures of its prefixes, as data URIs, with their sizes and errors."""

from __future__ import annotations

import base64
import io
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import chain, pairwise

from diffcodec.bitstream.container import StreamInfo
from diffcodec.compression import psnr_db, squared_error
from diffcodec.errors import ImageError
from diffcodec.images import Picture, picture_to_pil
from diffcodec.lossless.stored import MAX_WEBP_SIDE
from diffcodec.results import Preview

LOSSLESS_PIXELS = 1 << 23
"""Most pixels, of all pictures together, that a page holds without loss: some 12 MB of photographs."""

LOSSY_PIXELS = 100_000_000
"""Most pixels that a page holds at all, unless that left fewer than `FEWEST_FRAMES`: some 40 MB."""

FEWEST_FRAMES = 4

LOSSY_QUALITY = 95
"""Of lossy WebP: some 40 dB against what was restored."""

Progress = Callable[[int, int], None]
"""Takes the steps done, and all steps."""


@dataclass(frozen=True)
class Frame:
    """What one prefix of a stream restores.

    Args:
        step: number of steps in the prefix.
        timestep: the noise level t that it ends at.
        file_bytes: of a file that ends there.
        psnr_db: against the original, infinite if it is exact; None without an original.
        source: the picture, as a data URI.
    """

    step: int
    timestep: float
    file_bytes: int
    psnr_db: float | None
    source: str


@dataclass(frozen=True)
class Inlining:
    """How pictures get into a page, so that it stays small enough to be opened.

    Args:
        lossless: whether as lossless WebP (PNG, where that is too small), or as WebP of `LOSSY_QUALITY`.
        count: most frames that are shown.
    """

    lossless: bool
    count: int

    @classmethod
    def of(cls, width: int, height: int, steps: int, *, with_original: bool) -> Inlining:
        """For frames of so many pixels after each of so many steps, and an original of the same size."""
        pixels, others = width * height, int(with_original)
        lossless = max(width, height) > MAX_WEBP_SIDE or (steps + others) * pixels <= LOSSLESS_PIXELS
        return cls(lossless, min(steps, max(FEWEST_FRAMES, LOSSY_PIXELS // pixels - others)))

    def steps(self, steps: int) -> set[int]:
        """The steps whose frames are shown: evenly spaced, the last one among them."""
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
    """All that a page shows of a stream.

    Args:
        frames: from coarse to fine.
        original: as a data URI, if there is one.
        inlining: how the pictures were made data URIs.
        steps: number of steps in the stream.
        problem: what is wrong with the stream, to follow its name; None if nothing is.
        verified: whether checksums vouch for all that the pictures are made of.
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
    previews: Iterable[Preview],
    info: StreamInfo,
    original: Picture | None,
    progress: Progress = lambda done, steps: None,
) -> Views:
    """Make the frames of a page; pictures that it does not show are dropped as they come.

    Args:
        previews: from coarse to fine, at least one.
        info: the stream's lengths.
        original: of the size and colours of the previews.
        progress: is told of every step.
    """
    header = info.header
    frames: list[Frame] = []
    for preview, is_last in mark_last(previews):
        inlining = Inlining.of(header.width, header.height, preview.steps, with_original=original is not None)
        if is_last or preview.step in inlining.steps(preview.steps):
            error = None if original is None else squared_error(original.pixels, preview.picture.pixels)
            frames.append(
                Frame(
                    preview.step, preview.timestep, prefix_bytes(preview, info),
                    None if error is None else psnr_db(error), inlining.source(preview.picture),
                )
            )  # fmt: skip
        progress(preview.step, preview.steps)
    return Views(
        tuple(frames), None if original is None else inlining.source(original), inlining, preview.steps,
        preview.problem, preview.verified, preview.picture.mode,
    )  # fmt: skip


def prefix_bytes(preview: Preview, info: StreamInfo) -> int:
    """Size of a file that ends after a preview's step: with header, packets and checksums, as all files have."""
    if preview.step == preview.steps:
        return info.total_bytes
    return replace(info, payload_bytes=-(-int(preview.payload_bits) // 8)).laid_out().total_bytes


def check_original(original: Picture, info: StreamInfo, *, name: str, original_name: str) -> None:
    """Whether a picture can be the one that a stream was made from.

    Raises:
        ImageError: if it has another size, or is in colour where the stream is grey.
    """
    header = info.header
    expected = f"{header.width} x {header.height} {header.colour.name}"
    colour = original.mode.removesuffix("A")
    if (original.width, original.height, colour) != (header.width, header.height, header.colour.name):
        raise ImageError(
            f"{original_name}: expected {expected}, the size and colours of {name}, found {original.width} x "
            f"{original.height} {colour} (turned upright): pass the picture that the file was made from"
        )


def mark_last(previews: Iterable[Preview]) -> Iterator[tuple[Preview, bool]]:
    """Every preview, and whether it is the last: a cut stream has fewer than it says."""
    for preview, following in pairwise(chain(previews, [None])):
        assert preview is not None
        yield preview, following is None


def data_uri(picture: Picture, file_format: str, **options: object) -> str:
    """A picture, in a format of Pillow's with its options, as a data URI.

    Its colour profile goes along: the browser shows, and compares, what other programs show.
    """
    buffer = io.BytesIO()
    picture_to_pil(picture).save(buffer, file_format, icc_profile=picture.metadata.icc_profile, **options)
    return f"data:image/{file_format.lower()};base64,{base64.b64encode(buffer.getvalue()).decode()}"
