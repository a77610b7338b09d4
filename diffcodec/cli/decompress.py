"""`diffcodec decompress`."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import click

from diffcodec.bitstream.container import read_header
from diffcodec.bitstream.layout import MAX_HEADER_BYTES
from diffcodec.cli.batch import Done, Item, Standing, Task, find_standing
from diffcodec.cli.inputs import STANDARD, beginning, expand, label, read_input
from diffcodec.cli.many import RunOptions, do_all
from diffcodec.cli.options import (
    allow_pickle_option,
    complete_file,
    device_option,
    folder_options,
    max_pixels_option,
    model_option,
    recursive_option,
)
from diffcodec.cli.outputs import outputs, write_output
from diffcodec.cli.streams import check_stream, codec_for
from diffcodec.errors import ImageError, StreamError

if TYPE_CHECKING:
    from diffcodec.codec import DiffusionCodec
    from diffcodec.decoders import Decoder, DecoderKind
    from diffcodec.results import Preview


@click.command("decompress")
@click.argument("files", nargs=-1, required=True, shell_complete=complete_file)
@click.option(
    "-o",
    "--out",
    shell_complete=complete_file,
    help="Output picture, its format by its name; a folder for several inputs; - for standard "
    "output (PNG).  [default: beside the input, as .png]",
)
@click.option(
    "-t",
    "--timestep",
    type=click.IntRange(0),
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
@click.option("--partial", is_flag=True, help="Restore what comes before the place where a file is cut or damaged.")
@model_option("the bundled one that made the file")
@allow_pickle_option
@max_pixels_option
@device_option
@click.option("--force", is_flag=True, help="Overwrite existing files.")
@recursive_option
@folder_options
def command(
    files: tuple[str, ...], out: str | None, timestep: int | None, decoder: DecoderKind, decoder_steps: int | None,
    decoder_seed: int, partial: bool, model: str | None, allow_pickle: bool, max_pixels: int, device: str,
    force: bool, recursive: bool, **run: Any,
) -> None:  # fmt: skip
    """Restore pictures from .dfc files.

    FILES are .dfc files, folders of them, patterns such as 'photos/**/*.dfc', or - for standard input. Lossless files
    (t = 0) give their exact pixels whatever the decoder.
    """
    options = RunOptions(**run)
    inputs = expand(files, [".dfc"], recursive=recursive)
    targets = outputs(inputs.files, out, ".png", inputs.many)

    from diffcodec.decoders import Decoder

    settings = DecompressSettings(
        timestep=timestep, decoder=Decoder(decoder, decoder_steps, decoder_seed), partial=partial, model=model,
        allow_pickle=allow_pickle, max_pixels=max_pixels, device=device, force=force,
        resume=options.resume, named_output=out,
    )  # fmt: skip
    do_all(settings, inputs, targets, options)


@dataclass(frozen=True)
class DecompressSettings:
    """How pictures are restored: the options of the command.

    Args:
        decoder: makes pictures of noisy states.
        named_output: the one output that was named, whose folder is not made.
    """

    timestep: int | None
    decoder: Decoder
    partial: bool
    model: str | None
    allow_pickle: bool
    max_pixels: int
    device: str
    force: bool
    resume: bool
    named_output: str | None

    def load(self) -> Restorer:
        """The worker; which models it needs, the files say."""
        from diffcodec.devices import check_device

        check_device(self.device)
        return Restorer(self)

    def foresee(self, source: str) -> tuple[Hashable, int]:
        """Kind and number of pixels of a file's picture, from its header; None and 0 if that cannot be read."""
        try:
            header = read_header(beginning(source, MAX_HEADER_BYTES)).header
        except StreamError:  # is told of when the file is read
            return None, 0
        return None if self.partial else header, header.pixels


