"""What files made to do harm cost: seconds, memory and the message of each, in processes of their own.

    python benchmarks/hostile.py               # a Markdown table
    python benchmarks/hostile.py --only fifo

The files are made here, with right checksums where they have any. "Before" is what release 0.5.0 did with such files
when they were found. Linux only: memory is VmHWM of the process.
"""

from __future__ import annotations

import io
import os
import shlex
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import click
import numpy as np
from PIL import Image

from diffcodec import DiffusionCodec
from diffcodec.bitstream.container import ColourMode, Container, Header, write_container
from diffcodec.bitstream.entropy import SymbolWriter
from diffcodec.bitstream.lengths import LengthCoder
from diffcodec.channel import ChannelId, make_channel
from diffcodec.coding.context import StreamContext
from diffcodec.coding.matching import canvas_of
from diffcodec.model.locations import DEFAULT_MODEL, PHOTO_MODEL

CIFAR, PHOTO = DEFAULT_MODEL, PHOTO_MODEL
SECONDS = 1800
"""After which a process is killed."""


def claiming(
    codec: DiffusionCodec,
    side: int,
    *,
    channel_id: ChannelId = ChannelId.TRELLIS,
    share: float = 1.0,
    after: int = 0,
    alpha: bytes | None = None,
) -> bytes:
    """A .dfc file whose first step claims messages of a share of the longest, and holds so many random bits of them."""
    header = Header(codec.fingerprint, ColourMode.RGB, int(channel_id), 12, 0, 300, side, side)
    canvas, channel = canvas_of(codec.model, header.colour, side, side), make_channel(channel_id, 12)
    plan = StreamContext(codec.tables, canvas, channel, 0, 0).plan
    end = codec.tables.lists[0].steps_to(codec.tables.level(300))[0]
    writer, lengths = SymbolWriter(), LengthCoder(codec.tables.length_weights)
    plan.divide([lengths], 0, end)
    for batch in plan.batches(0, end):
        wanted = int(share * batch.max_length(channel))
        for tile in batch.tiles:
            lengths.encode(wanted, batch.expected_length(channel), writer, tile.number)
    writer.write_bits(np.random.default_rng(0).integers(0, 2, after, np.uint8))
    return write_container(Container(header, writer.getvalue(), alpha))


def empty_steps(model: str, side: int) -> bytes:
    """A .dfc file of the longest level list, all of whose messages are empty."""
    codec = DiffusionCodec.from_pretrained(model)
    lists = codec.tables.lists
    longest = max(range(len(lists)), key=lambda number: len(lists[number].levels))
    header = Header(codec.fingerprint, ColourMode.RGB, int(ChannelId.TRELLIS), 12, longest, 1, side, side)
    return write_container(Container(header, b"\0" * 40))


def with_profile(count: int, space: bytes = b"RGB ") -> bytes:
    """A PNG file whose colour profile has so many bytes, and says that it is of a colour space."""
    profile = bytearray(os.urandom(count))
    profile[:4], profile[16:20], profile[36:40] = struct.pack(">I", count), space, b"acsp"
    file = io.BytesIO()
    Image.new("RGB", (32, 32), (9, 99, 200)).save(file, "PNG", icc_profile=bytes(profile))
    return file.getvalue()


def damaged_fax_page() -> bytes:
    """A TIFF file of group 4 with four wrong bytes."""
    file = io.BytesIO()
    Image.fromarray(np.add.outer(np.arange(200), np.arange(300)) % 7 < 3).save(file, "TIFF", compression="group4")
    data = bytearray(file.getvalue())
    data[3000:3004] = b"\xff\x00\xff\x00"
    return bytes(data)


