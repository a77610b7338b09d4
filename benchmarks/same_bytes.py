"""Whether two checkouts of diffcodec make the same files, and restore the same pixels of them.

    git worktree add ../before 45ca1cf    # 0.5.0
    python benchmarks/same_bytes.py ../before .

40 pictures of all modes, CIFAR-10's and photographs, in both channels and several efforts, at t = 0, 1, 20 and 100.
Both sides run on this machine, with this Python, and use the first checkout's model files.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import numpy as np
from PIL import Image

DATA = Path(__file__).parent / "data"
SIDE = 32


def pictures() -> Iterator[tuple[str, Image.Image]]:
    """Names and pictures: 24 of CIFAR-10, and 16 crops of a photograph."""
    tiles = np.asarray(Image.open(DATA / "cifar10-test-100.webp").convert("RGB"))
    for k in range(24):
        top, left = k // 10 * SIDE, k % 10 * SIDE
        yield f"cifar-{k}", in_mode(Image.fromarray(tiles[top : top + SIDE, left : left + SIDE]), k)
    photograph = Image.open(DATA / "chelsea-192.png").convert("RGB")
    for k in range(16):
        left, top = 7 * k % 90, 11 * k % 70
        yield f"photo-{k}", in_mode(photograph.crop((left, top, left + 66 + k, top + 40 + 3 * k)), k)


def in_mode(image: Image.Image, k: int) -> Image.Image:
    """A picture in one of six modes."""
    alpha = image.convert("L").point(lambda value: 255 if value > 90 else value)
    match k % 6:
        case 1:
            return image.convert("L")
        case 2:
            image.putalpha(alpha)
        case 3:
            image = image.convert("L")
            image.putalpha(alpha)
        case 4:
            return image.convert("P", palette=Image.Palette.ADAPTIVE, colors=64)
        case 5:
            return image.convert("1") if k % 12 == 5 else image.convert("CMYK")
    return image


def settings(k: int) -> dict[str, Any]:
    """Options of the k-th picture: timesteps, channels, efforts, numbers of steps and seeds in turn."""
    chosen: dict[str, Any] = {"timestep": (0, 1, 20, 100)[k % 4], "effort": (8, 10, 12, 13)[k // 4 % 4]}
    if k % 5 == 4:
        chosen["channel"] = "poisson"
    if k % 7 == 3:
        chosen["steps"] = 16
    if k % 3 == 2:
        chosen["seed"] = k
    return chosen


def digests(models: Path) -> dict[str, list[str]]:
    """Digests of the file and of the restored pixels of every picture, by this process's diffcodec."""
    from diffcodec import DiffusionCodec, read_picture
    from diffcodec.model.locations import DEFAULT_MODEL, PHOTO_MODEL

    found = {}
    codecs = {
        kind: DiffusionCodec.from_pretrained(models / f"{name}.safetensors")
        for kind, name in (("cifar", DEFAULT_MODEL), ("photo", PHOTO_MODEL))
    }
    scratch = Path(os.environ["SAME_BYTES_SCRATCH"])
    for k, (name, image) in enumerate(pictures()):
        path = scratch / f"{name}.{'tiff' if image.mode == 'CMYK' else 'png'}"
        image.save(path)
        codec = codecs[name.split("-")[0]]
        data = codec.compress(read_picture(path), **settings(k)).data
        pixels: Any = codec.decompress(data)
        found[name] = [hashlib.sha256(part).hexdigest()[:16] for part in (data, pixels.pixels.tobytes())]
    return found


def run(checkout: Path, models: Path, scratch: Path) -> dict[str, list[str]]:
    """The digests of a checkout."""
    environment = {
        **os.environ,
        "OMP_NUM_THREADS": "1",
        "PYTHONPATH": str(checkout.resolve()),
        "SAME_BYTES_SCRATCH": str(scratch),
    }
    command = [sys.executable, __file__, "--digests", str(models)]
    done = subprocess.run(command, env=environment, cwd=scratch, stdout=subprocess.PIPE, text=True, check=True)
    result: dict[str, list[str]] = json.loads(done.stdout)
    return result


@click.command()
@click.argument("checkouts", nargs=-1, type=click.Path(path_type=Path, exists=True, file_okay=False))
@click.option("--digests", "models", type=click.Path(path_type=Path), hidden=True)
def main(checkouts: tuple[Path, ...], models: Path | None) -> None:
    """Compare the files that two CHECKOUTS make."""
    if models is not None:
        click.echo(json.dumps(digests(models)))
        return
    if len(checkouts) != 2:
        raise click.UsageError("name two checkouts: the one before, and the one after")
    models = (checkouts[0] / "diffcodec" / "models").resolve()
    with tempfile.TemporaryDirectory() as scratch:
        before, after = (run(checkout, models, Path(scratch)) for checkout in checkouts)
    same = [sum(before[name][part] == after[name][part] for name in before) for part in (0, 1)]
    click.echo(f"{len(before)} pictures: {same[0]} files and {same[1]} restored pictures are identical")
    for name in before:
        if before[name] != after[name]:
            click.echo(f"  {name}: {before[name]} before, {after[name]} after")
    sys.exit(before != after)


if __name__ == "__main__":
    main()