@dataclass(frozen=True)
class Restorer:
    """Restores pictures: the worker of this command.

    Args:
        settings: how.
        codecs: those that have been loaded, by the fingerprints of their models.
        warning: see `Worker`.
    """

    settings: DecompressSettings
    codecs: dict[bytes, DiffusionCodec] = field(default_factory=dict)
    warning: str = ""

    def standing(self, task: Task) -> Standing:
        """What there is of the picture before the work begins."""
        settings = self.settings
        return find_standing(task, force=settings.force, resume=settings.resume, difference=self.difference)

    def difference(self, task: Task, newer: bool) -> str | None:
        """How an existing picture differs from what would be made, as far as can be told without making it."""
        from diffcodec.images import read_picture

        try:
            picture = read_picture(task.target, max_pixels=self.settings.max_pixels)
        except ImageError:
            return "cannot be read as a picture"
        if newer and task.pixels not in (0, picture.width * picture.height):
            return "is a picture of another size"
        # The name says nothing of where it comes from: it may be the original.
        return None if newer else f"is older than {task.source}"

    def read(self, task: Task) -> Item[bytes]:
        """Read a .dfc file, and check that its picture can be written."""
        from diffcodec.images import check_mode

        settings, name = self.settings, label(task.source)
        file_format = format_of(task.target)
        data = read_input(task.source)
        container = check_stream(data, partial=settings.partial, max_pixels=settings.max_pixels, name=name).container
        header = container.header
        mode = header.colour.name + ("A" if container.alpha is not None else "")
        check_mode(mode, file_format, task.target)
        return Item(task, data, None if settings.partial else header, header.pixels)

    def work(self, items: Sequence[Item[bytes]]) -> list[Preview]:
        """Restore pictures of one kind."""
        settings = self.settings
        names = [label(item.task.source) for item in items]
        streams = [item.content for item in items]
        codec = self.codec_for(streams[0], names[0])
        if settings.partial:
            return [
                codec.restore(
                    streams[0], timestep=settings.timestep, decoder=settings.decoder, partial=True,
                    max_pixels=settings.max_pixels, name=names[0],
                )
            ]  # fmt: skip
        return codec.restore_batch(
            streams, timestep=settings.timestep, decoder=settings.decoder, max_pixels=settings.max_pixels, names=names
        )

    def codec_for(self, data: bytes, name: str) -> DiffusionCodec:
        """The codec with the model that was named, or else with the one that made the file."""
        settings = self.settings
        fingerprint = b"" if settings.model else read_header(data).header.fingerprint
        if fingerprint not in self.codecs:
            self.codecs[fingerprint] = codec_for(
                data, settings.model, name=name, device=settings.device,
                allow_pickle=settings.allow_pickle,
            )  # fmt: skip
        return self.codecs[fingerprint]

    def write(self, item: Item[bytes], preview: Preview, overwrite: bool) -> Done:
        """Write a picture."""
        from diffcodec.images import metadata_left_out, write_picture

        source, target, picture = item.task.source, item.task.target, preview.picture
        length = write_output(
            target, overwrite, lambda file: write_picture(picture, file, format_of(target), name=target),
            make_folder=target != self.settings.named_output,
        )  # fmt: skip
        warning = ""
        if preview.problem is not None:
            lost = read_header(item.content).alpha_bytes is not None and picture.alpha is None
            made = "the picture" if target == STANDARD else target
            warning = (
                f"{label(source)} {preview.problem}; {made} is step {preview.step} of {preview.steps} "
                f"(t = {preview.timestep:g}){', without the alpha plane' if lost else ''}"
                f"{'' if preview.verified else ', and unverified'}"
            )
        elif not preview.step and self.settings.timestep is not None:
            warning = (
                f"{label(source)} has no step as coarse as t = {self.settings.timestep}: this is what the model makes "
                "of pure noise; a smaller -t shows more"
            )
        lacking = metadata_left_out(picture.metadata, format_of(target))
        how = f"t = {preview.timestep:g}"
        how += f", {preview.decoder} decoder" if preview.decoder in ("flow", "ancestral") else ""
        line = f"{source} -> {target}: {picture.width} x {picture.height} {picture.mode}, {how}"
        values = {
            "width": picture.width, "height": picture.height, "mode": picture.mode, "timestep": preview.timestep,
            "decoder": preview.decoder, "step": preview.step, "steps": preview.steps, "verified": preview.verified,
        }  # fmt: skip
        return Done(
            line if target != STANDARD else "", values, len(item.content), length, item.pixels,
            8 * len(item.content) / item.pixels, warning=warning, notes=(f"{target}: {lacking}",) if lacking else (),
        )  # fmt: skip


def format_of(target: str) -> str:
    """The format that a picture is written in."""
    from diffcodec.images import picture_format

    return "PNG" if target == STANDARD else picture_format(target)
