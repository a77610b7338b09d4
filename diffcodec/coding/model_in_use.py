"""A model with its network, ready to encode and decode."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cached_property

import torch

from diffcodec.bitstream.container import ColourMode
from diffcodec.channel import Channel
from diffcodec.coding.canvas import Canvas, kinds_of
from diffcodec.coding.context import StreamContext
from diffcodec.coding.latent_signals import LatentPictures
from diffcodec.coding.matching import canvas_of, check_channels, check_colour, colour_of, stream_context
from diffcodec.coding.signals import PICTURES, Signal
from diffcodec.coding.stream import ParsedStream
from diffcodec.coding.trajectory import CodecContext
from diffcodec.config import Precision
from diffcodec.devices import device_of
from diffcodec.diffusion.denoiser import Denoiser
from diffcodec.errors import ConfigError
from diffcodec.images import Picture
from diffcodec.latent.autoencoder import Autoencoder
from diffcodec.model.checkpoint import Checkpoint
from diffcodec.model.description import ModelDescription
from diffcodec.model.evaluation_profile import FLOAT32
from diffcodec.model.latent import LatentModel
from diffcodec.model.precision import check_precision, levels_in_bf16
from diffcodec.model.tables import CodecTables
from diffcodec.model.weight_versions import WeightVersions


class ModelInUse:
    """Network and tables of a codec. Arguments and exceptions are those of `DiffusionCodec`, its subclass."""

    def __init__(
        self,
        checkpoint: Checkpoint,
        *,
        device: str | torch.device = "cpu",
        denoiser: Denoiser | None = None,
        precision: Precision = "auto",
    ) -> None:
        check_channels(checkpoint.config, checkpoint.card.name)
        check_precision(precision)
        self._loaded, self._is_given = checkpoint, denoiser is not None
        self.denoiser = checkpoint.denoiser(device, precision) if denoiser is None else checkpoint.fitting(denoiser)
        self.precision: Precision = precision
        self._versions = WeightVersions(self.denoiser.weights())

    @cached_property
    def checkpoint(self) -> Checkpoint:
        """The model, with the weights of the network in use."""
        return self._loaded.with_weights_of(self.denoiser) if self._is_given else self._loaded

    @cached_property
    def model(self) -> ModelDescription:
        """The model without its weights."""
        return self.checkpoint.description

    @cached_property
    def _autoencoder(self) -> Autoencoder:
        """Of a latent model."""
        assert isinstance(self.checkpoint, LatentModel)
        return self.checkpoint.autoencoder(self.device)

    @property
    def tables(self) -> CodecTables:
        """The integer tables that bitstreams depend on."""
        return self.model.tables

    @property
    def fingerprint(self) -> bytes:
        """The model's fingerprint, as stored in streams."""
        return self.model.fingerprint

    @property
    def is_calibrated(self) -> bool:
        """Whether the model has its own tables; without them files are larger, and lossless files impossible."""
        return self.model.is_calibrated

    @property
    def device(self) -> torch.device:
        """The network's device."""
        return device_of(self.denoiser)

    def canvas_for(self, picture: Picture) -> Canvas:
        """Geometry of pictures of this size and colour mode.

        Raises:
            ConfigError: if the model is for grey pictures, and this is none.
        """
        check_colour(self.model, picture)
        return canvas_of(self.model, colour_of(picture), picture.width, picture.height)

    def context_for(
        self, picture: Picture, channel: Channel, *, seed: int = 0, level_list: int | None = None, exact: bool = False
    ) -> CodecContext:
        """The context of an `Encoder` for pictures of one size and colour mode, with any channel.

        Args:
            picture: one of these pictures.
            channel: simulates the samples.
            seed: of the shared randomness.
            level_list: index in the tables, as in the files' headers; None: the default list for this size.
            exact: whether the files are lossless.

        Raises:
            ConfigError: if the network's weights have changed.
        """
        self._check_weights()
        if level_list is None:
            level_list = self.tables.list_for(picture.width * picture.height)
        return self._context(StreamContext(self.tables, self.canvas_for(picture), channel, seed, level_list), exact)

    def contexts_of(self, streams: Iterable[ParsedStream], own: Channel | None = None) -> list[CodecContext]:
        """The contexts of `Decoder`s for streams.

        Args:
            streams: parsed.
            own: the channel of streams whose channel is not part of diffcodec.

        Raises:
            ModelMismatchError: if another model made one.
            StreamError: if a header needs something that the model or this release does not have.
            ConfigError: if the network's weights have changed.
        """
        self._check_weights()
        return [self._context(stream_context(self.model, each, own), each.is_from_lossless) for each in streams]

    def _check_weights(self) -> None:
        """The weights must still be those of the fingerprint."""
        if not self._versions.are_those_of(self.denoiser.weights()):
            raise ConfigError(
                "the network's weights have changed since this codec was made, so files would not fit their "
                "fingerprint: make a new codec"
            )

    def _context(self, known: StreamContext, exact: bool) -> CodecContext:
        profile = self.checkpoint.profile
        half = FLOAT32 if exact else levels_in_bf16(self.precision, profile, self.device)
        signal: Signal
        if isinstance(self.checkpoint, LatentModel):
            kind = known.canvas.kind
            is_grey = kind == kinds_of(self.checkpoint.config)[ColourMode.L]
            signal = LatentPictures(kind, self._autoencoder, is_grey=is_grey)
        else:
            signal = PICTURES[known.canvas.kind]
        return CodecContext(
            known.tables,
            known.canvas,
            known.channel,
            known.seed,
            known.level_list,
            self.denoiser,
            signal,
            half,
            profile,
        )
