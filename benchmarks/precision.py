"""bfloat16 against float32: bytes, PSNR and differences of files made with one and restored with either.

    python benchmarks/precision.py --data KODAK                        # needs a processor with AVX-512 BF16 or AMX
    python benchmarks/precision.py --data KODAK --limit 2 --crop 256 --timesteps 50

docs/speed.md explains when bfloat16 is used.
"""

from __future__ import annotations

from pathlib import Path

import click
import numpy as np
from photo_folder import read_photos

from diffcodec.codec import DiffusionCodec
from diffcodec.evaluation.summary_table import aligned
from diffcodec.images import Picture
from diffcodec.images.error import psnr_db, squared_error
from diffcodec.model.locations import PHOTO_MODEL


@click.command()
@click.option("--data", type=click.Path(path_type=Path, exists=True), required=True, help="Folder of pictures.")
@click.option("--model", default=PHOTO_MODEL, show_default=True, help="Bundled model or model file.")
@click.option("--limit", type=click.IntRange(1), default=4, show_default=True, help="Number of pictures.")
@click.option("--crop", type=click.IntRange(16), default=384, show_default=True, help="Side of the crops.")
@click.option("--timesteps", default="300,100,50,20,5", show_default=True)
def main(data: Path, model: str, limit: int, crop: int, timesteps: str) -> None:
    """Measure and print a table."""
    pictures = read_photos(data, limit, crop)
    codecs = {
        precision: DiffusionCodec.from_pretrained(model, precision=precision) for precision in ("fp32", "auto", "bf16")
    }
    rows = [["t", "made", "bytes", "restored", "PSNR", "largest difference"]]
    for timestep in map(int, timesteps.split(",")):
        for made in ("fp32", "auto"):
            streams = [codecs[made].compress(Picture(each), timestep=timestep, measure=False) for each in pictures]
            reference = [codecs["fp32"].decompress(stream).pixels for stream in streams]
            for restored in ("fp32", "auto", "bf16"):
                found = [codecs[restored].decompress(stream).pixels for stream in streams]
                quality = [psnr_db(squared_error(a, b)) for a, b in zip(pictures, found, strict=True)]
                largest = max(int(np.abs(a.astype(int) - b).max()) for a, b in zip(found, reference, strict=True))
                length = sum(len(stream.data) for stream in streams)
                rows.append([f"{timestep}", made, f"{length}", restored, f"{np.mean(quality):.3f} dB", f"{largest}"])
    click.echo(aligned(rows))


if __name__ == "__main__":
    main()
