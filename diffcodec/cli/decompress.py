"""`diffcodec decompress`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from diffcodec.cli.batch import (
    STANDARD,
    Item,
    check_writable,
    expand,
    for_each_batch,
    label,
    outputs,
    read_input,
    write_output,
)
from diffcodec.cli.options import allow_pickle_option, device_option, model_option

if TYPE_CHECKING:
    from diffcodec.decoders import DecoderKind
    from diffcodec.results import Preview


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
@click.option(
    "--decoder",
    type=click.Choice(["mean", "flow", "ancestral"]),
    default="mean",
    show_default=True,
    help="How a picture is made of the noisy state at the file's end: its mean has the least error, the others look "
    "more like a picture.",
)
@click.option(
    "--decoder-steps",
    type=click.IntRange(1),
    metavar="K",
    help="Noise levels of flow and ancestral from pure noise to t = 1; those below the file's end are visited.  "
    "[default: 100 for flow, 250 for ancestral]",
)
@click.option("--decoder-seed", type=click.IntRange(0), default=0, show_default=True, help="Of the decoder ancestral.")
@click.option(
    "--partial", is_flag=True, help="Restore what comes before the place where a file is cut or damaged."
)
@model_option("the bundled one that made the file")
@allow_pickle_option
@click.option("--max-pixels", type=click.IntRange(1), help="Refuse larger pictures.  [default: 89478485]")
@device_option
@click.option("--force", is_flag=True, help="Overwrite existing files.")
def command(
    files: tuple[str, ...], out: str | None, timestep: int | None, decoder: DecoderKind, decoder_steps: int | None,
    decoder_seed: int, partial: bool, model: str | None, allow_pickle: bool, max_pixels: int | None, device: str,
    force: bool,
) -> None:  # fmt: skip
    """Restore pictures from .dfc files.

    FILES are .dfc files, folders of them, or - for standard input. Lossless files (t = 0) give their exact pixels
    whatever the decoder.
    """
    sources = expand(files, [".dfc"])
    targets = outputs(sources, out, ".png", many=len(files) > 1 or list(files) != sources)

    from diffcodec.bitstream.container import DEFAULT_MAX_PIXELS, read_container, read_header, read_partial
    from diffcodec.codec import DiffusionCodec
    from diffcodec.decoders import Decoder
    from diffcodec.devices import check_device
    from diffcodec.images import check_mode, picture_format, write_picture

    maker = Decoder(decoder, decoder_steps, decoder_seed)
    where = check_device(device)
    limit = max_pixels or DEFAULT_MAX_PIXELS
    codecs: dict[bytes, DiffusionCodec] = {}

    def codec_for(data: bytes, name: str) -> DiffusionCodec:
        fingerprint = b"" if model else read_header(data).header.fingerprint
        if fingerprint not in codecs:
            codecs[fingerprint] = (
                DiffusionCodec.from_pretrained(model, device=where, allow_pickle=allow_pickle)
                if model
                else DiffusionCodec.for_stream(data, device=where, name=name)
            )
        return codecs[fingerprint]

    def format_of(target: str) -> str:
        return "PNG" if target == STANDARD else picture_format(target)

    def read(source: str, target: str) -> Item[bytes]:
        check_writable(target, force, source)
        file_format = format_of(target)
        data = read_input(source)
        # A damaged file is refused before any model is looked for.
        container = (
            read_partial(data, max_pixels=limit, name=label(source)).container
            if partial
            else read_container(data, max_pixels=limit, name=label(source))
        )
        header = container.header
        mode = header.colour.name + ("A" if container.alpha is not None else "")
        check_mode(mode, file_format, target)
        return Item(source, target, data, None if partial else header, header.pixels)

    def restore(items: Sequence[Item[bytes]]) -> list[Preview]:
        names = [label(item.source) for item in items]
        streams = [item.content for item in items]
        codec = codec_for(streams[0], names[0])
        if partial:
            return [
                codec.restore(
                    streams[0], timestep=timestep, decoder=maker, partial=True, max_pixels=limit, name=names[0]
                )
            ]
        return codec.restore_batch(streams, timestep=timestep, decoder=maker, max_pixels=limit, names=names)

    def write(item: Item[bytes], preview: Preview) -> None:
        source, target, picture = item.source, item.target, preview.picture
        write_output(
            target, force, lambda file: write_picture(picture, file, format_of(target), name=target),
            make_folder=target != out,
        )  # fmt: skip
        if preview.problem is not None:
            lost = read_header(item.content).alpha_bytes is not None and picture.alpha is None
            click.echo(
                f"Warning: {label(source)} {preview.problem}; {target} is step {preview.step} of {preview.steps} "
                f"(t = {preview.timestep:g}){', without the alpha plane' if lost else ''}"
                f"{'' if preview.verified else ', and unverified'}",
                err=True,
            )
        if target != STANDARD:
            made = f"t = {preview.timestep:g}"
            made += f", {preview.decoder} decoder" if preview.decoder in ("flow", "ancestral") else ""
            click.echo(f"{source} -> {target}: {picture.width} x {picture.height} {picture.mode}, {made}")

    for_each_batch(zip(sources, targets, strict=True), read, restore, write)
