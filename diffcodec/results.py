"""What the codec returns: bitstreams with their reports, previews, times."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from diffcodec.files import atomic_write
from diffcodec.images import Picture


@dataclass
class Stopwatch:
    """Seconds spent in the network and in everything else."""

    network_s: float = 0.0
    coding_s: float = 0.0

    @contextmanager
    def network(self) -> Iterator[None]:
        """Counts the time inside as the network's."""
        start = time.perf_counter()
        yield
        self.network_s += time.perf_counter() - start

    @contextmanager
    def coding(self) -> Iterator[None]:
        """Counts the time inside as the coding's."""
        start = time.perf_counter()
        yield
        self.coding_s += time.perf_counter() - start


@dataclass(frozen=True)
class Report:
    """What became of one picture.

    Rates are of the whole file: `bpd` per subpixel, `bpp` per pixel. `ideal_bits` is the sum of the KL
    divergences at the states really visited, `delivered_bits` the information that arrived (log2 q/p at the
    samples sent), `path_bits` and `side_bits` what was paid for samples and for step lengths, `residual_bits` what the
    pixels themselves cost at t = 0 (all of a stored picture, which has no steps). `header_bytes` counts the checksums,
    too, so that header, payload, alpha plane and metadata make up the file. Seconds are shares of a batch's.
    """

    width: int
    height: int
    mode: str
    timestep: int
    steps: int
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
    network_seconds: float
    coding_seconds: float
    metadata_bytes: int = 0


@dataclass(frozen=True)
class Bitstream:
    """A compressed picture: the bytes of a .dfc file, and what the encoder has to say about them."""

    data: bytes = field(repr=False)
    report: Report

    def __bytes__(self) -> bytes:
        return self.data

    def save(self, path: str | Path, *, overwrite: bool = False) -> None:
        """Write the file, whole or not at all.

        Raises:
            ConfigError: if it exists and `overwrite` is not set, or cannot be written.
        """
        with atomic_write(Path(path), overwrite=overwrite) as file:
            file.write(self.data)


@dataclass(frozen=True)
class Preview:
    """What a prefix of a stream restores.

    Args:
        picture: the restored picture.
        step: number of steps received.
        steps: number of steps in the stream.
        timestep: the schedule's timestep reached, fractional between integers.
        payload_bits: information received so far.
        verified: whether checksums vouch for everything that the picture may be made of.
        decoder: what made the picture of the noisy state: `mean`, `flow` or `ancestral`; `exact` if nothing had to,
            because the pixels themselves were sent (t = 0).
        problem: what is wrong with the stream, to follow its name, such as `is cut: ...`; None if nothing is.
    """

    picture: Picture
    step: int
    steps: int
    timestep: float
    payload_bits: float
    verified: bool = True
    decoder: str = "mean"
    problem: str | None = None
