"""By how much a decoder's final estimate may differ from the encoder's: what the guard of lossless files covers.

    python benchmarks/guard.py

One batch is sent down to t = 1 with true samples; then the same samples are received with other thread counts, batch
sizes and kernels, and with noise on eps at every evaluation. Writes benchmarks/results/guard.json.
"""

from __future__ import annotations

import dataclasses
import json
import platform
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from diffcodec.channel import Groups
from diffcodec.channel.base import FloatArray, Message
from diffcodec.codec import DiffusionCodec
from diffcodec.coding.encoder import Encoder, last
from diffcodec.coding.report import Stopwatch
from diffcodec.coding.trajectory import Trajectory
from diffcodec.evaluation.true_sampling import TrueSampling
from diffcodec.images import Picture
from diffcodec.lossless.rounding import GUARD, UNIT
from diffcodec.training.data import load_images

HERE = Path(__file__).parent


class RecordingChannel(TrueSampling):
    """True samples, kept for others to receive."""

    def __init__(self) -> None:
        super().__init__(seed=0)
        self.sent: list[tuple[NDArray[np.float32], Groups | None]] = []

    def select(
        self, mean: FloatArray, groups: Groups | None, *arguments: Any
    ) -> tuple[list[Message], NDArray[np.float32]]:
        """As `TrueSampling.select`."""
        messages, sample = super().select(mean, groups, *arguments)
        self.sent.append((sample, groups))
        return messages, sample


@contextmanager
def noisy(codec: DiffusionCodec, std: float, seed: int) -> Iterator[None]:
    """Adds N(0, std) to eps at every evaluation of the network."""
    generator = torch.Generator().manual_seed(seed)
    original = codec.denoiser.predict_x_0

    def predict_x_0(x_t: Tensor, log_snr: Tensor) -> Tensor:
        noise = torch.randn(x_t.shape, generator=generator)
        ratio: Tensor = torch.exp(-log_snr / 2)[:, None, None, None]
        return original(x_t, log_snr) - std * ratio * noise

    codec.denoiser.predict_x_0 = predict_x_0  # type: ignore[method-assign]
    try:
        yield
    finally:
        del codec.denoiser.predict_x_0


class Sent:
    """A batch sent down to t = 1, for decoders to receive.

    Args:
        codec: the codec of both sides.
        pictures: of one size.
    """

    def __init__(self, codec: DiffusionCodec, pictures: Sequence[Picture]) -> None:
        self.pictures, self.channel, self.end = pictures, RecordingChannel(), codec.tables.level(1)
        self.context = codec.context_for(pictures[0], self.channel)
        sent = last(Encoder(self.context, Stopwatch()).send(pictures, self.end))
        self.estimate = self._grey_levels(sent.estimate)

    def difference(self, indices: Sequence[int] | None = None) -> float:
        """Largest difference of a decoder's final estimate from the encoder's, in grey levels.

        Args:
            indices: of the pictures that are received together; all by default.
        """
        chosen = list(range(len(self.pictures))) if indices is None else list(indices)
        trajectory = Trajectory(self.context, self.end, len(chosen), Stopwatch())
        for (step, stop), (sample, groups) in zip(trajectory.steps(), self.channel.sent, strict=True):
            own = groups and Groups(groups.of, groups.std[chosen], groups.weights[chosen])
            (batch,) = self.context.plan.batches(step, stop)
            displacement = np.empty((len(chosen), *self.context.canvas.coded_shape), np.float32)
            batch.paste(batch.prior.displacement(sample[chosen], own, batch.keys), displacement)
            trajectory.advance(step, stop, displacement)
        return float(np.abs(self._grey_levels(trajectory.estimate()) - self.estimate[chosen]).max())

    def _grey_levels(self, estimate: Tensor) -> NDArray[np.float64]:
        """Estimates (N, 3, H, W) in grey levels, not rounded."""
        return np.stack([self.context.signal.grey_levels(x_0, self.context.canvas) for x_0 in estimate])


@click.command()
@click.option("--images", type=click.IntRange(2), default=16, show_default=True, help="Number of test images.")
@click.option("--model", help="Bundled model or model file.  [default: the bundled one]")
@click.option("--out", type=click.Path(path_type=Path), default=HERE / "results" / "guard.json", show_default=True)
def main(images: int, model: str | None, out: Path) -> None:
    """Measure the differences of final estimates between decoders, in grey levels."""
    codec = DiffusionCodec.from_pretrained(model)
    tiles = load_images(str(HERE / "data" / "cifar10-test-100.webp"))[:images]
    pictures = [Picture(tile.permute(1, 2, 0).numpy(), None) for tile in tiles]
    sent = Sent(codec, pictures)
    tables = dataclasses.replace(codec.tables, start=None)
    asked = DiffusionCodec(codec.checkpoint.with_tables(tables), denoiser=codec.denoiser)
    threads = torch.get_num_threads()

    def with_threads(count: int) -> float:
        torch.set_num_threads(count)
        try:
            return sent.difference()
        finally:
            torch.set_num_threads(threads)

    def other_kernels() -> float:
        with torch.backends.mkldnn.flags(enabled=False):
            return sent.difference()

    def with_noise(sent: Sent, seed: int) -> float:
        with noisy(codec, 1e-5, seed):
            return sent.difference()

    settings: dict[str, Callable[[], float]] = {
        "1 thread": lambda: with_threads(1),
        "2 threads": lambda: with_threads(2),
        "4 threads": lambda: with_threads(4),
        "one picture at a time": lambda: max(sent.difference([index]) for index in range(min(4, images))),
        "without oneDNN": other_kernels,
        "N(0, 1e-5) on eps, first seed": lambda: with_noise(sent, 1),
        "N(0, 1e-5) on eps, second seed": lambda: with_noise(sent, 2),
        "the same, network evaluated on pure noise": lambda: with_noise(Sent(asked, pictures), 1),
    }
    guard = GUARD / UNIT
    differences = {}
    click.echo(f"guard: {guard:.5f} grey levels")
    for name, run in settings.items():
        differences[name] = run()
        click.echo(f"{name:>40}: {differences[name]:.6f} grey levels, {differences[name] / guard:.4f} of it")
    result = {
        "command": "python benchmarks/guard.py",
        "model": codec.model.card.name,
        "images": images,
        "fingerprint": codec.fingerprint.hex(),
        "guard_grey_levels": guard,
        "largest_difference": differences,
        "machine": f"{platform.machine()}, torch {torch.__version__}, {threads} threads",
    }
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
