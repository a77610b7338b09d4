"""Measures what a delivered bit costs, and fits `length_for`. A script, not a test: docs/channel.md has its output.

    python tests/channel/measure.py fit       # path bits -> KL at which delivered = KL
    python tests/channel/measure.py table     # paid per delivered bit with length_for as it stands

With s = 1 the best path does not depend on the scale of m. So one run at a given number of path bits yields the
regression c of y on m, and the KL that those bits serve is the one at which c = 1, where delivered = KL.
"""

import sys

import numpy as np
from channel_ports import MemoryPort, gaussian_mean

from diffcodec.channel import PoissonChannel, StreamKey, TrellisChannel, delivered_bits
from diffcodec.channel.layout import state_bits
from diffcodec.channel.poisson import zipf_weights

KLS = (5, 10, 20, 40, 80, 150, 300, 600, 2000)
EFFORTS = (8, 10, 12, 14, 16)


def images_for(effort: int, bits: int, dims: int) -> int:
    work = (bits + dims // 64) << state_bits(effort, bits, dims)
    return int(np.clip((1 << 28) // work, 8, 1024))


def served_kl(effort: int, bits: int, dims: int, rng: np.random.Generator) -> tuple[float, float]:
    """KL in bits served by a number of path bits, and the relative standard error."""
    slopes = []
    count, batch = images_for(effort, bits, dims), 32
    for seed in range(-(-count // batch)):
        m = rng.standard_normal((batch, dims)).astype(np.float32)
        m *= np.sqrt(dims / np.sum(m * m, axis=1, keepdims=True))
        y = TrellisChannel(effort).encode(m, None, [bits] * batch, [StreamKey(seed, bits)], [MemoryPort() for _ in m])
        slopes += list(np.sum(m * y, axis=1) / dims)
    c = np.mean(slopes)
    return float(c * c * dims / (2 * np.log(2))), float(2 * np.std(slopes) / np.sqrt(len(slopes)) / c)


def fit() -> None:
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
    rng = np.random.default_rng(1)
    dims = 3072
    print("KL | " + " | ".join(f"L = {e}" for e in EFFORTS) + " | noise variance, L = 12")
    for kl in KLS:
        cells, noise = [], 0.0
        for effort in EFFORTS:
            channel = TrellisChannel(effort)
            length = channel.length_for(kl, dims)
            count = min(images_for(effort, length, dims), 400 if kl >= 40 else 1024)
            got, spread = [], []
            for seed in range(-(-count // 32)):
                m = gaussian_mean(rng, min(count, 32), dims, kl)
                y = channel.encode(m, None, [length] * len(m), [StreamKey(seed, 1)], [MemoryPort() for _ in m])
                got += list(delivered_bits(y, m, 1.0))
                spread.append(np.var(y - m))
            cells.append(f"{length} bits, {np.mean(got) / kl:.3f}, {length / np.mean(got):.3f}")
            noise = float(np.mean(spread)) if effort == 12 else noise
        print(f"{kl} | " + " | ".join(cells) + f" | {noise:.3f}", flush=True)


def poisson() -> None:
    rng = np.random.default_rng(1)
    weights = zipf_weights()
    cost = -np.log2(weights / weights.sum())
    for kl in KLS:
        channel, got, paid, spread = PoissonChannel(), [], [], []
        length = channel.length_for(kl, 3072)
        for seed in range(max(1, 200 // length // 8)):
            m = gaussian_mean(rng, 8, 3072, kl)
            ports = [MemoryPort() for _ in m]
            y = channel.encode(m, None, [length] * 8, [StreamKey(seed, 1)], ports)
            got += list(delivered_bits(y, m, 1.0))
            paid += [cost[np.concatenate(port.symbols)].sum() for port in ports]
            spread.append(np.var(y - m))
        print(
            f"{kl} | {length} | {np.mean(paid):.1f} | {np.mean(got) / kl:.3f} | {np.mean(paid) / np.mean(got):.3f}"
            f" | {np.mean(spread):.3f}",
            flush=True,
        )


if __name__ == "__main__":
    {"fit": fit, "table": table, "poisson": poisson}[sys.argv[1]]()
