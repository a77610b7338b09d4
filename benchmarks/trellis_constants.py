"""Measures what a delivered bit costs, and fits `length_for`; docs/channel.md has the output.

    python benchmarks/trellis_constants.py fit       # path bits -> KL at which delivered = KL
    python benchmarks/trellis_constants.py table     # paid per delivered bit with length_for as it stands
    python benchmarks/trellis_constants.py poisson   # the same of the Poisson channel

With s = 1 the best path does not depend on the scale of m. So one run at a given number of path bits yields the
regression c of y on m, and the KL that those bits serve is the one at which c = 1, where delivered = KL.
"""

from __future__ import annotations

import sys

import numpy as np
from numpy.typing import NDArray

from diffcodec.bitstream.entropy import SymbolWriter
from diffcodec.channel import PoissonChannel, StreamKey, TrellisChannel, delivered_bits
from diffcodec.channel.layout import state_bits

KLS = (5, 10, 20, 40, 80, 150, 300, 600, 2000)
EFFORTS = (8, 10, 12, 14, 16)


def gaussian_mean(rng: np.random.Generator, count: int, dims: int, kl: float) -> NDArray[np.float32]:
    """Normally distributed means (count, dims) of KL exactly `kl` bits, for s = 1."""
    m = rng.gamma(0.5, 1.0, (count, dims)) ** 0.5 * rng.choice([-1.0, 1.0], (count, dims))
    means: NDArray[np.float32] = (m * np.sqrt(2 * np.log(2) * kl / np.sum(m * m, axis=1, keepdims=True))).astype(
        np.float32
    )
    return means


def images_for(effort: int, bits: int, dims: int) -> int:
    """How many images are measured: fewer where the search takes long."""
    work = (bits + dims // 64) << state_bits(effort, bits, dims)
    return int(np.clip((1 << 28) // work, 8, 1024))


def served_kl(effort: int, bits: int, dims: int, rng: np.random.Generator) -> tuple[float, float]:
    """KL in bits served by a number of path bits, and the relative standard error."""
    slopes: list[float] = []
    count, batch = images_for(effort, bits, dims), 32
    for seed in range(-(-count // batch)):
        m = rng.standard_normal((batch, dims)).astype(np.float32)
        m *= np.sqrt(dims / np.sum(m * m, axis=1, keepdims=True))
        y = TrellisChannel(effort).encode(m, None, [bits] * batch, [StreamKey(seed, bits)], [SymbolWriter() for _ in m])
        slopes += list(np.sum(m * y, axis=1) / dims)
    c = np.mean(slopes)
    return float(c * c * dims / (2 * np.log(2))), float(2 * np.std(slopes) / np.sqrt(len(slopes)) / c)


def fit() -> None:
    """Prints what path bits serve, by size, effort and length."""
    rng = np.random.default_rng(0)
    for dims in (3072, 49152):
        for effort in EFFORTS:
            for bits in (1, 2, 3, 4, 6, 8, 12, 16, 20, 24, 32, 48, 80, 160, 320, 640, 1280, 2048):
                if dims > 3072 and bits < 20:
                    continue
                if images_for(effort, bits, dims) == 8 and (bits > 700 or dims > 3072) and effort > 12:
                    continue
                kl, error = served_kl(effort, bits, dims, rng)
                print(
                    f"{dims} {effort} {state_bits(effort, bits, dims)} {bits} {kl:.3f} {bits / kl:.4f} {error:.4f}",
                    flush=True,
                )


def table() -> None:
    """Prints what the trellis delivers and pays, by KL and effort."""
    rng = np.random.default_rng(1)
    dims = 3072
    print("KL | " + " | ".join(f"L = {e}" for e in EFFORTS) + " | noise variance, L = 12")
    for kl in KLS:
        cells, noise = [], 0.0
        for effort in EFFORTS:
            channel = TrellisChannel(effort)
            length = channel.length_for(kl, dims)
            count = min(images_for(effort, length, dims), 400 if kl >= 40 else 1024)
            got: list[float] = []
            spread: list[float] = []
            for seed in range(-(-count // 32)):
                m = gaussian_mean(rng, min(count, 32), dims, kl)
                y = channel.encode(m, None, [length] * len(m), [StreamKey(seed, 1)], [SymbolWriter() for _ in m])
                got += list(delivered_bits(y, m, 1.0))
                spread.append(float(np.var(y - m)))
            cells.append(f"{length} bits, {np.mean(got) / kl:.3f}, {length / np.mean(got):.3f}")
            noise = float(np.mean(spread)) if effort == 12 else noise
        print(f"{kl} | " + " | ".join(cells) + f" | {noise:.3f}", flush=True)


def poisson() -> None:
    """Prints the same of the Poisson channel."""
    rng = np.random.default_rng(1)
    for kl in KLS:
        channel = PoissonChannel()
        got: list[float] = []
        paid: list[float] = []
        spread: list[float] = []
        length = channel.length_for(kl, 3072)
        for seed in range(max(1, 200 // length // 8)):
            m = gaussian_mean(rng, 8, 3072, kl)
            writers = [SymbolWriter() for _ in m]
            y = channel.encode(m, None, [length] * 8, [StreamKey(seed, 1)], writers)
            got += list(delivered_bits(y, m, 1.0))
            paid += [writer.information_bits for writer in writers]
            spread.append(float(np.var(y - m)))
        print(
            f"{kl} | {length} | {np.mean(paid):.1f} | {np.mean(got) / kl:.3f} | {np.mean(paid) / np.mean(got):.3f}"
            f" | {np.mean(spread):.3f}",
            flush=True,
        )


if __name__ == "__main__":
    {"fit": fit, "table": table, "poisson": poisson}[sys.argv[1]]()
