"""Other codecs on the same pictures, through Pillow and its plugins, each with its best settings.

What "best" means; the gains named below were measured on the first 25 to 100 CIFAR-10 test images:

- Restored pixels count in RMSE and PSNR, so encoders that can be tuned for that are (AVIF).
- Where several settings restore the same pixels, all are tried and the shortest file counts: scans of a
  JPEG, and efforts, filters or decompositions of lossless codecs.
- No metadata is written, and where a bare codestream is a valid file (JPEG 2000, JPEG XL) it is taken.
- Encoders that can be told run on one thread; decoders have their defaults.

At 32 x 32 pixels headers dominate. `header_bytes` is the file of a flat grey picture of the same size, mode and
settings, made in the same way; `payload_bytes` is the rest.
"""

from __future__ import annotations

import importlib
import io
import math
import time
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from diffcodec.errors import ConfigError, ImageError
from diffcodec.evaluation.metrics import measure_distortion
from diffcodec.images import Picture, picture_to_pil

FLAT_GREY = 128
"""Grey level of the picture whose file counts as header."""

SaveOptions = dict[str, Any]
"""Keyword arguments of `PIL.Image.Image.save`."""


@dataclass(frozen=True)
class Baseline:
    """A codec that diffcodec is compared with. Immutable, and can be sent to other processes.

    Args:
        name: of its result file.
        label: for people.
        lossless: whether it restores every pixel.
        parameters: the settings to measure, rising in rate: qualities, or dB; a single 0 if lossless.
        format: Pillow's name of the format.
        unit: what a parameter is: `q`, `dB`, or empty if lossless.
        attempts: gives the options of a file, for a picture and a parameter. Of several, which must all
            restore the same pixels, the shortest file counts.
        needs: the software behind it, for messages.
        plugin: module that teaches Pillow the format; None if Pillow knows it.
    """

    name: str
    label: str
    lossless: bool
    parameters: tuple[float, ...]
    format: str
    unit: str
    attempts: Callable[[Image.Image, float], tuple[SaveOptions, ...]]
    needs: str = "Pillow"
    plugin: str | None = None

    def setting(self, parameter: float) -> str:
        """A parameter in words, such as `q=30`."""
        return f"{self.unit}={parameter:g}" if self.unit else "lossless"

    def encode(self, image: Image.Image, parameter: float) -> bytes:
        """The shortest file of an image.

        Args:
            image: RGB or L; its metadata are left out.
            parameter: a whole number between the first and the last of `parameters`.

        Raises:
            ConfigError: if there is no such parameter, or the plugin is missing.
            ImageError: if the codec does not take the image.
        """
        low, high = self.parameters[0], self.parameters[-1]
        if not low <= parameter <= high or parameter != int(parameter):
            raise ConfigError(f"{self.label}: expected a whole number from {low:g} to {high:g}, found {parameter:g}")
        if image.mode not in ("RGB", "L"):
            raise ImageError(f"{self.label}: expected an RGB or L picture, found {image.mode}: convert it first")
        self._load()
        # A profile or the like would be written, and the JPEG XL plugin would copy a JPEG file as it is.
        bare = Image.frombytes(image.mode, image.size, image.tobytes())
        files = []
        for options in self.attempts(bare, parameter):
            buffer = io.BytesIO()
            try:
                bare.save(buffer, self.format, **options)
            except Exception as error:  # plugins raise almost anything
                size = f"{image.width} x {image.height}"
                raise ImageError(f"{self.label} cannot write a picture of {size} pixels ({error})") from error
            files.append(buffer.getvalue())
        return min(files, key=len)

    def decode(self, data: bytes) -> Image.Image:
        """The image of a file: of the mode that was encoded, or RGB where the format has no grey.

        Raises:
            ConfigError: if the plugin is missing.
            ImageError: if the data cannot be decoded.
        """
        self._load()
        try:
            with Image.open(io.BytesIO(data)) as image:
                return image.copy()
        except Exception as error:
            raise ImageError(f"{self.label} cannot read the file ({error})") from error

    def _load(self) -> None:
        Image.init()  # or the first file of a format would pay for it in seconds
        if self.plugin is not None:
            try:
                importlib.import_module(self.plugin)
            except ImportError as error:
                raise ConfigError(f"{self.label} needs {self.needs}: pip install 'diffcodec[bench]'") from error


