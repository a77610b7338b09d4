"""What the codec pays over what it must: reference, ideal, delivered, path, side and file bits, at real files.

    python benchmarks/overhead.py                                          # 100 images, both channels
    python benchmarks/overhead.py --limit 8 --channels trellis --steps 8   # a quick look

Writes benchmarks/results/overhead.json and prints a table. docs/benchmarks.md explains the columns.
"""

from __future__ import annotations

import dataclasses
import json
import math
import platform
import time
from pathlib import Path
from typing import Any

import click
import numpy as np
import torch
from equal_variances import with_equal_variances
from tqdm import tqdm

from diffcodec.bitstream.entropy import SymbolWriter
from diffcodec.channel import Channel, ChannelId, StreamKey, delivered_bits, kl_bits, make_channel
from diffcodec.codec import DiffusionCodec
from diffcodec.coding.encoder import Encoder, Sent, last
from diffcodec.coding.report import Report, Restoration, Stopwatch
from diffcodec.evaluation.reference import Reference, measure_reference
from diffcodec.evaluation.summary_table import aligned
from diffcodec.evaluation.true_sampling import TrueSampling
from diffcodec.images import Picture
from diffcodec.images.error import squared_error
from diffcodec.model.levels import LOG_SNR_SCALE
from diffcodec.training.data import load_images

HERE = Path(__file__).parent
REFERENCE_LEVELS = 500
EXTRA_TIMESTEPS = (101, 1)  # the paper's Table 4: 900 and 1000 reverse steps done


def root_mean(values: Any) -> float:
    return float(np.sqrt(np.mean(values)))


def send(
    codec: DiffusionCodec, pictures: list[Picture], timestep: int, channel: Channel, steps: int | None = None
) -> Sent:
    """Pictures of one size, sent down to a timestep through any channel; `steps`: of another list than the default."""
    level_list = codec.tables.list_for(pictures[0].width * pictures[0].height, steps)
    encoder = Encoder(codec.context_for(pictures[0], channel, level_list=level_list), Stopwatch())
    return last(encoder.send(pictures, codec.tables.level(timestep)))


def noise_level(sent: Sent, pictures: list[Picture]) -> float:
    """Standard deviation of (x_t - alpha x_0) / sigma over the pictures; 1 for true noise."""
    signal, canvas = sent.trajectory.context.signal, sent.trajectory.context.canvas
    x_0 = torch.stack([signal.from_pixels(picture.pixels, canvas) for picture in pictures])
    noise = signal.coded((sent.x_t.cpu() - sent.level.alpha * x_0) / sent.level.sigma, canvas)
    return root_mean(noise.astype(np.float64) ** 2)


def measure_point(
    codec: DiffusionCodec, pictures: list[Picture], timestep: int, channel: str, effort: int, batch_size: int
) -> dict[str, Any]:
    """Files of all pictures at one timestep."""
    reports: list[Report] = []
    decoded: list[Restoration] = []
    level = math.nan
    for start in range(0, len(pictures), batch_size):
        batch = pictures[start : start + batch_size]
        streams = codec.compress_batch(batch, timestep=timestep, channel=channel, effort=effort)
        reports += [stream.report for stream in streams]
        if not start:  # the files do not tell the final state; one batch is sent again for it
            sent = send(codec, batch, timestep, make_channel(ChannelId[channel.upper()], effort))
            level = noise_level(sent, batch)
        restored = codec.decompress(streams[0])
        decoded.append(restored)
        error = math.sqrt(squared_error(batch[0].pixels, restored.pixels))
        assert abs(error - streams[0].report.rmse) < 0.5, "the decoder restored something else"

    def mean(name: str) -> float:
        return float(np.mean([getattr(report, name) for report in reports]))

    file_bits, header_bits = 8 * mean("file_bytes"), 8 * mean("header_bytes")
    return {
        "timestep": timestep,
        "channel": channel,
        "effort": effort,
        "steps": reports[0].steps,
        "images": len(pictures),
        "ideal_bits": mean("ideal_bits"),
        "delivered_bits": mean("delivered_bits"),
        "path_bits": mean("path_bits"),
        "side_bits": mean("side_bits"),
        "header_bits": header_bits,
        "file_bits": file_bits,
        "file_less_header_bits": file_bits - header_bits,
        "rmse": root_mean([report.rmse**2 for report in reports]),
        "noise_level": level,
        "encode_network_s": mean("network_s"),
        "encode_coding_s": mean("coding_s"),
        "decode_network_s": float(np.mean([each.network_s for each in decoded])),
        "decode_coding_s": float(np.mean([each.coding_s for each in decoded])),
        "per_image": [dataclasses.asdict(report) for report in reports],
    }


