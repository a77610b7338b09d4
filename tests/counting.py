"""A network that counts its evaluations."""

from __future__ import annotations

from torch import Tensor

from diffcodec.codec import DiffusionCodec
from diffcodec.diffusion.denoiser import Denoiser
from diffcodec.model.checkpoint import Checkpoint


class CountingDenoiser(Denoiser):
    """Keeps the batch size of every evaluation."""

    def __init__(self, checkpoint: Checkpoint) -> None:
        super().__init__(checkpoint.config)
        self.load_state_dict(checkpoint.denoiser().state_dict())
        self.eval().requires_grad_(False)
        self.batches: list[int] = []

    def predict_x_0(self, x_t: Tensor, log_snr: Tensor) -> Tensor:
        self.batches.append(len(x_t))
        return super().predict_x_0(x_t, log_snr)

    def batch_sizes(self) -> list[int]:
        """The batch sizes of all evaluations since the last call."""
        sizes, self.batches = self.batches, []
        return sizes


def counting(checkpoint: Checkpoint) -> tuple[DiffusionCodec, CountingDenoiser]:
    """A codec for small pictures, which are evaluated in one piece, and its network."""
    denoiser = CountingDenoiser(checkpoint)
    return DiffusionCodec(checkpoint, denoiser=denoiser), denoiser
