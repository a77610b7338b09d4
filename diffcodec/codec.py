"""The codec's main API: compress, decompress, progressive, truncate.

Encoder and decoder share the network and a seed. For every noise level of a static list the encoder conveys one
sample of q(x_s | x_t, x_0) to the decoder, which only knows p(x_s | x_t) (Ho et al. 2020, algorithms 3 and 4), so
both hold the same x_s. Parsing never depends on a network's floats: docs/method.md, "Why it is safe".
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Sequence
from pathlib import Path
from typing import TypedDict, Unpack

import torch

from diffcodec.channel import Channel, ChannelId, TrellisChannel, make_channel
from diffcodec.channel.device_search import DeviceSearch
from diffcodec.coding.canvas import Canvas
from diffcodec.coding.decoder import Decoder
from diffcodec.coding.encoder import Encoder
from diffcodec.coding.matching import canvas_of, check_channels, colour_of, header_of, stream_context
from diffcodec.coding.options import (
    CompressionSettings,
    CompressOptions,
    DecompressionSettings,
    DecompressOptions,
    as_batch,
    as_integer,
)
from diffcodec.coding.reconstruction import Reconstruction
from diffcodec.coding.report import Bitstream, Restoration, Stopwatch
from diffcodec.coding.signals import PICTURES
from diffcodec.coding.stream import STREAM_TYPES, ParsedStream, Stream, parsed
from diffcodec.coding.target_search import compress_to
from diffcodec.coding.trajectory import CodecContext
from diffcodec.coding.truncation import truncate
from diffcodec.config import PRECISIONS, Precision
from diffcodec.devices import device_of, has_fast_bf16
from diffcodec.diffusion.denoiser import Denoiser
from diffcodec.errors import ConfigError
from diffcodec.images.picture import Picture, check_picture
from diffcodec.model.checkpoint import Checkpoint, load_checkpoint
from diffcodec.model.description import find_bundled
from diffcodec.model.evaluation_profile import BFLOAT16, FLOAT32, EvaluationProfile
from diffcodec.model.locations import DEFAULT_MODEL, default_model
from diffcodec.model.tables import CodecTables


class EvaluationOptions(TypedDict, total=False):
    """Where and how networks are evaluated: described in `DiffusionCodec`."""

    device: str | torch.device
    precision: Precision


class DiffusionCodec:
    """Compresses pictures with a trained diffusion model.

    Args:
        checkpoint: a model. An uncalibrated one runs with equal variances of q and p, and with generic tables, see
            `is_calibrated`.
        device: where the network runs.
        denoiser: the network to use instead of one made from the checkpoint. It stays on its device.
        precision: of network evaluations: `fp32`, `bf16`, or `auto`: bf16 where the device multiplies such numbers
            in hardware and the model's calibration found the rounding error negligible. Files do not depend on it,
            and lossless files (t = 0) are always made and read in fp32.

    Raises:
        CheckpointError: if the model is not for colour pictures.
        ConfigError: if there is no such precision or device.
    """

    def __init__(
        self,
        checkpoint: Checkpoint,
        *,
        device: str | torch.device = "cpu",
        denoiser: Denoiser | None = None,
        precision: Precision = "auto",
    ) -> None:
        check_channels(checkpoint.config, checkpoint.card.name)
        if precision not in PRECISIONS:
            raise ConfigError(f"precision: expected one of {', '.join(PRECISIONS)}, found {precision!r}")
        self.checkpoint, self.model = checkpoint, checkpoint.description
        self.denoiser = denoiser if denoiser is not None else checkpoint.denoiser(device)
        self.precision: Precision = precision

    @classmethod
    def from_pretrained(
        cls, model: str | Path | None = None, *, allow_pickle: bool = False, **evaluation: Unpack[EvaluationOptions]
    ) -> DiffusionCodec:
        """Load a model, bundled or not.

        Args:
            model: as for `load_checkpoint`; None: the bundled model for pictures of up to 64 x 64, see `for_size`.
            allow_pickle: see `load_checkpoint`.
            evaluation: `device` and `precision`, see `DiffusionCodec`.

        Raises:
            CheckpointError: if there is no such model, or it is damaged.
            ConfigError: as `DiffusionCodec`.
        """
        return cls(load_checkpoint(model or DEFAULT_MODEL, allow_pickle=allow_pickle), **evaluation)

    @classmethod
    def for_size(cls, width: int, height: int, **evaluation: Unpack[EvaluationOptions]) -> DiffusionCodec:
        """Load the bundled model for pictures of a size in pixels: CIFAR-10's up to 64 x 64, else the photo model.

        Raises:
            ConfigError: if a side is not an integer of at least 1, or as `DiffusionCodec`.
        """
        sides = as_integer("width", width, least=1), as_integer("height", height, least=1)
        return cls(load_checkpoint(default_model(*sides)), **evaluation)

    @classmethod
    def for_stream(cls, stream: Stream, **evaluation: Unpack[EvaluationOptions]) -> DiffusionCodec:
        """Load the bundled model that made a stream.

        Raises:
            StreamError: if it is not a .dfc stream.
            ModelMismatchError: if no bundled model made it.
        """
        made = parsed(stream, DecompressionSettings(partial=True))
        return cls(load_checkpoint(find_bundled(made.header.fingerprint, made.name)), **evaluation)

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

    def compress(self, picture: Picture, **options: Unpack[CompressOptions]) -> Bitstream:
        """Compress one picture.

        Args:
            picture: any size, RGB or grey, with or without alpha (kept losslessly).
            options: see `CompressionSettings`.

        Raises:
            ConfigError: if an option is out of range, or the picture is not a `Picture`.
            TargetError: if no file meets the target.
        """
        return self.compress_batch([picture], **options)[0]

    def compress_batch(self, pictures: Sequence[Picture], **options: Unpack[CompressOptions]) -> list[Bitstream]:
        """Compress pictures of one size and colour mode together, otherwise as `compress`.

        With a target every picture ends at its own timestep, so they are compressed one after another.

        Raises:
            ConfigError: if an option is out of range, or the pictures differ in size or mode.
            TargetError: if no file of one of them meets the target.
        """
        settings = CompressionSettings(**options)
        pictures = as_batch("pictures", pictures, Picture, "compress")
        for picture in pictures:
            check_picture(picture)
        if not pictures:
            return []
        header = header_of(self.model, pictures, settings)
        context = self.context_for(
            pictures[0], self._channel(settings), seed=settings.seed, steps=settings.steps, exact=header.timestep == 0
        )
        if settings.target is not None:
            return compress_to(settings.target, context, pictures, header, restore=settings.measure)
        encoder = Encoder(context, Stopwatch())
        if header.timestep == 0:
            encoded = encoder.encode_exactly(pictures, header, may_store=settings.may_store)
        else:
            encoded = encoder.encode(pictures, header, restore=settings.measure)
        share = encoder.watch.share(len(pictures))
        return [each.bitstream(picture, share) for each, picture in zip(encoded, pictures, strict=True)]

    def _channel(self, settings: CompressionSettings) -> Channel:
        if settings.channel_id is ChannelId.TRELLIS and self.device.type != "cpu":
            return TrellisChannel(settings.path_effort, DeviceSearch(self.device))
        return make_channel(settings.channel_id, settings.path_effort)

    def decompress(self, stream: Stream, **options: Unpack[DecompressOptions]) -> Restoration:
        """Restore a picture.

        Args:
            stream: a result of `compress`, the bytes of a .dfc file, or a parsed stream.
            options: see `DecompressionSettings`.

        Returns:
            The picture, and the step and timestep that the stream reached.

        Raises:
            StreamError: if the stream is damaged or cut (without `partial`, or inside its header), or made by another
                model.
            ConfigError: if `timestep` is finer than the stream, or there is no such reconstruction.
        """
        return self.decompress_batch([parsed(stream, DecompressionSettings(**options))], **options)[0]

    def decompress_batch(self, streams: Sequence[Stream], **options: Unpack[DecompressOptions]) -> list[Restoration]:
        """Restore several pictures. Those of one size that end at one level are restored together, which halves the
        time of small ones. Pictures do not depend on the rest of the batch.

        Args:
            streams: any mixture of sizes and end levels.
            options: see `DecompressionSettings`.

        Raises:
            StreamError, ConfigError: as `decompress`.
        """
        settings = DecompressionSettings(**options)
        given = as_batch("streams", streams, STREAM_TYPES, "decompress")
        count = len(given)
        known = [parsed(stream, settings, f"stream {k} of {count}") for k, stream in enumerate(given, 1)]
        contexts = [self._context_of(stream) for stream in known]
        alike: dict[Hashable, list[int]] = {}
        for place, stream in enumerate(known):
            # Cut streams end at different steps.
            alike.setdefault((stream.batch_key, None if stream.is_complete else place), []).append(place)
        found: dict[int, Restoration] = {}
        for places in alike.values():
            group = [known[place] for place in places]
            decoder = Decoder(contexts[places[0]], group, Reconstruction.of(settings.reconstruction), Stopwatch())
            found.update(zip(places, decoder.restore(settings.timestep), strict=True))
        return [found[place] for place in range(count)]

    def progressive(self, stream: Stream, **options: Unpack[DecompressOptions]) -> Iterator[Restoration]:
        """Restore every prefix of a stream, from coarse to fine, one restoration per step.

        Args:
            stream: as for `decompress`.
            options: see `DecompressionSettings`. Reconstructions other than `mean` start anew at every step. With
                `partial`, a cut stream ends with its last complete step, or, if it has none, with a picture made from
                pure noise.

        Raises:
            StreamError: as `decompress`.
            ConfigError: if there is no such reconstruction, or a timestep is given.
        """
        settings = DecompressionSettings(**options)
        if settings.timestep is not None:
            raise ConfigError("timestep: progressive restores every step and takes no timestep")
        known = parsed(stream, settings)
        how = Reconstruction.of(settings.reconstruction)
        return (each[0] for each in Decoder(self._context_of(known), [known], how, Stopwatch()).progressive())

    def truncate(self, stream: Stream, max_bytes: int, *, keep_metadata: bool = True) -> bytes:
        """Shorten a file without re-encoding. `coding.truncation.truncate` does the same without codec and network."""
        known = parsed(stream, DecompressionSettings())
        return truncate(known, self.model, as_integer("max_bytes", max_bytes), keep_metadata=keep_metadata)

    def canvas_for(self, picture: Picture) -> Canvas:
        """Geometry of pictures of this size and colour mode."""
        return canvas_of(self.model, colour_of(picture), picture.width, picture.height)

    def context_for(
        self, picture: Picture, channel: Channel, *, seed: int = 0, steps: int | None = None, exact: bool = False
    ) -> CodecContext:
        """The context of an `Encoder` for pictures of one size and colour mode, with any channel.

        Args:
            picture: one of these pictures.
            channel: simulates the samples.
            seed: of the shared randomness.
            steps: see `CompressionSettings`.
            exact: whether the files are lossless.
        """
        level_list = self.tables.list_for(picture.width * picture.height, steps)
        signal = PICTURES[colour_of(picture)]
        canvas = self.canvas_for(picture)
        half = FLOAT32 if exact else self._half_precision
        return CodecContext(self.tables, canvas, channel, seed, level_list, self.denoiser, signal, half)

    def _context_of(self, stream: ParsedStream) -> CodecContext:
        known, signal = stream_context(self.model, stream), PICTURES[stream.header.colour]
        half = FLOAT32 if stream.is_from_lossless else self._half_precision
        return CodecContext(
            known.tables, known.canvas, known.channel, known.seed, known.level_list, self.denoiser, signal, half
        )

    @property
    def _half_precision(self) -> EvaluationProfile:
        """The levels of lossy files at which the network is evaluated in bfloat16."""
        if self.precision == "auto":
            return self.checkpoint.profile if has_fast_bf16(self.device) else FLOAT32
        return BFLOAT16 if self.precision == "bf16" else FLOAT32