def measure_true_sampling(
    codec: DiffusionCodec, pictures: list[Picture], timestep: int, batch_size: int, steps: int | None = None
) -> dict[str, float]:
    """The same levels with true Gaussian samples; `steps`: another list than the default one."""
    channel = TrueSampling(seed=0)
    errors, ideal, noise = [], [], []
    for start in range(0, len(pictures), batch_size):
        batch = pictures[start : start + batch_size]
        sent = send(codec, batch, timestep, channel, steps)
        context = sent.trajectory.context
        ideal += [payload.ideal_bits for payload in sent.payloads]
        noise.append(noise_level(sent, batch))
        for picture, x_0 in zip(batch, sent.estimate, strict=True):
            errors.append(squared_error(picture.pixels, context.signal.to_pixels(x_0, context.canvas)))
    return {"ideal_bits": float(np.mean(ideal)), "rmse": root_mean(errors), "noise_level": float(np.mean(noise))}


def measure_heavy_tails(effort: int, kl: float = 600.0, dims: int = 3072, count: int = 32) -> dict[str, float]:
    """Paid per delivered bit for Gaussian m and for a generalised Gaussian with exponent 0.5, at equal KL."""
    rng = np.random.default_rng(0)
    channel = make_channel(ChannelId.TRELLIS, effort)
    result = {}
    for name, exponent in (("gaussian", 2.0), ("heavy_tailed", 0.5)):
        m = rng.gamma(1 / exponent, 1.0, (count, dims)) ** (1 / exponent) * rng.choice([-1.0, 1.0], (count, dims))
        m *= np.sqrt(2 * np.log(2) * kl / np.sum(m**2, axis=1, keepdims=True))
        m = m.astype(np.float32)
        lengths = [channel.length_for(float(bits), dims) for bits in kl_bits(m, 1.0)]
        writers = [SymbolWriter() for _ in range(count)]
        y = channel.encode(m, None, lengths, [StreamKey(0, 0)], writers)
        paid = sum(writer.information_bits for writer in writers)
        result[name] = float(paid / delivered_bits(y, m, 1.0).sum())
    return result


def measure_steps(
    codec: DiffusionCodec, pictures: list[Picture], steps: int, reference_bits: float, batch_size: int
) -> dict[str, Any]:
    """The ideal rate at t = 1 with a list of so many levels: variances by band, and equal ones with their best list."""
    row: dict[str, Any] = {"steps": steps}
    for name, variant in (("bands", codec), ("equal", with_equal_variances(codec, steps))):
        found = measure_true_sampling(variant, pictures, 1, batch_size, steps if variant is codec else None)
        row[name] = found | {"over_reference": found["ideal_bits"] / reference_bits}
    return row


def table_of_steps(rows: list[dict[str, Any]]) -> str:
    """The rows of `measure_steps` as text."""
    lines = [f"{'levels':>6}  {'variances by band':>24}  {'equal variances':>24}"]
    for row in rows:
        cells = [
            f"{100 * row[name]['over_reference'] - 100:+.1f} % (RMSE {row[name]['rmse']:.3f})"
            for name in ("bands", "equal")
        ]
        lines.append(f"{row['steps']:>6}  {cells[0]:>24}  {cells[1]:>24}")
    return "\n".join(lines)


def table(points: list[dict[str, Any]], dims: int) -> str:
    """The points as text."""
    head = (
        "t",
        "channel",
        "effort",
        "images",
        "steps",
        "refer.",
        "ideal",
        "deliv.",
        "path",
        "side",
        "file",
        "bits/dim",
        "file-head/deliv",
        "deliv/ideal",
        "file-head/refer",
        "file/refer",
        "RMSE",
        "true RMSE",
        "noise",
        "enc net+code s",
        "dec net+code s",
    )
    rows = [head]
    for p in points:
        rows.append(
            (
                str(p["timestep"]),
                p["channel"],
                str(p["effort"]),
                str(p["images"]),
                str(p["steps"]),
                f"{p['reference_bits']:.0f}",
                f"{p['ideal_bits']:.0f}",
                f"{p['delivered_bits']:.0f}",
                f"{p['path_bits']:.0f}",
                f"{p['side_bits']:.0f}",
                f"{p['file_bits']:.0f}",
                f"{p['file_bits'] / dims:.4f}",
                f"{p['file_less_header_bits'] / p['delivered_bits']:.3f}",
                f"{p['delivered_bits'] / p['ideal_bits']:.3f}",
                f"{p['file_less_header_bits'] / p['reference_bits']:.3f}",
                f"{p['file_bits'] / p['reference_bits']:.3f}",
                f"{p['rmse']:.3f}",
                f"{p['true_sampling']['rmse']:.3f}",
                f"{p['noise_level']:.4f}",
                f"{p['encode_network_s']:.2f} + {p['encode_coding_s']:.2f}",
                f"{p['decode_network_s']:.2f} + {p['decode_coding_s']:.2f}",
            )
        )
    return aligned(rows)


