"""Compresses real pictures at several timesteps, restores them from the files, and shows what came of it."""

from __future__ import annotations

import time
from pathlib import Path

import click
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from diffcodec import DiffusionCodec, Picture, read_picture, write_picture
from diffcodec.images import picture_to_pil
from diffcodec.images.error import psnr_db, squared_error
from diffcodec.model.locations import default_model

ROOT = Path(__file__).parent.parent
TIMESTEPS = (300, 100, 20, 1)
SIDE = 192
MARGIN, CAPTION = 8, 40


def cifar_pictures(count: int) -> list[Picture]:
    """The first images of the CIFAR-10 test set, from the bundled grid of 10 x 10 tiles."""
    grid = read_picture(ROOT / "benchmarks" / "data" / "cifar10-test-100.webp").pixels
    tiles = grid.reshape(10, 32, 10, 32, 3).transpose(0, 2, 1, 3, 4).reshape(-1, 32, 32, 3)
    return [Picture(np.ascontiguousarray(tile), None) for tile in tiles[:count]]


def mosaic(pictures: list[Picture]) -> Image.Image:
    """Nine small pictures as one of SIDE x SIDE pixels."""
    image = Image.new("RGB", (96, 96))
    for index, picture in enumerate(pictures):
        image.paste(picture_to_pil(picture), (32 * (index % 3), 32 * (index // 3)))
    return image.resize((SIDE, SIDE), Image.Resampling.NEAREST)


def psnr_of_all(original: list[Picture], restored: list[Picture]) -> float:
    """PSNR over all pictures together, in dB."""
    pairs = zip(original, restored, strict=True)
    return psnr_db(float(np.mean([squared_error(before.pixels, after.pixels) for before, after in pairs])))


def draw(columns: list[tuple[str, list[tuple[Image.Image, str]]]]) -> Image.Image:
    """Columns of captioned pictures under their titles."""
    rows = len(columns[0][1])
    width = MARGIN + len(columns) * (SIDE + MARGIN)
    sheet = Image.new("RGB", (width, CAPTION // 2 + MARGIN + rows * (SIDE + CAPTION)), "white")
    pen, font = ImageDraw.Draw(sheet), ImageFont.load_default(14)
    for column, (title, cells) in enumerate(columns):
        left = MARGIN + column * (SIDE + MARGIN)
        pen.text((left, MARGIN // 2), title, "black", font)
        for row, (image, caption) in enumerate(cells):
            top = CAPTION // 2 + MARGIN + row * (SIDE + CAPTION)
            sheet.paste(image, (left, top))
            pen.text((left, top + SIDE + 3), caption, "black", font)
    return sheet


@click.command()
@click.option("--out", type=click.Path(path_type=Path), default=ROOT / "demo", show_default=True)
@click.option("--model", help="Bundled model or model file.  [default: the bundled one for each size]")
def main(out: Path, model: str | None) -> None:
    """Compress, restore, print a table, and write one picture with the restorations side by side."""
    out.mkdir(parents=True, exist_ok=True)
    photo = read_picture(ROOT / "benchmarks" / "data" / "chelsea-192.png")
    groups = {"photo": [photo], "cifar10": cifar_pictures(9)}
    codecs = {
        name: DiffusionCodec.from_pretrained(model or default_model(pictures[0].width, pictures[0].height))
        for name, pictures in groups.items()
    }
    columns = [
        (
            "original",
            [
                (picture_to_pil(photo), "192 x 192, 110592 bytes"),
                (mosaic(groups["cifar10"]), "9 of 32 x 32, 3072 bytes each"),
            ],
        )
    ]
    click.echo(
        f"{'pictures':>8}  {'t':>4}  {'bytes each':>10}  {'bpp':>7}  {'PSNR dB':>7}  {'compress s':>10}  "
        f"{'restore s':>9}"
    )
    for timestep in TIMESTEPS:
        cells = []
        for name, pictures in groups.items():
            codec, begin = codecs[name], time.perf_counter()
            streams = codec.compress_batch(pictures, timestep=timestep)
            compressed = time.perf_counter()
            paths = [out / f"{name}-{index}-t{timestep}.dfc" for index in range(len(streams))]
            for stream, path in zip(streams, paths, strict=True):
                stream.save(path, overwrite=True)
            restored = [each.picture for each in codec.decompress_batch([path.read_bytes() for path in paths])]
            done = time.perf_counter()
            size = float(np.mean([len(stream.data) for stream in streams]))
            bpp, psnr = float(np.mean([stream.report.bpp for stream in streams])), psnr_of_all(pictures, restored)
            click.echo(
                f"{name:>8}  {timestep:>4}  {size:>10.0f}  {bpp:>7.3f}  {psnr:>7.2f}  "
                f"{compressed - begin:>10.1f}  {done - compressed:>9.1f}"
            )
            image = picture_to_pil(restored[0]) if name == "photo" else mosaic(restored)
            cells.append((image, f"{size:.0f} bytes, {bpp:.2f} bpp\n{psnr:.1f} dB"))
        columns.append((f"t = {timestep}", cells))
    sheet = draw(columns)
    write_picture(read_picture(sheet), out / "restorations.png")
    click.echo(f"wrote {out / 'restorations.png'} and the .dfc files beside it")


if __name__ == "__main__":
    main()
