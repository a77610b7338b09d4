"""Pillow opens and saves .dfc files."""

from __future__ import annotations

import io
import os
import pickle
import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray
from PIL import Image, ImageCms, ImageFile, UnidentifiedImageError

from diffcodec import pillow_plugin
from diffcodec.codec import DiffusionCodec
from diffcodec.coding.targets import DEFAULT_TIMESTEP
from diffcodec.errors import DiffCodecError, ModelMismatchError, TargetError
from diffcodec.images import picture_to_pil, read_picture
from diffcodec.model.checkpoint import Checkpoint
from tests.conftest import smooth_pixels

PIXELS = smooth_pixels(11, 14)
RGB = Image.fromarray(PIXELS)
SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


@pytest.fixture(scope="module")
def model(shared_tiny_model: Path) -> str:
    return str(shared_tiny_model)


def dfc(image: Image.Image, model: str, **options: Any) -> io.BytesIO:
    """The image as a file in memory."""
    file = io.BytesIO()
    image.save(file, "DFC", model=model, **options)
    file.seek(0)
    return file


def opened(file: io.BytesIO | Path, model: str) -> pillow_plugin.DfcImageFile:
    image = Image.open(file)
    assert isinstance(image, pillow_plugin.DfcImageFile)
    image.model = model
    return image


def test_pillow_knows_the_format() -> None:
    assert Image.registered_extensions()[".dfc"] == "DFC"
    assert Image.MIME["DFC"] == "image/x-diffcodec"


def test_the_network_is_loaded_with_the_first_pixel(tmp_path: Path) -> None:
    """With the bundled model, by a person's four lines."""
    code = (
        "import sys, diffcodec.pillow_plugin; from PIL import Image\n"
        "image = Image.open(sys.argv[1])\n"
        "assert (image.size, image.mode, image.info['timestep']) == ((14, 11), 'RGB', 300)\n"
        "assert 'torch' not in sys.modules\n"
        "image.load(); assert 'torch' in sys.modules\n"
        "image.save(sys.argv[2])"
    )
    RGB.save(tmp_path / "a.dfc", timestep=300)
    environment = {**os.environ, "PYTHONPATH": str(Path(pillow_plugin.__file__).parent.parent)}
    subprocess.run([sys.executable, "-c", code, tmp_path / "a.dfc", tmp_path / "a.png"], env=environment, check=True)
    expected = DiffusionCodec.from_pretrained().decompress((tmp_path / "a.dfc").read_bytes())
    assert np.array_equal(read_picture(tmp_path / "a.png").pixels, expected.pixels)


def test_the_example_of_the_documentation_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = (Path(__file__).parent.parent / "docs" / "pictures.md").read_text(encoding="utf-8")
    (code,) = re.findall(r"^```python\n(.*?)^```", page, re.DOTALL | re.MULTILINE)
    monkeypatch.chdir(tmp_path)
    Image.fromarray(smooth_pixels(49, 60)).save("photo.png")
    names: dict[str, Any] = {}
    exec(compile(code, "pictures.md", "exec"), names)
    assert names["restored"].size == (48, 39)


@pytest.mark.parametrize("mode", ["RGB", "L", "RGBA", "LA"])
def test_saved_and_opened_as_the_codec_does_it(mode: str, model: str, codec: DiffusionCodec, tmp_path: Path) -> None:
    image = RGB.convert(mode)
    image.save(tmp_path / "a.dfc", model=model, timestep=20, seed=7, effort=8, steps=4)
    stream = codec.compress(read_picture(image), timestep=20, seed=7, effort=8, steps=4)
    assert (tmp_path / "a.dfc").read_bytes() == stream.data
    found = opened(tmp_path / "a.dfc", model)
    assert (found.size, found.mode, found.format) == ((14, 11), mode, "DFC")
    assert found.info == {"timestep": 20, "model": codec.fingerprint.hex(), "file_bytes": len(stream.data)}
    assert np.array_equal(np.asarray(found), np.asarray(picture_to_pil(codec.decompress(stream).picture)))
    assert found.fp is None  # closed


