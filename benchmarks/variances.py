"""Which variances of p(x_s | x_t) pay: the ideal rate at t = 1 over the limit of fine steps, for few to many steps.

    python benchmarks/variances.py --calibration TRAINING --save-head head.pt    # trains a head for 20 minutes
    python benchmarks/variances.py --calibration TRAINING --head head.pt
    python benchmarks/variances.py --calibration TRAINING --head-seconds 0       # without

TRAINING is a grid or a folder of CIFAR-10 training images. Prints a table and writes benchmarks/results/variances.json.
docs/benchmarks.md explains the rows.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click
import numpy as np
import torch
from numpy.typing import NDArray
from step_variances.head import LOSSES, VarianceHead, load_head, train_head
from step_variances.levels import best_paths, path_bits, step_costs
from step_variances.measurement import Measurement, fine_step_bits, measure, node_log_snrs
from step_variances.rows import STATIC, Row, all_rows
from torch import Tensor
from tqdm import tqdm

from diffcodec.cli.failures import explain
from diffcodec.codec import DiffusionCodec
from diffcodec.diffusion.denoiser import Denoiser
from diffcodec.diffusion.units import to_unit
from diffcodec.errors import ConfigError, DiffCodecError
from diffcodec.evaluation.provenance import versions
from diffcodec.files import atomic_write
from diffcodec.training.data import load_images

HERE = Path(__file__).parent
BOTTOM = -8.0
"""Log SNR of the first node after pure noise, in nats."""

NO_CALIBRATION = (
    "variances must be measured on other pictures than those of the test: "
    "pass CIFAR-10 training images, a grid of 32 x 32 tiles or a folder, with --calibration"
)


def split_calibration(images: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Evenly spaced images for tables, and all others for heads."""
    chosen = torch.zeros(len(images), dtype=torch.bool)
    chosen[torch.linspace(0, len(images) - 1, min(count, len(images))).long()] = True
    return images[chosen], images[~chosen]


def train_with_bar(
    denoiser: Denoiser, images: Tensor, *, seconds: float, block: int, loss: str, save: Path | None
) -> VarianceHead:
    """`train_head`, with its progress shown in bits a coefficient; the weights are kept where `save` says.

    Raises:
        ConfigError: if there are no images, or if the weights cannot be written.
    """
    if len(images) == 0:
        raise ConfigError("no calibration images are left for a head: --tables-from takes all")
    with tqdm(total=round(seconds), unit="s", desc="head", leave=False) as bar:

        def progress(elapsed: float, value: float) -> None:
            bar.set_postfix(bits=f"{value / math.log(2):.4f}", refresh=False)
            bar.update(int(elapsed) - bar.n)

        head = train_head(denoiser, images, seconds=seconds, block=block, loss=LOSSES[loss], progress=progress)
    if save:
        with atomic_write(save, overwrite=True) as file:
            torch.save(head.state_dict(), file)
    return head


def measure_row(row: Row, snr: NDArray[np.float64], steps: Sequence[int]) -> dict[int, NDArray[np.float64]]:
    """Bits of every test picture for each number of steps, with level lists planned on calibration pictures."""
    paths = best_paths(step_costs(row.plan(), snr), steps)
    return {count: path_bits(row.test, snr, path) for count, path in paths.items()}


def overhead(bits: NDArray[np.float64], static: NDArray[np.float64], reference: float) -> dict[str, float]:
    """Percent of the reference: mean over pictures, difference to the static row, and its standard error."""
    difference = 100 * (bits - static) / reference
    return {
        "percent": 100 * (float(bits.mean()) / reference - 1),
        "less_static": float(difference.mean()),
        "standard_error": float(difference.std(ddof=1)) / math.sqrt(len(bits)),
    }


def table(rows: dict[str, dict[int, dict[str, float]]], steps: Sequence[int]) -> str:
    """Overheads as text, and the differences to the static row with their standard errors."""
    lines = ["over the fine-step reference, percent".ljust(38) + "".join(f"{count:>8}" for count in steps)]
    for name, cells in rows.items():
        lines.append(name.ljust(38) + "".join(f"{cells[count]['percent']:8.2f}" for count in steps))
    lines.append("\n" + f"less {STATIC}, with standard error".ljust(38) + "".join(f"{count:>14}" for count in steps))
    for name, cells in rows.items():
        cell = (f"{cells[count]['less_static']:+.2f} ± {cells[count]['standard_error']:.2f}" for count in steps)
        lines.append(name.ljust(38) + "".join(f"{text:>14}" for text in cell))
    return "\n".join(lines)


def compare(
    calibration: Measurement, test: Measurement, heads: dict[str, VarianceHead], steps: Sequence[int]
) -> dict[str, Any]:
    """All rows: overheads by number of steps, and the reference in bits a picture."""
    reference = fine_step_bits(test)
    bits = {}
    rows = all_rows(calibration, test, {name: head.block for name, head in heads.items()})
    for row in tqdm(rows, desc="rows", leave=False):
        bits[row.name] = measure_row(row, test.snr, steps)
    return {
        "reference_bits": reference,
        "rows": {
            name: {count: overhead(values[count], bits[STATIC][count], reference) for count in steps}
            for name, values in bits.items()
        },
    }