@click.command()
@click.option(
    "--data",
    default=str(HERE / "data" / "cifar10-test-100.webp"),
    show_default=True,
    help="A grid of 32 x 32 tiles or a folder.",
)
@click.option("--limit", type=click.IntRange(1), default=100, show_default=True, help="Number of images.")
@click.option("--timesteps", default="300,100,88,20,1", show_default=True, help="At t = 88 the RMSE is about 12.")
@click.option("--channels", default="trellis,poisson", show_default=True)
@click.option(
    "--poisson-limit", type=click.IntRange(1), default=20, show_default=True, help="Images for that slow one."
)
@click.option("--steps", default="4,8,12,16,24,32,64", show_default=True, help="Level lists whose ideal to compare.")
@click.option("--high-effort", type=click.IntRange(8, 16), default=16, show_default=True, help="One more point, t = 1.")
@click.option("--effort", type=click.IntRange(8, 16), default=12, show_default=True)
@click.option("--model", help="Bundled model or model file.  [default: the bundled one]")
@click.option("--batch-size", type=click.IntRange(1), default=20, show_default=True)
@click.option("--reference-levels", type=click.IntRange(1), default=REFERENCE_LEVELS, show_default=True)
@click.option("--out", type=click.Path(path_type=Path), default=HERE / "results" / "overhead.json", show_default=True)
def main(
    data: str,
    limit: int,
    timesteps: str,
    channels: str,
    poisson_limit: int,
    steps: str,
    high_effort: int,
    effort: int,
    model: str | None,
    batch_size: int,
    reference_levels: int,
    out: Path,
) -> None:
    """Measure the codec's overhead on CIFAR-10 test images."""
    begin = time.perf_counter()
    codec = DiffusionCodec.from_pretrained(model)
    images = load_images(data)[:limit]
    pictures = [Picture(image.permute(1, 2, 0).numpy(), None) for image in images]
    dims = images[0].numel()
    wanted = sorted({int(t) for t in timesteps.split(",")} | set(EXTRA_TIMESTEPS), reverse=True)
    log_snrs = [codec.tables.level(t).log_snr / LOG_SNR_SCALE for t in wanted]
    with tqdm(total=reference_levels, desc="reference", leave=False) as bar:
        reference: Reference = measure_reference(
            codec.denoiser, images, log_snrs, levels=reference_levels, progress=lambda done: bar.update()
        )
    references = {
        t: {
            "bits": float(reference.bits[place].mean()),
            "bpd": float(reference.bits[place].mean() / dims),
            "rmse": root_mean(reference.mse[place]),
            "mean_of_rmse": float(np.sqrt(reference.mse[place]).mean()),
        }
        for place, t in enumerate(wanted)
    }
    by_steps = [
        measure_steps(codec, pictures, int(count), references[1]["bits"], batch_size) for count in steps.split(",")
    ]
    click.echo(f"lists of {steps} levels: done after {time.perf_counter() - begin:.0f} s", err=True)
    points = []
    for timestep in (int(t) for t in timesteps.split(",")):
        place = wanted.index(timestep)
        requests = [(channel, effort) for channel in channels.split(",")]
        if timestep == 1 and "trellis" in channels and high_effort != effort:
            requests.append(("trellis", high_effort))
        for channel, own_effort in requests:
            chosen = pictures[:poisson_limit] if channel == "poisson" else pictures
            point = measure_point(codec, chosen, timestep, channel, own_effort, batch_size)
            point["reference_bits"] = float(reference.bits[place, : len(chosen)].mean())
            point["true_sampling"] = measure_true_sampling(codec, chosen, timestep, batch_size)
            points.append(point)
            click.echo(
                f"t = {timestep}, {channel}, effort {own_effort}: done after {time.perf_counter() - begin:.0f} s",
                err=True,
            )
    result = {
        "command": "python benchmarks/overhead.py",
        "model": codec.model.card.name,
        "fingerprint": codec.fingerprint.hex(),
        "images": limit,
        "effort": effort,
        "machine": f"{platform.machine()}, torch {torch.__version__}, {torch.get_num_threads()} threads",
        "reference": references,
        "by_steps": by_steps,
        "heavy_tails": measure_heavy_tails(effort),
        "points": points,
        "seconds": time.perf_counter() - begin,
    }
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps(result) + "\n", encoding="utf-8")
    click.echo(table(points, dims))
    click.echo("ideal rate at t = 1 over the reference, by the number of levels from pure noise:")
    click.echo(table_of_steps(by_steps))
    for t, values in references.items():
        click.echo(f"reference at t = {t}: {values['bpd']:.4f} bits/dim, RMSE {values['rmse']:.3f}")
    tails = result["heavy_tails"]
    assert isinstance(tails, dict)
    click.echo(
        f"paid per delivered bit at 600 bits: Gaussian m {tails['gaussian']:.4f}, "
        f"heavy-tailed m {tails['heavy_tailed']:.4f}"
    )
    click.echo(f"wrote {out} after {result['seconds']:.0f} s")


if __name__ == "__main__":
    main()
