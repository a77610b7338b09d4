"""`diffcodec export`."""

from __future__ import annotations

from pathlib import Path

import click

from diffcodec.cli.options import allow_pickle_option


@click.command("export")
@click.argument("model")
@click.option("--diffusers", "as_diffusers", is_flag=True, help="Write a pipeline folder of Hugging Face diffusers.")
@click.option("-o", "--out", type=click.Path(path_type=Path, file_okay=False), required=True, help="Output folder.")
@click.option(
    "--size",
    type=click.IntRange(1, 4096),
    default=32,
    show_default=True,
    help="Side of the pictures that the pipeline samples.",
)
@allow_pickle_option
@click.option("--force", is_flag=True, help="Overwrite files in an existing folder.")
def command(model: str, as_diffusers: bool, out: Path, size: int, allow_pickle: bool, force: bool) -> None:
    """Write a model in the format of another library.

    MODEL is a bundled model, a model file, or whatever else --model takes. The weights are unchanged; the tables of a
    calibration are not exported.
    """
    if not as_diffusers:
        raise click.UsageError("Choose a format: --diffusers.")

    from diffcodec.diffusers_format.configs import what_differs
    from diffcodec.diffusers_format.writing import write_pipeline
    from diffcodec.model.loading import load_checkpoint

    checkpoint = load_checkpoint(model, allow_pickle=allow_pickle)
    checkpoint.denoiser()  # fails now if the weights do not fit
    write_pipeline(
        out,
        checkpoint.config,
        checkpoint.weights,
        name=checkpoint.card.name,
        licence=checkpoint.card.licence,
        sample_size=size,
        overwrite=force,
    )
    reason = what_differs(checkpoint.config)
    kind = "a UNet2DModel" if reason is None else f"loading it needs diffcodec, because {reason}"
    click.echo(f"wrote {out}: {checkpoint.card.name}, {kind}")
