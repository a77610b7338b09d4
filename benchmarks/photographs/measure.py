"""Curves of rate and distortion: ours of one compressed file for each picture, those of others over their settings."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from diffcodec.bitstream.container import read_header
from diffcodec.codec import DiffusionCodec
from diffcodec.coding.report import Bitstream, Restoration
from diffcodec.coding.speed import DEFAULT_SPEED
from diffcodec.config import DEFAULT_EFFORT
from diffcodec.errors import ConfigError, ImageError
from diffcodec.evaluation.baselines import Baseline, available_baselines, code_pictures
from diffcodec.evaluation.codec_rows import distortion_columns
from diffcodec.evaluation.datasets import same_size_batches
from diffcodec.evaluation.jobs import Job
from diffcodec.evaluation.metrics import measure_haarpsi
from diffcodec.evaluation.points import ModelSource, Point, warm_codec
from diffcodec.evaluation.records import Row
from diffcodec.images import Picture

OURS = "diffcodec-trellis"
BEST = "diffcodec-best"
"""Our files at speed 0, the smallest."""

BATCH = 12
"""Pictures of another codec's job."""

AVIF_QUALITIES = (0, 10, 20, 35, 50, 65, 80, 92)
"""Fewer than for tiny pictures: of the others AVIF alone takes many seconds for a photograph."""

JPEG_QUALITIES = (1, 2, 3, 5, 7, 10, 15, 20, 25, 30, 40, 50, 60, 70, 80, 85, 90, 93, 95, 97, 98, 99, 100)
"""Closer than for tiny pictures: ours is above JPEG or below it by less than a chord of JPEG's curve would hide."""

_MEGAPIXEL = 1e6
_OWN_COST, _AVIF_COST, _PEER_COST = 60.0, 24.0, 2.0  # seconds for a megapixel, roughly


@dataclass(frozen=True)
class OwnSettings:
    """How our files are made.

    Args:
        model: name or file.
        device: where the network runs.
        timestep: of the longest file, from which the others are cut.
        seed: of the shared randomness.
        codec: as results are filed, `OURS` or `BEST`.
    """

    model: str
    device: str
    timestep: int
    seed: int
    codec: str = OURS

    @property
    def speed(self) -> int:
        """The speed of the files."""
        return 0 if self.codec == BEST else DEFAULT_SPEED


def own_point(settings: OwnSettings, place: int, picture: Picture) -> Point:
    """The measurement of a picture's curve; unlike other points it is of one picture, at all levels.

    Args:
        settings: of our files.
        place: of the picture in its data set.
        picture: without alpha.
    """
    cost = _OWN_COST * (5 if settings.codec == BEST else 1) * _megapixels(picture)
    job = Job(measure_own, {"settings": settings, "place": place, "picture": picture}, cost)
    return Point(settings.codec, f"picture {place}", float(place), ((place,),), (job,))


def peer_point(baseline: Baseline, parameter: float, pictures: Sequence[Picture]) -> Point:
    """Another codec at one of its settings."""
    batches = tuple(tuple(indices) for indices in same_size_batches(pictures, BATCH, BATCH << 20))
    cost = _AVIF_COST if baseline.name == "avif" else _PEER_COST
    jobs = []
    for indices in batches:
        chosen = [pictures[index] for index in indices]
        arguments: dict[str, Any] = {"baseline": baseline, "parameter": parameter, "pictures": chosen}
        jobs.append(Job(measure_peer, arguments, cost * sum(map(_megapixels, chosen))))
    return Point(baseline.name, baseline.setting(parameter), parameter, batches, tuple(jobs))


def photo_baselines() -> tuple[list[Baseline], list[str]]:
    """The other lossy codecs with settings for photographs, and a sentence for each codec that is missing."""
    found, missing = available_baselines()
    lossy = [baseline for baseline in found if not baseline.lossless]
    return [_for_photographs(baseline) for baseline in lossy], missing


