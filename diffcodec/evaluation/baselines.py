"""Other codecs on the same pictures, through Pillow and its plugins, each with its best settings.

"Best" means the following; gains in `baseline_settings` were measured on the first 25 to 100 CIFAR-10 test images:

- Results are compared by RMSE and PSNR, so encoders that can be tuned for these are (AVIF).
- If several settings restore the same pixels, all are tried and the shortest file counts: scans of a
  JPEG, and efforts, filters or decompositions of lossless codecs.
- No metadata is written, and where a bare codestream is a valid file (JPEG 2000, JPEG XL) it is used.
- Encoders run on one thread if that can be set; decoders use their defaults.

At 32 x 32 pixels headers dominate. `header_bytes` is the size of the file of a flat grey picture of the same size, mode
and settings; `payload_bytes` is the rest.
"""

from __future__ import annotations

import importlib
import io
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from diffcodec.errors import ConfigError, ImageError
from diffcodec.evaluation import baseline_settings as best
from diffcodec.evaluation.baseline_settings import SaveOptions
from diffcodec.evaluation.metrics import measure_distortion
from diffcodec.images import Picture, picture_to_pil

FLAT_GREY = 128
"""Grey level of the picture whose file size counts as header."""


@dataclass(frozen=True)
class Baseline:
    """Another codec, for comparison. Immutable and picklable.

    Args:
        name: of its result file.
        label: for people.
        lossless: whether it restores every pixel exactly.
        parameters: settings to measure, rising in rate: qualities, or dB; a single 0 if lossless.
        format: Pillow's name of the format.
        unit: of a parameter: `q`, `dB`, or empty if lossless.
        attempts: returns the sets of options to try for a picture and a parameter. All must restore the same pixels;
            the shortest file counts.
        needs: required software, for messages.
        plugin: module that adds the format to Pillow; None if Pillow has it.
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
        """A parameter as text, such as `q=30`."""
        return f"{self.unit}={parameter:g}" if self.unit else "lossless"

    def encode(self, image: Image.Image, parameter: float) -> bytes:
        """The shortest file of an image.

        Args:
            image: RGB or L; its metadata are omitted.
            parameter: an integer between the first and the last of `parameters`.

        Raises:
            ConfigError: if there is no such parameter, or the plugin is missing.
            ImageError: if the codec does not support the image.
        """
        low, high = self.parameters[0], self.parameters[-1]
        if not low <= parameter <= high or parameter != int(parameter):
            raise ConfigError(f"{self.label}: expected an integer from {low:g} to {high:g}, found {parameter:g}")
        if image.mode not in ("RGB", "L"):
            raise ImageError(f"{self.label}: expected an RGB or L picture, found {image.mode}: convert it first")
        self._load()
        # Without its metadata, which would be written; and the JPEG XL plugin would transcode an opened JPEG file.
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
        """The image of a file, in the encoded mode, or RGB if the format has no grey mode.

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
        Image.init()  # now, so that it does not count towards the first file's seconds
        if self.plugin is not None:
            try:
                importlib.import_module(self.plugin)
            except ImportError as error:
                raise ConfigError(f"{self.label} needs {self.needs}: pip install 'diffcodec[bench]'") from error


def all_baselines() -> list[Baseline]:
    """All codecs of the comparison, including those that are not installed."""
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
        Baseline("jpeg-420", "JPEG 4:2:0", False, jpeg_qualities, "JPEG", "q", best.jpeg_420),
        Baseline("jpeg-444", "JPEG 4:4:4", False, jpeg_qualities, "JPEG", "q", best.jpeg_444),
        Baseline("webp", "WebP", False, webp_qualities, unit="q", attempts=best.webp, **webp),
        Baseline("jpeg2000", "JPEG 2000", False, j2k_decibels, unit="dB", attempts=best.jpeg2000, **j2k),
        Baseline("avif", "AVIF 4:4:4", False, avif_qualities, unit="q", attempts=best.avif, **avif),
        Baseline("jpegxl", "JPEG XL", False, jxl_qualities, unit="q", attempts=best.jpegxl, **jxl),
        Baseline("png-lossless", "PNG", True, (0,), "PNG", "", best.png),
        Baseline("webp-lossless", "WebP lossless", True, (0,), unit="", attempts=best.webp_lossless, **webp),
        Baseline("jpegxl-lossless", "JPEG XL lossless", True, (0,), unit="", attempts=best.jpegxl_lossless, **jxl),
        Baseline(
            "jpeg2000-lossless", "JPEG 2000 lossless", True, (0,), unit="", attempts=best.jpeg2000_lossless, **j2k
        ),
    ]


def available_baselines() -> tuple[list[Baseline], list[str]]:
    """Codecs that work here, tested with a small picture.

    Returns:
        The codecs, and for each missing one a sentence on how to install it.
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
    """File size of a flat grey picture, an estimate of a codec's header.

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
    """Encode pictures, decode their files and compare.

    Args:
        baseline: the codec.
        parameter: its setting.
        pictures: without alpha, of any sizes.

    Returns:
        A row for each picture: `image` (its index), `width`, `height`, `file_bytes`, `header_bytes` (file of a flat
        grey picture), `payload_bytes` (the difference), `bpd` and `bpp` of the whole file, `payload_bpd`,
        `mse`, `rmse`, `psnr_db`, `ms_ssim` as in `Distortion`, `encode_s` (of all attempts), `decode_s`.

    Raises:
        ConfigError: if there is no such parameter, or the plugin is missing.
        ImageError: if a picture has an alpha plane, the codec does not support it, or a lossless codec changes pixels.
    """
    return [row for row, _ in code_pictures(baseline, parameter, pictures)]


def code_pictures(
    baseline: Baseline, parameter: float, pictures: Sequence[Picture]
) -> Iterator[tuple[dict[str, float | int | None], NDArray[np.uint8]]]:
    """As `measure_baseline`, one picture at a time: its row, and the restored pixels for further measurements."""
    headers: dict[tuple[int, int, str], int] = {}
    for index, picture in enumerate(pictures):
        if picture.alpha is not None:
            raise ImageError(f"picture {index} has an alpha plane, which not all codecs support: remove it first")
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
        "width": picture.width,
        "height": picture.height,
        "file_bytes": len(data),
        "header_bytes": header_bytes,
        "payload_bytes": payload_bytes,
        "bpd": 8 * len(data) / picture.pixels.size,
        "bpp": 8 * len(data) / (picture.width * picture.height),
        "payload_bpd": 8 * payload_bytes / picture.pixels.size,
        "mse": distortion.mse,
        "rmse": distortion.rmse,
        "psnr_db": distortion.psnr_db,
        "ms_ssim": distortion.ms_ssim,
        "encode_s": encoded - begin,
        "decode_s": decoded - encoded,
    }
    return row, restored
