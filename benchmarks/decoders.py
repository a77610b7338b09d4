"""What the decoders mean, flow and ancestral make of the same files: error, detail, effort, and a picture to look at.

    python benchmarks/decoders.py

Error is the PSNR over all pictures together. Detail is the energy of the block of DCT coefficients that make up details
of so many pixels, relative to that of the originals: 1 is as much as a picture has, less is blurred, more is noisy.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import click
import numpy as np
from numpy.typing import NDArray
from scipy.fft import dctn

from diffcodec import DiffusionCodec, Picture, write_picture
from diffcodec.coding.reconstruction import Reconstruction, ReconstructionKind
from diffcodec.images.error import psnr_db, squared_error
from diffcodec.images.grids import grid
from diffcodec.training.data import load_images

ROOT = Path(__file__).parent.parent
DECODERS: tuple[ReconstructionKind, ...] = ("mean", "flow", "ancestral")
DETAILS = {"1 to 2 pixels": (16, 32), "2 to 4 pixels": (8, 16), "4 to 8 pixels": (4, 8)}
"""Of 32 x 32 pictures: the DCT coefficients whose larger index lies in this range."""

Pixels = NDArray[np.uint8]
"""Pictures, (N, H, W, 3)."""


@dataclass(frozen=True)
class Row:
    """What a decoder makes of the files that end at a timestep.

    Args:
        timestep: t.
        decoder: its name.
        bpp: bits per pixel of the files.
        psnr_db: over all pictures together.
        detail: energy relative to the originals, by size of detail.
        evaluations: of the network for a picture, from the file to the picture.
    """

    timestep: int
    decoder: str
    bpp: float
    psnr_db: float
    detail: dict[str, float]
    evaluations: int


def detail_energy(pixels: Pixels, low: int, high: int) -> float:
    """Mean square of the DCT coefficients whose larger index is from `low` to below `high`."""
    energy = np.mean(dctn(pixels.astype(np.float64), axes=(1, 2), norm="ortho") ** 2, axis=(0, 3))
    larger = np.maximum(*np.indices(energy.shape))
    return float(energy[(larger >= low) & (larger < high)].mean())


@contextmanager
def counted(codec: DiffusionCodec) -> Iterator[list[int]]:
    """The batch sizes of all evaluations of the network inside."""
    sizes: list[int] = []
    hook = codec.denoiser.network.register_forward_hook(lambda network, inputs, output: sizes.append(len(output)))
    yield sizes
    hook.remove()


def measure(codec: DiffusionCodec, original: Pixels, timestep: int, steps: int | None) -> list[tuple[Row, Pixels]]:
    """Compress pictures to a timestep, and restore them with every decoder."""
    streams = codec.compress_batch([Picture(pixels) for pixels in original], timestep=timestep)
    bpp = 8 * sum(len(stream.data) for stream in streams) / (original.size / 3)
    rows = []
    for decoder in DECODERS:
        reconstruction = Reconstruction(decoder, None if decoder == "mean" else steps)
        with counted(codec) as pictures:
            made = codec.decompress_batch(streams, reconstruction=reconstruction)
        pixels = np.stack([restored.pixels for restored in made])
        detail = {size: detail_energy(pixels, *span) / detail_energy(original, *span) for size, span in DETAILS.items()}
        psnr = psnr_db(squared_error(original, pixels))
        rows.append((Row(timestep, decoder, bpp, psnr, detail, sum(pictures) // len(original)), pixels))
    return rows


def draw(original: Pixels, columns: Sequence[Pixels], count: int) -> Picture:
    """Rows of pictures: the original, and what every column has of it."""
    cells = np.stack([original[:count], *(column[:count] for column in columns)], axis=1)
    return grid(cells.reshape(-1, *original.shape[1:]), 1 + len(columns), zoom=2)


@click.command()
@click.option("--timesteps", default="100,300,500", show_default=True, help="Where the files end.")
@click.option("--images", type=click.IntRange(1, 100), default=100, show_default=True, help="Number of test images.")
@click.option("--steps", type=click.IntRange(1), help="Of flow and ancestral.  [default: the decoders' own]")
@click.option("--shown", type=click.IntRange(1), default=8, show_default=True, help="Pictures in the picture.")
@click.option("--model", help="Bundled model or model file.  [default: the bundled one]")
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    default=ROOT / "benchmarks" / "results" / "decoders.json",
    show_default=True,
)
@click.option(
    "--picture",
    type=click.Path(path_type=Path),
    default=ROOT / "docs" / "images" / "sampling" / "decoders.png",
    show_default=True,
)
def main(
    timesteps: str, images: int, steps: int | None, shown: int, model: str | None, out: Path, picture: Path
) -> None:
    """Compare the decoders on CIFAR-10 test images."""
    codec = DiffusionCodec.from_pretrained(model)
    tiles = load_images(str(ROOT / "benchmarks" / "data" / "cifar10-test-100.webp"))[:images]
    original = np.ascontiguousarray(tiles.permute(0, 2, 3, 1).numpy())
    click.echo(f"  t    bpp  decoder    PSNR dB  evaluations  detail of {', '.join(DETAILS)}")
    rows, columns = [], []
    for timestep in map(int, timesteps.split(",")):
        for row, pixels in measure(codec, original, timestep, steps):
            rows.append(dataclasses.asdict(row))
            columns.append(pixels)
            click.echo(
                f"{row.timestep:3}  {row.bpp:5.3f}  {row.decoder:9}  {row.psnr_db:7.2f}  {row.evaluations:11}  "
                + "  ".join(f"{value:.2f}" for value in row.detail.values())
            )
    result = {
        "command": "python benchmarks/decoders.py",
        "model": codec.model.card.name,
        "fingerprint": codec.fingerprint.hex(),
        "images": images,
        "decoder_steps": steps,
        "rows": rows,
    }
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    picture.parent.mkdir(parents=True, exist_ok=True)
    write_picture(draw(original, columns, shown), picture)


if __name__ == "__main__":
    main()
