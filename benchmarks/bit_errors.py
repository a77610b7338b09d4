"""What wrong bits do to files: PSNR after decoding against the bit error rate, beside JPEG, WebP and AVIF.

    python benchmarks/bit_errors.py --kodak KODAK [--limit 6] [--crop 512] [--trials 30]    # measure
    python benchmarks/bit_errors.py --plot                                                  # the figure alone

Every bit of a file is wrong with a given probability, independently. The other codecs' files have as nearly as possible
the bytes of ours (t = 50); JPEG has a restart marker for every row of blocks, and all decoders show what they can of a
damaged file. A file of which nothing is shown counts as a flat grey picture. Writes benchmarks/results/bit-errors.json
and docs/images/bit-errors.png.
"""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import click
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFile

from diffcodec.bitstream.container import read_container, read_header, read_partial, write_container
from diffcodec.codec import DiffusionCodec
from diffcodec.coding.stream import ParsedStream
from diffcodec.coding.truncation import truncate
from diffcodec.config import DEFAULT_MAX_PIXELS
from diffcodec.errors import ConfigError, DiffCodecError
from diffcodec.evaluation.datasets import picture_files
from diffcodec.evaluation.provenance import model_conditions, versions
from diffcodec.files import atomic_write
from diffcodec.images import Picture, read_picture

HERE = Path(__file__).parent
RESULT = HERE / "results" / "bit-errors.json"
FIGURE = HERE.parent / "docs" / "images" / "bit-errors.png"
RATES = (1e-6, 3e-6, 1e-5, 3e-5, 1e-4, 3e-4, 1e-3, 3e-3, 1e-2)
GREY = 128
Pixels = NDArray[np.uint8]


@dataclass(frozen=True)
class Coded:
    """A picture's file, and how to decode a damaged copy.

    Args:
        data: the file.
        decode: pixels that are shown of it; None if nothing is.
    """

    data: bytes
    decode: Callable[[bytes], Pixels | None]


