"""How long the codec takes, in the network and in everything else, and how much memory.

    python benchmarks/speed.py                                            # all of it
    python benchmarks/speed.py --sizes 32x32,768x512 --timesteps 100 --rounds 1
    python benchmarks/speed.py --batches '' --sizes 4000x3000 --timesteps 50 --limit 1000000000 --out large.json
    python benchmarks/speed.py --sizes 768x512 --timesteps 50 --compare cifar10-small-v1

Prints tables and writes benchmarks/results/speed.json. docs/benchmarks.md explains the columns.
"""

from __future__ import annotations

import json
import math
import resource
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import click
import numpy as np
import torch

from diffcodec.codec import DiffusionCodec
from diffcodec.coding.encoder import Encoder
from diffcodec.coding.report import Stopwatch
from diffcodec.diffusion.windows import predict_x_0
from diffcodec.evaluation.datasets import load_dataset
from diffcodec.evaluation.provenance import machine, versions
from diffcodec.evaluation.summary_table import aligned
from diffcodec.evaluation.true_sampling import TrueSampling
from diffcodec.images import Picture, read_picture
from diffcodec.model.levels import LOG_SNR_SCALE
from diffcodec.model.locations import default_model

HERE = Path(__file__).parent
Row = dict[str, Any]


def small_pictures(count: int) -> list[Picture]:
    """CIFAR-10 test images, 32 x 32; after the hundredth from the start again."""
    pictures = load_dataset(str(HERE / "data" / "cifar10-test-100.webp")).pictures
    return [pictures[i % len(pictures)] for i in range(count)]


def picture_of(width: int, height: int) -> Picture:
    """The bundled photograph, cropped, or mirrored until it fills the size."""
    photograph = read_picture(HERE / "data" / "chelsea-192.png").pixels
    edges = [(0, max(0, wanted - side)) for wanted, side in zip((height, width), photograph.shape, strict=False)]
    filled = np.pad(photograph, [*edges, (0, 0)], mode="symmetric")
    return Picture(np.ascontiguousarray(filled[:height, :width]), None)


def fastest(measure: Callable[[], Row], rounds: int, key: str) -> Row:
    """The round with the smallest `key`: other work on the machine only ever adds to it."""
    return min((measure() for _ in range(rounds)), key=lambda row: float(row[key]))


def encode(codec: DiffusionCodec, pictures: Sequence[Picture], timestep: int) -> Row:
    """Seconds of a batch, and its files."""
    start = time.perf_counter()
    streams = codec.compress_batch(pictures, timestep=timestep)
    total_s = time.perf_counter() - start
    return {
        "total_s": total_s,
        "network_s": sum(stream.report.network_s for stream in streams),
        "coding_s": sum(stream.report.coding_s for stream in streams),
        "steps": len(streams[0].report.steps),
        "streams": [stream.data for stream in streams],
    }


def decode(codec: DiffusionCodec, streams: Sequence[bytes]) -> Row:
    """Seconds of a batch's files."""
    start = time.perf_counter()
    restored = codec.decompress_batch(streams)
    total_s = time.perf_counter() - start
    return {
        "total_s": total_s,
        "network_s": sum(each.network_s for each in restored),
        "coding_s": sum(each.coding_s for each in restored),
        "steps": restored[0].steps,
    }


@torch.no_grad()
def network_alone(codec: DiffusionCodec, pictures: Sequence[Picture], timestep: int) -> Row:
    """Seconds of the evaluations that encoding the batch takes and of nothing else, on the clock and of processors."""
    encoder = Encoder(codec.context_for(pictures[0], TrueSampling()), Stopwatch())
    trajectory, x_0 = encoder.start(pictures, codec.tables.level(timestep))
    asked = [stop.log_snr / LOG_SNR_SCALE for _, stop in trajectory.steps()]
    if codec.tables.start is None:
        asked.insert(0, codec.denoiser.config.log_snr_min)
    start, processor = time.perf_counter(), time.process_time()
    for log_snr in asked:
        predict_x_0(codec.denoiser, x_0, log_snr)
    return {
        "total_s": time.perf_counter() - start,
        "processor_s": time.process_time() - processor,
        "evaluations": len(asked),
    }


