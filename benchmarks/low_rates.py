"""Our model of photographs beside DiffC's published points at very low rates, on the same pictures.

    python benchmarks/low_rates.py --kodak KODAK

For kodim06, 22 and 23, at 0.02, 0.05 and 0.1 bits a pixel: the PSNR of DiffC with Stable Diffusion, interpolated
between its points, and of files of ours that are at most as large, restored by `mean` and by `flow`.
"""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path

import click
import numpy as np

from diffcodec import DiffusionCodec
from diffcodec.coding.targets import Target
from diffcodec.evaluation.summary_table import aligned
from diffcodec.images import read_picture
from diffcodec.images.error import psnr_db, squared_error
from diffcodec.model.locations import PHOTO_MODEL

REPORTED = Path(__file__).parent / "data" / "diffc-kodak.json"
RATES = (0.02, 0.05, 0.1)


def reported_psnr(points: list[dict[str, float]], bpp: float) -> float:
    """The PSNR of published points at a rate, interpolated over the logarithm of the rate."""
    rates, values = np.log([point["bpp"] for point in points]), [point["psnr_db"] for point in points]
    assert all(before < after for before, after in pairwise(rates))
    return float(np.interp(np.log(bpp), rates, values))


@click.command(help=__doc__)
@click.option("--kodak", type=click.Path(exists=True, file_okay=False, path_type=Path), required=True)
@click.option("--model", default=PHOTO_MODEL, show_default=True)
def main(kodak: Path, model: str) -> None:
    """Print the table."""
    codec = DiffusionCodec.from_pretrained(model)
    published = json.loads(REPORTED.read_text(encoding="utf-8"))["pictures"]
    table = [["picture", "bits/pixel", "DiffC (reported)", "ours, mean", "ours, flow"]]
    for name, points in published.items():
        picture = read_picture(kodak / f"{name}.png")
        for bpp in RATES:
            stream = codec.compress(picture, target=Target.bpp(bpp), measure=False)
            found = [codec.decompress(stream, reconstruction=how).pixels for how in ("mean", "flow")]
            psnr = [psnr_db(squared_error(picture.pixels, pixels)) for pixels in found]
            row = [
                name,
                f"{stream.report.bpp:.3f}",
                f"{reported_psnr(points, bpp):.2f}",
                *(f"{each:.2f}" for each in psnr),
            ]
            table.append(row)
            click.echo("  ".join(row), err=True)
    click.echo(aligned(table, left=1))


if __name__ == "__main__":
    main()
