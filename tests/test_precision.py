"""Evaluations in bfloat16: when the codec uses them, and that files do not depend on it."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch

from diffcodec.channel import TrellisChannel
from diffcodec.codec import DiffusionCodec
from diffcodec.coding.reconstruction import ReconstructionKind
from diffcodec.config import Precision
from diffcodec.devices import has_fast_bf16
from diffcodec.errors import ConfigError
from diffcodec.images import Picture
from diffcodec.images.error import psnr_db, squared_error
from diffcodec.model.checkpoint import Checkpoint
from diffcodec.model.evaluation_profile import BFLOAT16, FLOAT32, EvaluationProfile
from diffcodec.model.loading import load_checkpoint
from tests.conftest import smooth_pixels

PICTURE = Picture(smooth_pixels(40, 32))
TABLE = EvaluationProfile((-2.0, 0.0, 3.0), (0.01, 0.019, 0.03))


@pytest.mark.parametrize(
    ("log_snr", "allowed"), [(-9.0, True), (-2.0, True), (-0.5, True), (0.0, True), (1.0, False), (9.0, False)]
)
def test_the_table_is_read_with_caution(log_snr: float, allowed: bool) -> None:
    assert TABLE.allows_bf16(log_snr) is allowed
    assert BFLOAT16.allows_bf16(log_snr)
    assert not FLOAT32.allows_bf16(log_snr)


@pytest.mark.parametrize(("levels", "errors"), [((1.0,), ()), ((1.0, 1.0), (0.1, 0.1)), ((2.0, 1.0), (0.1, 0.1))])
def test_a_table_that_makes_no_sense_is_refused(levels: tuple[float, ...], errors: tuple[float, ...]) -> None:
    with pytest.raises(ConfigError, match="EvaluationProfile"):
        EvaluationProfile(levels, errors)


def test_a_table_survives_a_model_file_and_leaves_the_fingerprint_alone(
    tiny_checkpoint: Checkpoint, tmp_path: Path
) -> None:
    measured = dataclasses.replace(tiny_checkpoint, profile=TABLE)
    assert measured.fingerprint == tiny_checkpoint.fingerprint
    path = tmp_path / "model.safetensors"
    path.write_bytes(measured.to_bytes())
    assert load_checkpoint(path).profile == TABLE


def test_half_precision_is_chosen_level_by_level(tiny_checkpoint: Checkpoint, monkeypatch: pytest.MonkeyPatch) -> None:
    measured = dataclasses.replace(tiny_checkpoint, profile=TABLE)
    monkeypatch.setattr("diffcodec.model.precision.has_fast_bf16", lambda device: True)

    def dtypes(precision: Precision, *, exact: bool = False) -> list[torch.dtype]:
        codec = DiffusionCodec(measured, precision=precision)
        context = codec.context_for(PICTURE, TrellisChannel(), exact=exact)
        return [context.dtype_at(value) for value in (-1.0, 5.0)]

    half, full = torch.bfloat16, torch.float32
    assert dtypes("auto") == [half, full]
    assert dtypes("bf16") == [half, half]
    assert dtypes("fp32") == dtypes("auto", exact=True) == dtypes("bf16", exact=True) == [full, full]
    monkeypatch.setattr("diffcodec.model.precision.has_fast_bf16", lambda device: False)
    assert dtypes("auto") == [full, full]


@pytest.mark.parametrize("timestep", [5, 60, 300])
@pytest.mark.parametrize("reconstruction", ["mean", "flow"])
def test_files_of_one_precision_are_restored_in_the_other(
    tiny_checkpoint: Checkpoint, timestep: int, reconstruction: ReconstructionKind
) -> None:
    """Both ways the symbols are the same and the pictures nearly so."""
    codecs = [DiffusionCodec(tiny_checkpoint, precision=precision) for precision in ("fp32", "bf16")]
    assert [codec.precision for codec in codecs] == ["fp32", "bf16"]
    for encoder in codecs:
        stream = encoder.compress(PICTURE, timestep=timestep)
        pictures = [codec.decompress(stream, reconstruction=reconstruction).pixels for codec in codecs]
        found = [psnr_db(squared_error(PICTURE.pixels, pixels)) for pixels in pictures]
        assert found[0] == pytest.approx(found[1], abs=0.1)
        difference = np.abs(pictures[0].astype(int) - pictures[1].astype(int))
        assert difference.sum() > 0
        assert difference.max() <= 6


def test_lossless_files_are_exact_in_any_precision(tiny_checkpoint: Checkpoint) -> None:
    codecs = [DiffusionCodec(tiny_checkpoint, precision=precision) for precision in ("fp32", "bf16")]
    streams = [codec.compress(PICTURE, timestep=0, may_store=False).data for codec in codecs]
    assert streams[0] == streams[1]
    for codec in codecs:
        assert np.array_equal(codec.decompress(streams[0]).pixels, PICTURE.pixels)


def test_an_unknown_precision_is_refused(tiny_checkpoint: Checkpoint) -> None:
    with pytest.raises(ConfigError, match="precision: expected one of auto, fp32, bf16, found 'fp8'"):
        DiffusionCodec(tiny_checkpoint, precision="fp8")  # type: ignore[arg-type]


def test_no_device_but_a_processor_or_gpu_is_trusted_with_bfloat16() -> None:
    assert not has_fast_bf16(torch.device("mps"))
    assert has_fast_bf16(torch.device("cpu")) in (True, False)