def measure_batch(codec: DiffusionCodec, count: int, timestep: int, rounds: int) -> Row:
    """Encoding a batch of small pictures, decoding its files, and the encoder's evaluations alone."""
    pictures = small_pictures(count)
    encoded = fastest(partial(encode, codec, pictures, timestep), rounds, "total_s")
    streams = encoded.pop("streams")
    decoded = fastest(partial(decode, codec, streams), rounds, "total_s")
    alone = fastest(partial(network_alone, codec, pictures, timestep), rounds, "total_s")
    return {"images": count, "timestep": timestep, "encode": encoded, "decode": decoded, "network_alone": alone}


def measure_size(model: str, size: tuple[int, int], timestep: int, threads: int) -> Row:
    """One picture there and back, in a process of its own, whose memory it is."""
    torch.set_num_threads(threads)
    codec = DiffusionCodec.from_pretrained(model)
    picture = picture_of(*size)
    before = resident_bytes("VmRSS")
    encoded = encode(codec, [picture], timestep)
    streams, encode_peak = encoded.pop("streams"), resident_bytes("VmHWM")
    decoded = decode(codec, streams)
    return {
        "width": size[0],
        "height": size[1],
        "model": codec.model.card.name,
        "timestep": timestep,
        "file_bytes": len(streams[0]),
        "encode": encoded,
        "decode": decoded,
        "start_bytes": before,
        "encode_peak_bytes": encode_peak,
        "peak_bytes": resident_bytes("VmHWM"),
    }


def resident_bytes(field: str) -> int:
    """Memory of this process: `VmRSS` is what is resident now, `VmHWM` the most that ever was.

    Where there is no /proc it is the most in any case; that of a new process may be its parent's.
    """
    status = Path("/proc/self/status")
    if not status.exists():
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak if sys.platform == "darwin" else 1024 * peak
    lines = dict(line.split(":", 1) for line in status.read_text(encoding="utf-8").splitlines())
    return 1024 * int(lines[field].split()[0])


def compare(models: Sequence[str], size: tuple[int, int], timestep: int, rounds: int) -> list[Row]:
    """Models in turns, round by round: what else the machine does meets all of them."""
    codecs = [DiffusionCodec.from_pretrained(model) for model in models]
    picture = picture_of(*size)
    best: list[dict[str, Row]] = [{} for _ in codecs]
    for _ in range(rounds):
        for codec, found in zip(codecs, best, strict=True):
            encoded = encode(codec, [picture], timestep)
            streams = encoded.pop("streams")
            for name, row in (("encode", encoded), ("decode", decode(codec, streams))):
                found[name] = min(found.get(name, row), row, key=lambda row: float(row["total_s"]))
    return [
        {"model": codec.model.card.name, "width": size[0], "height": size[1], "timestep": timestep, **found}
        for codec, found in zip(codecs, best, strict=True)
    ]


def times(row: Row) -> list[str]:
    """Total, per step, network and coding seconds, and the ratio of the last two."""
    return [
        f"{row['total_s']:.3f}",
        f"{1000 * row['total_s'] / row['steps']:.1f}",
        f"{row['network_s']:.3f}",
        f"{row['coding_s']:.3f}",
        f"{row['coding_s'] / row['network_s']:.1%}" if row["network_s"] else "-",
    ]


TIMES = ("s", "ms/step", "network", "coding", "coding/network")


def batch_table(rows: Sequence[Row]) -> str:
    """Batches of small pictures."""
    lines = []
    for row in rows:
        alone_s = row["network_alone"]["total_s"]
        for name in ("encode", "decode"):
            part = row[name]
            ratios = f"{row['images'] / part['total_s']:.2f}", f"{alone_s:.3f}", f"{part['total_s'] / alone_s:.2f}"
            lines.append([name, str(row["images"]), str(row["timestep"]), str(part["steps"]), *times(part), *ratios])
    return aligned([("", "batch", "t", "steps", *TIMES, "images/s", "network alone", "s/alone"), *lines])


def size_table(rows: Sequence[Row]) -> str:
    """One picture of each size."""
    lines = []
    for row in rows:
        for name, peak in (("encode", row["encode_peak_bytes"]), ("decode", row["peak_bytes"])):
            part = row[name]
            memory = [f"{bytes_ / 2**20:.0f}" for bytes_ in (peak - row["start_bytes"], peak)]
            size = f"{row['width']}x{row['height']}"
            lines.append([name, size, row["model"], str(row["timestep"]), str(part["steps"]), *times(part), *memory])
    return aligned([("", "size", "model", "t", "steps", *TIMES, "MiB more", "MiB in all"), *lines])


