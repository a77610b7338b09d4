"""The coder printed in docs/format.md reads what ours writes; tests/test_format_reader.py does whole files."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from diffcodec.bitstream.entropy import SymbolWriter
from diffcodec.bitstream.lengths import DEFAULT_WEIGHTS, GRID, LengthCoder

DOCUMENT = Path(__file__).parents[2] / "docs" / "format.md"


@pytest.fixture(scope="module")
def documented() -> dict[str, Any]:
    blocks = re.findall(r"^```python\n(.*?)^```", DOCUMENT.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)
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
        assert documented["read_bits"](decoder, len(bits)) == bits.tolist()
        frequencies = categorical(weights.tolist())
        assert [decoder.decode(frequencies) for _ in symbols] == symbols.tolist()
        assert decoder.decode(uniform(size)) == size - 1


def test_documented_length_code(documented: dict[str, Any]) -> None:
    rng = np.random.default_rng(1)
    assert documented["GRID"] == list(GRID)
    expectations = [int(1.4**i * 256 * rng.uniform(0.5, 2)) for i in range(30)]
    out, coder = SymbolWriter(), LengthCoder()
    sent = [coder.encode(int(e / 256 * rng.uniform(0.1, 9)), e, out) for e in expectations]
    decoder = documented["RangeDecoder"](out.getvalue())
    lengths = documented["LengthDecoder"](DEFAULT_WEIGHTS)
    assert [lengths.decode(expected, decoder) for expected in expectations] == sent


def test_documented_shares(documented: dict[str, Any]) -> None:
    rng = np.random.default_rng(2)
    heights = np.sort(rng.integers(0, 2**24 - 256, (50, 255)), axis=1)
    heights[0] = 0
    heights[1, 7:] = 2**24 - 256
    shares = np.diff(heights, axis=1, prepend=0, append=2**24 - 256)
    symbols = rng.integers(0, 256, 50)
    out = SymbolWriter()
    out.write_shares(symbols, shares)
    decoder = documented["RangeDecoder"](out.getvalue())
    assert [decoder.decode((row + 1).tolist()) for row in shares] == symbols.tolist()
