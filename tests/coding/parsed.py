"""What is parsed of files, as opposed to what is computed from it: no network takes part."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from diffcodec.coding.matching import stream_context
from diffcodec.coding.step_coding import StepCoder
from diffcodec.coding.stream import ParsedStream
from diffcodec.model.description import ModelDescription


def parsed_samples(model: ModelDescription, files: Sequence[bytes]) -> tuple[list[NDArray[np.float32]], list[float]]:
    """The samples that files of one kind hold, (N, C, H, W) for every step, and the bits read of each file."""
    streams = [ParsedStream.parse(data) for data in files]
    payloads = [stream.open_payload(model.tables) for stream in streams]
    steps = StepCoder(stream_context(model, streams[0]))
    samples = [steps.receive(step, stop, payloads) for step, stop in enumerate(streams[0].stops(model.tables))]
    return samples, [payload.reader.information_bits for payload in payloads]
