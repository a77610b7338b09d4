"""Restores the files of the conformance suite and compares them with the reference pictures."""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypedDict

import numpy as np
import torch
from threadpoolctl import threadpool_limits

from diffcodec.bitstream.container import read_header
from diffcodec.codec import DiffusionCodec
from diffcodec.coding.report import Restoration
from diffcodec.coding.stream import ParsedStream
from diffcodec.config import Precision
from diffcodec.conformance.cases import Case, Suite, Tolerance
from diffcodec.devices import check_device
from diffcodec.errors import DiffCodecError
from diffcodec.images import Picture, read_picture
from diffcodec.images.metadata import Metadata
from diffcodec.model.description import find_bundled
from diffcodec.model.precision import check_precision, levels_in_bf16


class Facts(TypedDict, total=False):
    """What is known of a file that was restored, see `Outcome`."""

    width: int
    height: int
    mode: str
    peak: int
    rms: float
    allowed: Tolerance
    precision: Precision


@dataclass(frozen=True)
class Outcome:
    """What became of a case.

    Args:
        name: of the case.
        feature: what it is about.
        file_bytes: length of its file.
        seconds: to restore it, with loading its model where it is the first one that needs it.
        problem: what is wrong, for people; None if nothing is.
        facts: size and mode of the picture; largest and root mean square difference from the reference, and what is
            allowed, in grey levels; precision of the network. Those that are known.
    """

    name: str
    feature: str
    file_bytes: int
    seconds: float
    problem: str | None = None
    facts: Facts = field(default_factory=Facts)

    @property
    def passed(self) -> bool:
        """Whether nothing is wrong."""
        return self.problem is None


class Checker:
    """Checks cases on one device.

    Args:
        suite: that the cases belong to.
        device, precision: see `DiffusionCodec`.

    Raises:
        ConfigError: if there is no such device or precision.
    """

    def __init__(self, suite: Suite, *, device: str = "cpu", precision: Precision = "auto") -> None:
        check_device(device)
        check_precision(precision)
        self._suite, self._device, self._precision = suite, device, precision
        self._codecs: dict[Path, DiffusionCodec] = {}

    def check(self, case: Case) -> Outcome:
        """Restore the file of a case, and compare."""
        start = time.perf_counter()
        size, facts = 0, Facts()
        try:
            data = case.file.read_bytes()
            size = len(data)
            problem = self._problem(case, data, facts)
        except OSError as error:
            problem = f"{error.filename}: {error.strerror}"
        return Outcome(case.name, case.expectation.feature, size, time.perf_counter() - start, problem, facts)

    def _problem(self, case: Case, data: bytes, facts: Facts) -> str | None:
        """What is wrong with a case; fills in the facts."""
        wanted = case.expectation
        try:
            codec = self._codec(wanted.model, data)
            stream = ParsedStream.parse(data, partial=wanted.partial)
            restored = codec.decompress(stream, **wanted.options)
        except DiffCodecError as error:
            if type(error).__name__ == wanted.error:
                return None
            return f"{type(error).__name__}: {error}" + (f", expected {wanted.error}" if wanted.error else "")
        if wanted.error is not None:
            return f"it is restored, expected {wanted.error}"
        return _difference(case, codec, restored, facts, can_round=not stream.is_from_lossless)

    def _codec(self, model: str | None, data: bytes) -> DiffusionCodec:
        """The codec of a model; each is loaded once."""
        path = self._suite.model(model) if model else find_bundled(read_header(data).header.fingerprint)
        if path not in self._codecs:
            self._codecs[path] = DiffusionCodec.from_pretrained(path, device=self._device, precision=self._precision)
        return self._codecs[path]


def _difference(
    case: Case, codec: DiffusionCodec, restored: Restoration, facts: Facts, *, can_round: bool
) -> str | None:
    """What is wrong with a restored picture; fills in the facts.

    Args:
        case: its expectation.
        codec: that restored it.
        restored: the picture.
        facts: to fill in.
        can_round: whether bfloat16 may have been used: not for files that are, or were, lossless.
    """
    wanted, found = case.expectation, restored.picture
    is_bf16 = can_round and levels_in_bf16(codec.precision, codec.checkpoint.profile, codec.device).rounds
    allowed = wanted.bf16 if is_bf16 else wanted.fp32
    facts.update({"width": found.width, "height": found.height, "mode": found.mode})
    facts.update({"allowed": allowed, "precision": "bf16" if is_bf16 else "fp32"})
    expected = read_picture(case.picture, keep="metadata")
    if (found.width, found.height, found.mode) != (expected.width, expected.height, expected.mode):
        return f"{_size(found)}, expected {_size(expected)}"
    peak, rms = differences(found, expected)
    facts.update({"peak": peak, "rms": rms})
    if restored.timestep != wanted.reached:
        return f"it ends at t = {restored.timestep:g}, expected {wanted.reached:g}"
    if not _same_alpha(found, expected):
        return "another alpha plane"
    if wanted.digest is not None and digest_of(found) != wanted.digest:
        return f"the pixels have SHA-256 {digest_of(found)[:16]}..., expected {wanted.digest[:16]}..."
    if metadata_digest_of(found.metadata) != wanted.metadata_digest:
        return "other metadata"
    return None if allowed.allows(peak, rms) else f"differs by up to {peak} grey levels, rms {rms:.3f}"


def _size(picture: Picture) -> str:
    return f"{picture.width} x {picture.height} {picture.mode}"


def differences(found: Picture, expected: Picture) -> tuple[int, float]:
    """Largest and root mean square difference of two pictures of one size and mode, in grey levels."""
    difference = found.pixels.astype(np.int64) - expected.pixels
    return int(np.abs(difference).max()), float(np.sqrt(np.mean(difference**2)))


def digest_of(picture: Picture) -> str:
    """SHA-256 of a picture's samples without alpha."""
    return hashlib.sha256(np.ascontiguousarray(picture.pixels).tobytes()).hexdigest()


def metadata_digest_of(metadata: Metadata) -> str:
    """SHA-256 of profile and EXIF block; empty if there is neither."""
    return hashlib.sha256((metadata.icc_profile or b"") + (metadata.exif or b"")).hexdigest() if metadata else ""


def _same_alpha(found: Picture, expected: Picture) -> bool:
    if found.alpha is None or expected.alpha is None:
        return found.alpha is expected.alpha
    return np.array_equal(found.alpha, expected.alpha)


@contextmanager
def threads(count: int | None) -> Iterator[None]:
    """Inside, torch, numpy and the channel use so many threads; None: as many as otherwise."""
    if count is None:
        yield
        return
    before, variable = torch.get_num_threads(), os.environ.get("OMP_NUM_THREADS")
    torch.set_num_threads(count)
    os.environ["OMP_NUM_THREADS"] = str(count)
    try:
        with threadpool_limits(count):
            yield
    finally:
        torch.set_num_threads(before)
        if variable is None:
            del os.environ["OMP_NUM_THREADS"]
        else:
            os.environ["OMP_NUM_THREADS"] = variable


def check_conformance(
    cases: Sequence[Case],
    suite: Suite,
    *,
    device: str = "cpu",
    precision: Precision = "auto",
    thread_count: int | None = None,
) -> Iterator[Outcome]:
    """Check cases, one after another.

    Args:
        cases: of the suite.
        suite: with their models.
        device, precision: see `DiffusionCodec`.
        thread_count: of the computations; None: as many as otherwise.

    Raises:
        ConfigError: if there is no such device or precision.
    """
    checker = Checker(suite, device=device, precision=precision)
    for case in cases:
        with threads(thread_count):
            yield checker.check(case)
