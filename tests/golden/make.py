"""Writes golden files with the bundled model, once, when a model or a format version is released.

    python tests/golden/make.py PREFIX [MODEL]

With the name of a model of photographs the pictures are such as only these have: tiles, noise at lower resolution.

Files that exist are never overwritten: they stand for what people have on their disks.
"""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np

from diffcodec import DiffusionCodec, Picture, read_picture, write_picture
from diffcodec.images.metadata import Metadata
from diffcodec.model.locations import DEFAULT_MODEL

HERE = Path(__file__).parent
DATA = HERE.parent.parent / "benchmarks" / "data"


def main(prefix: str, model: str = DEFAULT_MODEL) -> None:
    """Compress a few pictures of each kind, and keep what they restore to."""
    codec = DiffusionCodec.from_pretrained(model)
    if codec.checkpoint.config.half_resolution_below is not None:
        photographs(prefix, codec)
    else:
        small_pictures(prefix, codec)


def photographs(prefix: str, codec: DiffusionCodec) -> None:
    """Pictures for a model of photographs."""
    photo = read_picture(DATA / "chelsea-192.png")
    odd = Picture(np.ascontiguousarray(photo.pixels[40:141, 30:130]), None)
    small = Picture(np.ascontiguousarray(odd.pixels[:66, :65]), None)
    strip = Picture(np.ascontiguousarray(np.tile(photo.pixels[80:104], (1, 5, 1))[:, :900]), None)
    alpha = np.add.outer(np.arange(70), 3 * np.arange(66)).astype(np.uint8)
    grey = Picture(np.ascontiguousarray(photo.pixels[70:140, 50:116, 1]), alpha, Metadata(b"profile", b"Exif\0\0notes"))
    for name, picture, options in (
        ("rgb-t20-odd", odd, {"timestep": 20}),
        ("rgb-t100-tiles", strip, {"timestep": 100}),
        ("rgb-t500", odd, {"timestep": 500, "seed": 3}),
        ("rgb-t2-blocks", odd, {"timestep": 2, "steps": 16}),
        ("grey-alpha-t50-metadata", grey, {"timestep": 50, "effort": 8}),
        ("rgb-t60-poisson", small, {"timestep": 60, "channel": "poisson"}),
        ("rgb-t0", odd, {"timestep": 0}),
    ):
        keep(f"{prefix}-{name}", codec, codec.compress(picture, **options).data)
    keep(f"{prefix}-rgb-cut", codec, codec.truncate((HERE / f"{prefix}-rgb-t2-blocks.dfc").read_bytes(), 5000))


def keep(name: str, codec: DiffusionCodec, data: bytes) -> None:
    """Write a file, and what it restores to."""
    with (HERE / f"{name}.dfc").open("xb") as file:
        file.write(data)
    write_picture(replace(codec.decompress(data).picture, metadata=Metadata()), HERE / f"{name}.png")
    print(f"{name}.dfc: {len(data)} bytes")


def small_pictures(prefix: str, codec: DiffusionCodec) -> None:
    """Pictures for a model of CIFAR-10."""
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
        keep(f"{prefix}-{name}", codec, codec.compress(picture, **options).data)


if __name__ == "__main__":
    main(*sys.argv[1:])
