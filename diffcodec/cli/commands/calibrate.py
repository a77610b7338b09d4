"""`diffcodec calibrate`."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING

import click

from diffcodec.cli.batch.outputs import check_folder, check_writable
from diffcodec.cli.options import allow_pickle_option, device_option
from diffcodec.errors import ConfigError

if TYPE_CHECKING:
    from diffcodec.model.checkpoint import Checkpoint


@click.command("calibrate", short_help="Measure a model's errors, and store tables for its files.")
@click.argument("model")
@click.option(
    "--data",
    default="cifar10",
    show_default=True,
    help="Pictures to measure on, as for `train`; not pictures of a benchmark.",
)
@click.option("--root", default="data", show_default=True, help="Where torchvision keeps CIFAR-10.")
@click.option(
    "--size",
    type=click.IntRange(4, 1024),
    default=32,
    show_default=True,
    help="Cut pictures into tiles of this side, in pixels.",
)
@click.option("--limit", type=click.IntRange(1), default=256, show_default=True, help="Use at most this many tiles.")
@click.option(
    "--steps",
    type=click.IntRange(1),
    help="Levels of the list that `compress` uses by default: 4, 8, 12, 16, 24, 32 or 64.  [default: 16, or 24 for "
    "latent models]",
)
@click.option(
    "-o",
    "--out",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Calibrated model; for a latent model, its tables.  [default for a folder of a latent model: in the folder]",
)
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
    out: Path | None,
    card: tuple[str, ...],
    allow_pickle: bool,
    device: str,
    force: bool,
) -> None:
    """Measure a model's errors, and store the variances and level lists that its bitstreams use.

    MODEL is a model file, a diffusers pipeline folder, hf:NAME of one on the Hugging Face Hub, or a bundled model.
    A new calibration makes a new model: files made with the old calibration still need the old model. The weights of
    latent diffusion models stay where they are; their calibration is a small file of tables.
    """
    if out is not None:
        check_writable(str(out), force)
        check_folder(str(out))

    import torch

    from diffcodec.calibration.calibrate import calibrate
    from diffcodec.devices import check_device
    from diffcodec.files import atomic_write
    from diffcodec.model.latent import LatentModel
    from diffcodec.model.loading import load_checkpoint
    from diffcodec.model.tables_file import tables_to_bytes
    from diffcodec.training.data import load_images

    where = check_device(device)
    checkpoint = load_checkpoint(model, allow_pickle=allow_pickle)
    if out is None:
        out = _tables_in(model, checkpoint)
        check_writable(str(out), force)
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
        file.write(tables_to_bytes(calibrated) if isinstance(calibrated, LatentModel) else calibrated.to_bytes())
    assert calibrated.tables is not None
    counts = ", ".join(sorted({str(len(levels.levels)) for levels in calibrated.tables.lists}, key=int))
    click.echo(
        f"wrote {out}: model {calibrated.fingerprint.hex()}, lists of {counts} levels, "
        f"{calibrated.tables.default_steps} by default"
    )


def _tables_in(model: str, checkpoint: Checkpoint) -> Path:
    """The path of the tables in a latent model's folder.

    Raises:
        ConfigError: if the model has no folder of its own.
    """
    from diffcodec.model.latent import LatentModel
    from diffcodec.model.tables_file import TABLES_FILE

    if isinstance(checkpoint, LatentModel) and Path(model).is_dir():
        return Path(model) / TABLES_FILE
    raise ConfigError("the calibrated model needs a file: name it", parameters=["out"])
