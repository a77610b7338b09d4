"""The signal of latent diffusion models: pictures as the latents of an autoencoder."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from diffcodec.coding.canvas import Canvas, SignalKind
from diffcodec.coding.reconstruction import ReconstructionKind
from diffcodec.coding.signals import ColourPictures
from diffcodec.images import to_unit
from diffcodec.latent.autoencoder import Autoencoder
from diffcodec.model.tables import LATENT_UNIT, CodecTables


class LatentPictures(ColourPictures):
    """Latents of an autoencoder; all channels are coded. Grey pictures are encoded as colour ones.

    Args:
        kind: of the signal.
        autoencoder: from pictures to latents and back.
        is_grey: whether the pictures are grey.
    """

    def __init__(self, kind: SignalKind, autoencoder: Autoencoder, *, is_grey: bool) -> None:
        self.kind, self.autoencoder, self.is_grey = kind, autoencoder, is_grey

    def usual_reconstruction(self, log_snr: float, canvas: Canvas) -> ReconstructionKind:
        """The mean of latents looks washed out once decoded."""
        return "flow"

    def ceiling(self, x_0: Tensor, canvas: Canvas) -> NDArray[np.uint8]:
        """What the autoencoder makes of its own latents."""
        return self.to_pixels(x_0, canvas)

    def from_pixels(self, pixels: NDArray[np.uint8], canvas: Canvas) -> Tensor:
        """The latents of a picture that is mirrored at its ends up to whole latents."""
        picture = np.broadcast_to(to_unit(pixels), (3, *pixels.shape[:2]))
        scale = self.autoencoder.config.downscale
        missing = (canvas.height * scale - picture.shape[1], canvas.width * scale - picture.shape[2])
        padded = np.pad(picture, ((0, 0), (0, missing[0]), (0, missing[1])), mode="symmetric")
        x_0 = torch.zeros(canvas.shape)
        x_0[:, : canvas.height, : canvas.width] = self.autoencoder.encode(torch.from_numpy(padded)[None])[0]
        return x_0

    def start(self, tables: CodecTables) -> Tensor:
        """The mean latent; zero without a calibration."""
        mean = tables.latent_start or (0,) * self.kind.channels
        return torch.tensor(mean, dtype=torch.float32) / LATENT_UNIT

    def restrict(self, x_0: Tensor) -> Tensor:
        """All numbers are valid latents."""
        return x_0

    def _picture(self, x_0: Tensor, canvas: Canvas) -> Tensor:
        """The decoded picture within [-1, 1], cut to its size."""
        assert canvas.picture_shape is not None
        height, width = canvas.picture_shape
        decoded = self.autoencoder.decode(super()._picture(x_0, canvas)[None])[0, :, :height, :width]
        picture = decoded.clamp(-1, 1).to(x_0.dtype)
        return picture.mean(dim=0, keepdim=True) if self.is_grey else picture
