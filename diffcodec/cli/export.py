"""`diffcodec export`."""

from __future__ import annotations

from pathlib import Path

import click

from diffcodec.cli.options import allow_pickle_option


@click.command("export")
@click.argument("model")
@click.option("--diffusers", "as_diffusers", is_flag=True, help="As a pipeline folder of Hugging Face diffusers.")
@click.option("-o", "--out", type=click.Path(path_type=Path, file_okay=False), required=True, help="Folder to make.")
@click.option(
    "--size", type=click.IntRange(1, 4096), default=32, show_default=True, help="Side of the pictures that it samples."
)
@allow_pickle_option
@click.option("--force", is_flag=True, help="Overwrite files in an existing folder.")
def command(model: str, as_diffusers: bool, out: Path, size: int, allow_pickle: bool, force: bool) -> None:
    """Write a model in the format of another library.

    MODEL is a bundled model, a model file, or whatever else --model takes. The weights keep every bit; the tables of a
    calibration have no place there.
    """
    if not as_diffusers:
        raise click.UsageError("Name a format: there is --diffusers.")

    from diffcodec.checkpoint import load_checkpoint
    from diffcodec.diffusers_format.configs import what_differs
    from diffcodec.diffusers_format.writing import write_pipeline

    checkpoint = load_checkpoint(model, allow_pickle=allow_pickle)
    checkpoint.denoiser()  # weights that do not fit are better refused now
    write_pipeline(
        out, checkpoint.config, checkpoint.weights,
        name=checkpoint.card.name, licence=checkpoint.card.licence, sample_size=size, overwrite=force,
    )  # fmt: skip
    reason = what_differs(checkpoint.config)
    kind = "a UNet2DModel" if reason is None else f"it takes diffcodec to load it, because {reason}"
    click.echo(f"wrote {out}: {checkpoint.card.name}, {kind}")
