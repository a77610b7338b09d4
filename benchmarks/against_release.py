"""This version beside an older release: time, memory and bytes of the command line, in turns, on the same pictures.

    pip install --no-deps --target OLD diffcodec-0.5.0-py3-none-any.whl
    python benchmarks/against_release.py OLD photo.png --timestep 50
    python benchmarks/against_release.py OLD large.png --rounds 1 --options-now '--speed 10'

Every command runs in a process of its own, so that start-up counts, and so does the first use of everything. Other work
on the machine only adds to a time: the fastest round counts.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import click
import numpy as np

from diffcodec.evaluation.summary_table import aligned
from diffcodec.images import read_picture
from diffcodec.images.error import psnr_db, squared_error

HERE = Path(__file__).parent
PROGRAM = """
import sys
from pathlib import Path
import diffcodec
folder = sys.argv.pop(1)
if not Path(diffcodec.__file__).is_relative_to(folder):
    sys.exit("the folder does not contain the package diffcodec")
from diffcodec.cli import main
main()
"""


@dataclass(frozen=True)
class Run:
    """What one command cost.

    Args:
        wall_s: from its start to its end.
        processor_s: of all its threads.
        peak_bytes: most memory that was resident.
    """

    wall_s: float
    processor_s: float
    peak_bytes: int

    def best(self, other: Run | None) -> Run:
        """The smaller of both figures each."""
        if other is None:
            return self
        return Run(
            min(self.wall_s, other.wall_s),
            min(self.processor_s, other.processor_s),
            min(self.peak_bytes, other.peak_bytes),
        )


def run(package: Path, arguments: list[str], threads: int | None) -> Run:
    """Run the command line of the package in a folder.

    Raises:
        click.ClickException: if the command fails.
    """
    environment = {**os.environ, "PYTHONPATH": str(package)}
    if threads is not None:
        environment["OMP_NUM_THREADS"] = str(threads)
    start = time.perf_counter()
    with tempfile.TemporaryFile() as messages, tempfile.TemporaryDirectory() as elsewhere:
        # Elsewhere, since the current folder would come before PYTHONPATH.
        process = subprocess.Popen(
            [sys.executable, "-c", PROGRAM, str(package), *arguments],
            env=environment,
            stdout=messages,
            stderr=subprocess.STDOUT,
            cwd=elsewhere,
        )
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        wall_s = time.perf_counter() - start
        messages.seek(0)
        if process.returncode:
            raise click.ClickException(f"{package}: {messages.read().decode(errors='replace').strip()}")
    unit = 1 if sys.platform == "darwin" else 1024
    return Run(wall_s, usage.ru_utime + usage.ru_stime, unit * usage.ru_maxrss)


def cells(before: Run, now: Run) -> list[str]:
    """Both, and the ratios."""
    return [
        f"{before.wall_s:.1f}",
        f"{now.wall_s:.1f}",
        f"{now.wall_s / before.wall_s:.2f}",
        f"{before.processor_s:.1f}",
        f"{now.processor_s:.1f}",
        f"{now.processor_s / before.processor_s:.2f}",
        f"{before.peak_bytes / 2**20:.0f}",
        f"{now.peak_bytes / 2**20:.0f}",
    ]


HEADER = ("picture", "", "s before", "now", "ratio", "processor s before", "now", "ratio", "MiB before", "now")


@click.command()
@click.argument("before", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.argument("pictures", nargs=-1, required=True, type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--timestep", type=click.IntRange(0), default=50, show_default=True)
@click.option("--rounds", type=click.IntRange(1), default=3, show_default=True, help="The fastest counts.")
@click.option("--threads", type=click.IntRange(1), help="OMP_NUM_THREADS of both.  [default: unset]")
@click.option("--model", help="Of this version.  [default: the bundled one]")
@click.option("--options-now", default="", help="More options of this version's compress, such as '--speed 10'.")
@click.option("--restore-options-now", default="", help="Of its decompress, such as '--precision fp32'.")
def main(
    before: Path,
    pictures: tuple[Path, ...],
    timestep: int,
    rounds: int,
    threads: int | None,
    model: str | None,
    options_now: str,
    restore_options_now: str,
) -> None:
    """Compare the command line in the folder BEFORE with this version's on PICTURES."""
    of_model = ["--model", str(Path(model).resolve()) if Path(model).exists() else model] if model else []
    packages = {"before": before.resolve(), "now": HERE.parent}
    more = {"before": ["-t", str(timestep)], "now": ["-t", str(timestep), *of_model, *options_now.split()]}
    to_restore: dict[str, list[str]] = {"before": [], "now": [*of_model, *restore_options_now.split()]}
    times, files = [], []
    for picture in pictures:
        found: dict[tuple[str, str], Run] = {}
        with tempfile.TemporaryDirectory() as folder:
            streams = {name: Path(folder) / f"{name}.dfc" for name in packages}
            restored = {name: Path(folder) / f"{name}.png" for name in packages}
            for _ in range(rounds):
                for name, package in packages.items():
                    stream, output = str(streams[name]), str(restored[name])
                    compress = ["compress", str(picture.resolve()), "-o", stream, "--force", *more[name]]
                    decompress = ["decompress", stream, "-o", output, "--force", *to_restore[name]]
                    for command in (compress, decompress):
                        key = (command[0], name)
                        found[key] = run(package, command, threads).best(found.get(key))
            original = read_picture(picture).pixels
            sizes = [streams[name].stat().st_size for name in packages]
            quality = [psnr_db(squared_error(original, read_picture(path).pixels)) for path in restored.values()]
        times += [
            [picture.name, command, *cells(found[command, "before"], found[command, "now"])]
            for command in ("compress", "decompress")
        ]
        bits = 8 / (original.shape[0] * original.shape[1]) * np.array(sizes)
        files.append([picture.name, *(f"{each:.4f}" for each in bits), *(f"{each:.3f}" for each in quality)])
    click.echo(aligned([HEADER, *times]))
    click.echo(aligned([("picture", "bits/pixel before", "now", "PSNR before", "now"), *files]))


if __name__ == "__main__":
    main()
