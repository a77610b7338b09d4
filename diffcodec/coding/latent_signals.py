"""The signal of latent diffusion models: pictures as the latents of an autoencoder."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from diffcodec.bitstream.container import ColourMode
from diffcodec.coding.canvas import Canvas, SignalKind
from diffcodec.coding.signals import with_corner
from diffcodec.images import from_unit, to_unit
from diffcodec.latent.autoencoder import Autoencoder


class LatentPictures:
    """Latents of an autoencoder; all channels are coded. Grey pictures are encoded as colour ones.

    Args:
        kind: of the signal, latents of colour or of grey pictures.
        autoencoder: from pictures to latents and back.
    """

    def __init__(self, kind: SignalKind, autoencoder: Autoencoder) -> None:
        self.kind, self.autoencoder = kind, autoencoder

    @property
    def is_grey(self) -> bool:
        """Whether pictures are grey."""
        return self.kind.name.endswith(ColourMode.L.name)

    def from_pixels(self, pixels: NDArray[np.uint8], canvas: Canvas) -> Tensor:
        """The latents of a picture that is mirrored at its ends up to whole latents."""
        unit = torch.from_numpy(to_unit(pixels))
        picture = unit.expand(3, -1, -1)
        scale = self.autoencoder.config.downscale
        height, width = picture.shape[1:]
        missing = canvas.height * scale - height, canvas.width * scale - width
        padded = np.pad(picture.numpy(), ((0, 0), (0, missing[0]), (0, missing[1])), mode="symmetric")
        x_0 = torch.zeros(canvas.shape)
        x_0[:, : canvas.height, : canvas.width] = self.autoencoder.encode(torch.from_numpy(padded)[None])[0]
        return x_0

    def to_pixels(self, x_0: Tensor, canvas: Canvas) -> NDArray[np.uint8]:
        """The decoded picture, cut to its size and rounded to 8 bits."""
        return from_unit(self._picture(x_0, canvas).numpy())

    def grey_levels(self, x_0: Tensor, canvas: Canvas) -> NDArray[np.float64]:
        """The decoded picture in unrounded grey levels."""
        levels: NDArray[np.float64] = (self._picture(x_0, canvas).double().numpy() + 1) * 127.5
        return levels

    def restrict(self, x_0: Tensor) -> Tensor:
        """All numbers are valid latents."""
        return x_0

    def coded(self, state: Tensor, canvas: Canvas) -> NDArray[np.float32]:
        """All channels of the grid points that the picture covers."""
        return state[..., : canvas.height, : canvas.width].cpu().numpy()

    def with_coded(self, noise: NDArray[Any] | None, coded: NDArray[np.float32], canvas: Canvas) -> Tensor:
        """Noise with the coded values in the top left corner."""
        return with_corner(noise, coded, canvas)

    def _picture(self, x_0: Tensor, canvas: Canvas) -> Tensor:
        """(C, height, width) within [-1, 1], on the CPU; C = 1 if grey."""
        assert canvas.picture_shape is not None
        height, width = canvas.picture_shape
        latents = x_0[None, :, : canvas.height, : canvas.width]
        picture = self.autoencoder.decode(latents)[0, :, :height, :width].clamp(-1, 1).cpu()
        return picture.mean(dim=0, keepdim=True) if self.is_grey else picture