def measure_own(settings: OwnSettings, place: int, picture: Picture) -> list[Row]:
    """Compress a picture once, and measure every shorter file that can be cut from that one.

    Every file is real. One trajectory of the decoder restores them all; one of them, another for every picture, is
    restored as a file, too, and must give the same pixels.

    Args:
        settings: of the file.
        place: of the picture in its data set.
        picture: without alpha.

    Returns:
        A row for each file, from coarse to fine. Seconds of encoding are those of the longest file; those of decoding
        are what the decoder took until it showed this prefix.
    """
    codec = warm_codec(ModelSource(settings.model, settings.device), "trellis", DEFAULT_EFFORT)
    begin = time.perf_counter()
    stream = codec.compress(picture, timestep=settings.timestep, seed=settings.seed, speed=settings.speed)
    encode_s = time.perf_counter() - begin
    files = cut_files(codec, stream)
    witness = sorted(files)[place % (1 + len(files) // 2)]  # a coarse one costs little to restore again
    rows = []
    for restored, decode_s in _timed(codec.progressive(stream)):
        if restored.step in files:
            if restored.step == witness:
                _check_file(codec, files[witness], restored)
            row = _own_row(picture, restored, files[restored.step])
            rows.append({**row, "encode_s": encode_s, "decode_s": decode_s})
    assert len(rows) == len(files), "steps and shorter files do not fit together"
    return rows


def kodak_name(name: str) -> str:
    """The usual name of a picture of Kodak's, some copies of which are only numbered; any other name as it is."""
    return f"kodim{name}" if len(name) == 2 and name.isdecimal() else name


def cut_files(codec: DiffusionCodec, stream: Bitstream) -> dict[int, bytes]:
    """All files that can be cut from one, by their number of steps, itself among them.

    A number of steps is missing if more steps take no more bytes, as happens where a step says nothing.
    """
    data, steps = stream.data, len(stream.report.steps)
    files = {steps: data}
    while steps > 1:
        try:
            data = codec.truncate(data, len(data) - 1)
        except ConfigError:  # the first step takes as many bytes as this one
            break
        cut = read_header(data).header.shortened
        assert cut is not None
        steps = cut.steps
        files[steps] = data
    return files


def measure_peer(baseline: Baseline, parameter: float, pictures: Sequence[Picture]) -> list[Row] | str:
    """Rows of pictures in another codec, or a sentence if it does not take them."""
    try:
        return [
            {**row, "haarpsi": measure_haarpsi(picture.pixels, restored)}
            for picture, (row, restored) in zip(pictures, code_pictures(baseline, parameter, pictures), strict=True)
        ]
    except ImageError as error:
        return f"{baseline.name} at {baseline.setting(parameter)} is left out: {error}"


def _own_row(picture: Picture, restored: Restoration, data: bytes) -> Row:
    info = read_header(data)
    payload_bytes, subpixels = info.payload_bytes, picture.pixels.size
    return {
        "width": picture.width,
        "height": picture.height,
        "timestep": info.header.timestep,
        "steps": restored.step,
        "file_bytes": len(data),
        "header_bytes": len(data) - payload_bytes,
        "payload_bytes": payload_bytes,
        "bpd": 8 * len(data) / subpixels,
        "bpp": 8 * len(data) / (picture.width * picture.height),
        "payload_bpd": 8 * payload_bytes / subpixels,
        **distortion_columns(picture.pixels, restored.pixels),
        "haarpsi": measure_haarpsi(picture.pixels, restored.pixels),
    }


def _timed(restorations: Iterator[Restoration]) -> Iterator[tuple[Restoration, float]]:
    """Each restoration with the seconds of the decoder so far, without those of who looks at them."""
    seconds = 0.0
    while True:
        begin = time.perf_counter()
        restored = next(restorations, None)
        seconds += time.perf_counter() - begin
        if restored is None:
            return
        yield restored, seconds


def _check_file(codec: DiffusionCodec, data: bytes, expected: Restoration) -> None:
    restored = codec.decompress(data, reconstruction="mean")  # as `progressive`
    assert np.array_equal(restored.pixels, expected.pixels), "a shorter file restores other pixels than its step"


def _for_photographs(baseline: Baseline) -> Baseline:
    if baseline.name == "avif":
        return replace(baseline, parameters=AVIF_QUALITIES)
    if baseline.format == "JPEG":
        return replace(baseline, parameters=JPEG_QUALITIES)
    return baseline


def _megapixels(picture: Picture) -> float:
    return picture.width * picture.height / _MEGAPIXEL