def test_defaults_and_targets(model: str) -> None:
    assert opened(dfc(RGB, model), model).info["timestep"] == DEFAULT_TIMESTEP
    assert len(dfc(RGB, model, max_bytes=120).getvalue()) <= 120
    assert 8 * len(dfc(RGB, model, max_bpp=5).getvalue()) / (14 * 11) <= 5
    rough, fine = (opened(dfc(RGB, model, quality=quality), model).info["timestep"] for quality in (10, 80))
    assert rough > fine
    restored = np.asarray(opened(dfc(RGB, model, psnr=25), model)).astype(float)
    assert 10 * np.log10(255**2 / np.mean((restored - PIXELS) ** 2)) >= 25


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"quality": 101}, "quality: expected 0 to 100"),
        ({"quality": 80, "timestep": 3}, "found quality and timestep|found timestep and quality"),
        ({"lossless": True}, "DFC has no lossless: pass timestep"),
        ({"exif": "noon"}, "exif: expected an Image.Exif, or the bytes"),
        ({"exif": b"garbage"}, "exif: expected an Image.Exif, or the bytes"),
        ({"timestep": 3, "psnr": 30}, "found timestep and psnr"),
        ({"timestep": 9999}, r"timestep: expected 0 \(lossless\) to 1000"),
        ({"effort": 99}, "effort: expected 8 to 16"),
        ({"max_bytes": 2}, "no file of at most 2 bytes"),
    ],
)
def test_options_that_make_no_sense(options: dict[str, Any], message: str, model: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        RGB.save(tmp_path / "a.dfc", model=model, **options)
    assert not (tmp_path / "a.dfc").exists()
    if "max_bytes" in options:
        assert isinstance(caught.value.__cause__, TargetError)


def test_an_open_image_does_what_images_do(model: str) -> None:
    file = dfc(RGB, model, timestep=100)
    expected = np.asarray(opened(file, model))

    small = opened(file, model)
    small.thumbnail((7, 7))
    assert small.size == (7, 6)
    assert opened(file, model).convert("L").size == (14, 11)
    assert np.array_equal(np.asarray(opened(file, model).copy()), expected)
    assert np.array_equal(np.asarray(opened(file, model).crop((2, 3, 9, 8))), expected[3:8, 2:9])
    again = pickle.loads(pickle.dumps(opened(file, model)))
    assert np.array_equal(np.asarray(again), expected)
    with opened(file, model) as image:
        image.load()
        image.putpixel((0, 0), (1, 2, 3))
        assert image.getpixel((0, 0)) == (1, 2, 3)


def test_coarser_versions_and_other_decoders(model: str, codec: DiffusionCodec) -> None:
    file = dfc(RGB, model, timestep=10)
    image = opened(file, model)
    image.timestep, image.decoder = 300, "flow"
    expected = codec.decompress(file.getvalue(), timestep=300, reconstruction="flow")
    assert np.array_equal(np.asarray(image), expected.pixels)
    image = opened(file, model)
    image.timestep = 3
    with pytest.raises(ValueError, match="finer than"):
        image.load()


def test_colour_profiles_and_exif(model: str) -> None:
    exif = Image.Exif()
    exif[0x010F] = "a maker"
    for kept in (exif, exif.tobytes()):
        image = opened(dfc(RGB, model, exif=kept, icc_profile=SRGB), model)
        assert image.info["icc_profile"] == SRGB
        assert image.getexif()[0x010F] == "a maker"
        image.load()
        assert image.info["icc_profile"] == SRGB
    tagged = RGB.copy()
    tagged.info |= {"icc_profile": SRGB, "exif": exif.tobytes()}
    for options in ({}, {"icc_profile": None}):  # a profile of sRGB is not needed, and EXIF is kept on request
        assert {"icc_profile", "exif"}.isdisjoint(opened(dfc(tagged, model, **options), model).info)


def test_conversions_are_warned_of_and_deep_images_refused(model: str) -> None:
    with pytest.warns(UserWarning, match="converted from CMYK to RGB") as warned:
        RGB.convert("CMYK").save(io.BytesIO(), "DFC", model=model)
    assert warned[0].filename == __file__
    with pytest.warns(UserWarning, match="converted from CMYK to RGB"):
        assert opened(dfc(RGB.convert("CMYK"), model), model).mode == "RGB"
    with pytest.raises(OSError, match="the picture has mode I;16: convert it to RGB or L with 8 bits per sample"):
        dfc(Image.new("I;16", (3, 2)), model)


def test_damaged_files(model: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = dfc(RGB.convert("RGBA"), model, timestep=20).getvalue()
    opened(io.BytesIO(whole), model).verify()
    cut, flipped = tmp_path / "cut.dfc", bytearray(whole)
    cut.write_bytes(whole[:-12])
    flipped[-20] ^= 3
    for file in (cut, io.BytesIO(bytes(flipped))):
        with pytest.raises(OSError, match=r"cut\.dfc is cut|the image is damaged") as caught:
            opened(file, model).load()
        assert isinstance(caught.value.__cause__, DiffCodecError)
        with pytest.raises(OSError, match=r"cut\.dfc is cut|the image is damaged"):
            opened(file, model).verify()
    for nothing in (whole[:5], whole[:2] + b"\x99" + whole[3:]):
        with pytest.raises(UnidentifiedImageError):
            Image.open(io.BytesIO(nothing))
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", True)
    image = opened(cut, model)
    with pytest.warns(UserWarning, match=r"is cut: .*: this is step \d of 7") as warned:
        image.load()
    assert warned[0].filename == __file__
    assert (image.mode, image.getchannel("A").getextrema()) == ("RGBA", (255, 255))
    assert image.info["timestep"] > 1


def test_files_of_models_that_are_not_bundled_are_named(
    model: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a.dfc").write_bytes(dfc(RGB, model).getvalue())
    monkeypatch.setattr(pillow_plugin, "_CODECS", pillow_plugin._Codecs())  # as in another process
    with pytest.raises(OSError, match=r"a\.dfc was made with model") as caught, Image.open(tmp_path / "a.dfc") as image:
        image.load()
    assert isinstance(caught.value.__cause__, ModelMismatchError)


def test_closed_files(model: str) -> None:
    image = opened(dfc(RGB, model), model)
    image.close()
    with pytest.raises(ValueError, match="closed"):
        image.load()


def test_eight_threads(model: str, codec: DiffusionCodec) -> None:
    pictures = [Image.fromarray(smooth_pixels(9, 9, seed)) for seed in range(8)]

    def there_and_back(image: Image.Image) -> NDArray[np.uint8]:
        return np.asarray(opened(dfc(image, model, timestep=40), model))

    with ThreadPoolExecutor(8) as threads:
        found = list(threads.map(there_and_back, pictures))
    for image, restored in zip(pictures, found, strict=True):
        stream = codec.compress(read_picture(image), timestep=40)
        assert np.array_equal(restored, codec.decompress(stream).pixels)


def test_the_work_of_a_file_is_limited(model: str) -> None:
    file = dfc(RGB, model, timestep=40)
    image = opened(file, model)
    image.max_pixel_evaluations = 100
    with pytest.raises(OSError, match=r"the limit of 100: .* \(the image's attribute `max_pixel_evaluations`\)"):
        image.load()
    image.max_pixel_evaluations = 10**6
    assert image.load() is not None


@pytest.mark.parametrize(("wrong", "error"), [(5, ValueError), ("x" * 5000, OSError)])
def test_models_that_are_none(wrong: Any, error: type[Exception]) -> None:
    with pytest.raises(error, match=r"expected a (name or a path|model file)"):
        RGB.save(io.BytesIO(), "DFC", model=wrong)


def test_few_codecs_are_kept(tmp_path: Path, tiny_checkpoint: Checkpoint) -> None:
    """Those used last, and none whose file has changed."""
    codecs, paths = pillow_plugin._Codecs(), [tmp_path / f"{number}.safetensors" for number in range(5)]
    for number, path in enumerate(paths):
        write_model(path, tiny_checkpoint, f"model {number}")

    def use(number: int) -> DiffusionCodec:
        with codecs.borrow(paths[number]) as codec:
            assert codec.model.card.name == f"model {number}"
            return codec

    first = [use(number) for number in (0, 1, 0, 2, 3, 0, 4)]
    assert first[0] is first[2] is first[5]
    assert use(0) is first[0]
    assert use(1) is not first[1]  # it had not been used for the longest time
    write_model(paths[0], tiny_checkpoint, "model 0", weight=0.25)
    assert use(0) is not first[0]


def write_model(path: Path, checkpoint: Checkpoint, name: str, weight: float | None = None) -> None:
    """A model file of that name; with one weight changed, it has another fingerprint."""
    weights = dict(checkpoint.weights)
    if weight is not None:
        changed = next(iter(weights))
        weights[changed] = torch.full_like(weights[changed], weight)
    card = replace(checkpoint.card, name=name)
    path.write_bytes(replace(checkpoint, card=card, weights=weights).to_bytes())


MODES = {"1": (), "L": (), "P": (), "LA": (2,), "RGB": (3,), "RGBA": (4,), "RGBX": (4,)}


@st.composite
def images(draw: st.DrawFn) -> Image.Image:
    """An image of any mode that holds the same colours as one of the codec's."""
    mode = draw(st.sampled_from(sorted(MODES)))
    size = draw(st.tuples(st.integers(1, 12), st.integers(1, 12)))
    pixels = draw(arrays(np.uint8, (*size, *MODES[mode])))
    image = Image.fromarray(pixels > 127) if mode == "1" else Image.fromarray(pixels, "L" if mode == "P" else mode)
    if mode == "P":
        image.putpalette(draw(st.binary(min_size=768, max_size=768)))
    return image


@settings(max_examples=25)
@given(image=images())
def test_what_is_taken_without_a_note_is_exact_at_t_0(image: Image.Image, model: str) -> None:
    found = opened(dfc(image, model, timestep=0), model)
    assert found.size == image.size
    assert found.mode == image.mode or image.mode in ("1", "P", "RGBX")
    assert np.array_equal(np.asarray(found.convert("RGBA")), np.asarray(image.convert("RGBA")))