def comparison_table(rows: Sequence[Row]) -> str:
    """Models in turns."""
    lines = [
        [
            name,
            row["model"],
            f"{row['width']}x{row['height']}",
            str(row["timestep"]),
            str(row[name]["steps"]),
            *times(row[name]),
        ]
        for row in rows
        for name in ("encode", "decode")
    ]
    return aligned([("", "model", "size", "t", "steps", *TIMES), *lines])


def parse_size(text: str) -> tuple[int, int]:
    """'768x512' as (768, 512)."""
    try:
        width, height = (int(side) for side in text.split("x"))
    except ValueError as error:
        raise click.BadParameter(f"expected sizes like 768x512, found {text!r}") from error
    if min(width, height) < 1:
        raise click.BadParameter(f"expected sides of at least 1 pixel, found {text!r}")
    return width, height


@click.command()
@click.option(
    "--sizes",
    default="32x32,128x128,256x256,512x512,768x512,1024x1024,2048x2048",
    show_default=True,
    help="Width x height of single pictures; none if empty.",
)
@click.option("--timesteps", default="1", show_default=True, help="Of batches, and of the comparison.")
@click.option("--batches", default="1,16,64", show_default=True, help="Numbers of 32 x 32 images; none if empty.")
@click.option(
    "--limit",
    type=click.IntRange(1),
    default=1 << 23,
    show_default=True,
    help="A size with more pixels times steps takes the first timestep with fewer.",
)
@click.option("--rounds", type=click.IntRange(1), default=2, show_default=True, help="The fastest counts.")
@click.option("--threads", type=click.IntRange(1), default=2, show_default=True)
@click.option("--model", help="Bundled model or model file.  [default: the bundled one for the size]")
@click.option("--compare", "others", multiple=True, help="A model to time in turns with --model, at --sizes.")
@click.option("--out", type=click.Path(path_type=Path), default=HERE / "results" / "speed.json", show_default=True)
def main(
    sizes: str,
    timesteps: str,
    batches: str,
    limit: int,
    rounds: int,
    threads: int,
    model: str | None,
    others: tuple[str, ...],
    out: Path,
) -> None:
    """Measure seconds and memory."""
    begin = time.perf_counter()
    torch.set_num_threads(threads)
    wanted_sizes = [parse_size(text) for text in sizes.split(",") if text]
    wanted_timesteps = [int(t) for t in timesteps.split(",")]
    codec = DiffusionCodec.from_pretrained(model)
    result: Row = {
        "command": "python benchmarks/speed.py",
        "model": codec.model.card.name,
        "threads": threads,
        "machine": machine("cpu", 1),
        "versions": versions(["torch", "numpy"]),
        "rounds": rounds,
        "batches": [],
        "sizes": [],
        "comparison": [],
    }
    if others:
        for size in wanted_sizes:
            for timestep in wanted_timesteps:
                result["comparison"] += compare([model or default_model(*size), *others], size, timestep, rounds)
        click.echo(comparison_table(result["comparison"]))
    else:
        codec.compress_batch(small_pictures(1), timestep=wanted_timesteps[0])  # warms up
        for timestep in wanted_timesteps:
            for count in (int(text) for text in batches.split(",") if text):
                result["batches"].append(measure_batch(codec, count, timestep, rounds))
        click.echo(batch_table(result["batches"]))
        for size in wanted_sizes:
            name = model or default_model(*size)
            timestep = affordable_timestep(DiffusionCodec.from_pretrained(name), size, min(wanted_timesteps), limit)
            # One process for each size: memory that a process has had, it keeps.
            with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
                result["sizes"].append(pool.submit(measure_size, name, size, timestep, threads).result())
        click.echo(size_table(result["sizes"]))
    result["seconds"] = time.perf_counter() - begin
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps(result) + "\n", encoding="utf-8")
    click.echo(f"wrote {out} after {result['seconds']:.0f} s")


def affordable_timestep(codec: DiffusionCodec, size: tuple[int, int], timestep: int, limit: int) -> int:
    """The first t from `timestep` on whose trajectory has at most `limit` pixels times steps; T if there is none."""
    pixels = math.prod(size)
    level_list = codec.tables.lists[codec.tables.list_for(pixels)]
    last = len(codec.tables.timesteps)
    fits = (t for t in range(timestep, last) if pixels * len(level_list.steps_to(codec.tables.level(t))) <= limit)
    return next(fits, last)


if __name__ == "__main__":
    main()
