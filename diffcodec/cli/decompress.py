"""`diffcodec decompress`."""

from __future__ import annotations

import click

from diffcodec.cli.batch import (
    STANDARD,
    check_writable,
    expand,
    for_each,
    label,
    outputs,
    read_input,
    write_output,
)


@click.command("decompress")
@click.argument("files", nargs=-1, required=True)
@click.option(
    "-o",
    "--out",
    help="Output picture, its format by its name; a folder for several inputs; - for standard "
    "output (PNG).  [default: beside the input, as .png]",
)
@click.option(
    "-t",
    "--timestep",
    type=click.IntRange(0, 4095),
    help="Restore a coarser version: the last level of the file that is not finer than this.",
)
@click.option("--partial", is_flag=True, help="Restore the last complete step of a file that has been cut.")
@click.option("--model", help="Bundled model or model file.  [default: the bundled one that made the file]")
@click.option("--max-pixels", type=click.IntRange(1), help="Refuse larger pictures.  [default: 89478485]")
@click.option("--device", default="cpu", show_default=True, help="Where the network runs: cpu or cuda.")
@click.option("--force", is_flag=True, help="Overwrite existing files.")
def command(
    files: tuple[str, ...], out: str | None, timestep: int | None, partial: bool, model: str | None,
    max_pixels: int | None, device: str, force: bool,
) -> None:  # fmt: skip
    """Restore pictures from .dfc files.

    FILES are .dfc files, folders of them, or - for standard input.
    """
    sources = expand(files, [".dfc"])
    targets = outputs(sources, out, ".png", many=len(files) > 1 or list(files) != sources)

    from diffcodec.bitstream.container import DEFAULT_MAX_PIXELS, read_container, read_header, read_partial
    from diffcodec.codec import DiffusionCodec
    from diffcodec.devices import check_device
    from diffcodec.images import check_mode, picture_format, write_picture

    where = check_device(device)
    limit = max_pixels or DEFAULT_MAX_PIXELS
    codecs: dict[bytes, DiffusionCodec] = {}

    def restore(source: str, target: str) -> None:
        check_writable(target, force, source)
        kind = "PNG" if target == STANDARD else picture_format(target)
        data = read_input(source)
        # A damaged file is refused before any model is looked for.
        container = (
            read_partial(data, max_pixels=limit, name=label(source))[0]
            if partial
            else read_container(data, max_pixels=limit, name=label(source))
        )
        mode = container.header.colour.name + ("A" if container.alpha is not None else "")
        check_mode(mode, kind, target)
        fingerprint = b"" if model else container.header.fingerprint
        if fingerprint not in codecs:
            codecs[fingerprint] = (
                DiffusionCodec.from_pretrained(model, device=where)
                if model
                else DiffusionCodec.for_stream(data, device=where, name=label(source))
            )
        preview = codecs[fingerprint].restore(
            data, timestep=timestep, partial=partial, max_pixels=limit, name=label(source)
        )
        write_output(target, force, lambda file: write_picture(preview.picture, file, kind), make_folder=target != out)
        if not preview.verified:
            lost = read_header(data).alpha_bytes is not None and preview.picture.alpha is None
            click.echo(
                f"Warning: {label(source)} is cut; {target} is step {preview.step} of {preview.steps} "
                f"(t = {preview.timestep:g}){', without the alpha plane' if lost else ''}, and unverified",
                err=True,
            )
        if target != STANDARD:
            click.echo(f"{source} -> {target}: {preview.picture.width} x {preview.picture.height} "
                       f"{preview.picture.mode}, t = {preview.timestep:g}")  # fmt: skip

    for_each(zip(sources, targets, strict=True), restore)
