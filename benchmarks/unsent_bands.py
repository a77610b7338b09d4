"""What it costs, or saves, to leave out the weakest bands of every step: bits at equal quality, and coding time.

    python benchmarks/unsent_bands.py --data KODAK                        # shares of 0, 1/32 and 1/10
    python benchmarks/unsent_bands.py --data KODAK --model cifar10-small-v3 --crop 32   # small pictures lose

A crop from the middle of every picture is compressed at several timesteps with each share; bits at equal PSNR and
MS-SSIM are interpolated along the curve of each picture. docs/method.md explains the shares.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import click
import numpy as np
from numpy.typing import NDArray
from photo_folder import read_photos

from diffcodec.codec import DiffusionCodec
from diffcodec.errors import ConfigError
from diffcodec.evaluation.metrics import measure_distortion
from diffcodec.evaluation.summary_table import aligned
from diffcodec.images import Picture
from diffcodec.model.checkpoint import Checkpoint
from diffcodec.model.loading import load_checkpoint
from diffcodec.model.locations import PHOTO_MODEL
from diffcodec.model.tables import UNSENT_SCALE


def with_share(checkpoint: Checkpoint, share: float) -> Checkpoint:
    """The model, leaving out bands that hold this share of a step's information."""
    if checkpoint.tables is None or checkpoint.tables.variances is None:
        raise ConfigError(f"{checkpoint.card.name} has no variances by band")
    variances = replace(checkpoint.tables.variances, unsent_share=round(share * UNSENT_SCALE))
    return replace(checkpoint, tables=replace(checkpoint.tables, variances=variances))


def measure_curve(codec: DiffusionCodec, pixels: NDArray[np.uint8], timesteps: list[int]) -> NDArray[np.float64]:
    """Bytes, PSNR, MS-SSIM in dB, and seconds of coding, a row for each timestep."""
    rows = []
    for timestep in timesteps:
        stream = codec.compress(Picture(pixels), timestep=timestep)
        found = measure_distortion(pixels, codec.decompress(stream).pixels)
        assert found.psnr_db is not None
        similar = -10 * np.log10(1 - (found.ms_ssim or 0))
        rows.append([stream.report.file_bytes, found.psnr_db, similar, stream.report.coding_s])
    return np.array(rows)


def rate_change(curve: NDArray[np.float64], reference: NDArray[np.float64], quality: int) -> NDArray[np.float64]:
    """log of bytes over the reference's, at the quality of each of its points but the ends."""
    order, other = np.argsort(reference[:, quality]), np.argsort(curve[:, quality])
    wanted, there = reference[order, quality][1:-1], np.log(reference[order, 0][1:-1])
    changes: NDArray[np.float64] = np.interp(wanted, curve[other, quality], np.log(curve[other, 0])) - there
    return changes


@click.command()
@click.option("--data", type=click.Path(path_type=Path, exists=True), required=True, help="Folder of pictures.")
@click.option("--model", default=PHOTO_MODEL, show_default=True, help="Bundled model or model file.")
@click.option("--limit", type=click.IntRange(1), default=8, show_default=True, help="Number of pictures.")
@click.option("--crop", type=click.IntRange(16), default=384, show_default=True, help="Side of the crops.")
@click.option("--shares", default="0.03,0.1", show_default=True, help="Beside 0.")
@click.option("--timesteps", default="6,16,40,100,220,400", show_default=True)
def main(data: Path, model: str, limit: int, crop: int, shares: str, timesteps: str) -> None:
    """Measure and print a table."""
    pictures = read_photos(data, limit, crop)
    checkpoint, times = load_checkpoint(model), sorted(map(int, timesteps.split(",")), reverse=True)
    if len(times) < 3:
        raise click.UsageError("--timesteps: at least three are needed")
    curves: dict[float, NDArray[np.float64]] = {}
    for share in [0.0, *map(float, shares.split(","))]:
        codec = DiffusionCodec(with_share(checkpoint, share))
        curves[share] = np.stack([measure_curve(codec, pixels, times) for pixels in pictures])
        click.echo(f"share {share:g}: measured", err=True)
    rows = [["share", "at equal", *(f"t = {t}" for t in times[1:-1]), "mean", "coding time"]]
    for share in list(curves)[1:]:
        for quality, name in ((1, "PSNR"), (2, "MS-SSIM")):
            each = [rate_change(a, b, quality) for a, b in zip(curves[share], curves[0.0], strict=True)]
            change = np.expm1(np.mean(each, axis=0))
            time = curves[share][..., 3].sum() / curves[0.0][..., 3].sum()
            rows.append([f"{share:g}", name, *(f"{100 * c:+.1f} %" for c in change), f"{100 * change.mean():+.1f} %"])
            rows[-1].append(f"{time:.2f}")
    click.echo(aligned(rows))


if __name__ == "__main__":
    main()