def all_baselines() -> list[Baseline]:
    """All codecs of the comparison, whether installed or not."""
    jxl = {"format": "JXL", "needs": "pillow-jxl-plugin", "plugin": "pillow_jxl"}
    j2k = {"format": "JPEG2000", "needs": "Pillow with OpenJPEG"}
    webp = {"format": "WEBP", "needs": "Pillow with WebP"}
    avif = {"format": "AVIF", "needs": "Pillow 11.3 or later with AVIF and libaom"}
    jpeg_qualities = (1, 5, 10, 20, 30, 50, 70, 80, 90, 95, 98, 100)
    webp_qualities = (0, 1, 5, 10, 20, 35, 50, 65, 80, 90, 96, 100)
    avif_qualities = (0, 5, 10, 20, 30, 40, 50, 60, 70, 80, 90, 96)
    jxl_qualities = (0, 10, 20, 35, 50, 65, 80, 90, 95, 98, 99)
    j2k_decibels = (18, 20, 22, 25, 28, 31, 34, 37, 40, 44, 48, 52)
    return [
        Baseline("jpeg-420", "JPEG 4:2:0", False, jpeg_qualities, "JPEG", "q", _jpeg_420),
        Baseline("jpeg-444", "JPEG 4:4:4", False, jpeg_qualities, "JPEG", "q", _jpeg_444),
        Baseline("webp", "WebP", False, webp_qualities, unit="q", attempts=_webp, **webp),
        Baseline("jpeg2000", "JPEG 2000", False, j2k_decibels, unit="dB", attempts=_jpeg2000, **j2k),
        Baseline("avif", "AVIF 4:4:4", False, avif_qualities, unit="q", attempts=_avif, **avif),
        Baseline("jpegxl", "JPEG XL", False, jxl_qualities, unit="q", attempts=_jpegxl, **jxl),
        Baseline("png-lossless", "PNG", True, (0,), "PNG", "", _png),
        Baseline("webp-lossless", "WebP lossless", True, (0,), unit="", attempts=_webp_lossless, **webp),
        Baseline("jpegxl-lossless", "JPEG XL lossless", True, (0,), unit="", attempts=_jpegxl_lossless, **jxl),
        Baseline("jpeg2000-lossless", "JPEG 2000 lossless", True, (0,), unit="", attempts=_jpeg2000_lossless, **j2k),
    ]


def available_baselines() -> tuple[list[Baseline], list[str]]:
    """Codecs that work here: each has coded a small picture.

    Returns:
        The codecs, and a sentence for each one that is missing, which says how to get it.
    """
    found: list[Baseline] = []
    missing: list[str] = []
    probe = Image.new("RGB", (8, 8), (FLAT_GREY,) * 3)
    for baseline in all_baselines():
        try:
            baseline.decode(baseline.encode(probe, baseline.parameters[0]))
        except ConfigError as error:
            missing.append(f"{baseline.name} is left out: {error}")
        except ImageError as error:
            missing.append(
                f"{baseline.name} is left out: {error}; it needs {baseline.needs}: pip install 'diffcodec[bench]'"
            )
        else:
            found.append(baseline)
    return found, missing


def flat_grey_bytes(baseline: Baseline, parameter: float, width: int, height: int, mode: str = "RGB") -> int:
    """Size of the file of a flat grey picture, which stands for a codec's header.

    Args:
        baseline: the codec.
        parameter: its setting.
        width, height: in pixels.
        mode: RGB or L.
    """
    grey = Image.new("L", (width, height), FLAT_GREY).convert(mode)
    return len(baseline.encode(grey, parameter))


def measure_baseline(
    baseline: Baseline, parameter: float, pictures: Sequence[Picture]
) -> list[dict[str, float | int | None]]:
    """Codes pictures, restores them from their files and compares.

    Args:
        baseline: the codec.
        parameter: its setting.
        pictures: without alpha, of any sizes.

    Returns:
        A row for each picture: `image` (its place), `width`, `height`, `file_bytes`, `header_bytes` (a flat
        grey picture's), `payload_bytes` (the difference), `bpd` and `bpp` of the whole file, `payload_bpd`,
        `mse`, `rmse`, `psnr_db`, `ms_ssim` as in `Distortion`, `encode_seconds`, `decode_seconds`. Seconds of
        encoding are those of all attempts.

    Raises:
        ConfigError: if there is no such parameter, or the plugin is missing.
        ImageError: if a picture has an alpha plane or the codec does not take it, or if a lossless codec
            restores other pixels.
    """
    return [row for row, _ in code_pictures(baseline, parameter, pictures)]


def code_pictures(
    baseline: Baseline, parameter: float, pictures: Sequence[Picture]
) -> Iterator[tuple[dict[str, float | int | None], NDArray[np.uint8]]]:
    """As `measure_baseline`, one picture after another: its row, and the restored pixels for whatever else is asked."""
    headers: dict[tuple[int, int, str], int] = {}
    for index, picture in enumerate(pictures):
        if picture.alpha is not None:
            raise ImageError(f"picture {index} has an alpha plane, which not all codecs take: remove it first")
        kind = (picture.width, picture.height, picture.mode)
        if kind not in headers:
            headers[kind] = flat_grey_bytes(baseline, parameter, *kind)
        row, restored = _code_picture(baseline, parameter, picture, headers[kind])
        yield {"image": index, **row}, restored


