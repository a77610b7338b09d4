"""What the codec returns: bitstreams with their reports, restorations, times."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from diffcodec.files import atomic_write
from diffcodec.images import Picture, to_pil, to_planes

if TYPE_CHECKING:
    from PIL.Image import Image
    from torch import Tensor


@dataclass
class Stopwatch:
    """Seconds spent in the network and in everything else.

    Args:
        network_s, coding_s: both.
        evaluated: is called during evaluations of the network, with the share that is done.
    """

    network_s: float = 0.0
    coding_s: float = 0.0
    evaluated: Callable[[float], None] = field(default=lambda share: None)

    @contextmanager
    def network(self) -> Iterator[None]:
        """Adds the time spent inside to `network_s`."""
        start = time.perf_counter()
        yield
        self.network_s += time.perf_counter() - start

    @contextmanager
    def coding(self) -> Iterator[None]:
        """Adds the time spent inside to `coding_s`."""
        start = time.perf_counter()
        yield
        self.coding_s += time.perf_counter() - start

    def share(self, pictures: int) -> Stopwatch:
        """The times divided by the number of pictures of a batch."""
        return Stopwatch(self.network_s / pictures, self.coding_s / pictures)


@dataclass(frozen=True)
class StepReport:
    """One step of a picture. Sums over the steps are the figures of its `Report`.

    Args:
        timestep: t of the level that the step leads to; may be fractional.
        log_snr: of that level, in nats.
        ideal_bits: KL divergence of q(x_s | x_t, x_0) from p(x_s | x_t).
        delivered_bits: information that arrived, log2 q/p at the sample sent.
        path_bits, side_bits: cost of the sample, and of the lengths of its messages.
        network_s, coding_s: the picture's share of its batch's seconds.
    """

    timestep: float
    log_snr: float
    ideal_bits: float
    delivered_bits: float
    path_bits: float
    side_bits: float
    network_s: float
    coding_s: float


@dataclass(frozen=True)
class Report:
    """Size, distortion and cost of one compressed picture.

    Rates count the whole file: `bpd` in bits per subpixel, `bpp` in bits per pixel. Header, payload, alpha plane and
    metadata add up to the file's bytes. Times are the picture's share of its batch's.

    Args:
        width, height, mode: of the picture, in pixels.
        timestep: at which the file ends.
        steps: a row for every step.
        channel, effort: of the channel simulation.
        file_bytes, header_bytes, alpha_bytes, metadata_bytes: of the file, its header with checksums, its alpha plane,
            and its colour profile and EXIF block.
        ideal_bits: sum of the KL divergences at the states visited.
        delivered_bits: information that arrived, log2 q/p at the samples sent.
        path_bits, side_bits: cost of the samples, and of the lengths of the steps.
        residual_bits: cost of the exact pixels at t = 0; for a stored picture, which has no steps, of everything.
        psnr_db, rmse: of the `mean` reconstruction, in dB and grey levels; NaN if they were not measured.
        ceiling_psnr_db: of a latent model's autoencoder alone; None for models of pixels.
        network_s, coding_s: seconds in the network, and in everything else.
    """

    width: int
    height: int
    mode: str
    timestep: int
    steps: tuple[StepReport, ...]
    channel: str
    effort: int
    file_bytes: int
    header_bytes: int
    alpha_bytes: int
    side_bits: float
    path_bits: float
    ideal_bits: float
    delivered_bits: float
    residual_bits: float
    bpd: float
    bpp: float
    psnr_db: float
    rmse: float
    network_s: float
    coding_s: float
    metadata_bytes: int = 0
    ceiling_psnr_db: float | None = None


@dataclass(frozen=True)
class Bitstream:
    """A compressed picture: the bytes of a .dfc file, and the encoder's report on it."""

    data: bytes = field(repr=False)
    report: Report

    def __bytes__(self) -> bytes:
        return self.data

    def save(self, path: str | Path, *, overwrite: bool = True) -> None:
        """Write the file atomically.

        Raises:
            ConfigError: if it exists and `overwrite` is false, or cannot be written.
        """
        with atomic_write(Path(path), overwrite=overwrite) as file:
            file.write(self.data)


@dataclass(frozen=True)
class Restoration:
    """A picture restored from a stream or a prefix of it.

    Args:
        picture: the restored picture.
        step: number of steps received.
        steps: number of steps in the stream.
        timestep: the timestep reached; may be fractional.
        payload_bits: information received so far.
        verified: whether checksums cover all data that the picture is made from.
        reconstruction: how the picture was made from the noisy state: `mean`, `mirrored`, `short-flow`, `flow` or
            `ancestral`;
            `exact` if the stream holds the exact pixels (t = 0).
        problem: what is wrong with the stream, to follow its name, such as `is cut: ...`; None if nothing is.
        network_s, coding_s: the picture's share of the seconds that its batch has spent so far in the network and in
            everything else.
    """

    picture: Picture
    step: int
    steps: int
    timestep: float
    payload_bits: float
    verified: bool = True
    reconstruction: str = "mean"
    problem: str | None = None
    network_s: float = 0.0
    coding_s: float = 0.0

    @property
    def pixels(self) -> NDArray[np.uint8]:
        """Pixels of the picture, uint8, (H, W, 3) or (H, W)."""
        return self.picture.pixels

    def to_pil(self) -> Image:
        """The picture as a Pillow image: RGB, L, RGBA or LA; `info` holds colour profile and EXIF block, if any."""
        return to_pil(self.picture)

    def to_tensor(self) -> Tensor:
        """The picture as a float32 tensor in [0, 1], without its alpha plane: (3, H, W), or (1, H, W) if grey."""
        import torch  # files are described without it

        return torch.from_numpy(to_planes(self.picture))
