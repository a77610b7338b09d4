"""The work of `diffcodec compress`: a picklable job, and the worker that each process loads from it."""

from __future__ import annotations

import dataclasses
import io
import math
import os
import warnings
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar

from diffcodec.cli.batch.inputs import STANDARD, label, length_of, read_input
from diffcodec.cli.batch.outputs import write_output
from diffcodec.cli.batch.steps_table import steps_table
from diffcodec.cli.batch.work import Done, ExistingOutput, Item, Task, find_existing
from diffcodec.coding.options import CompressionSettings, CompressOptions
from diffcodec.coding.targets import Target
from diffcodec.errors import ConfigError, StreamError, TargetError

if TYPE_CHECKING:
    from diffcodec.codec import DiffusionCodec
    from diffcodec.coding.progress import ProgressCallback
    from diffcodec.coding.report import Bitstream
    from diffcodec.config import Precision
    from diffcodec.images import Keep, Picture
    from diffcodec.images.metadata import Metadata


@dataclass(frozen=True)
class CompressJob:
    """How pictures are compressed: the options of the command.

    Args:
        goal: the target, if no timestep is given.
        named_output: the output given on the command line; its folder is not created.
    """

    timestep: int | None
    goal: Target | None
    model: str | None
    allow_pickle: bool
    tables: str | None
    channel: str
    speed: int
    effort: int | None
    steps: int | None
    seed: int
    repeat_front: bool
    measure: bool
    steps_table: bool
    first_frame: bool
    keep_metadata: bool
    device: str
    precision: Precision
    force: bool
    resume: bool
    named_output: str | None

    @property
    def options(self) -> CompressOptions:
        """The options of the codec."""
        return {
            "timestep": self.timestep,
            "target": self.goal,
            "channel": self.channel,
            "speed": self.speed,
            "effort": self.effort,
            "seed": self.seed,
            "steps": self.steps,
            "repeat_front": self.repeat_front,
            "measure": self.measure,
        }

    @property
    def keep(self) -> Keep:
        """The metadata to keep. Lossless files at least keep the profile, and so the meaning of their colours."""
        if self.keep_metadata:
            return "metadata"
        return "meaning" if self.timestep == 0 else "nothing"

    @property
    def unrecorded(self) -> str:
        """What a .dfc file does not show."""
        names = {"quality": "--quality", "psnr_db": "--psnr"}
        return names.get(self.goal.quantity, "") if self.goal else ""

    @property
    def runs_on_cpu(self) -> bool:
        """Whether the network runs on the processor."""
        return self.device == "cpu"

    def load(self) -> Compressor:
        """The worker, with its model if one is named; otherwise the model depends on a picture's size."""
        from diffcodec.codec import DiffusionCodec
        from diffcodec.devices import check_device

        if self.model is None:
            check_device(self.device)  # not only when the first codec is loaded
            return Compressor(self)
        codec = DiffusionCodec.from_pretrained(
            self.model, allow_pickle=self.allow_pickle, tables=self.tables, device=self.device, precision=self.precision
        )
        return Compressor(self, {self.model: codec})

    def peek(self, source: str) -> tuple[Hashable, int]:
        """Batch key and number of pixels of a picture, from its header; None and 0 if that cannot be read."""
        from PIL import Image

        if source == STANDARD or not os.path.isfile(source):
            return None, 0
        try:
            with warnings.catch_warnings(action="ignore"), Image.open(source) as image:
                (width, height), mode = image.size, image.mode
        except Exception:  # Pillow raises almost anything; `read` reports the error
            return None, 0
        return self.batch_key(width, height, mode), width * height

    def batch_key(self, width: int, height: int, mode: str) -> Hashable:
        """Key of pictures that may be compressed together; None: this one is compressed alone.

        A search for a target takes different steps for every picture. And the rounding of a lossless file's estimate
        depends on the last bits of the network's output, which vary with the batch.
        """
        return None if self.goal or self.timestep == 0 else (width, height, mode)


