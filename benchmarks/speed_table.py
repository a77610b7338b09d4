"""Seconds against bits: all settings of `--speed`, the speeds of AVIF and the efforts of JPEG XL, on real pictures.

    python benchmarks/speed_table.py --data KODAK                  # table and JSON of the eleven speeds
    python benchmarks/speed_table.py --data KODAK --draw docs/images/speed.png    # a figure, too
    python benchmarks/speed_table.py --data KODAK --grid           # all steps and efforts, to choose the speeds from
    python benchmarks/speed_table.py --data KODAK --limit 2 --crop 256 --peers ''

Every picture is compressed and restored at several timesteps or qualities. Rates are compared by BD-rate: the mean
difference of bits at equal PSNR. Other codecs have the settings of `rate_distortion.py` but for the speed, and files
count without headers (the file of a flat grey picture), which for AVIF's 312 bytes matters on crops; ours count as a
whole. A stopped run goes on where it was stopped. docs/speed.md shows the results.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from functools import cache, partial
from pathlib import Path
from typing import Any

import click
import numpy as np
import torch
from bjontegaard import bd_rate  # type: ignore[import-untyped]
from figures.style import new_figure, save
from numpy.typing import NDArray
from photo_folder import photo_paths, read_photos
from PIL import Image

from diffcodec.codec import DiffusionCodec
from diffcodec.coding.speed import SPEEDS, steps_at
from diffcodec.evaluation.baselines import Baseline, all_baselines, flat_grey_bytes
from diffcodec.evaluation.provenance import machine
from diffcodec.evaluation.summary_table import aligned
from diffcodec.files import atomic_write
from diffcodec.images import Picture
from diffcodec.images.error import psnr_db, squared_error
from diffcodec.model.locations import PHOTO_MODEL

HERE = Path(__file__).parent
REFERENCE = "AVIF, speed 0"
QUALITIES = (5, 15, 30, 45, 60, 75)
Clock = Callable[[], float]
Coded = tuple[int, NDArray[np.uint8]]


@dataclass(frozen=True)
class Curve:
    """A codec at one setting: columns are bytes, PSNR in dB, and seconds to compress and to restore.

    Args:
        name: of codec and setting.
        points: (pictures, qualities, 4).
    """

    name: str
    points: list[list[list[float]]]

    def seconds(self, column: int) -> float:
        """Mean over pictures and qualities: 2 to compress, 3 to restore."""
        return float(np.mean(np.array(self.points)[..., column]))

    def rate_over(self, other: Curve) -> float:
        """Mean BD-rate over the pictures, in percent; negative if this codec needs fewer bits."""
        return float(
            np.mean(
                [
                    bd_rate(*better(theirs), *better(own), "pchip", require_matching_points=False, min_overlap=0.5)
                    for own, theirs in zip(self.points, other.points, strict=True)
                ]
            )
        )


def better(points: list[list[float]]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Bytes and PSNR of a picture's files, without those that are worse than a smaller one."""
    found = np.array(sorted(points))[:, :2]
    rises = found[1:, 1] > np.maximum.accumulate(found[:, 1])[:-1]
    return tuple(found[np.concatenate([[True], rises])].T)


def measure(
    pixels: NDArray[np.uint8],
    compress: Callable[[NDArray[np.uint8]], bytes],
    restore: Callable[[bytes], NDArray[np.uint8]],
    clock: Clock,
    header_bytes: int = 0,
) -> list[float]:
    """One point of a curve; `header_bytes` do not count."""
    start = clock()
    data = compress(pixels)
    between = clock()
    restored = restore(data)
    end = clock()
    return [float(len(data) - header_bytes), psnr_db(squared_error(pixels, restored)), between - start, end - between]


