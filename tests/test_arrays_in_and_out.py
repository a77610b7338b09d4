"""The codec takes arrays and tensors, alone and in batches, and returns them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import diffcodec
from diffcodec.codec import DiffusionCodec
from diffcodec.errors import ConfigError, ImageError, WrongTypeError
from diffcodec.images import Picture
from tests.conftest import smooth_pixels

PIXELS = np.stack([smooth_pixels(7, 6, seed) for seed in range(3)])
TENSORS = torch.from_numpy(PIXELS.transpose(0, 3, 1, 2).copy())


def test_forms_of_a_picture_make_the_same_file(codec: DiffusionCodec) -> None:
    for pixels, tensor in ((PIXELS[0], TENSORS[0]), (PIXELS[0, :, :, 1], TENSORS[0, 1:2])):
        expected = codec.compress(Picture(pixels.copy()), timestep=100).data
        forms = (pixels, Image.fromarray(pixels.copy()), tensor, tensor / 255)
        assert [codec.compress(form, timestep=100).data for form in forms] == [expected] * len(forms)


@pytest.mark.parametrize("channels", [slice(0, 3), slice(1, 2)], ids=["RGB", "L"])
def test_batches_are_lists_arrays_or_tensors(codec: DiffusionCodec, channels: slice) -> None:
    arrays, tensors = PIXELS[..., channels], TENSORS[:, channels]
    expected = [each.data for each in codec.compress_batch([Picture(np.squeeze(each)) for each in arrays])]
    batches: list[Any] = [arrays, tensors, tensors / 255, list(arrays), tuple(tensors), iter(tensors)]
    for batch in batches:
        assert [each.data for each in codec.compress_batch(batch)] == expected
    mixed = [arrays[0], tensors[1], Image.fromarray(np.squeeze(arrays[2]))]
    assert [each.data for each in codec.compress_batch(mixed)] == expected
    assert codec.compress_batch(tensors[:0]) == []


def test_what_comes_out_can_go_in(codec: DiffusionCodec) -> None:
    for picture in (Picture(PIXELS[0]), Picture(PIXELS[0, :, :, 1].copy())):
        restored = codec.decompress(codec.compress(picture, timestep=100))
        tensor = restored.to_tensor()
        assert tensor.dtype == torch.float32
        assert tensor.shape == (np.atleast_3d(picture.pixels).shape[2], 7, 6)
        expected = codec.compress(restored.picture, timestep=100).data
        for form in (tensor, restored.to_pil(), restored.pixels):
            assert codec.compress(form, timestep=100).data == expected


def test_planes_of_restorations_are_their_pixels(codec: DiffusionCodec) -> None:
    alpha = PIXELS[1, :, :, 0].copy()
    restored = codec.decompress(codec.compress(Picture(PIXELS[0], alpha), timestep=100))
    image = restored.to_pil()
    assert image.mode == "RGBA"
    assert np.array_equal(np.asarray(image), np.dstack([restored.pixels, alpha]))
    assert np.array_equal((restored.to_tensor() * 255).round().byte().permute(1, 2, 0).numpy(), restored.pixels)
    assert np.array_equal(restored.pixels, restored.picture.pixels)


@pytest.mark.parametrize(
    ("use", "error", "message"),
    [
        (lambda codec: codec.compress(TENSORS), WrongTypeError, "use compress_batch for several"),
        (lambda codec: codec.compress(TENSORS.float()), WrongTypeError, "use compress_batch for several"),
        (lambda codec: codec.compress(TENSORS[0].float()), ImageError, r"floats in \[0, 1\]"),
        (lambda codec: codec.compress_batch([TENSORS[0], TENSORS[0] - 300.0]), ImageError, r"floats in \[0, 1\]"),
        (lambda codec: codec.compress_batch(TENSORS[0]), TypeError, "a Tensor: use compress for a single one"),
        (lambda codec: codec.compress_batch([TENSORS[0], TENSORS[0, :1]]), ConfigError, "one size and colour mode"),
        (lambda codec: codec.compress({}), WrongTypeError, "found a dict"),
    ],
)
def test_what_does_not_fit_is_refused(
    codec: DiffusionCodec, use: Callable[[DiffusionCodec], object], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        use(codec)


def test_the_package_lists_its_public_names() -> None:
    assert dir(diffcodec) == sorted(diffcodec.__all__)
    assert {"DiffusionCodec", "calibrate", "read_picture"} <= set(dir(diffcodec))
