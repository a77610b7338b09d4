"""What real files of the codec cost, picture by picture, and what their decoder shows."""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from diffcodec.codec import DEFAULT_EFFORT, DiffusionCodec
from diffcodec.errors import ConfigError
from diffcodec.evaluation.metrics import Distortion, measure_distortion
from diffcodec.evaluation.records import Row
from diffcodec.evaluation.true_sampling import TrueSampling
from diffcodec.images import Picture
from diffcodec.results import Bitstream, Stopwatch


def measure_files(
    codec: DiffusionCodec, pictures: Sequence[Picture], *, timestep: int, channel: str = "trellis",
    effort: int = DEFAULT_EFFORT, seed: int = 0,
) -> list[Row]:  # fmt: skip
    """Compress pictures together, restore each one from its bytes, and compare.

    Seconds of the encoder are a picture's share of the batch, those of the decoder its own.

    Args:
        codec: with its model.
        pictures: of one size and colour mode, without alpha.
        timestep: where to stop; 0 is lossless.
        channel: `trellis` or `poisson`.
        effort: of the channel.
        seed: of the shared randomness.

    Returns:
        A row for each picture. `reference_bits` is left open: it is no property of the file.
    """
    streams = codec.compress_batch(pictures, timestep=timestep, channel=channel, effort=effort, seed=seed)
    return [
        _row(codec, index, picture, stream)
        for index, (picture, stream) in enumerate(zip(pictures, streams, strict=True))
    ]


def _row(codec: DiffusionCodec, index: int, picture: Picture, stream: Bitstream) -> Row:
    report, watch = stream.report, Stopwatch()
    begin = time.perf_counter()
    restored = codec.restore(stream.data, watch=watch).picture
    decode_seconds = time.perf_counter() - begin
    distortion = distortion_columns(picture.pixels, restored.pixels)
    assert report.timestep or distortion["mse"] == 0, "a lossless file was restored to something else"
    payload_bytes = report.file_bytes - report.header_bytes
    subpixels = picture.pixels.size
    return {
        "image": index, "width": picture.width, "height": picture.height,
        "timestep": report.timestep, "steps": report.steps,
        "file_bytes": report.file_bytes, "header_bytes": report.header_bytes, "payload_bytes": payload_bytes,
        "alpha_bytes": report.alpha_bytes,
        "bpd": report.bpd, "bpp": report.bpp, "payload_bpd": 8 * payload_bytes / subpixels,
        "side_bits": report.side_bits, "path_bits": report.path_bits, "residual_bits": report.residual_bits,
        "ideal_bits": report.ideal_bits, "delivered_bits": report.delivered_bits, "reference_bits": None,
        **distortion,
        "encode_seconds": report.network_seconds + report.coding_seconds, "decode_seconds": decode_seconds,
        "network_seconds": report.network_seconds, "coding_seconds": report.coding_seconds,
        "decode_network_seconds": watch.network_s, "decode_coding_seconds": watch.coding_s,
    }  # fmt: skip


def measure_true_sampling(
    codec: DiffusionCodec, pictures: Sequence[Picture], *, timestep: int, seed: int = 0
) -> list[Row]:
    """The codec's own levels with true Gaussian samples, sent at no cost: what its files would ideally hold.

    Args:
        codec: with its model.
        pictures: of one size and colour mode.
        timestep: where to stop, at least 1.
        seed: of the samples.

    Returns:
        A row for each picture; `ideal_bits` is the sum of the KL divergences.
    """
    sent = codec.transmit(pictures, timestep=timestep, channel=TrueSampling(seed))
    plane = codec.plane_for(pictures[0])
    rows: list[Row] = []
    for index, (picture, message, canvas) in enumerate(zip(pictures, sent.messages, sent.estimate, strict=True)):
        rows.append({
            "image": index, "width": picture.width, "height": picture.height,
            "timestep": timestep, "steps": sent.steps,
            "ideal_bits": message.ideal_bits, "ideal_bpd": message.ideal_bits / picture.pixels.size,
            "delivered_bits": message.delivered_bits, "reference_bits": None,
            **distortion_columns(picture.pixels, plane.pixels(canvas)),
        })  # fmt: skip
    return rows


def distortion_columns(original: NDArray[np.uint8], restored: NDArray[np.uint8]) -> Row:
    """Distortion as the columns of a row; `ms_ssim` is None where its library is missing."""
    try:
        distortion = measure_distortion(original, restored)
    except ConfigError:
        mse = float(np.mean((original.astype(np.float64) - restored) ** 2))
        distortion = Distortion(mse, math.sqrt(mse), 10 * math.log10(255**2 / mse) if mse else None, None)
    return dataclasses.asdict(distortion)
