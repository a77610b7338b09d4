"""The ablation of Ho et al. (2020), Table 2, in small: what to predict, with which loss and which variance.

    python benchmarks/ablation.py --data TRAINING                          # all 24 cells: half an hour on 2 cores
    python benchmarks/ablation.py --data TRAINING --only eps,simple --images 2000
    python benchmarks/ablation.py --data cifar10 --model cifar10-ddpm --budget 8h --limit 1000 --samples 10000 \
        --sample-steps 1000 --device cuda --precision bf16 --inception WEIGHTS

TRAINING is a grid or a folder of CIFAR-10 training images. Trains every cell anew for the same number of images, writes
benchmarks/results/ablation.json, a cell at a time, and prints the table; cells that are there are not trained again.
docs/objectives.md explains the columns.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import numpy as np
import torch
from objectives.cells import Cell, all_cells, by_training, chosen_cells, paper_row
from objectives.measure import Budget, SampleTest, bound_rows, load, status, train
from objectives.quality import InceptionTest, random_moments
from torch import Tensor
from tqdm import tqdm

from diffcodec.cli.commands.train import parse_duration, parse_setting, read_json
from diffcodec.cli.failures import explain
from diffcodec.config import ModelConfig, UNetConfig, VarianceKind
from diffcodec.devices import check_device
from diffcodec.errors import ConfigError, DiffCodecError
from diffcodec.evaluation.bound import evaluation_levels
from diffcodec.evaluation.datasets import TILE, load_dataset
from diffcodec.evaluation.provenance import versions
from diffcodec.evaluation.records import ResultFile, Row
from diffcodec.evaluation.summary_table import aligned
from diffcodec.training.config import TrainingConfig
from diffcodec.training.data import load_images
from diffcodec.training.log import Progress
from diffcodec.training.recipes import named_model

HERE = Path(__file__).parent
REPORTED = HERE / "reported" / "ddpm-table1.json"
DEFAULT_IMAGES = 20_000
REFERENCE_IMAGES = 5_000
"""Training images whose features samples are compared with."""

SMALL = ModelConfig(
    network=UNetConfig(
        channels=32, multipliers=(1, 2), patch=2, full_resolution_channels=16, blocks=1, embedding_channels=64
    ),
    data_std=0.5,
    log_snr_min=-10.2,  # that of t = T: predicting the mean, a network must know how noisy the noisiest levels are
)
"""cifar10-small with a tenth of its parameters: 0.64 M."""

SETTINGS: dict[str, object] = {"optimizer": "muon", "batch_size": 16, "learning_rate": 1e-3, "warmup_images": 1000}
"""Of all trainings: what gets far with few images. Small batches make more steps of them."""

HEAD = (
    "prediction",
    "loss",
    "variance",
    "L_T",
    "L_1..T-1",
    "L_0",
    "bits/dim",
    "frechet_random",
    "IS",
    "FID",
    "",
    "paper: bits/dim",
    "IS",
    "FID",
)


@dataclass
class Ablation:
    """What was asked for.

    Args:
        base: the model, but for prediction and variance.
        settings: of training, but for the loss.
        budget: of each training.
        train_images, test_images: uint8, (N, 3, H, W).
        samples: how samples are judged.
        device, precision: of training; measurements are in float32.
        results: the file.
    """

    base: ModelConfig
    settings: TrainingConfig
    budget: Budget
    train_images: Tensor
    test_images: Tensor
    samples: SampleTest
    device: str
    precision: str
    results: ResultFile

    def run(self, cells: Sequence[Cell]) -> None:
        """Train and measure the cells that are missing."""
        groups = [group for group in by_training(cells) if any(cell.name not in self.results for cell in group)]
        for group in tqdm(groups, desc="trainings", disable=not groups):
            self.run_group(group)

    def run_group(self, group: Sequence[Cell]) -> None:
        """Train once, and measure with each variance."""
        first = group[0]
        what = f"{first.prediction} {first.loss} {'/'.join(cell.variance for cell in group)}"
        total = self.budget.images or self.budget.seconds
        with tqdm(total=round(total or 0), desc=what, leave=False) as bar:

            def show(line: Progress) -> None:
                bar.set_postfix(loss=f"{line.loss:.4g}", refresh=False)
                bar.update(round(line.fraction * bar.total) - bar.n)

            training = train(
                first.model(self.base),
                first.training(self.settings),
                self.train_images,
                self.budget,
                device=self.device,
                precision=self.precision,
                progress=show,
            )
        rows: dict[VarianceKind, list[Row]] = {}
        if training.weights is not None:
            denoiser = load(first.model(self.base), training.weights, self.device)
            with tqdm(total=len(evaluation_levels(denoiser.schedule)), desc=f"bound of {what}", leave=False) as bar:
                rows = bound_rows(
                    denoiser, self.test_images, seed=self.samples.seed, progress=lambda done: bar.update(done - bar.n)
                )
        for cell in group:
            scores = {}
            if training.weights is not None:
                scores = self.samples.scores(load(cell.model(self.base), training.weights, self.device))
            found = rows.get(cell.variance, [])
            self.results.add(
                cell.name,
                float(all_cells().index(cell)),
                found,
                status=status(training, found),
                scores=scores,
                trained_images=training.images,
                training_seconds=training.seconds,
            )


def table(results: ResultFile, reported: dict[str, Any]) -> str:
    """The results as Table 2 of the paper, beside its values; means over the test images."""
    lines: list[tuple[str, ...]] = [HEAD]
    for cell in all_cells():
        if cell.name not in results:
            continue
        point = results.points[cell.name]
        scores, paper = point["scores"], paper_row(cell, reported) or {}
        means = [(point["summary"].get(name) or {}).get("mean") for name in ("L_T", "L", "L_0", "total")]
        lines.append(
            (
                cell.prediction,
                cell.loss,
                cell.variance,
                *(_number(mean, 2) for mean in means),
                _number(scores.get("frechet_random"), 3),
                _number(scores.get("inception_score"), 2),
                _number(scores.get("fid"), 2),
                "" if point["status"] == "stable" else point["status"],
                "unstable" if paper.get("stable") is False else _number(paper.get("bpd_test"), 2),
                _number(paper.get("inception_score"), 2),
                _number(paper.get("fid"), 2),
            )
        )
    return aligned(lines, left=3)


def _number(value: float | None, decimals: int) -> str:
    return "-" if value is None else f"{value:.{decimals}f}"


def load_test_images(source: str, root: str, limit: int) -> Tensor:
    """Images for the bound, uint8, (N, 3, 32, 32).

    Raises:
        ConfigError: if they are not of CIFAR-10's size and in colour.
    """
    pixels = [picture.pixels for picture in load_dataset(source, root=root, limit=limit).pictures]
    shapes = {array.shape for array in pixels}
    if shapes != {(TILE, TILE, 3)}:
        raise ConfigError(f"{source}: expected test images of {TILE} x {TILE} pixels in colour, found {sorted(shapes)}")
    return torch.from_numpy(np.stack(pixels)).permute(0, 3, 1, 2)


def split(images: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """So many images that play the samples, for the best score that these can get; and the reference for both.

    Raises:
        ConfigError: if none are left.
    """
    if len(images) < count + 2:
        raise ConfigError(f"--samples {count}: expected more training images than that, found {len(images)}")
    order = torch.randperm(len(images), generator=torch.Generator().manual_seed(0))
    return images[order[:count]], images[order[count : count + REFERENCE_IMAGES]]


def digest(images: Tensor) -> str:
    """8 hex digits that change with any pixel (SHA-256, cut)."""
    return hashlib.sha256(images.numpy().tobytes()).hexdigest()[:8]


def read_model(name: str | None) -> ModelConfig:
    """A named configuration or that of a JSON file; the small one if not given."""
    if name is None:
        return SMALL
    return ModelConfig.from_dict(read_json(Path(name))) if name.endswith(".json") else named_model(name)


@click.command()
@click.option("--data", required=True, help="Training images: `cifar10`, a grid of 32 x 32 tiles, or a folder.")
@click.option("--root", default="data", show_default=True, help="Where torchvision keeps CIFAR-10.")
@click.option(
    "--test",
    "test_data",
    default=str(HERE / "data" / "cifar10-test-100.webp"),
    show_default=True,
    help="Test images, for the bound.",
)
@click.option("--limit", type=click.IntRange(1), default=16, show_default=True, help="Number of test images.")
@click.option("--model", help="Configuration: a name or a JSON file.  [default: one of 0.64 M parameters]")
@click.option("--images", type=click.IntRange(1), help=f"Images each training sees.  [default: {DEFAULT_IMAGES}]")
@click.option(
    "--budget",
    "seconds",
    metavar="TIME",
    callback=parse_duration,
    help="Time of each training instead, such as 90s or 8h; unfair on a busy machine.",
)
@click.option(
    "--set",
    "settings",
    multiple=True,
    metavar="KEY=VALUE",
    help="A training setting, such as optimizer=adamw; repeatable.",
)
@click.option(
    "--samples", type=click.IntRange(0), default=256, show_default=True, help="Samples that are judged; 0 for none."
)
@click.option(
    "--sample-steps", type=click.IntRange(1), default=50, show_default=True, help="Noise levels of ancestral sampling."
)
@click.option(
    "--inception",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="Weights of Inception: FID and Inception score are measured too.",
)
@click.option(
    "--only", multiple=True, metavar="WORDS", help="Only cells with these words, such as eps or v,simple; repeatable."
)
@click.option("--device", default="cpu", show_default=True)
@click.option("--precision", type=click.Choice(["fp32", "bf16"]), default="fp32", show_default=True)
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True)
@click.option("--fresh", is_flag=True, help="Train again what is there; other settings than before do so anyway.")
@click.option("--out", type=click.Path(path_type=Path), default=HERE / "results" / "ablation.json", show_default=True)
def main(**options: Any) -> None:
    """Train every combination of prediction, loss and variance, and compare."""
    try:
        ablate(**options)
    except DiffCodecError as error:
        raise click.ClickException(explain(error) or str(error)) from error


def ablate(
    data: str,
    root: str,
    test_data: str,
    limit: int,
    model: str | None,
    images: int | None,
    seconds: float | None,
    settings: Sequence[str],
    samples: int,
    sample_steps: int,
    inception: Path | None,
    only: Sequence[str],
    device: str,
    precision: str,
    seed: int,
    fresh: bool,
    out: Path,
) -> None:
    """Run the benchmark; arguments as on the command line."""
    begin = time.perf_counter()
    if images and seconds:
        raise ConfigError("--images and --budget: expected one of them, found both")
    cells, base = chosen_cells(only), read_model(model)
    check_device(device)
    budget = Budget(None if seconds else images or DEFAULT_IMAGES, seconds)
    training = TrainingConfig.from_dict({**SETTINGS, "seed": seed, **dict(parse_setting(text) for text in settings)})
    train_images, test_images = load_images(data, root=root), load_test_images(test_data, root, limit)
    real, reference = split(train_images, samples)
    scored = None if inception is None else InceptionTest(inception, reference, device)
    test = SampleTest(samples, sample_steps, seed, TILE, random_moments(reference), scored)
    results = ResultFile(
        out,
        {
            "data": digest(train_images),
            "test": digest(test_images),
            "model": base.to_dict(),
            "training": training.to_dict(),
            "images": budget.images,
            "seconds": budget.seconds,
            "samples": samples,
            "sample_steps": sample_steps,
            "inception": inception is not None,
            "precision": precision,
            "seed": seed,
            "versions": versions(("torch", "numpy")),
        },
        {"command": "python benchmarks/ablation.py", "device": device},
        fresh=fresh,
    )
    if samples:
        results.extras["real_images"] = test.scores_of(real)
    Ablation(base, training, budget, train_images, test_images, test, device, precision, results).run(cells)
    click.echo(table(results, json.loads(REPORTED.read_text(encoding="utf-8"))))
    if samples:
        found = ", ".join(f"{name} {value:.3f}" for name, value in results.extras["real_images"].items())
        click.echo(f"as many real images as samples: {found}")
    click.echo(f"wrote {out} after {time.perf_counter() - begin:.0f} s")


if __name__ == "__main__":
    main()
