"""`diffcodec evaluate is`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from diffcodec.cli.commands.evaluate.options import check_report
from diffcodec.cli.commands.evaluate.quality import check_choice, open_measured, quality_options, report_quality


@click.command("is")
@quality_options
def command(
    pictures: str | None,
    count: int | None,
    inception: Path | None,
    splits: int,
    device: str,
    json_file: str | None,
    force: bool,
    **drawing: Any,
) -> None:
    """Inception score of PICTURES, or of samples of a model.

    PICTURES are `cifar10` (torchvision's test set), `cifar10-train`, a grid of 32 x 32 tiles, or a folder of pictures.
    Or pass --count to draw samples of a model and measure them.
    """
    check_choice(pictures, count)
    check_report(json_file, force)

    from tqdm import tqdm

    from diffcodec.devices import check_device
    from diffcodec.evaluation.features import load_inception
    from diffcodec.evaluation.sample_quality import measure_quality

    extractor = load_inception(inception, device=check_device(device))
    measured = open_measured(pictures, count, device=device, **drawing)
    batches = measured.batches()
    with tqdm(total=measured.count, desc="features", unit=" pictures", disable=None) as bar:
        quality = measure_quality(batches, extractor, splits=splits, progress=lambda done: bar.update(done - bar.n))
    report_quality(json_file, force, measured.name, quality, {"splits": splits, "extractor": extractor.digest})