@dataclass(frozen=True)
class Compressor:
    """The worker of `diffcodec compress`.

    Args:
        job: options of the command.
        codecs: loaded codecs, by the names of their models.
    """

    job: CompressJob
    codecs: dict[str, DiffusionCodec] = field(default_factory=dict)
    when_full: ClassVar[str] = "cut the picture into smaller ones, or use fewer --jobs"

    @property
    def warning(self) -> str:
        """Warning to print before the work begins; empty if there is none."""
        rough = [codec.model.card.name for codec in self.codecs.values() if not codec.is_calibrated]
        if not rough:
            return ""
        return (
            f"{rough[0]} is not calibrated: it runs with equal variances, and files are larger than "
            "necessary; run `diffcodec calibrate` on it"
        )

    def codec_for(self, width: int, height: int) -> DiffusionCodec:
        """The codec for pictures of a size, in pixels."""
        from diffcodec.codec import DiffusionCodec
        from diffcodec.model.locations import default_model

        name = self.job.model or default_model(width, height)
        if name not in self.codecs:
            job = self.job
            codec = DiffusionCodec.from_pretrained(name, device=job.device, precision=job.precision)
            self.codecs[name] = codec
        return self.codecs[name]

    def existing_output(self, task: Task) -> ExistingOutput:
        """Whether the .dfc file already exists, and may be replaced.

        Raises:
            ConfigError: if it may not, or the input is a .dfc file itself.
        """
        if task.source.lower().endswith(".dfc"):
            raise ConfigError(f"{task.source} is a .dfc file already: use decompress or truncate")
        job = self.job
        return find_existing(task, force=job.force, resume=job.resume, difference=self.difference)

    def difference(self, task: Task, newer: bool) -> str | None:
        """How an existing .dfc file differs from the one to make, as far as can be seen without compressing."""
        from diffcodec.bitstream.container import read_container
        from diffcodec.images.metadata import Metadata

        job, data = self.job, read_input(task.target)
        try:
            container = read_container(data, name=task.target)
            header = container.header
            kept = Metadata() if container.metadata is None else Metadata.from_bytes(container.metadata)
        except StreamError:
            return "is not a complete .dfc file"
        if header.shortened is not None:
            return "was shortened by truncate"
        codec, settings = self.codec_for(header.width, header.height), CompressionSettings(**job.options)
        wanted = {
            "fingerprint": codec.fingerprint,
            "channel": int(settings.channel_id),
            "effort": settings.path_effort,
            "level_list": settings.level_list(codec.tables, header.pixels),
        }
        if job.timestep is not None:
            wanted["timestep"] = job.timestep
        if job.timestep != 0:  # a stored picture has no noise, and so no seed
            wanted["seed"] = job.seed
        names = {"fingerprint": "model", "level_list": "number of steps"}
        others = [names.get(name, name) for name, value in wanted.items() if getattr(header, name) != value]
        if others:
            return f"was made with a different {' and '.join(others)}"
        goal = job.goal
        if goal and goal.is_limit and not goal.is_met_by(FileSize(len(data), 8 * len(data) / header.pixels)):
            return "misses the target"
        if newer and task.pixels not in (0, header.pixels):
            return "holds a picture of a different size"
        if newer and self.keeps_others(task, kept):
            return "was made with different metadata options"
        return None

    def keeps_others(self, task: Task, kept: Metadata) -> bool:
        """Whether a .dfc file's metadata differ from what would be kept now. Reads the picture only if necessary."""
        if self.job.keep == "nothing":
            return bool(kept)
        return os.path.isfile(task.source) and self.read(task).content.metadata != kept

    def read(self, task: Task) -> Item[Picture]:
        """Read a picture."""
        from diffcodec.images import read_picture

        source: str | io.BytesIO = task.source
        if task.source == STANDARD:
            source = io.BytesIO(read_input(STANDARD))
            source.name = label(STANDARD)
        picture = read_picture(source, first_frame=self.job.first_frame, keep=self.job.keep)
        kind = self.job.batch_key(picture.width, picture.height, picture.mode)
        return Item(task, picture, kind, picture.width * picture.height)

    def work(self, items: Sequence[Item[Picture]], progress: ProgressCallback) -> list[Bitstream]:
        """Compress pictures of one batch key."""
        pictures = [item.content for item in items]
        codec = self.codec_for(pictures[0].width, pictures[0].height)
        try:
            options: CompressOptions = {**self.job.options, "progress": progress}
            return codec.compress_batch(pictures, **options)
        except TargetError as error:
            raise TargetError(f"{label(items[0].task.source)}: {error}") from error

    def write(self, item: Item[Picture], stream: Bitstream, overwrite: bool) -> Done:
        """Write a .dfc file."""
        source, target, report = item.task.source, item.task.target, stream.report
        make_folder = target != self.job.named_output
        write_output(target, overwrite, lambda file: file.write(stream.data), make_folder=make_folder)
        notes = item.content.notes
        # JSON has neither infinity (the PSNR of an exact restoration) nor NaN (what was not measured).
        figures = {
            name: value if (value := getattr(report, name)) is not None and math.isfinite(value) else None
            for name in ("psnr_db", "rmse", "ceiling_psnr_db")
        }
        values = {**dataclasses.asdict(report), "steps": len(report.steps), **figures, "notes": notes}
        if self.job.steps_table:
            values["step_table"] = [dataclasses.asdict(step) for step in report.steps]
        facts = [f"{report.file_bytes} bytes", f"{report.bpp:.3f} bpp"]
        if self.job.goal:
            facts.append(f"t = {report.timestep}")
        if self.job.timestep == 0:
            facts.append("lossless")
        elif not math.isnan(report.psnr_db):
            facts.append(f"PSNR {report.psnr_db:.2f} dB")
        if report.ceiling_psnr_db is not None:
            facts.append(f"the autoencoder alone reaches {report.ceiling_psnr_db:.2f} dB")
        facts.append(f"{report.network_s + report.coding_s:.1f} s")
        line = f"{source} -> {target}: {', '.join(facts)}"
        return Done(
            line if target != STANDARD else "",
            values,
            length_of(source),
            report.file_bytes,
            item.pixels,
            report.bpp,
            psnr_db=figures["psnr_db"],
            notes=tuple(f"{label(source)}: {note}" for note in notes),
            table=steps_table(report) if self.job.steps_table else "",
        )


@dataclass(frozen=True)
class FileSize:
    """The figures of a file that do not need its picture."""

    file_bytes: int
    bpp: float
    psnr_db: float = math.nan
