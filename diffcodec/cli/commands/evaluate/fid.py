"""`diffcodec evaluate fid`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from diffcodec.cli.commands.evaluate.options import check_report
from diffcodec.cli.commands.evaluate.quality import check_choice, open_measured, quality_options, report_quality
from diffcodec.cli.failures import warn


@click.command("fid")
@click.option(
    "--data", default="cifar10-train", show_default=True, help="The reference pictures, in the same form as PICTURES."
)
@click.option(
    "--statistics",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Published moments instead of --data: an .npz file with `mu` and `sigma`.",
)
@click.option(
    "--cache",
    type=click.Path(path_type=Path, file_okay=False),
    metavar="FOLDER",
    help="Where to cache moments of references.  [default: the user's cache folder]",
)
@quality_options
def command(
    pictures: str | None,
    count: int | None,
    inception: Path | None,
    splits: int,
    device: str,
    root: str,
    batch_size: int,
    json_file: str | None,
    force: bool,
    data: str,
    statistics: Path | None,
    cache: Path | None,
    **drawing: Any,
) -> None:
    """Frechet Inception distance of PICTURES from a reference, and their Inception score.

    PICTURES are `cifar10` (torchvision's test set), `cifar10-train`, a grid of 32 x 32 tiles, or a folder of pictures.
    Or pass --count to draw samples of a model and measure them.
    """
    check_choice(pictures, count)
    check_report(json_file, force)

    from tqdm import tqdm

    from diffcodec.devices import check_device
    from diffcodec.evaluation.datasets import open_dataset
    from diffcodec.evaluation.features import load_inception
    from diffcodec.evaluation.reference_statistics import (
        FeatureStatistics,
        default_cache,
        read_statistics,
        reference_statistics,
    )
    from diffcodec.evaluation.sample_quality import measure_quality

    # Open everything that may be missing before hours of work: weights, reference, pictures.
    extractor = load_inception(inception, device=check_device(device))
    real = open_dataset(data, root=root) if statistics is None else read_statistics(statistics)
    measured = open_measured(pictures, count, root=root, device=device, batch_size=batch_size, **drawing)
    if isinstance(real, FeatureStatistics):
        reference = real
    else:
        with tqdm(total=len(real), desc="reference", unit=" pictures", disable=None) as bar:
            reference = reference_statistics(
                real,
                extractor,
                cache=cache or default_cache(),
                batch_size=batch_size,
                progress=lambda done: bar.update(done - bar.n),
                warn=warn,
            )
    batches = measured.batches()
    with tqdm(total=measured.count, desc="features", unit=" pictures", disable=None) as bar:
        quality = measure_quality(
            batches, extractor, reference=reference, splits=splits, progress=lambda done: bar.update(done - bar.n)
        )
    settings = {
        "reference": (statistics or Path(data)).resolve().name,
        "reference_count": reference.count,
        "splits": splits,
        "extractor": extractor.digest,
    }
    report_quality(json_file, force, measured.name, quality, settings)
