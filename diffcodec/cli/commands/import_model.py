"""`diffcodec import`."""

from __future__ import annotations

from pathlib import Path

import click

from diffcodec.cli.batch.outputs import check_folder, check_writable
from diffcodec.cli.options import allow_pickle_option


@click.command("import")
@click.argument("model")
@click.option("-o", "--out", type=click.Path(path_type=Path, dir_okay=False), required=True, help="Model file.")
@allow_pickle_option
@click.option("--force", is_flag=True, help="Overwrite an existing file.")
def command(model: str, out: Path, allow_pickle: bool, force: bool) -> None:
    """Turn a diffusers pipeline into one model file. Without calibration, its files are larger.

    MODEL is a pipeline folder, or hf:NAME of one on the Hugging Face Hub. A bundled model or a model file is copied.
    The weights are unchanged.
    """
    check_writable(str(out), force)
    check_folder(str(out))

    from diffcodec.files import atomic_write
    from diffcodec.model.loading import load_checkpoint

    checkpoint = load_checkpoint(model, allow_pickle=allow_pickle)
    checkpoint.denoiser()  # fails now if the weights do not fit
    with atomic_write(out, overwrite=force) as file:
        file.write(checkpoint.to_bytes())
    parameters = sum(value.numel() for value in checkpoint.weights.values())
    fingerprint, state = checkpoint.ready().fingerprint.hex(), "calibrated" if checkpoint.tables else "not calibrated"
    click.echo(f"wrote {out}: model {fingerprint}, {checkpoint.card.name}, {parameters} parameters, {state}")