def parse_steps(text: str, points: int) -> list[int]:
    """Numbers of steps joined by commas.

    Raises:
        ConfigError: if they are no numbers from 1 to `points`.
    """
    try:
        steps = sorted({int(part) for part in text.split(",")})
    except ValueError as error:
        raise ConfigError(f"--steps: expected integers joined by commas, found {text!r}") from error
    if not 1 <= steps[0] <= steps[-1] <= points:
        raise ConfigError(f"--steps: expected 1 to {points} (--points), found {text}")
    return steps


def run(
    data: str,
    limit: int,
    calibration: str | None,
    tables_from: int,
    model: str | None,
    points: int,
    steps: str,
    heads: Sequence[Path],
    head_seconds: float,
    head_block: int,
    head_loss: str,
    save_head: Path | None,
) -> dict[str, Any]:
    """The result of the benchmark; arguments as on the command line."""
    begin = time.perf_counter()
    if calibration is None:
        raise ConfigError(NO_CALIBRATION)
    counts = parse_steps(steps, points)
    images = load_images(data)[:limit]
    if len(images) < 2:
        raise ConfigError(f"{data}: expected at least two pictures, whose differences give the standard error")
    for_tables, for_heads = split_calibration(load_images(calibration), tables_from)
    codec = DiffusionCodec.from_pretrained(model)
    denoiser = codec.denoiser
    loaded = {path.stem: load_head(denoiser, path) for path in heads}
    if not heads and head_seconds:
        head = train_with_bar(
            denoiser, for_heads, seconds=head_seconds, block=head_block, loss=head_loss, save=save_head
        )
        loaded = {"head": head}
    log_snr = node_log_snrs(float(denoiser.schedule.log_snr[1]), bottom=BOTTOM, points=points)
    colour = to_unit(for_tables).mean(dim=(0, 2, 3))
    with tqdm(total=2 * points, desc="errors", leave=False) as bar:
        measured, test = (
            measure(denoiser, pictures, log_snr, colour, loaded, seed=seed, progress=lambda: bar.update())
            for seed, pictures in enumerate((for_tables, images))
        )
    return {
        "command": "python benchmarks/variances.py",
        "model": codec.model.card.name,
        "images": len(images),
        "calibration_images": len(for_tables),
        "points": points,
        "dims": images[0].numel(),
        "versions": versions(("torch", "numpy", "scipy")),
        **compare(measured, test, loaded, counts),
        "seconds": time.perf_counter() - begin,
    }


@click.command()
@click.option(
    "--data",
    default=str(HERE / "data" / "cifar10-test-100.webp"),
    show_default=True,
    help="Test images: a grid of 32 x 32 tiles or a folder.",
)
@click.option("--limit", type=click.IntRange(2), default=100, show_default=True, help="Number of test images.")
@click.option("--calibration", help="Training images, a grid of 32 x 32 tiles or a folder; several joined by commas.")
@click.option(
    "--tables-from",
    type=click.IntRange(1),
    default=256,
    show_default=True,
    help="Training images on which variances are measured; heads learn from the others.",
)
@click.option("--model", help="Bundled model or model file.  [default: the bundled one]")
@click.option(
    "--points",
    type=click.IntRange(2),
    default=80,
    show_default=True,
    help="Noise levels at which the network is asked, and between which steps may lead.",
)
@click.option("--steps", default="4,8,12,16,24,32,64", show_default=True)
@click.option(
    "--head",
    "heads",
    type=click.Path(path_type=Path),
    multiple=True,
    help="Weights of a head, trained before; its rows get the file's name. May be given several times.",
)
@click.option(
    "--head-seconds",
    type=click.FloatRange(0),
    default=1200,
    show_default=True,
    help="Time to train a head where none is given; 0 for no head.",
)
@click.option("--head-block", type=click.Choice([4, 8, 16, 32]), default=8, show_default=True)
@click.option("--head-loss", type=click.Choice(list(LOSSES)), default="rate", show_default=True)
@click.option("--save-head", type=click.Path(path_type=Path), help="Where to keep the weights of the trained head.")
@click.option("--out", type=click.Path(path_type=Path), default=HERE / "results" / "variances.json", show_default=True)
def main(out: Path, **options: Any) -> None:
    """Measure which variances of the steps pay, on CIFAR-10 test images."""
    try:
        result = run(**options)
        out.parent.mkdir(parents=True, exist_ok=True)
        with atomic_write(out, overwrite=True) as file:
            file.write((json.dumps(result, indent=1) + "\n").encode())
    except DiffCodecError as error:
        raise click.ClickException(explain(error) or str(error)) from error
    click.echo(table(result["rows"], list(result["rows"][STATIC])))
    click.echo(f"reference: {result['reference_bits'] / result['dims']:.4f} bits/dim")
    click.echo(f"wrote {out} after {result['seconds']:.0f} s")


if __name__ == "__main__":
    main()