def damaged(data: bytes, rate: float, random: np.random.Generator) -> bytes:
    """The data, each of whose bits is wrong with a probability."""
    bits = 8 * len(data)
    places = random.choice(bits, size=random.binomial(bits, rate), replace=False)
    changed = np.frombuffer(data, np.uint8).copy()
    np.bitwise_xor.at(changed, places // 8, (1 << (places % 8)).astype(np.uint8))
    return changed.tobytes()


def psnr_db(found: Pixels | None, original: Pixels) -> float:
    """PSNR over all three channels, 100 dB at most; of a grey picture if there is none."""
    shown = np.full_like(original, GREY) if found is None or found.shape != original.shape else found
    error = float(np.mean((shown.astype(float) - original) ** 2))
    return min(100.0, 10 * np.log10(255**2 / error)) if error else 100.0


def progressive_decoder(
    codec: DiffusionCodec, steps: Sequence[Pixels], *, corrects: bool = True
) -> Callable[[bytes], Pixels | None]:
    """Decodes damaged copies of a file as `partial` does, without the network: the steps are there.

    Args:
        codec: with the model.
        steps: what every step of the file restores.
        corrects: whether wrong bits are corrected.
    """

    def decode(changed: bytes) -> Pixels | None:
        try:
            reading = read_partial(changed, corrects=corrects)
            stream = ParsedStream(reading, "the stream", DEFAULT_MAX_PIXELS, len(changed))
            kept = read_header(truncate(stream, codec.model, len(changed) + 64)).header
        except DiffCodecError:
            return None
        return steps[-1 if kept.shortened is None else kept.shortened.steps - 1]

    return decode


def pillow_decoder(data: bytes) -> Pixels | None:
    """What Pillow shows of a damaged file."""
    ImageFile.LOAD_TRUNCATED_IMAGES = True
    try:
        with Image.open(io.BytesIO(data)) as image:
            return np.asarray(image.convert("RGB"))
    except Exception:  # plugins raise almost anything
        return None
    finally:
        ImageFile.LOAD_TRUNCATED_IMAGES = False


def of_size(picture: Picture, size: int, form: str, **options: Any) -> bytes:
    """The file of another codec that is nearest to a size, over its qualities."""
    image, files = Image.fromarray(picture.pixels), []
    low, high = 0, 100
    while low <= high:
        quality = (low + high) // 2
        buffer = io.BytesIO()
        image.save(buffer, form, quality=quality, **options)
        files.append(buffer.getvalue())
        low, high = (quality + 1, high) if len(files[-1]) < size else (low, quality - 1)
    return min(files, key=lambda data: abs(len(data) - size))


def coded_by_all(codec: DiffusionCodec, picture: Picture, timestep: int) -> dict[str, Coded]:
    """A picture's files, by the name of what is measured."""
    data = codec.compress(picture, timestep=timestep).data
    steps = [restoration.pixels for restoration in codec.progressive(data)]
    content = read_container(data)
    twice = write_container(replace(content, header=replace(content.header, repeats_front=True)))
    others = {
        "JPEG, restart markers": of_size(picture, len(data), "JPEG", optimize=True, restart_marker_rows=1),
        "JPEG": of_size(picture, len(data), "JPEG", optimize=True),
        "WebP": of_size(picture, len(data), "WEBP", method=4),
        "AVIF": of_size(picture, len(data), "AVIF", speed=6),
    }
    return {
        "diffcodec": Coded(data, progressive_decoder(codec, steps)),
        "diffcodec, front repeated": Coded(twice, progressive_decoder(codec, steps)),
        "diffcodec, nothing corrected": Coded(data, progressive_decoder(codec, steps, corrects=False)),
        **{name: Coded(file, pillow_decoder) for name, file in others.items()},
    }


def measure(pictures: Sequence[Picture], timestep: int, trials: int) -> dict[str, Any]:
    """PSNR and shares by codec and rate."""
    rows: dict[str, dict[str, Any]] = {}
    for number, picture in enumerate(pictures):
        codec = DiffusionCodec.for_size(picture.width, picture.height)
        for name, coded in coded_by_all(codec, picture, timestep).items():
            random = np.random.default_rng(number)
            row = rows.setdefault(name, {"bytes": [], "intact_db": [], "psnr_db": [], "shown": []})
            row["bytes"].append(len(coded.data))
            row["intact_db"].append(psnr_db(coded.decode(coded.data), picture.pixels))
            found = [[coded.decode(damaged(coded.data, rate, random)) for _ in range(trials)] for rate in RATES]
            row["psnr_db"].append([float(np.mean([psnr_db(each, picture.pixels) for each in line])) for line in found])
            row["shown"].append([float(np.mean([each is not None for each in line])) for line in found])
        click.echo(f"{number + 1} of {len(pictures)}")
    return {
        "model": model_conditions(codec.model),
        "versions": versions(("torch", "numpy", "pillow")),
        "timestep": timestep,
        "trials": trials,
        "pictures": len(pictures),
        "size": [pictures[0].width, pictures[0].height],
        "rates": RATES,
        "grey_db": float(np.mean([psnr_db(None, picture.pixels) for picture in pictures])),
        "codecs": {
            name: {key: np.mean(values, axis=0).tolist() for key, values in row.items()} for name, row in rows.items()
        },
    }


def markdown(result: dict[str, Any]) -> str:
    """The table of mean PSNRs, with the share of the files of which anything is shown where that is not all."""
    lines = ["| | bytes | intact | " + " | ".join(f"{rate:.0e}" for rate in result["rates"]) + " |"]
    lines.append("|---" * (3 + len(result["rates"])) + "|")
    for name, row in result["codecs"].items():
        cells = [
            f"{psnr:.1f}" + (f" ({100 * shown:.0f} %)" if shown < 0.995 else "")
            for psnr, shown in zip(row["psnr_db"], row["shown"], strict=True)
        ]
        lines.append(f"| {name} | {row['bytes']:.0f} | {row['intact_db']:.1f} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def plot(result: dict[str, Any]) -> None:
    """Draw the figure."""
    from figures.bit_errors import draw

    draw(result, FIGURE)


def crop_of(picture: Picture, side: int | None) -> Picture:
    """The middle of a picture, at most side x side pixels."""
    if side is None:
        return picture
    top, left = max(0, picture.height - side) // 2, max(0, picture.width - side) // 2
    return Picture(np.ascontiguousarray(picture.pixels[top : top + side, left : left + side]), None)


@click.command()
@click.option("--kodak", type=click.Path(path_type=Path), help="Folder of photographs.")
@click.option("--limit", type=click.IntRange(1), help="Take only so many.")
@click.option("--crop", type=click.IntRange(64), help="Take the middle of each, so many pixels wide and high.")
@click.option("--trials", type=click.IntRange(1), default=30, show_default=True, help="For each picture and rate.")
@click.option("-t", "--timestep", type=click.IntRange(1), default=50, show_default=True)
@click.option("--plot", "plots", is_flag=True, help="Draw the figure from the results alone.")
def main(kodak: Path | None, limit: int | None, crop: int | None, trials: int, timestep: int, plots: bool) -> None:
    """Measure or plot."""
    if not plots:
        if kodak is None:
            raise click.UsageError("Pass --kodak FOLDER, or --plot.")
        try:
            files = picture_files(kodak)[:limit]
        except ConfigError as error:
            raise click.ClickException(str(error)) from error
        pictures = [crop_of(read_picture(file), crop) for file in files]
        result = measure(pictures, timestep, trials)
        with atomic_write(RESULT, overwrite=True) as out:
            out.write((json.dumps(result, indent=1) + "\n").encode())
    result = json.loads(RESULT.read_text(encoding="utf-8"))
    click.echo(markdown(result))
    plot(result)


if __name__ == "__main__":
    main()