def own_curve(
    codec: DiffusionCodec, pictures: list[NDArray[np.uint8]], timesteps: list[int], clock: Clock, **options: Any
) -> list[list[list[float]]]:
    """Points of our codec."""

    def compress(pixels: NDArray[np.uint8], timestep: int) -> bytes:
        return codec.compress(Picture(pixels), timestep=timestep, measure=False, **options).data

    def restore(data: bytes) -> NDArray[np.uint8]:
        return codec.decompress(data).pixels

    return [[measure(each, partial(compress, timestep=t), restore, clock) for t in timesteps] for each in pictures]


def peer_curve(pictures: list[NDArray[np.uint8]], codec: Baseline, clock: Clock) -> list[list[list[float]]]:
    """Points of another codec."""

    def restore(data: bytes) -> NDArray[np.uint8]:
        return np.asarray(codec.decode(data).convert("RGB"))

    header_bytes = cache(partial(flat_grey_bytes, codec))  # most pictures have the same size

    def point(pixels: NDArray[np.uint8], quality: int) -> list[float]:
        height, width = pixels.shape[:2]
        header = header_bytes(quality, width, height)
        return measure(pixels, lambda each: codec.encode(Image.fromarray(each), quality), restore, clock, header)

    return [[point(each, quality) for quality in QUALITIES] for each in pictures]


def peer_settings(names: list[str]) -> dict[str, Baseline]:
    """Other codecs at each speed or effort, by name."""
    known = {codec.name: codec for codec in all_baselines()}
    found: dict[str, Baseline] = {}
    if "avif" in names:
        found |= {f"AVIF, speed {k}": at(known["avif"], speed=k) for k in (0, 2, 4, 6, 8, 10)}
    if "jpegxl" in names:
        found |= {f"JPEG XL, effort {k}": at(known["jpegxl"], effort=k) for k in (9, 7, 5, 3, 1)}
    return found


def at(codec: Baseline, **option: int) -> Baseline:
    """The codec with an option changed."""

    def attempts(image: Image.Image, parameter: float) -> tuple[dict[str, Any], ...]:
        return tuple({**each, **option} for each in codec.attempts(image, parameter))

    return replace(codec, attempts=attempts)


def measured_before(path: Path, conditions: dict[str, Any]) -> dict[str, Curve]:
    """The curves of a results file by name; none if it does not exist, or was made under other conditions."""
    if not path.exists():
        return {}
    content = json.loads(path.read_text(encoding="utf-8"))
    if content.get("conditions") != conditions:
        return {}
    return {each["name"]: Curve(**each) for each in content["curves"]}


def draw(curves: list[Curve], path: Path) -> None:
    """Seconds to compress against bits."""
    figure, (axes,) = new_figure(4.2)
    reference = next(curve for curve in curves if curve.name == REFERENCE)
    for family in dict.fromkeys(curve.name.split(",")[0] for curve in curves):
        own = [curve for curve in curves if curve.name.split(",")[0] == family]
        seconds = [curve.seconds(2) for curve in own]
        rates = [curve.rate_over(reference) for curve in own]
        axes.plot(seconds, rates, marker="o", label=family)
        for number, (curve, x, y) in enumerate(zip(own, seconds, rates, strict=True)):
            offset = (4, 4) if number % 2 else (-10, -11)  # neighbours may lie close together
            axes.annotate(curve.name.split()[-1], (x, y), textcoords="offset points", xytext=offset, fontsize=8)
    axes.set_xscale("log")
    axes.set_xlabel("seconds to compress a picture")
    axes.set_ylabel(f"bits at equal PSNR over {REFERENCE}, %")
    axes.legend()
    save(figure, path.parent, path.stem)


