"""Time of the trellis channel on a picture's worth of steps: numpy against numba, one thread and two.

    OPENBLAS_NUM_THREADS=1 python benchmarks/channel.py
    OPENBLAS_NUM_THREADS=1 python benchmarks/channel.py --clock processor   # where others use the machine too
    OPENBLAS_NUM_THREADS=1 python benchmarks/channel.py --device cuda       # and the search on a GPU
    OPENBLAS_NUM_THREADS=1 python benchmarks/channel.py --large --rounds 2  # one step of large pictures instead

16 steps of 22 to 667 bits, 5,500 in all, for pictures of 32 x 32 x 3; with s < 1 in 192 bands of 16 numbers, s falls
to 0.4 in the last step. Prints the tables of docs/channel.md: milliseconds per picture, the best of several runs.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import click
import numpy as np
import torch
from numpy.typing import NDArray

from diffcodec.channel import Groups, StreamKey, TrellisChannel
from diffcodec.channel.device_search import DeviceSearch
from diffcodec.channel.viterbi import Search, search

DIMS, STEPS, BANDS = 3072, 16, 192
LARGE = ((768 * 512 * 3, 100_000), (36_000_000, 21_600))  # dims and bits
CLOCKS = {"wall": time.perf_counter, "processor": time.process_time}


@dataclass(frozen=True)
class Step:
    """What the channel is given in one step; see `Channel.encode`."""

    mean: NDArray[np.float32]
    groups: Groups | None
    lengths: list[int]


class Bits:
    """The message of one picture in one step: a writer, then a reader."""

    def write_bits(self, bits: NDArray[np.uint8]) -> None:
        self._bits = bits

    def read_bits(self, count: int) -> NDArray[np.uint8]:
        return self._bits

    def write_symbols(self, symbols: NDArray[np.int64], weights: NDArray[np.int64]) -> None:
        raise NotImplementedError("the trellis channel writes bits")

    def read_symbols(self, count: int, weights: NDArray[np.int64]) -> NDArray[np.int64]:
        raise NotImplementedError("the trellis channel reads bits")


def make_steps(count: int, flat: bool) -> list[Step]:
    """The steps of `count` pictures; where s < 1, bands hold shares of the bits that fall by e^6 from first to last."""
    rng = np.random.default_rng(0)
    share = np.exp(-6 * np.arange(BANDS) / BANDS)
    band = np.repeat(np.arange(BANDS), DIMS // BANDS)
    steps = []
    for bits in np.linspace(22, 667, STEPS):
        information = bits / DIMS * BANDS * share / share.sum()
        std = 2.0**-information
        spread = np.sqrt(2 * np.log(2) * bits / DIMS) if flat else np.sqrt(1 - std**2)[band]
        mean = (spread * rng.standard_normal((count, DIMS))).astype(np.float32)
        lengths = [int(length) for length in bits * rng.uniform(0.85, 1.15, count)]
        weights = np.maximum(np.rint(1e4 * information), 1).astype(np.int64)
        groups = Groups(band, np.tile(std, (count, 1)), np.tile(weights, (count, 1)))
        steps.append(Step(mean, None if flat else groups, lengths))
    return steps


def large_step(dims: int, bits: int) -> Step:
    """One step of one picture, with s = 1."""
    return Step(np.random.default_rng(0).standard_normal((1, dims)).astype(np.float32), None, [bits])


def measure(channel: TrellisChannel, steps: Sequence[Step], clock: Callable[[], float]) -> tuple[float, float]:
    """Seconds on `clock` that all steps take to encode and to decode."""
    encode = decode = 0.0
    for number, step in enumerate(steps):
        key, ports = [StreamKey(0, number)], [Bits() for _ in step.lengths]
        start = clock()
        sent = channel.encode(step.mean, step.groups, step.lengths, key, ports)
        middle = clock()
        got = channel.decode(step.mean.shape[1], step.groups, step.lengths, key, ports)
        encode, decode = encode + middle - start, decode + clock() - middle
        if not np.array_equal(sent, got):
            raise AssertionError("decoding does not give what was sent")
    return encode, decode


@click.command()
@click.option("--effort", default=12, show_default=True, help="log2 of the number of states")
@click.option("--rounds", default=7, show_default=True, help="runs; the best of each counts")
@click.option("--large", is_flag=True, help="one step of a picture of 768 x 512, and of one of 12 megapixels")
@click.option("--device", default=None, help="measure the search on this device too, such as cuda")
@click.option("--clock", type=click.Choice(sorted(CLOCKS)), default="wall", show_default=True)
def main(effort: int, rounds: int, large: bool, device: str | None, clock: str) -> None:
    """Print milliseconds per picture."""
    searches: dict[str, Search] = {
        "numpy": partial(search, threads=1, accelerate=False),
        "numba, 1 thread": partial(search, threads=1, accelerate=True),
        "numba, 2 threads": partial(search, threads=2, accelerate=True),
    }
    if device is not None:
        searches[device] = DeviceSearch(torch.device(device), least_lanes=1)
    if large:
        cases = {f"{dims:,} dims, {bits:,} bits": [large_step(dims, bits)] for dims, bits in LARGE}
    else:
        kinds = [(flat, count) for flat in (True, False) for count in (1, 16)]
        cases = {f"s {'=' if flat else '<'} 1, N = {count}": make_steps(count, flat) for flat, count in kinds}
    print("| | " + " | ".join(f"encode, {name}" for name in searches) + " | decode |")
    print("|---" * (len(searches) + 2) + "|")
    for name, steps in cases.items():
        best = np.full((len(searches), 2), np.inf)
        for _ in range(rounds):  # the searches take turns, so that a busy moment of the machine strikes all alike
            for i, find_paths in enumerate(searches.values()):
                best[i] = np.minimum(best[i], measure(TrellisChannel(effort, find_paths), steps, CLOCKS[clock]))
        cells = 1e3 * best / len(steps[0].lengths)
        print(
            f"| {name} | " + " | ".join(f"{cell:.1f}" for cell in [*cells[:, 0], cells[:, 1].min()]) + " |", flush=True
        )


if __name__ == "__main__":
    main()
