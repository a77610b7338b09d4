"""Shared code of `sample` and `interpolate`: sampling options, input pictures, output."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, Literal

import click

from diffcodec.cli.batch.inputs import STANDARD
from diffcodec.cli.batch.outputs import check_folder, check_writable, write_output
from diffcodec.cli.options import allow_pickle_option, device_option, model_option, sampler_option
from diffcodec.errors import CheckpointError, ImageError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from torch import Tensor

    from diffcodec.config import VarianceKind
    from diffcodec.diffusion.denoiser import Denoiser
    from diffcodec.diffusion.samplers import Sampler, SamplerKind
    from diffcodec.images import Picture

MODES = {1: "L", 3: "RGB"}
"""Pillow modes by number of the network's channels."""

Progress = Callable[[int], None]
"""Called with the number of pictures done since the last call."""


@dataclass(frozen=True)
class SamplingOptions:
    """The values of `sampling_options`, by name."""

    sampler_kind: SamplerKind
    steps: int | None
    variance: VarianceKind | None
    eta: float
    updates: int | None
    spacing: Literal["timestep", "log-snr"] | None
    seed: int
    zoom: int
    model: str | None
    allow_pickle: bool
    device: str
    force: bool

    def sampler(self) -> Sampler:
        """The sampler of the options.

        Raises:
            ConfigError: if options contradict each other.
        """
        from diffcodec.diffusion.samplers import Sampler, Spacing

        spacing: Spacing | None = "log_snr" if self.spacing == "log-snr" else self.spacing
        return Sampler(self.sampler_kind, self.steps, self.variance, self.eta, self.updates, spacing)

    def denoiser(self) -> Denoiser:
        """The model's network; the model need not be calibrated.

        Raises:
            CheckpointError: if there is no such model, or it is not for grey or colour pictures.
            ConfigError: if there is no such device.
        """
        from diffcodec.model.loading import load_checkpoint
        from diffcodec.model.locations import DEFAULT_MODEL

        checkpoint = load_checkpoint(self.model or DEFAULT_MODEL, allow_pickle=self.allow_pickle)
        if (channels := checkpoint.config.network.image_channels) not in MODES:
            raise CheckpointError(f"{checkpoint.card.name}: expected a model with 1 or 3 channels, found {channels}")
        return checkpoint.denoiser(self.device)

    @contextmanager
    def sampling_run(
        self, sampler: Sampler, denoiser: Denoiser, timesteps: Sequence[int], count: int
    ) -> Iterator[Progress]:
        """Full precision, and a progress bar if stderr is a terminal, for sampling `count` pictures from timesteps."""
        from tqdm import tqdm

        from diffcodec.devices import device_of, full_precision
        from diffcodec.diffusion.sampling import level_of

        levels = sum(len(sampler.levels(denoiser.schedule, level_of(denoiser, timestep))) for timestep in timesteps)
        with (
            full_precision(device_of(denoiser)),
            tqdm(total=count * levels, unit="step", leave=False, disable=None) as bar,
        ):
            yield bar.update


def sampling_options(function: Callable[..., None]) -> Callable[..., None]:
    """Adds the sampling options to a command, which receives them as `options`."""

    @functools.wraps(function)
    def command(**values: Any) -> None:
        options = SamplingOptions(**{field.name: values.pop(field.name) for field in fields(SamplingOptions)})
        function(options=options, **values)

    added = [
        sampler_option(
            "sampler_kind", "The paper's random steps, DDIM's deterministic ones, or annealed Langevin dynamics."
        ),
        click.option(
            "--steps",
            type=click.IntRange(1),
            metavar="K",
            help="Noise levels from pure noise to t = 1; sampling from a lower t visits those below it.  "
            "[default: all for ancestral, 100 for the others]",
        ),
        click.option(
            "--variance",
            type=click.Choice(["fixedsmall", "fixedlarge", "learned"]),
            help="Variance of ancestral steps.  [default: the model's]",
        ),
        click.option(
            "--eta",
            type=click.FloatRange(0, 1),
            default=0.0,
            show_default=True,
            help="Randomness of flow: 0 is deterministic, 1 is ancestral.",
        ),
        click.option("--updates", type=click.IntRange(1), help="Updates of langevin per level.  [default: 4]"),
        click.option(
            "--spacing",
            type=click.Choice(["timestep", "log-snr"]),
            help="Quantity in which levels are evenly spaced.  [default: log-snr for langevin, else timestep]",
        ),
        click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="Seed of all noise."),
        click.option("--zoom", type=click.IntRange(1, 64), default=1, show_default=True, help="Enlarge every pixel."),
        model_option("cifar10-small-v3"),
        allow_pickle_option,
        device_option,
        click.option("--force", is_flag=True, help="Overwrite existing files."),
    ]
    for option in reversed(added):
        command = option(command)
    return command


def read_image(name: str, denoiser: Denoiser, size: int | None) -> Tensor:
    """A picture file for a network: uint8, (C, H, W), grey or colour as the network expects, without alpha.

    Args:
        name: of the file.
        denoiser: the network.
        size: crop to the central square, and scale to this side; None: keep the size.

    Raises:
        ImageError: if it cannot be read, or the network does not support its size.
    """
    import numpy as np
    import torch
    from PIL import Image, ImageOps

    from diffcodec.images import picture_to_pil, read_picture

    network = denoiser.config.network
    image = picture_to_pil(read_picture(name, first_frame=True)).convert(MODES[network.image_channels])
    if size is not None:
        image = ImageOps.fit(image, (size, size), Image.Resampling.LANCZOS)
    stride = network.stride
    if image.width % stride or image.height % stride:
        raise ImageError(
            f"{name}: expected sides that are multiples of the network's {stride} pixels, found {image.width} x "
            f"{image.height}: pass --size, a multiple of {stride}, to crop and scale"
        )
    return torch.from_numpy(np.atleast_3d(np.array(image))).permute(2, 0, 1)


def to_array(images: Tensor) -> NDArray[np.uint8]:
    """uint8 images, (N, C, H, W), as an array (N, H, W, C)."""
    array: NDArray[np.uint8] = images.permute(0, 2, 3, 1).contiguous().numpy()
    return array


def check_target(
    target: str, force: bool, option: str = "--out", *, own_format: bool = False, makes_folder: bool = False
) -> None:
    """Fail before the work, which may take minutes, if the result cannot be written.

    Args:
        target: name of the picture.
        force: whether it may be overwritten.
        option: that names it, for messages.
        own_format: the format is not one of still pictures, so it is not checked.
        makes_folder: its folder will be created.

    Raises:
        DiffCodecError: if the picture cannot be written there, or not in the format of its suffix.
    """
    check_writable(target, force, option=option)
    if target == STANDARD:
        return
    if not own_format:
        from diffcodec.images import picture_format

        picture_format(target)
    if not makes_folder:
        check_folder(target)


def write_sheet(picture: Picture, target: str, force: bool, *, make_folder: bool = False) -> None:
    """Write a picture to a file or to standard output."""
    from diffcodec.images import picture_format, write_picture

    file_format = "PNG" if target == STANDARD else picture_format(target)
    write_output(
        target, force, lambda file: write_picture(picture, file, file_format, name=target), make_folder=make_folder
    )