@click.command()
@click.option("--data", type=click.Path(path_type=Path, exists=True), required=True, help="Folder of pictures.")
@click.option("--model", default=PHOTO_MODEL, show_default=True, help="Bundled model or model file.")
@click.option("--limit", type=click.IntRange(1), default=24, show_default=True, help="Number of pictures.")
@click.option("--crop", type=click.IntRange(16), help="Side of a crop from the middle.  [default: whole pictures]")
@click.option("--timesteps", default="200,100,50,20", show_default=True)
@click.option("--grid", is_flag=True, help="All steps and efforts instead of the speeds.")
@click.option("--peers", default="avif,jpegxl", show_default=True, help="Other codecs.")
@click.option("--clock", type=click.Choice(["wall", "processor"]), default="wall", show_default=True)
@click.option("--threads", type=click.IntRange(1), help="Of the network.  [default: as torch chooses]")
@click.option("--out", type=click.Path(path_type=Path), default=HERE / "results" / "speed_table.json")
@click.option("--draw", "figure", type=click.Path(path_type=Path), help="Where the figure goes; needs AVIF.")
def main(
    data: Path,
    model: str,
    limit: int,
    crop: int | None,
    timesteps: str,
    grid: bool,
    peers: str,
    clock: str,
    threads: int | None,
    out: Path,
    figure: Path | None,
) -> None:
    """Measure, print a table, write JSON and a figure."""
    if threads:
        torch.set_num_threads(threads)
    ticks = time.process_time if clock == "processor" else time.perf_counter
    pictures = read_photos(data, limit, crop)
    codec, levels = DiffusionCodec.from_pretrained(model), sorted(map(int, timesteps.split(",")), reverse=True)
    own_curve(codec, [pictures[0][:64, :64].copy()], levels, ticks)  # one-time costs
    size = pictures[0].shape[0] * pictures[0].shape[1]
    settings: dict[str, dict[str, Any]] = {f"diffcodec, speed {k}": {"speed": k} for k in range(len(SPEEDS))}
    if grid:
        lengths = sorted(len(codec.tables.lists[index].levels) for index in codec.tables.lists_for(size))
        settings = {
            f"diffcodec, {steps} steps, effort {effort}": {"steps": steps, "effort": effort}
            for steps in lengths[1:]
            for effort in (8, 10, 12, 14, 16)
        }
    jobs = {name: partial(own_curve, codec, pictures, levels, ticks, **options) for name, options in settings.items()}
    for name, peer in peer_settings(peers.split(",")).items():
        jobs[name] = partial(peer_curve, pictures, peer, ticks)
    conditions = {
        "model": codec.fingerprint.hex(),
        "machine": machine("cpu", 1),
        "pictures": [path.name for path in photo_paths(data)[:limit]],
        "crop": crop,
        "timesteps": timesteps,
        "clock": clock,
        "threads": threads,
    }
    curves, known = [], measured_before(out, conditions)
    out.parent.mkdir(parents=True, exist_ok=True)
    for name, job in jobs.items():
        curves.append(known[name] if name in known else Curve(name, job()))
        known[name] = curves[-1]
        click.echo(f"{name}: {curves[-1].seconds(2):.3g} s, {curves[-1].seconds(3):.3g} s", err=True)
        with atomic_write(out, overwrite=True) as file:
            content = {"conditions": conditions, "curves": [asdict(each) for each in known.values()]}
            file.write(json.dumps(content).encode())
    default = next((c for c in curves if c.name in ("diffcodec, speed 6", "diffcodec, 16 steps, effort 12")), curves[0])
    rows = [["setting", "compress", "restore", f"bits over {default.name}"]]
    for curve in curves:
        rate = "" if curve is default else f"{curve.rate_over(default):+.1f} %"
        rows.append([curve.name, f"{curve.seconds(2):.3g} s", f"{curve.seconds(3):.3g} s", rate])
    click.echo(aligned(rows, left=1))
    for speed in range(0 if grid else len(SPEEDS)):
        click.echo(f"speed {speed}: {SPEEDS[speed].effort}, {steps_at(speed, codec.tables, size)}")
    if figure and any(curve.name == REFERENCE for curve in curves):
        draw(curves, figure)


if __name__ == "__main__":
    main()