def picture(width: int, height: int, *, flat: bool) -> bytes:
    """A PNG file: one colour, or a gradient."""
    pixels = np.full((height, width, 3), 128, np.uint8)
    if not flat:
        pixels[:] = (np.arange(height)[:, None, None] * 255 // max(1, height - 1)).astype(np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG", compress_level=1)
    return file.getvalue()


@dataclass(frozen=True)
class Case:
    """A file, and what is done with it.

    Args:
        what: for the table.
        command: of diffcodec; FILE stands for the file.
        make: the file's content; None if there is none.
        before: what release 0.5.0 did.
        test: where it is tested.
    """

    what: str
    command: str
    make: Callable[[], bytes] | None
    before: str
    test: str


HOSTILE = "tests/coding/test_hostile_files.py"
DECOMPRESS = "decompress FILE -o back.png --force"
CASES = {
    "intact": Case("a picture of 32 x 32, for comparison", "info FILE", lambda: _intact(), "", ""),
    "poisson": Case(
        "Poisson, longest message, 1500 x 1500",
        DECOMPRESS,
        lambda: claiming(DiffusionCodec.from_pretrained(CIFAR), 1500, channel_id=ChannelId.POISSON),
        "85 s, 1.9 GB",
        HOSTILE,
    ),
    "claims": Case(
        "9459 x 9459, longest messages, nothing behind them",
        DECOMPRESS,
        lambda: claiming(DiffusionCodec.from_pretrained(CIFAR), 9459),
        "4.2 GB",
        HOSTILE,
    ),
    "truncate": Case(
        "the same, photo model, truncated",
        "truncate FILE --bytes 30 -o short.dfc --force",
        lambda: claiming(DiffusionCodec.from_pretrained(PHOTO), 6000, after=240),
        "",
        HOSTILE,
    ),
    "steps": Case(
        "empty messages in 64 steps, 9459 x 9459",
        DECOMPRESS,
        lambda: empty_steps(PHOTO, 9459),
        "28 core hours",
        HOSTILE,
    ),
    "profile": Case(
        "PNG with a colour profile of 2 MB",
        "compress FILE -o out.dfc --force",
        lambda: with_profile(2_000_000),
        "refused",
        "tests/images",
    ),
    "escape": Case(
        "a colour space with terminal escapes",
        "compress FILE -o out.dfc --force",
        lambda: with_profile(3000, b"\x1b[2J"),
        "escapes printed",
        "tests/images",
    ),
    "fax": Case(
        "a damaged fax page",
        "compress FILE -o out.dfc --force",
        damaged_fax_page,
        "accepted, raw libtiff message",
        "tests/images/test_damaged_tiff.py",
    ),
    "fifo": Case("a pipe without a writer", DECOMPRESS, None, "never ended", "tests/cli/test_cli_limits.py"),
    "zero": Case("/dev/zero", "info /dev/zero", lambda: b"", "never ended", "tests/cli/test_cli_limits.py"),
    "thin": Case(
        "65500 x 1 at t = 300",
        "compress FILE -t 300 -o out.dfc --force",
        lambda: picture(65500, 1, flat=False),
        "55 s, 1.7 GB",
        "tests/diffusion/test_windows.py",
    ),
    "flat": Case(
        "9400 x 9400 of one colour at t = 300",
        "compress FILE -t 300 -o out.dfc --force",
        lambda: picture(9400, 9400, flat=True),
        "5.7 GB",
        "tests/diffusion/test_windows.py",
    ),
}
LONG = ("flat",)
"""Cases that take minutes; run only if named."""


def _intact() -> bytes:
    codec = DiffusionCodec.from_pretrained(CIFAR)
    return codec.compress(np.zeros((32, 32, 3), np.uint8), timestep=300).data


@dataclass(frozen=True)
class Outcome:
    """Processor seconds, peak memory in bytes, and the last line that was printed."""

    seconds: float
    memory: int
    message: str


def measure(case: Case, folder: Path) -> Outcome:
    """Run a case in a process of its own."""
    path = folder / "file"
    if case.make is None:
        os.mkfifo(path)
    else:
        path.write_bytes(case.make())
    arguments = [str(path) if word == "FILE" else word for word in shlex.split(case.command)]
    with (folder / "said").open("w+b") as said:
        begin = time.perf_counter()
        process = subprocess.Popen(
            [sys.executable, "-m", "diffcodec", *arguments], cwd=folder, stdout=said, stderr=subprocess.STDOUT
        )
        memory = 0
        while (ended := os.wait4(process.pid, os.WNOHANG))[0] == 0:
            memory = max(memory, resident_bytes(process.pid))
            if time.perf_counter() - begin > SECONDS:
                process.kill()
            time.sleep(0.002)
        usage = ended[2]
        said.seek(0)
        lines = said.read().decode(errors="replace").replace(str(path), "FILE").strip().splitlines()
    return Outcome(usage.ru_utime + usage.ru_stime, memory, lines[-1] if lines else "")


def resident_bytes(process: int) -> int:
    """The most memory that a process has had; 0 once it has ended."""
    try:
        status = Path(f"/proc/{process}/status").read_text(encoding="ascii")
    except OSError:
        return 0
    lines = [line.split() for line in status.splitlines() if line.startswith("VmHWM")]
    return 1024 * int(lines[0][1]) if lines else 0


@click.command()
@click.option("--only", multiple=True, type=click.Choice(list(CASES)), help="Run these cases alone.")
def main(only: tuple[str, ...]) -> None:
    """Run the cases, and print a Markdown table."""
    click.echo("| file | before | processor seconds | memory | message |\n|---|---|---|---|---|")
    for name in only or [name for name in CASES if name not in LONG]:
        with tempfile.TemporaryDirectory() as folder:
            case = CASES[name]
            found = measure(case, Path(folder))
        click.echo(
            f"| {case.what} | {case.before} | {found.seconds:.1f} | {found.memory / 1e6:.0f} MB | {found.message!r} |"
        )


if __name__ == "__main__":
    main()
