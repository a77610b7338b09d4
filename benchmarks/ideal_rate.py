"""What a limited number of steps costs on photographs: the ideal rate over the limit of fine steps.

    python benchmarks/ideal_rate.py --data KODAK                          # ten crops, all level lists, t = 50

The ideal rate is the sum of the KL divergences along a real file; a channel pays more (docs/channel.md). The limit is
half the integral of the squared error over the SNR, with true noise at levels `--spacing` apart.
"""

from __future__ import annotations

from pathlib import Path

import click
import numpy as np
import torch
from local_variances import errors_and_estimates
from photo_folder import read_photos
from step_variances.measurement import bits_under_curve

from diffcodec import DiffusionCodec
from diffcodec.evaluation.summary_table import aligned
from diffcodec.model.levels import LOG_SNR_SCALE
from diffcodec.model.locations import PHOTO_MODEL

NOISIEST = -8.0
"""Log SNR below which the error hardly changes."""


@click.command()
@click.option("--data", required=True, type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--model", default=PHOTO_MODEL, show_default=True, help="Bundled model or model file.")
@click.option("--timestep", type=click.IntRange(1), default=50, show_default=True, help="Where the files end.")
@click.option("--limit", type=click.IntRange(1), default=10, show_default=True, help="Number of pictures.")
@click.option("--crop", type=click.IntRange(32), default=256, show_default=True, help="Side of the middle square.")
@click.option("--spacing", type=click.FloatRange(0.01), default=0.2, show_default=True, help="In nats.")
@click.option("--threads", type=click.IntRange(1), help="Of the network.  [default: as torch chooses]")
def main(data: Path, model: str, timestep: int, limit: int, crop: int, spacing: float, threads: int | None) -> None:
    """Print the ideal rate of each level list beside the limit of fine steps."""
    if threads is not None:
        torch.set_num_threads(threads)
    codec = DiffusionCodec.from_pretrained(model)
    pictures = read_photos(data, limit, crop)
    end = codec.tables.level(timestep).log_snr / LOG_SNR_SCALE
    nodes = np.linspace(NOISIEST, end, 1 + round((end - NOISIEST) / spacing))
    errors = (errors_and_estimates(codec.denoiser, np.stack(pictures), node)[0] for node in nodes.tolist())
    limit_bits = bits_under_curve(nodes, np.array([np.square(each, dtype=np.float64).sum() for each in errors]))
    dims = sum(pixels.size for pixels in pictures)
    rows = [("limit", "", f"{limit_bits / dims:.4f}", "")]
    for steps in sorted({len(levels.levels) for levels in codec.tables.lists}):
        reports = [codec.compress(pixels, timestep=timestep, steps=steps).report for pixels in pictures]
        bits = sum(report.ideal_bits for report in reports)
        rows.append((str(steps), str(len(reports[0].steps)), f"{bits / dims:.4f}", f"{bits / limit_bits - 1:+.1%}"))
    click.echo(aligned([("list", "steps", "ideal bits/dim", "over the limit"), *rows]))


if __name__ == "__main__":
    main()
