"""What a data set would cost, from what a picture costs."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from speed import picture_of

from diffcodec.codec import DiffusionCodec
from diffcodec.coding.threads import limited_threads
from diffcodec.images import Picture

SHARD_PICTURES = 1000
ORIGINAL_BPP = 2.5
"""Of the pictures as they come: JPEG of good quality."""


def measure_picture(side: int, timestep: int) -> dict[str, Any]:
    """Processor seconds, seconds and bytes of a picture, by the bundled model for its size, with one thread.

    Processor seconds do not count what other programs take.
    """
    picture: Picture = picture_of(side, side)
    codec = DiffusionCodec.for_size(side, side)
    with limited_threads(1):
        codec.compress(picture, timestep=timestep, measure=False)  # compiles what is compiled once
        begin, busy = time.perf_counter(), time.process_time()
        stream = codec.compress(picture, timestep=timestep, measure=False)
        processor_s, seconds = time.process_time() - busy, time.perf_counter() - begin
        busy = time.process_time()
        codec.decompress(stream)
        restore_s = time.process_time() - busy
    return {
        "side": side,
        "timestep": timestep,
        "processor_s": round(processor_s, 2),
        "seconds": round(seconds, 2),
        "restore_processor_s": round(restore_s, 2),
        "microseconds_per_pixel": round(1e6 * processor_s / side**2, 2),
        "file_bytes": len(stream.data),
        "bpp": round(stream.report.bpp, 3),
    }


def whole_data_set(picture: Mapping[str, Any], total: int, cores: int) -> dict[str, Any]:
    """Figures of a data set of such pictures.

    Args:
        picture: of one, as `measure_picture` returns.
        total: number of pictures.
        cores: that work at once, each with a worker of one thread.
    """
    core_hours = total * picture["processor_s"] / 3600
    shards = -(-total // SHARD_PICTURES)
    pixels = total * picture["side"] ** 2
    return {
        "total": total,
        "core_hours": round(core_hours),
        "cores": cores,
        "days": round(core_hours / cores / 24, 1),
        "shards": shards,
        "hours_per_shard": round(SHARD_PICTURES * picture["processor_s"] / 3600, 1),
        "source_tb": round(pixels * ORIGINAL_BPP / 8e12, 1),
        "result_tb": round(total * picture["file_bytes"] / 1e12, 2),
        "read_mb_per_s": round(pixels * ORIGINAL_BPP / 8e6 / (3600 * core_hours / cores), 1),
    }
