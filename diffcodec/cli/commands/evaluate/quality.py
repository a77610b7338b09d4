"""Shared code of `fid` and `is`: the pictures to measure, and the report."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from diffcodec.cli.commands.evaluate.options import limit_option, report, report_options, root_option, seed_option
from diffcodec.cli.failures import note
from diffcodec.cli.options import allow_pickle_option, device_option, model_option, sampler_option, together

if TYPE_CHECKING:
    from torch import Tensor

    from diffcodec.diffusion.samplers import SamplerKind
    from diffcodec.evaluation.sample_quality import SampleQuality

quality_options = together(
    click.argument("pictures", required=False),
    limit_option,
    root_option,
    click.option("-n", "--count", type=click.IntRange(1), metavar="N", help="Draw N samples of a model."),
    model_option("cifar10-small-v3"),
    allow_pickle_option,
    click.option("--size", type=click.IntRange(4, 1024), default=32, show_default=True, help="Side of a sample."),
    sampler_option("sampler", "As for `sample`."),
    click.option(
        "--steps",
        type=click.IntRange(1),
        metavar="K",
        help="Noise levels from pure noise to t = 1.  [default: all for ancestral, 100 for the others]",
    ),
    seed_option,
    click.option(
        "--inception",
        type=click.Path(path_type=Path, dir_okay=False),
        metavar="FILE",
        envvar="DIFFCODEC_INCEPTION",
        show_envvar=True,
        help="Weights of the Inception network.  [default: torch-fidelity's, downloaded once]",
    ),
    click.option(
        "--splits",
        type=click.IntRange(1),
        default=10,
        show_default=True,
        help="Number of parts of the Inception score.",
    ),
    device_option,
    click.option("--batch-size", type=click.IntRange(1), default=50, show_default=True, help="Batch size."),
    report_options,
)


def check_choice(pictures: str | None, count: int | None) -> None:
    """Check that either pictures or a number of samples is given.

    Raises:
        click.UsageError: if both or neither are given.
    """
    if (pictures is None) == (count is None):
        raise click.UsageError("Pass either PICTURES, or --count N to draw samples of a model.")


@dataclass(frozen=True)
class Measured:
    """Pictures to measure.

    Args:
        name: in results.
        count: number of pictures.
        batches: returns their pixels, uint8, (B, 3, H, W) each; draws samples only when called.
    """

    name: str
    count: int
    batches: Callable[[], Iterable[Tensor]]


def open_measured(
    pictures: str | None,
    count: int | None,
    *,
    limit: int | None,
    root: str,
    model: str | None,
    allow_pickle: bool,
    size: int,
    sampler: SamplerKind,
    steps: int | None,
    seed: int,
    device: str,
    batch_size: int,
) -> Measured:
    """The pictures, or samples of a model. Opens everything that may be missing, but does no long work yet."""
    import torch
    from tqdm import tqdm

    from diffcodec.evaluation.datasets import open_dataset
    from diffcodec.evaluation.features import image_batches
    from diffcodec.model.loading import load_checkpoint
    from diffcodec.model.locations import DEFAULT_MODEL

    if count is None:
        assert pictures is not None
        source = open_dataset(pictures, root=root, limit=limit)
        return Measured(source.name, len(source), lambda: image_batches(source, batch_size))

    from diffcodec.devices import full_precision
    from diffcodec.diffusion.samplers import Sampler
    from diffcodec.diffusion.sampling import sample_images

    checkpoint = load_checkpoint(model or DEFAULT_MODEL, allow_pickle=allow_pickle)
    denoiser = checkpoint.denoiser(device)
    levels = len(Sampler(sampler, steps).levels(denoiser.schedule))

    def draw() -> Iterable[Tensor]:
        bar = tqdm(total=count * levels, desc="drawing", unit=" steps", disable=None)
        with bar, full_precision(torch.device(device)):
            samples = sample_images(
                denoiser,
                count,
                size=size,
                steps=steps,
                sampler=sampler,
                seed=seed,
                batch_size=batch_size,
                progress=bar.update,
            )
        return torch.split(samples, batch_size)

    return Measured(f"samples-of-{checkpoint.card.name}", count, draw)


def report_quality(
    json_file: str | None, force: bool, name: str, quality: SampleQuality, settings: Mapping[str, Any]
) -> None:
    """Print the scores, and notes on their reliability.

    Args:
        json_file, force: as for `report`.
        name: of the pictures.
        quality: their scores.
        settings: further fields of the JSON document.
    """
    import dataclasses

    from diffcodec.evaluation.provenance import versions

    lines = [f"{quality.count} pictures of {name}"]
    if quality.fid is not None:
        lines.append(f"FID              {quality.fid:.4f}  from {settings['reference']}")
    if quality.inception_score is not None:
        lines.append(f"Inception score  {quality.inception_score:.4f} ± {quality.inception_score_std:.4f}")
    for sentence in quality.notes:
        note(sentence)
    libraries = versions(["torch", "torch-fidelity"])
    report(
        json_file,
        force,
        {"pictures": name, **dataclasses.asdict(quality), **settings, "versions": libraries},
        "\n".join(lines),
    )
