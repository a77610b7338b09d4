"""Our networks that `UNet2DModel` cannot express, as a component of diffusers' pipelines.

Import this module before loading a folder of such a network, written by `diffcodec export --diffusers`:

>>> import diffcodec.diffusers_model
>>> pipeline = diffusers.DDPMPipeline.from_pretrained("folder")
"""

from __future__ import annotations

from typing import Any

import torch
from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.models.modeling_utils import ModelMixin
from diffusers.models.unets.unet_2d import UNet2DOutput
from torch import Tensor

from diffcodec.config import ModelConfig
from diffcodec.diffusion.denoiser import Denoiser, alpha_sigma

__all__ = ["ConfigMixin", "DiffcodecModel", "ModelMixin"]  # diffusers looks for the bases in this module


class DiffcodecModel(ModelMixin, ConfigMixin):  # type: ignore[misc]
    """A denoiser with the interface of `UNet2DModel`.

    Args:
        model: its configuration, as JSON.
        sample_size: side of the pictures that a pipeline samples.
    """

    @register_to_config  # type: ignore[untyped-decorator]
    def __init__(self, model: dict[str, Any], sample_size: int = 32) -> None:
        super().__init__()
        config = ModelConfig.from_dict(dict(model))
        self.denoiser = Denoiser(config)
        self.register_to_config(in_channels=config.network.image_channels)  # pipelines read it

    def forward(
        self, sample: Tensor, timestep: Tensor | float, return_dict: bool = True
    ) -> UNet2DOutput | tuple[Tensor]:
        """The noise in pictures and, if variances are learned, the variance mix (-1 to 1).

        Args:
            sample: x_t, (B, C, H, W).
            timestep: one for all, or (B,), from 0 to T - 1 as in diffusers.
            return_dict: whether to return an object, as is usual in diffusers.

        Returns:
            `sample`: (B, C, H, W), or (B, 2 C, H, W) with variances.
        """
        t = torch.as_tensor(timestep, device=sample.device).reshape(-1).expand(len(sample)).long() + 1
        log_snr = torch.from_numpy(self.denoiser.schedule.log_snr)[t.cpu()].float().to(sample.device)
        estimate = self.denoiser.estimate(sample.float(), log_snr)
        alpha, sigma = alpha_sigma(log_snr)
        answer = (sample - alpha * estimate.x_0) / sigma
        if estimate.variance_mix is not None:
            answer = torch.cat([answer, 2 * estimate.variance_mix - 1], dim=1)
        answer = answer.to(sample.dtype)
        return UNet2DOutput(sample=answer) if return_dict else (answer,)
