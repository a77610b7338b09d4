"""`diffcodec join`."""

from __future__ import annotations

from pathlib import Path

import click

from diffcodec.cli.batch.outputs import check_folder, check_writable


def parse_edges(ctx: click.Context, param: click.Parameter, value: str) -> tuple[float, ...]:
    """Numbers separated by commas."""
    try:
        return tuple(float(part) for part in value.split(","))
    except ValueError:
        raise click.BadParameter(f"{value!r} is not a list of log SNRs such as 1.4,4.6") from None


@click.command("join", short_help="Join networks for different noise levels into one model.")
@click.argument("models", nargs=-1, required=True)
@click.option(
    "--at",
    "edges",
    required=True,
    callback=parse_edges,
    metavar="LOG_SNR,...",
    help="Log SNRs at which the next network takes over, ascending.",
)
@click.option("--name", help="Name of the model in its card.  [default: that of the file]")
@click.option("-o", "--out", type=click.Path(path_type=Path, dir_okay=False), required=True, help="Model file.")
@click.option("--force", is_flag=True, help="Overwrite an existing file.")
def command(models: tuple[str, ...], edges: tuple[float, ...], name: str | None, out: Path, force: bool) -> None:
    """Join networks that were trained on different noise levels into one model of experts.

    MODELS are model files of plain networks with the same configuration, from that for the noisiest levels to that for
    the cleanest; `train --set log_snr_range=[LOW,HIGH]` makes them. An evaluation costs as much as with one of them.
    """
    check_writable(str(out), force)
    check_folder(str(out))

    from diffcodec.files import atomic_write
    from diffcodec.model.experts import join_experts
    from diffcodec.model.loading import load_checkpoint

    checkpoint = join_experts([load_checkpoint(model) for model in models], edges, name or out.stem)
    checkpoint.denoiser()  # fails now if the weights do not fit
    with atomic_write(out, overwrite=force) as file:
        file.write(checkpoint.to_bytes())
    click.echo(f"wrote {out}: run `diffcodec calibrate` on it before compressing")
