"""Cost and distortion of the codec's files, picture by picture."""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from diffcodec.codec import DiffusionCodec
from diffcodec.coding.encoder import Encoder, last
from diffcodec.coding.report import Bitstream, Stopwatch
from diffcodec.coding.speed import DEFAULT_SPEED
from diffcodec.errors import ConfigError
from diffcodec.evaluation.metrics import Distortion, measure_distortion
from diffcodec.evaluation.records import Row
from diffcodec.evaluation.true_sampling import TrueSampling
from diffcodec.images import Picture
from diffcodec.images.error import psnr_db, squared_error


def measure_files(
    codec: DiffusionCodec,
    pictures: Sequence[Picture],
    *,
    timestep: int,
    channel: str = "trellis",
    speed: int = DEFAULT_SPEED,
    effort: int | None = None,
    seed: int = 0,
) -> list[Row]:
    """Compress pictures together, restore each one from its bytes, and compare.

    The encoder's seconds are a picture's share of the batch, the decoder's are its own.

    Args:
        codec: with its model.
        pictures: of one size and colour mode, without alpha.
        timestep: at which files end; 0 is lossless.
        channel: `trellis` or `poisson`.
        speed, effort: see `CompressionSettings`.
        seed: of the shared randomness.

    Returns:
        A row for each picture. `reference_bits` is None, because it is not a property of the file.
    """
    streams = codec.compress_batch(pictures, timestep=timestep, channel=channel, speed=speed, effort=effort, seed=seed)
    return [
        _row(codec, index, picture, stream)
        for index, (picture, stream) in enumerate(zip(pictures, streams, strict=True))
    ]


def _row(codec: DiffusionCodec, index: int, picture: Picture, stream: Bitstream) -> Row:
    report = stream.report
    begin = time.perf_counter()
    restored = codec.decompress(stream.data)
    decode_s = time.perf_counter() - begin
    distortion = distortion_columns(picture.pixels, restored.pixels)
    assert report.timestep or distortion["mse"] == 0, "a lossless file was restored to something else"
    payload_bytes = report.file_bytes - report.header_bytes
    subpixels = picture.pixels.size
    return {
        "image": index,
        "width": picture.width,
        "height": picture.height,
        "timestep": report.timestep,
        "steps": len(report.steps),
        "file_bytes": report.file_bytes,
        "header_bytes": report.header_bytes,
        "payload_bytes": payload_bytes,
        "alpha_bytes": report.alpha_bytes,
        "bpd": report.bpd,
        "bpp": report.bpp,
        "payload_bpd": 8 * payload_bytes / subpixels,
        "side_bits": report.side_bits,
        "path_bits": report.path_bits,
        "residual_bits": report.residual_bits,
        "ideal_bits": report.ideal_bits,
        "delivered_bits": report.delivered_bits,
        "reference_bits": None,
        **distortion,
        "encode_s": report.network_s + report.coding_s,
        "decode_s": decode_s,
        "network_s": report.network_s,
        "coding_s": report.coding_s,
        "decode_network_s": restored.network_s,
        "decode_coding_s": restored.coding_s,
    }


def measure_true_sampling(
    codec: DiffusionCodec, pictures: Sequence[Picture], *, timestep: int, seed: int = 0
) -> list[Row]:
    """The codec's levels with exact Gaussian samples, sent at no cost: the ideal for its files.

    Args:
        codec: with its model.
        pictures: of one size and colour mode.
        timestep: at which to stop, at least 1.
        seed: of the samples.

    Returns:
        A row for each picture; `ideal_bits` is the sum of the KL divergences.
    """
    context = codec.context_for(pictures[0], TrueSampling(seed))
    sent = last(Encoder(context, Stopwatch()).send(pictures, codec.tables.level(timestep)))
    rows: list[Row] = []
    for index, (picture, payload, x_0) in enumerate(zip(pictures, sent.payloads, sent.estimate, strict=True)):
        rows.append(
            {
                "image": index,
                "width": picture.width,
                "height": picture.height,
                "timestep": timestep,
                "steps": sent.steps,
                "ideal_bits": payload.ideal_bits,
                "ideal_bpd": payload.ideal_bits / picture.pixels.size,
                "delivered_bits": payload.delivered_bits,
                "reference_bits": None,
                **distortion_columns(picture.pixels, context.signal.to_pixels(x_0, context.canvas)),
            }
        )
    return rows


def distortion_columns(original: NDArray[np.uint8], restored: NDArray[np.uint8]) -> Row:
    """Distortion as the columns of a row; `ms_ssim` is None if its library is missing."""
    try:
        distortion = measure_distortion(original, restored)
    except ConfigError:
        mse = squared_error(original, restored)
        distortion = Distortion(mse, math.sqrt(mse), psnr_db(mse) if mse else None, None)
    return dataclasses.asdict(distortion)
