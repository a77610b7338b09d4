"""The worker of `diffcodec decompress`."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar

from diffcodec.bitstream.container import read_header
from diffcodec.bitstream.layout import MAX_HEADER_BYTES, RECOGNISED_BYTES
from diffcodec.cli.batch.inputs import STANDARD, beginning, label
from diffcodec.cli.batch.outputs import write_output
from diffcodec.cli.batch.work import Done, ExistingOutput, Item, Task, find_existing
from diffcodec.cli.streams import codec_for, parse_input
from diffcodec.errors import ImageError, StreamError, TruncatedStreamError

if TYPE_CHECKING:
    from diffcodec.codec import DiffusionCodec
    from diffcodec.coding.progress import ProgressCallback
    from diffcodec.coding.reconstruction import Reconstruction
    from diffcodec.coding.report import Restoration
    from diffcodec.coding.stream import ParsedStream
    from diffcodec.config import Precision


@dataclass(frozen=True)
class DecompressJob:
    """How pictures are restored: the options of the command.

    Args:
        reconstruction: makes pictures from noisy states.
        named_output: the output given on the command line; its folder is not created.
    """

    timestep: int | None
    reconstruction: Reconstruction
    partial: bool
    model: str | None
    allow_pickle: bool
    tables: str | None
    max_pixels: int
    max_pixel_evaluations: int
    device: str
    precision: Precision
    force: bool
    resume: bool
    named_output: str | None

    @property
    def unrecorded(self) -> str:
        """What a restored picture does not show."""
        return "" if self.timestep is None and self.reconstruction.kind == "auto" else "--decoder or -t"

    @property
    def runs_on_cpu(self) -> bool:
        """Whether the network runs on the processor."""
        return self.device == "cpu"

    def load(self) -> Restorer:
        """The worker, without a model: files determine which ones it needs."""
        if self.device != "cpu":  # the check needs torch; files of unknown models are refused without it
            from diffcodec.devices import check_device

            check_device(self.device)
        return Restorer(self)

    def peek(self, source: str) -> tuple[Hashable, int]:
        """Batch key and number of pixels of a file's picture, from its header; None and 0 if that cannot be read."""
        try:
            header = read_header(beginning(source, MAX_HEADER_BYTES)).header
        except StreamError:  # `read` reports it
            return None, 0
        return None if self.partial else header, header.pixels


