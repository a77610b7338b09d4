"""Writes golden files with the bundled model, once, when a model or a format version is released.

    python tests/golden/make.py PREFIX

Files that exist are never overwritten: they stand for what people have on their disks.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

from diffcodec import DiffusionCodec, Picture, read_picture, write_picture

HERE = Path(__file__).parent
DATA = HERE.parent.parent / "benchmarks" / "data"


def main(prefix: str) -> None:
    """Compress a few pictures of each kind, and keep what they restore to."""
    codec = DiffusionCodec.from_pretrained()
    grid = read_picture(DATA / "cifar10-test-100.webp").pixels
    photo = read_picture(DATA / "chelsea-192.png").pixels
    first = Picture(np.ascontiguousarray(grid[:32, :32]), None)
    odd = Picture(np.ascontiguousarray(photo[60:97, 40:93]), None)
    alpha = np.add.outer(np.arange(23), 3 * np.arange(17)).astype(np.uint8)
    grey = Picture(np.ascontiguousarray(photo[70:93, 50:67, 1]), alpha)
    for name, picture, options in (
        ("rgb-t1", first, {"timestep": 1}),
        ("rgb-t100-seed", first, {"timestep": 100, "seed": 2**63 + 5}),
        ("rgb-t50-poisson", first, {"timestep": 50, "channel": "poisson"}),
        ("rgb-t30-effort8-odd", odd, {"timestep": 30, "effort": 8}),
        ("grey-alpha-t20-effort16", grey, {"timestep": 20, "effort": 16}),
        ("rgb-t5-steps8", first, {"timestep": 5, "steps": 8}),
        ("rgb-t200-rows", Picture(np.ascontiguousarray(photo[40:43, 30:110]), None), {"timestep": 200}),
        ("one-pixel-t10", Picture(first.pixels[:1, :1], None), {"timestep": 10}),
        ("rgb-t0", first, {"timestep": 0}),
        ("grey-alpha-t0", grey, {"timestep": 0}),
        ("stored-t0", Picture(np.ascontiguousarray(photo[:9, :7] // 64 * 64), None), {"timestep": 0}),
    ):
        stream = codec.compress(picture, **options)  # type: ignore[arg-type]
        stream.save(HERE / f"{prefix}-{name}.dfc")
        write_picture(codec.decompress(stream), HERE / f"{prefix}-{name}.png")
        print(f"{prefix}-{name}.dfc: {len(stream.data)} bytes")


if __name__ == "__main__":
    main(sys.argv[1])
