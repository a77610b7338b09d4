"""A head for the denoiser that tells how far off each coefficient of its x_0 estimate is, and its training."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from pickle import UnpicklingError
from time import perf_counter

import torch
from torch import Tensor, nn
from torch.nn import functional

from diffcodec.config import UNetConfig
from diffcodec.diffusion.denoiser import Denoiser, alpha_sigma
from diffcodec.errors import ConfigError
from diffcodec.training.data import Batches
from step_variances.transforms import COLOUR_DCT, BlockDct, change_colours

Loss = Callable[[Tensor, Tensor, Tensor], Tensor]


class VarianceHead(nn.Module):
    """The log-variance of every coefficient of the block DCT over 3-point colour DCT, from the network's last features.

    One strided convolution sees a block's features, is modulated by the noise level, and a perceptron follows.

    Args:
        channels: of the features.
        embedding_channels: of the embedded noise level.
        hidden: width.
        block: side of a block of the DCT.
    """

    def __init__(self, channels: int, embedding_channels: int, *, hidden: int = 128, block: int = 8) -> None:
        super().__init__()
        self.block = block
        self.conv = nn.Conv2d(channels, hidden, block, stride=block)
        self.e = nn.Linear(embedding_channels, 2 * hidden)  # scale and shift
        self.mid = nn.Conv2d(hidden, hidden, 1)
        self.out = nn.Conv2d(hidden, 3 * block**2, 1)
        self.base = nn.Linear(embedding_channels, 3 * block**2)  # what the noise level alone says
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.base.weight)

    def forward(self, features: Tensor, embedding: Tensor) -> Tensor:
        """(B, channels, H, W) and (B, embedding_channels) -> (B, 3, H, W), coefficients placed as by `BlockDct`."""
        scale, shift = self.e(embedding)[:, :, None, None].chunk(2, dim=1)
        h = self.conv(features).permute(0, 2, 3, 1)
        h = functional.layer_norm(h, h.shape[-1:]).permute(0, 3, 1, 2) * (1 + scale) + shift
        h = h + self.mid(functional.silu(h))
        log_variance = self.out(functional.silu(h)) + self.base(embedding)[:, :, None, None]
        return functional.pixel_shuffle(log_variance, self.block)


def make_head(denoiser: Denoiser, *, block: int, hidden: int = 128) -> VarianceHead:
    """A head that fits the denoiser.

    Raises:
        ConfigError: if its network has no full-resolution branch.
    """
    network = denoiser.config.network
    if not isinstance(network, UNetConfig) or not network.full_resolution_channels:
        raise ConfigError("a variance head needs a network with a full-resolution branch")
    return VarianceHead(network.full_resolution_channels, network.embedding_channels, hidden=hidden, block=block)


def load_head(denoiser: Denoiser, path: Path) -> VarianceHead:
    """A head whose weights were saved with `torch.save(head.state_dict(), path)`.

    Raises:
        ConfigError: if the file cannot be read, or holds no head for this denoiser.
    """
    try:
        weights = torch.load(path, weights_only=True)
        hidden, _, block, _ = weights["conv.weight"].shape
        head = make_head(denoiser, block=block, hidden=hidden)
        head.load_state_dict(weights)
    except (OSError, UnpicklingError, KeyError, TypeError, ValueError, AttributeError, RuntimeError) as error:
        raise ConfigError(f"{path}: not the weights of a variance head for this model ({error})") from error
    return head


class Observer:
    """The denoiser as it is, with its last features and its embedding of the noise level.

    Args:
        denoiser: is not changed, apart from two hooks.
    """

    def __init__(self, denoiser: Denoiser) -> None:
        self.denoiser = denoiser
        self._seen: dict[str, Tensor] = {}
        for name in ("norm", "embedding"):
            layer = denoiser.network.get_submodule(name)
            layer.register_forward_hook(lambda _, __, output, name=name: self._seen.__setitem__(name, output))

    @torch.no_grad()
    def __call__(self, x_t: Tensor, log_snr: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The clipped x_0 estimate (B, 3, H, W), features (B, channels, H, W) and embedding (B, embedding_channels)."""
        estimate = self.denoiser.predict_x_0(x_t, log_snr).clamp(-1, 1)
        return estimate, functional.silu(self._seen["norm"]), self._seen["embedding"]


def step_rate(log_variance: Tensor, squares: Tensor, log_snr: Tensor) -> Tensor:
    """What a coefficient costs in a step, in nats, less a constant: the KL of steps of random length.

    1/2 [ln(1 + g v) + (g e^2 - g v) / (1 + g v)], where g is the SNR times e^-1 to e^2, drawn for each picture. With
    large g it is the negative log-likelihood.

    Args:
        log_variance: ln v, (B, 3, H, W).
        squares: e^2, (B, 3, H, W).
        log_snr: (B,).
    """
    log_gap = (log_snr + 3 * torch.rand_like(log_snr) - 1)[:, None, None, None]
    growth = log_gap + log_variance
    wrong = log_gap.exp() * squares - growth.exp()
    return 0.5 * (functional.softplus(growth) + wrong / (1 + growth.exp())).mean()


def negative_log_likelihood(log_variance: Tensor, squares: Tensor, log_snr: Tensor) -> Tensor:
    """1/2 [ln v + e^2 / v], in nats a coefficient; arguments as for `step_rate`, the last is not used."""
    return 0.5 * (log_variance + squares * (-log_variance).exp()).mean()


LOSSES: dict[str, Loss] = {"rate": step_rate, "nll": negative_log_likelihood}


def train_head(
    denoiser: Denoiser,
    images: Tensor,
    *,
    seconds: float,
    block: int = 8,
    loss: Loss = step_rate,
    batch_size: int = 64,
    learning_rate: float = 2e-3,
    seed: int = 0,
    progress: Callable[[float, float], None] = lambda elapsed, loss: None,
) -> VarianceHead:
    """Train a head while the network stays as it is: AdamW, cosine decay to the end of the time.

    Args:
        denoiser: the network.
        images: (N, 3, H, W), uint8.
        seconds: how long.
        block: side of a block of the DCT.
        loss: in nats a coefficient.
        batch_size: images in a batch; their log SNRs are spread evenly over the model's range.
        learning_rate: at the top.
        seed: of everything.
        progress: told seconds and loss after every batch.
    """
    torch.manual_seed(seed)
    head, observe, transform = make_head(denoiser, block=block), Observer(denoiser), BlockDct(block)
    optimiser = torch.optim.AdamW(head.parameters(), lr=learning_rate, weight_decay=0)
    low, high = denoiser.config.log_snr_min, denoiser.config.log_snr_max
    begin = perf_counter()
    for step, x_0 in enumerate(Batches(images, batch_size, flips=True, seed=seed), start=1):
        elapsed = perf_counter() - begin
        if elapsed >= seconds:
            break
        for group in optimiser.param_groups:
            group["lr"] = learning_rate * min(1, step / 50) * 0.5 * (1 + math.cos(math.pi * elapsed / seconds))
        log_snr = low + (high - low) * (torch.arange(batch_size) + torch.rand(())) / batch_size
        alpha, sigma = alpha_sigma(log_snr)
        estimate, features, embedding = observe(alpha * x_0 + sigma * torch.randn_like(x_0), log_snr)
        error = torch.from_numpy(transform(change_colours(COLOUR_DCT, (x_0 - estimate).numpy())))
        value = loss(head(features, embedding), error**2, log_snr)
        optimiser.zero_grad()
        value.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(head.parameters(), 1.0)
        optimiser.step()
        progress(elapsed, float(value.detach()))
    return head