def _code_picture(
    baseline: Baseline, parameter: float, picture: Picture, header_bytes: int
) -> tuple[dict[str, float | int | None], NDArray[np.uint8]]:
    image = picture_to_pil(picture)
    begin = time.perf_counter()
    data = baseline.encode(image, parameter)
    encoded = time.perf_counter()
    decoded_image = baseline.decode(data)
    decoded = time.perf_counter()
    restored = np.asarray(decoded_image.convert(picture.mode))
    distortion = measure_distortion(picture.pixels, restored)
    if baseline.lossless and distortion.mse:
        raise ImageError(f"{baseline.label} is not lossless here (RMSE {distortion.rmse:.3g}): update {baseline.needs}")
    payload_bytes = len(data) - header_bytes
    row: dict[str, float | int | None] = {
        "width": picture.width, "height": picture.height,
        "file_bytes": len(data), "header_bytes": header_bytes, "payload_bytes": payload_bytes,
        "bpd": 8 * len(data) / picture.pixels.size, "bpp": 8 * len(data) / (picture.width * picture.height),
        "payload_bpd": 8 * payload_bytes / picture.pixels.size,
        "mse": distortion.mse, "rmse": distortion.rmse, "psnr_db": distortion.psnr_db, "ms_ssim": distortion.ms_ssim,
        "encode_seconds": encoded - begin, "decode_seconds": decoded - encoded,
    }  # fmt: skip
    return row, restored


def _jpeg(parameter: float, subsampling: str) -> tuple[SaveOptions, ...]:
    # Progressive scans restore the same pixels: 230 bytes longer at 32 x 32, often shorter in large files.
    options = {"quality": int(parameter), "optimize": True, "subsampling": subsampling}
    return options, {**options, "progressive": True}


def _jpeg_420(image: Image.Image, parameter: float) -> tuple[SaveOptions, ...]:
    return _jpeg(parameter, "4:2:0")


def _jpeg_444(image: Image.Image, parameter: float) -> tuple[SaveOptions, ...]:
    return _jpeg(parameter, "4:4:4")


def _webp(image: Image.Image, parameter: float) -> tuple[SaveOptions, ...]:
    # The slowest method, 1 to 3 % shorter than the default one at equal RMSE. Lossy WebP is always 4:2:0.
    return ({"quality": int(parameter), "method": 6},)


def _webp_lossless(image: Image.Image, parameter: float) -> tuple[SaveOptions, ...]:
    # Small pictures are often shorter with less effort: 4.74 bits/dim at (100, 6), 4.63 at (0, 4), 4.62 together.
    efforts = ((0, 4), (100, 6))
    return tuple({"lossless": True, "exact": True, "quality": quality, "method": method} for quality, method in efforts)


def _avif(image: Image.Image, parameter: float) -> tuple[SaveOptions, ...]:
    # At equal RMSE whole files of 4:4:4 are shorter than those of 4:2:0 by 1 % at RMSE 18 and by 30 % at 3, and
    # tuning for PSNR brings 2 to 6 %. Speed 2 costs 0.3 to 1 % against 0, in a third of the time.
    tuned = {"codec": "aom", "advanced": {"tune": "psnr"}}
    return ({"quality": int(parameter), "subsampling": "4:4:4", "speed": 2, "max_threads": 1, **tuned},)


def _jpegxl(image: Image.Image, parameter: float) -> tuple[SaveOptions, ...]:
    # Effort 9 is up to 6 % shorter than 7 at equal RMSE, at worst 0.4 % longer; 10 brings nothing.
    return ({"quality": int(parameter), "effort": 9, "num_threads": 1},)


def _jpegxl_lossless(image: Image.Image, parameter: float) -> tuple[SaveOptions, ...]:
    # 4.13, 4.10 and 4.10 bits/dim, 4.09 together; effort 10 is longer than 9 at 32 x 32.
    return tuple({"lossless": True, "effort": effort, "num_threads": 1} for effort in (7, 8, 9))


def _png(image: Image.Image, parameter: float) -> tuple[SaveOptions, ...]:
    strategies = (zlib.Z_DEFAULT_STRATEGY, zlib.Z_FILTERED, zlib.Z_HUFFMAN_ONLY, zlib.Z_RLE)
    return tuple({"optimize": True, "compress_type": strategy} for strategy in strategies)


def _codestream(image: Image.Image) -> SaveOptions:
    # The JP2 boxes would add 85 bytes, OpenJPEG's own name 32 (an empty comment does not replace it), and coding RGB
    # without a colour transform, Pillow's default, some 40 %.
    return {"no_jp2": True, "comment": " ", "mct": int(image.mode == "RGB")}


def _resolutions(image: Image.Image) -> int:
    # Wavelet levels down to a band of 8 pixels, OpenJPEG's six at most: shortest at 16, 32, 64 and 192 pixels. At
    # 32 x 32 each level more costs some 25 bytes, and too many are an error.
    return min(max(1, int(math.log2(min(image.size) / 8)) + 1), 6)


def _jpeg2000(image: Image.Image, parameter: float) -> tuple[SaveOptions, ...]:
    layers = {"quality_mode": "dB", "quality_layers": [parameter], "irreversible": True}
    return ({**_codestream(image), **layers, "num_resolutions": _resolutions(image)},)


def _jpeg2000_lossless(image: Image.Image, parameter: float) -> tuple[SaveOptions, ...]:
    numbers = {max(1, _resolutions(image) - 1), _resolutions(image)}
    return tuple({**_codestream(image), "num_resolutions": number} for number in sorted(numbers))
