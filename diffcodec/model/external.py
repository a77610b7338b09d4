"""Models whose network is an object in memory: a module or a function of the caller's own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, TypedDict

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from diffcodec.config import ExternalNetworkConfig, ModelConfig, Precision, PredictionKind, ScheduleConfig
from diffcodec.devices import check_device
from diffcodec.diffusers_format.objects import read_objects
from diffcodec.diffusers_format.reading import Pipeline
from diffcodec.diffusion.betas import full_range_model
from diffcodec.diffusion.denoiser import Denoiser
from diffcodec.diffusion.external import ExternalNetwork, Predictor
from diffcodec.errors import CheckpointError, ConfigError, WrongTypeError, kind_of
from diffcodec.model.checkpoint import Checkpoint
from diffcodec.model.living import LivingModel
from diffcodec.model.model_file import ModelCard
from diffcodec.model.tables import CodecTables

Schedule = ScheduleConfig | Sequence[float] | NDArray[np.floating[Any]] | Tensor
"""A noise schedule: its configuration, or the betas of timesteps 1 to T, (T,)."""

PREDICTIONS: dict[str, PredictionKind] = {"eps": "eps", "x_0": "x0", "v": "v"}
"""Names of predictions, and what configurations call them."""


class PredictorOptions(TypedDict, total=False):
    """Options of `DiffusionCodec.from_noise_predictor`, described in `PredictorSettings`."""

    prediction: Literal["eps", "x_0", "v"]
    conditioning: Literal["timestep", "log_snr"]
    stride: int
    image_channels: int
    name: str
    tables: CodecTables | None


@dataclass(frozen=True)
class PredictorSettings:
    """What a predictor takes and returns.

    Args:
        prediction: what it returns: the noise `eps`, the image `x_0`, or `v = alpha eps - sigma x_0`.
        conditioning: its second argument, (B,): `timestep`, an int64 from 0 (the least noise) to T - 1, or `log_snr`,
            the natural logarithm of alpha^2 / sigma^2.
        stride: height and width of x_t are multiples of this, in pixels: 2^n for a network that halves them n times.
        image_channels: 3 for colour pictures, 1 for a network of grey ones.
        name: becomes part of the fingerprint. A function must have one: its weights cannot be seen, so whoever reads
            its files needs the same function under the same name, and another function needs another name.
        tables: of a calibration; None: default tables.

    Raises:
        ConfigError: if a value is not one of these.
    """

    prediction: Literal["eps", "x_0", "v"] = "eps"
    conditioning: Literal["timestep", "log_snr"] = "timestep"
    stride: int = 8
    image_channels: int = 3
    name: str = ""
    tables: CodecTables | None = None

    def __post_init__(self) -> None:
        if self.prediction not in PREDICTIONS:
            raise ConfigError(f"prediction: expected one of {', '.join(PREDICTIONS)}, found {self.prediction!r}")
        for name, kind in (("stride", int), ("image_channels", int), ("name", str)):
            if not isinstance(value := getattr(self, name), kind):
                raise WrongTypeError(f"{name}: expected {kind.__name__}, found {kind_of(value)}")
        if self.tables is not None and not isinstance(self.tables, CodecTables):
            raise WrongTypeError(f"tables: expected CodecTables, found {kind_of(self.tables)}")

    @property
    def network(self) -> ExternalNetworkConfig:
        """The network's configuration."""
        return ExternalNetworkConfig(
            image_channels=self.image_channels, stride=self.stride, conditioning=self.conditioning, name=self.name
        )


@dataclass(frozen=True)
class ExternalModel(LivingModel):
    """A model whose network is an object in memory. `weights` are the module's own tensors, not copies.

    Args:
        network: the network.
    """

    network: ExternalNetwork = field(kw_only=True, repr=False, compare=False)

    @classmethod
    def of_predictor(cls, function: Any, schedule: Schedule, settings: PredictorSettings) -> ExternalModel:
        """The model of a module or function.

        Raises:
            WrongTypeError: if it cannot be called, or the schedule is of another type.
            ConfigError: if a function has no name, or the schedule is invalid.
            CheckpointError: if the module's state holds other things than tensors.
        """
        predictor = Predictor.of(function)
        if predictor.module is None and not settings.name:
            raise ConfigError(
                "name: expected one for a function, whose weights cannot be seen: files that it makes can be read only "
                "with the same function under the same name",
                parameters=["name"],
            )
        config = full_range_model(settings.network, schedule_of(schedule), PREDICTIONS[settings.prediction])
        return cls.of(predictor, config, settings.name or type(predictor.module).__name__, settings.tables)

    @classmethod
    def of(cls, predictor: Predictor, config: ModelConfig, name: str, tables: CodecTables | None) -> ExternalModel:
        """The model of a predictor.

        Args:
            predictor: the network.
            config: with an `ExternalNetworkConfig`.
            name: for messages.
            tables: its own; None: default tables.
        """
        assert isinstance(config.network, ExternalNetworkConfig)
        outputs = 2 if config.variance == "learned" else 1
        network = ExternalNetwork(predictor, config.network, outputs * config.network.image_channels)
        return cls(config, ModelCard(name, licence="its owner's"), network.weights(), tables, network=network)

    @classmethod
    def of_diffusers(cls, model: Any, scheduler: Any = None) -> Checkpoint:
        """The model of objects of diffusers; see `DiffusionCodec.from_diffusers`."""
        found, name = read_objects(model, scheduler), type(model).__name__
        if isinstance(found, Pipeline):
            return Checkpoint.of_pipeline(found, name)
        return cls.of(found.predictor, found.config, name, None)

    @property
    def device(self) -> torch.device:
        """Where the network expects its inputs; the CPU if that is not known."""
        place = self.network.predictor.place
        return torch.device("cpu") if place is None else place.device

    def denoiser(self, device: str | torch.device = "cpu", precision: Precision = "auto") -> Denoiser:
        """The network itself, with its parametrisation.

        Args:
            device: of the states; they are moved to the network's device and back where it has one.
            precision: not used: the network keeps its type of numbers.

        Raises:
            ConfigError: if there is no such device.
        """
        network = ExternalNetwork(self.network.predictor, self.network.config, self.network.out_channels)
        return Denoiser(self.config, network).to(check_device(device)).eval()

    def to_bytes(self) -> bytes:
        """Not possible.

        Raises:
            CheckpointError: always.
        """
        raise CheckpointError(
            f"{self.card.name}: its network is an object in memory, which no model file can hold: store its weights "
            "and, after a calibration, its tables"
        )


def schedule_of(schedule: Schedule) -> ScheduleConfig:
    """The configuration of a schedule.

    Raises:
        WrongTypeError: if it is none.
        ConfigError: if betas are out of range.
    """
    if isinstance(schedule, ScheduleConfig):
        return schedule
    try:
        betas = np.asarray(schedule.detach().cpu() if isinstance(schedule, Tensor) else schedule, np.float64)
    except (TypeError, ValueError) as error:
        raise WrongTypeError(f"schedule: expected a ScheduleConfig or betas, found {kind_of(schedule)}") from error
    if betas.ndim != 1:
        raise WrongTypeError(f"schedule: expected betas (T,), found {betas.shape}")
    return ScheduleConfig(steps=len(betas), kind="betas", betas=tuple(betas.tolist()))
