"""The decoder printed in docs/format.md reads what ours writes."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from diffcodec.bitstream.entropy import SymbolWriter
from diffcodec.bitstream.lengths import DEFAULT_WEIGHTS, ESCAPE, GRID, LengthCoder

DOCUMENT = Path(__file__).parents[2] / "docs" / "format.md"


@pytest.fixture(scope="module")
def documented() -> dict[str, Any]:
    blocks = re.findall(r"^```python\n(.*?)^```", DOCUMENT.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)
    assert len(blocks) == 2
    names: dict[str, Any] = {}
    exec("\n".join(blocks), names)
    return names


def test_documented_decoder(documented: dict[str, Any]) -> None:
    rng = np.random.default_rng(0)
    uniform, categorical = documented["uniform"], documented["categorical"]
    for _ in range(20):
        out = SymbolWriter()
        weights = rng.integers(1, 5000, rng.integers(2, 40))
        symbols = rng.integers(0, weights.size, 30)
        bits = rng.integers(0, 2, int(rng.integers(1, 60))).astype(np.uint8)
        size = int(rng.integers(2, 70_000))
        out.write_bits(bits)
        out.write_symbols(symbols, weights)
        out.write_uniform(size - 1, size)
        decoder = documented["RangeDecoder"](out.getvalue())
        text = "".join(map(str, bits))
        for group in [text[i : i + 16] for i in range(0, len(text), 16)]:
            assert decoder.decode(uniform(2 ** len(group))) == int(group, 2)
        frequencies = categorical(weights.tolist())
        assert [decoder.decode(frequencies) for _ in symbols] == symbols.tolist()
        assert decoder.decode(uniform(size)) == size - 1


def test_documented_length_code(documented: dict[str, Any]) -> None:
    rng = np.random.default_rng(1)
    grid = [0]
    while grid[-1] < 2**32:
        grid.append(grid[-1] + max(1, grid[-1] // (6 if grid[-1] < 1024 else 16)))
    assert grid == list(GRID)
    expectations = [int(1.4**i * 256 * rng.uniform(0.5, 2)) for i in range(30)]
    out, coder = SymbolWriter(), LengthCoder()
    sent_lengths = [coder.encode(int(e / 256 * rng.uniform(0.1, 9)), e, out) for e in expectations]

    decoder = documented["RangeDecoder"](out.getvalue())
    sent = known = 0
    for expected, length in zip(expectations, sent_lengths, strict=True):
        quotient, rest = divmod(expected * (sent + 2048), 256 * (known + 2048))
        prediction = min(quotient + (2 * rest >= 256 * (known + 2048)), grid[-1])
        p = min(range(len(grid)), key=lambda i: (abs(grid[i] - prediction), i))
        context = sum(bound <= prediction for bound in (1, 3, 8, 32, 1024))
        symbol = decoder.decode(documented["categorical"](list(DEFAULT_WEIGHTS[context])))
        index = decoder.decode(documented["uniform"](295)) if symbol == ESCAPE else p - 8 + symbol
        assert grid[index] == length
        sent = sent * 5 // 8 + 256 * length
        known = known * 5 // 8 + expected
