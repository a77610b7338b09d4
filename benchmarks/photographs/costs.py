"""Time of the command line, and memory of every codec, for one photograph in fresh processes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import torch
from speed import resident_bytes

from diffcodec.codec import DiffusionCodec
from diffcodec.errors import DiffCodecError
from diffcodec.evaluation.baselines import Baseline
from diffcodec.images import Picture, picture_to_pil, read_picture
from photographs.measure import OURS, kodak_name

TIMED_PICTURE = "kodim03"
TIMED_TIMESTEP = 50

WATCH = Path(__file__).with_name("watch.py")


def timed_picture(files: Sequence[Path]) -> Path:
    """The picture that is timed: Kodak's third if it is there, else the first."""
    return next((path for path in files if kodak_name(path.stem) == TIMED_PICTURE), files[0])


def time_command_line(picture: Path, model: str, timestep: int) -> list[dict[str, Any]]:
    """Compress a picture and restore it, each by the command line in a process of its own, with all cores.

    Args:
        picture: the file.
        model: name or file.
        timestep: of the file.

    Returns:
        A row for each of both: seconds on the clock, with the start of Python, and peak memory.

    Raises:
        DiffCodecError: if the command fails.
    """
    pixels = read_picture(picture).pixels
    threads = os.cpu_count() or 1
    with tempfile.TemporaryDirectory() as folder:
        file, restored = Path(folder, "picture.dfc"), Path(folder, "restored.png")
        words = {
            "compress": [str(picture), "-o", str(file), "-t", str(timestep), "--model", model],
            "decompress": [str(file), "-o", str(restored), "--model", model],
        }
        found = {name: _watched([sys.executable, "-m", "diffcodec", name, *rest]) for name, rest in words.items()}
        file_bytes = file.stat().st_size
    return [
        {
            "command": name,
            "picture": kodak_name(picture.stem),
            "width": pixels.shape[1],
            "height": pixels.shape[0],
            "timestep": timestep,
            "threads": threads,
            "file_bytes": file_bytes,
            **measured,
        }
        for name, measured in found.items()
    ]


def _watched(command: Sequence[str]) -> dict[str, Any]:
    threads = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), str(os.cpu_count() or 1))
    watching = [sys.executable, str(WATCH), *command]
    done = subprocess.run(watching, env={**os.environ, **threads}, capture_output=True, text=True, check=False)
    if done.returncode:
        raise DiffCodecError(f"`diffcodec {command[3]}` failed: {done.stderr.strip() or done.returncode}")
    measured: dict[str, Any] = json.loads(done.stdout)
    return measured


def measure_memory(picture: Picture, model: str, timestep: int, baselines: Sequence[Baseline]) -> list[dict[str, Any]]:
    """Peak memory of every codec for a picture there and back, each in a process of its own with one thread.

    Args:
        picture: without alpha.
        model: of ours.
        timestep: of our file.
        baselines: the others; the middle one of their settings counts.

    Returns:
        A row for each codec: `peak_bytes` of the process, which holds Python and torch whatever the codec, and
        `more_bytes`, what of this came after loading the picture and, for ours, the model.
    """
    calls: list[tuple[str, tuple[Any, ...]]] = [(OURS, (_own_memory, picture, model, timestep))]
    calls += [(baseline.name, (_peer_memory, picture, baseline)) for baseline in baselines]
    rows = []
    for name, call in calls:
        with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
            rows.append({"codec": name, **pool.submit(*call).result()})
    return rows


def _own_memory(picture: Picture, model: str, timestep: int) -> dict[str, int]:
    torch.set_num_threads(1)
    codec = DiffusionCodec.from_pretrained(model)
    before = resident_bytes("VmRSS")
    codec.decompress(codec.compress(picture, timestep=timestep))
    return _memory_since(before)


def _peer_memory(picture: Picture, baseline: Baseline) -> dict[str, int]:
    image = picture_to_pil(picture)
    before = resident_bytes("VmRSS")
    baseline.decode(baseline.encode(image, baseline.parameters[len(baseline.parameters) // 2]))
    return _memory_since(before)


def _memory_since(before: int) -> dict[str, int]:
    peak = resident_bytes("VmHWM")
    return {"more_bytes": max(0, peak - before), "peak_bytes": peak}
