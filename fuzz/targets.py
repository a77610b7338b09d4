"""What is fuzzed: functions of bytes that raise only what is a bug.

Each gets bytes from a stranger and does with them what a program would. Exceptions of diffcodec's own are what such
bytes should meet; everything else, and everything that a docstring promises and that does not hold, gets out.
"""

from __future__ import annotations

import io
import os
import tempfile
import zlib
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from pathlib import Path

import numpy as np
from PIL import Image

from diffcodec.bitstream.container import MAX_SIDE, read_container, what_is_wrong, write_container
from diffcodec.codec import DiffusionCodec
from diffcodec.coding.cost import decoding_cost
from diffcodec.coding.stream import ParsedStream
from diffcodec.coding.truncation import truncate
from diffcodec.conformance.cases import Suite
from diffcodec.errors import DiffCodecError, ImageError
from diffcodec.images import read_picture
from diffcodec.model.description import ModelDescription, describe_file
from diffcodec.model.loading import load_checkpoint
from diffcodec.model.model_file import read_model_file

MAX_PIXELS = 1 << 10
MAX_PIXEL_EVALUATIONS = 16 << 10
MAX_PICTURE = 1 << 18
"""Limits that keep a run short; they are options of the library."""

MODELS = ("tiny-small", "tiny-photo", "tiny-grey")


@cache
def descriptions() -> dict[bytes, ModelDescription]:
    """The conformance suite's models without their weights, by fingerprint."""
    found = [describe_file(Suite.bundled().model(name)) for name in MODELS]
    return {each.fingerprint: each for each in found}


@cache
def codec_of(name: str) -> DiffusionCodec:
    """The codec with one of these models."""
    return DiffusionCodec(load_checkpoint(Suite.bundled().model(name)), precision="fp32")


def container(data: bytes) -> None:
    """Reads a file in all ways that need no network, and rewrites or shortens some."""
    chosen = zlib.crc32(data) % 8  # each way is slower than the first
    with suppress(DiffCodecError):
        stream = ParsedStream.parse(data, partial=True, max_pixels=MAX_PIXELS)
        reading, model = stream.reading, descriptions().get(stream.header.fingerprint)
        assert reading.complete == (len(reading.container.payload) == reading.info.payload_bytes)
        assert reading.problem is not None or (reading.verified and reading.info.total_bytes == len(data))
        for action in (lambda: stream.alpha, lambda: stream.metadata, lambda: stream.lossless):
            with suppress(DiffCodecError):
                action()
        if chosen == 0 and reading.problem is None:
            assert read_container(write_container(reading.container), max_pixels=MAX_PIXELS) == reading.container
        if model is not None:
            decoding_cost(stream, model)
            if chosen == 1:
                shorter = truncate(stream, model, len(data) // 2)
                assert len(shorter) <= len(data) // 2
                read_container(shorter, max_pixels=MAX_PIXELS)
    if chosen == 2:
        problem = what_is_wrong(data)
        with suppress(DiffCodecError):
            read_container(data, max_pixels=MAX_SIDE * MAX_SIDE)
            assert problem is None


def decode(data: bytes) -> None:
    """Restores a file with the tiny model that made it; whether cut ones are accepted is up to the data's checksum."""
    partial = zlib.crc32(data) % 2 == 0
    with suppress(DiffCodecError):
        stream = ParsedStream.parse(data, partial=partial, max_pixels=MAX_PIXELS)
        model = descriptions().get(stream.header.fingerprint)
        if model is not None:
            restored = codec_of(model.card.name).decompress(stream, max_pixel_evaluations=MAX_PIXEL_EVALUATIONS)
            picture, header = restored.picture, stream.header
            assert (picture.width, picture.height) == (header.width, header.height)
            assert partial or restored.verified


def pictures(data: bytes) -> None:
    """Reads a picture file with and without its metadata."""
    for keep in ("nothing", "metadata"):
        try:
            picture = read_picture(io.BytesIO(data), max_pixels=MAX_PICTURE, first_frame=True, keep=keep)
        except ImageError:
            continue
        assert picture.pixels.dtype == np.uint8
        assert picture.width * picture.height <= MAX_PICTURE


def models(data: bytes) -> None:
    """Loads a model file, and makes its network unless it is large."""
    with tempfile.NamedTemporaryFile(suffix=".safetensors", dir=_memory_folder()) as file:
        file.write(data)
        file.flush()
        with suppress(DiffCodecError):
            parsed = read_model_file(Path(file.name))
            assert sum(len(tensor.data) for tensor in parsed.tensors) <= len(data)
            load_checkpoint(file.name).denoiser()


def _memory_folder() -> str | None:
    """A folder that is no disk, if there is one."""
    return "/dev/shm" if os.path.isdir("/dev/shm") else None


TARGETS: dict[str, Callable[[bytes], None]] = {
    "container": container,
    "decode": decode,
    "pictures": pictures,
    "models": models,
}

Image.MAX_IMAGE_PIXELS = None  # diffcodec's own limit is the one to test