@dataclass(frozen=True)
class Restorer:
    """The worker of `diffcodec decompress`.

    Args:
        job: options of the command.
        codecs: loaded codecs, by the fingerprints of their models.
        warning: see `Worker`.
    """

    job: DecompressJob
    codecs: dict[bytes, DiffusionCodec] = field(default_factory=dict)
    warning: str = ""
    when_full: ClassVar[str] = "a picture takes about 70 bytes a pixel; use fewer --jobs, or a computer with more"

    def existing_output(self, task: Task) -> ExistingOutput:
        """Whether the picture already exists, and may be replaced.

        Raises:
            ConfigError: if it may not.
            NotDfcError: if the input is no .dfc file: its result could have the name of the input itself.
        """
        job = self.job
        if not task.source.lower().endswith(".dfc"):  # of those even the first bytes may be corrected
            with suppress(TruncatedStreamError):  # here only the beginning is read
                read_header(beginning(task.source, RECOGNISED_BYTES), name=task.source)
        return find_existing(task, force=job.force, resume=job.resume, difference=self.difference)

    def difference(self, task: Task, newer: bool) -> str | None:
        """How an existing picture differs from the one to make, as far as can be seen without restoring."""
        from diffcodec.images import read_picture

        try:
            picture = read_picture(task.target, max_pixels=self.job.max_pixels)
        except ImageError:
            return "cannot be read as a picture"
        if newer and task.pixels not in (0, picture.width * picture.height):
            return "is a picture of a different size"
        # Its origin is unknown: it may be the original.
        return None if newer else f"is older than {task.source}"

    def read(self, task: Task) -> Item[ParsedStream]:
        """Read a .dfc file, and check that its picture can be written."""
        from diffcodec.images import check_mode

        job = self.job
        file_format = format_of(task.target)
        stream = parse_input(task.source, partial=job.partial, max_pixels=job.max_pixels)
        header = stream.header
        mode = header.colour.name + ("A" if stream.container.alpha is not None else "")
        check_mode(mode, file_format, task.target)
        return Item(task, stream, None if job.partial else header, header.pixels)

    def work(self, items: Sequence[Item[ParsedStream]], progress: ProgressCallback) -> list[Restoration]:
        """Restore pictures of one batch key."""
        job = self.job
        streams = [item.content for item in items]
        codec = self.codec_for(streams[0])
        return codec.decompress_batch(
            streams,
            timestep=job.timestep,
            reconstruction=job.reconstruction,
            max_pixel_evaluations=job.max_pixel_evaluations,
            progress=progress,
        )

    def codec_for(self, stream: ParsedStream) -> DiffusionCodec:
        """The codec with the named model, or else with the one that made the file."""
        job = self.job
        fingerprint = b"" if job.model else stream.header.fingerprint
        if fingerprint not in self.codecs:
            self.codecs[fingerprint] = codec_for(
                stream,
                job.model,
                allow_pickle=job.allow_pickle,
                tables=job.tables,
                device=job.device,
                precision=job.precision,
            )
        return self.codecs[fingerprint]

    def write(self, item: Item[ParsedStream], restored: Restoration, overwrite: bool) -> Done:
        """Write a picture."""
        from diffcodec.images import metadata_left_out, write_picture

        job = self.job
        source, target, picture = item.task.source, item.task.target, restored.picture
        length = write_output(
            target,
            overwrite,
            lambda file: write_picture(picture, file, format_of(target), name=target),
            make_folder=target != job.named_output,
        )
        warning = ""
        if restored.problem is not None:
            lost = item.content.reading.info.alpha_bytes is not None and picture.alpha is None
            made = "the picture" if target == STANDARD else target
            if restored.step:
                shown = f"{made} is step {restored.step} of {restored.steps} (t = {restored.timestep:g})"
            elif job.timestep is None:
                shown = f"no step is complete: {made} is made from pure noise"
            else:
                shown = f"{made} is made from pure noise"
            warning = (
                f"{label(source)} {restored.problem}; {shown}{', without the alpha plane' if lost else ''}"
                f"{'' if restored.verified else ', and unverified'}"
            )
        elif not restored.step and job.timestep is not None:
            warning = (
                f"{label(source)} has no step as coarse as t = {job.timestep}: this picture is made from "
                "pure noise; a smaller -t shows more"
            )
        notes = []
        if job.timestep not in (None, restored.timestep) and restored.step and restored.problem is None:
            notes.append(
                f"{label(source)}: restored at t = {restored.timestep:g}, the finest level of the file that is not "
                f"finer than t = {job.timestep}"
            )
        if lacking := metadata_left_out(picture.metadata, format_of(target)):
            notes.append(f"{target}: {lacking}")
        how = f"t = {restored.timestep:g}"
        how += f", {restored.reconstruction} decoder" if restored.reconstruction not in ("mean", "exact") else ""
        line = f"{source} -> {target}: {picture.width} x {picture.height} {picture.mode}, {how}"
        values = {
            "width": picture.width,
            "height": picture.height,
            "mode": picture.mode,
            "timestep": restored.timestep,
            "decoder": restored.reconstruction,
            "step": restored.step,
            "steps": restored.steps,
            "verified": restored.verified,
        }
        read = item.content.file_bytes
        return Done(
            line if target != STANDARD else "",
            values,
            read,
            length,
            item.pixels,
            8 * read / item.pixels,
            warning=warning,
            notes=tuple(notes),
        )


def format_of(target: str) -> str:
    """The format in which a picture is written."""
    from diffcodec.images import picture_format

    return "PNG" if target == STANDARD else picture_format(target)
