"""Stand-ins for the entropy coder, and test data."""

import numpy as np
from numpy.typing import NDArray

from diffcodec.channel import Groups, kl_bits


class MemoryPort:
    """A `SymbolWriter` and `SymbolReader` that keeps what was written in order and checks how it is read."""

    def __init__(self) -> None:
        self.bits: list[NDArray[np.uint8]] = []
        self.symbols: list[NDArray[np.int64]] = []
        self._read_bits = self._read_symbols = 0

    def write_bits(self, bits: NDArray[np.uint8]) -> None:
        assert bits.dtype == np.uint8
        assert np.all(bits <= 1)
        self.bits.append(bits.copy())

    def read_bits(self, count: int) -> NDArray[np.uint8]:
        self._read_bits += count
        bits = np.concatenate(self.bits)[self._read_bits - count : self._read_bits]
        assert len(bits) == count
        return bits

    def write_symbols(self, symbols: NDArray[np.int64], weights: NDArray[np.int64]) -> None:
        assert symbols.dtype == weights.dtype == np.int64
        assert np.all((symbols >= 0) & (symbols < len(weights)))
        self.symbols.append(symbols.copy())

    def read_symbols(self, count: int, weights: NDArray[np.int64]) -> NDArray[np.int64]:
        self._read_symbols += count
        symbols = np.concatenate(self.symbols)[self._read_symbols - count : self._read_symbols]
        assert len(symbols) == count
        return symbols

    def exhausted(self) -> bool:
        return (self._read_bits, self._read_symbols) == (sum(map(len, self.bits)), sum(map(len, self.symbols)))


def gaussian_mean(
    rng: np.random.Generator,
    count: int,
    dims: int,
    kl: float,
    std: float | NDArray[np.float64] = 1.0,
    exponent: float = 2.0,
) -> NDArray[np.float32]:
    """Means (count, dims) of KL exactly `kl` bits; generalised Gaussian with this exponent (0.5: heavy tails)."""
    m = rng.gamma(1.0 / exponent, 1.0, (count, dims)) ** (1.0 / exponent) * rng.choice([-1.0, 1.0], (count, dims))
    rest = kl - kl_bits(np.zeros((1, dims)), std)[0]
    assert rest > 0
    scaled = m * np.sqrt(2 * np.log(2) * rest / np.sum(m * m, axis=1, keepdims=True))
    means: NDArray[np.float32] = scaled.astype(np.float32)
    return means


def equal_groups(std: NDArray[np.float64], count: int, weights: NDArray[np.int64] | None = None) -> Groups:
    """Groups of equal std, (D,), the same for all images; weights (D,) are those of the groups' first members."""
    values, first, of = np.unique(std, return_index=True, return_inverse=True)
    own = np.ones(len(values), np.int64) if weights is None else weights[first]
    return Groups(of.reshape(-1).astype(np.int64), np.tile(values, (count, 1)), np.tile(own, (count, 1)))
