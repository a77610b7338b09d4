"""`diffcodec calibrate`."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import click

from diffcodec.cli.batch.outputs import check_folder, check_writable
from diffcodec.cli.options import allow_pickle_option, device_option
from diffcodec.errors import ConfigError


@click.command("calibrate")
@click.argument("model")
@click.option(
    "--data",
    default="cifar10",
    show_default=True,
    help="Pictures to measure on, as for `train`; not pictures of a benchmark.",
)
@click.option("--root", default="data", show_default=True, help="Where torchvision keeps CIFAR-10.")
@click.option("--size", type=click.IntRange(4, 1024), default=32, show_default=True, help="Side of a picture.")
@click.option("--limit", type=click.IntRange(1), default=256, show_default=True, help="Number of pictures.")
@click.option(
    "--steps",
    type=click.IntRange(1),
    help="Levels of the list that `compress` uses by default: 4, 8, 12, 16, 24, 32 or 64.  [default: 16, or 24 for "
    "models of photographs]",
)
@click.option("-o", "--out", type=click.Path(path_type=Path, dir_okay=False), required=True, help="Calibrated model.")
@click.option("--card", multiple=True, metavar="KEY=TEXT", help="Set a line of the model card; repeatable.")
@allow_pickle_option
@device_option
@click.option("--force", is_flag=True, help="Overwrite an existing file.")
def command(
    model: str,
    data: str,
    root: str,
    size: int,
    limit: int,
    steps: int | None,
    out: Path,
    card: tuple[str, ...],
    allow_pickle: bool,
    device: str,
    force: bool,
) -> None:
    """Measure a model's errors, and store the variances and level lists that its bitstreams use.

    MODEL is a model file, a diffusers pipeline folder, hf:NAME of one on the Hugging Face Hub, or a bundled model.
    A new calibration makes a new model: files made with the old calibration still need the old model.
    """
    check_writable(str(out), force)
    check_folder(str(out))

    import torch

    from diffcodec.calibration.calibrate import calibrate
    from diffcodec.devices import check_device
    from diffcodec.files import atomic_write
    from diffcodec.model.checkpoint import load_checkpoint
    from diffcodec.training.data import load_images

    where = check_device(device)
    checkpoint = load_checkpoint(model, allow_pickle=allow_pickle)
    changes = dict(line.partition("=")[::2] for line in card)
    if unknown := sorted(set(changes) - set(checkpoint.card.to_dict())):
        raise ConfigError(f"--card: expected one of {', '.join(checkpoint.card.to_dict())}, found {unknown[0]!r}")
    images = load_images(data, size=size, root=root)
    # Evenly spread over the data, so that a sorted source contributes all its classes.
    chosen = images[torch.arange(limit) * len(images) // limit] if len(images) > limit else images
    calibrated = calibrate(
        checkpoint,
        chosen,
        default_steps=steps,
        device=where,
        progress=lambda stage: click.echo(f"measuring: {stage}", err=True),
    )
    calibrated = dataclasses.replace(calibrated, card=dataclasses.replace(checkpoint.card, **changes))
    with atomic_write(out, overwrite=force) as file:
        file.write(calibrated.to_bytes())
    assert calibrated.tables is not None
    counts = ", ".join(sorted({str(len(levels.levels)) for levels in calibrated.tables.lists}, key=int))
    click.echo(
        f"wrote {out}: model {calibrated.fingerprint.hex()}, lists of {counts} levels, "
        f"{calibrated.tables.default_steps} by default"
    )
