"""Inception features of pictures, for FID and the Inception score.

The network and both metrics are torch-fidelity's. Its Inception has the weights and the resizing of the original
TensorFlow graph, on which the published figures depend; it loads weights from a local file; and its metrics are
functions of features and of statistics, which suits batches of pictures and cached statistics. Alternatives:
torchmetrics uses torch-fidelity's Inception, and keeps sums in a module. clean-fid by default resizes with an
antialiasing filter, always downloads its weights, and has no Inception score.
"""

from __future__ import annotations

import hashlib
import io
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from diffcodec.devices import full_precision
from diffcodec.errors import CheckpointError, ConfigError
from diffcodec.evaluation.provenance import versions
from diffcodec.images import Picture

if TYPE_CHECKING:
    from torch_fidelity import FeatureExtractorBase

INCEPTION_VARIABLE = "DIFFCODEC_INCEPTION"
"""Environment variable that names the file of the Inception weights."""


@dataclass(frozen=True)
class Features:
    """Outputs of a network for a batch of pictures, on the CPU.

    Args:
        pooled: (B, D), float32, of which FID compares mean and covariance; D is 2048 for Inception.
        logits: (B, classes), float32, for the Inception score.
    """

    pooled: Tensor
    logits: Tensor


class FeatureExtractor:
    """A network of torch-fidelity, with the outputs for its metrics.

    Args:
        network: made with only the default layers for `fid` and `isc`, in this order.
        device: to which it is moved.
    """

    def __init__(self, network: FeatureExtractorBase, device: str | torch.device = "cpu") -> None:
        self.device = torch.device(device)
        self.network = network.eval().requires_grad_(False).to(self.device)

    @cached_property
    def digest(self) -> str:
        """The first 16 hex digits of a SHA-256 of the network's kind, its weights and the library's version."""
        kind = [type(self.network).__name__, self.network.get_requested_features_list(), versions(["torch-fidelity"])]
        digest = hashlib.sha256(repr(kind).encode())
        for name, value in sorted(self.network.state_dict().items()):
            digest.update(f"{name} {tuple(value.shape)} {value.dtype}".encode())
            digest.update(value.cpu().contiguous().numpy().tobytes())
        return digest.hexdigest()[:16]

    @torch.no_grad()
    def __call__(self, images: Tensor) -> Features:
        """Features of images, uint8, (B, 3, H, W), of any size."""
        with full_precision(self.device):
            pooled, logits = self.network(images.to(self.device))
        return Features(pooled.float().cpu(), logits.float().cpu())


def load_inception(weights: Path | None = None, *, device: str | torch.device = "cpu") -> FeatureExtractor:
    """The Inception network of the published figures.

    Args:
        weights: file of the weights; None: that of `inception_file`.
        device: of the network.

    Raises:
        ConfigError: if torch-fidelity is missing, or the weights are missing and cannot be downloaded.
        CheckpointError: if the file does not hold exactly these weights.
    """
    try:
        from torch_fidelity import FeatureExtractorInceptionV3
    except ImportError as error:
        raise ConfigError(
            f"FID and Inception score need torch-fidelity ({error}): pip install 'diffcodec[bench]'"
        ) from error
    path = weights if weights is not None else inception_file()
    try:
        data = path.read_bytes()
    except OSError as error:
        raise CheckpointError(f"{path}: cannot be read ({error.strerror or error})") from error
    expected = f"expected the weights of torch-fidelity's Inception, which are at {_inception_url()}"
    try:
        # The library unpickles without restrictions, so check first that the pickle holds only tensors.
        torch.load(io.BytesIO(data), weights_only=True, map_location="cpu")
    except Exception as error:  # unpickling raises almost anything
        raise CheckpointError(f"{path}: {expected}; found no PyTorch file of tensors") from error
    kind = FeatureExtractorInceptionV3
    layers = [kind.get_default_feature_layer_for_metric(metric) for metric in ("fid", "isc")]
    try:
        network = kind("inception-v3-compat", layers, feature_extractor_weights_path=io.BytesIO(data))
    except (RuntimeError, TypeError, AttributeError) as error:
        reason = "; ".join(line.strip() for line in str(error).splitlines()[:2])
        raise CheckpointError(f"{path}: {expected}; found other weights ({reason[:200]})") from error
    return FeatureExtractor(network, device)


def inception_file() -> Path:
    """The file of the Inception weights in torch.hub's cache; downloaded if necessary.

    Raises:
        ConfigError: if it cannot be downloaded.
    """
    url = _inception_url()
    path = Path(torch.hub.get_dir()) / "checkpoints" / url.rsplit("/", 1)[1]
    if not path.exists():
        try:
            os.makedirs(path.parent, exist_ok=True)
            torch.hub.download_url_to_file(url, str(path), progress=True)
        except OSError as error:  # includes errors of the network
            raise ConfigError(
                f"the Inception weights are not at {path} and cannot be downloaded ({error}): download {url} elsewhere "
                f"and name the file, or set {INCEPTION_VARIABLE}",
                parameters=["inception"],
            ) from error
    return path


def image_batches(pictures: Iterable[Picture], batch_size: int) -> Iterator[Tensor]:
    """Pictures as uint8 batches (B, 3, H, W), in order; grey ones get three channels, alpha planes are omitted.

    Args:
        pictures: read one by one; at most one batch is in memory.
        batch_size: pictures in a batch; a batch ends early where the size of the pictures changes.
    """
    for _, run in groupby(pictures, key=lambda picture: (picture.height, picture.width)):
        batch: list[np.ndarray] = []
        for picture in run:
            pixels = picture.pixels
            batch.append(pixels if pixels.ndim == 3 else np.repeat(pixels[..., None], 3, axis=2))
            if len(batch) == batch_size:
                yield _to_tensor(batch)
                batch = []
        if batch:
            yield _to_tensor(batch)


def _to_tensor(batch: list[np.ndarray]) -> Tensor:
    return torch.from_numpy(np.stack(batch).transpose(0, 3, 1, 2).copy())


def _inception_url() -> str:
    from torch_fidelity.feature_extractor_inceptionv3 import URL_INCEPTION_V3

    return str(URL_INCEPTION_V3)
