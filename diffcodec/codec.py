"""The codec's main API: compress, decompress, progressive, truncate.

Encoder and decoder share the network and a seed. For every noise level of a static list the encoder conveys one
sample of q(x_s | x_t, x_0) to the decoder, which only knows p(x_s | x_t) (Ho et al. 2020, algorithms 3 and 4), so
both hold the same x_s. Parsing never depends on a network's floats: docs/method.md, "Why it is safe".
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Unpack

import torch

from diffcodec.channel import Channel, ChannelId, TrellisChannel, make_channel
from diffcodec.channel.device_search import DeviceSearch
from diffcodec.coding.batches import compress_pictures, restore_streams
from diffcodec.coding.cost import check_work
from diffcodec.coding.decoder import Decoder
from diffcodec.coding.matching import header_of
from diffcodec.coding.model_in_use import ModelInUse
from diffcodec.coding.options import (
    CompressionSettings,
    CompressOptions,
    DecompressionSettings,
    DecompressOptions,
    as_batch,
    as_integer,
    checked_settings,
)
from diffcodec.coding.reconstruction import Reconstruction
from diffcodec.coding.report import Bitstream, Restoration, Stopwatch
from diffcodec.coding.stream import Stream, is_stream, parsed
from diffcodec.coding.truncation import truncate
from diffcodec.config import Precision
from diffcodec.devices import device_of
from diffcodec.diffusion.external import Function
from diffcodec.errors import ConfigError
from diffcodec.images import PictureLike, as_picture, is_single
from diffcodec.model.description import find_bundled
from diffcodec.model.external import ExternalModel, PredictorOptions, PredictorSettings, Schedule
from diffcodec.model.latent import LatentModel
from diffcodec.model.latent_parts import PipelineParts
from diffcodec.model.loading import load_checkpoint
from diffcodec.model.locations import DEFAULT_MODEL, default_model
from diffcodec.model.precision import EvaluationOptions


class DiffusionCodec(ModelInUse):
    """Compresses pictures with a trained diffusion model.

    Args:
        checkpoint: a model. An uncalibrated one runs with equal variances of q and p, and with generic tables, see
            `is_calibrated`.
        device: where the network runs.
        denoiser: the network to use instead of one made from the checkpoint, of the same configuration. It stays on
            its device. If its weights are others, so is the fingerprint.
        precision: of network evaluations: `fp32`, `bf16`, or `auto`: bf16 where the device multiplies such numbers
            in hardware and the model's calibration found the rounding error negligible. Files do not depend on it,
            and lossless files (t = 0) are always made and read in fp32.

    Raises:
        CheckpointError: if the model is for neither colour nor grey pictures.
        ConfigError: if there is no such precision or device, or the network has another configuration.
    """

    @classmethod
    def from_pretrained(
        cls,
        model: str | Path | None = None,
        *,
        allow_pickle: bool = False,
        tables: str | Path | None = None,
        **evaluation: Unpack[EvaluationOptions],
    ) -> DiffusionCodec:
        """Load a model, bundled or not.

        Args:
            model: as for `load_checkpoint`; None: the bundled model for pictures of up to 64 x 64, see `for_size`.
            allow_pickle, tables: see `load_checkpoint`.
            evaluation: `device` and `precision`, see `DiffusionCodec`.

        Raises:
            CheckpointError: if there is no such model, or it is damaged.
            ConfigError: as `DiffusionCodec`.
        """
        return cls(load_checkpoint(model or DEFAULT_MODEL, allow_pickle=allow_pickle, tables=tables), **evaluation)

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

    @classmethod
    def from_noise_predictor(
        cls,
        eps: Function,
        schedule: Schedule,
        *,
        device: str | torch.device | None = None,
        precision: Precision = "auto",
        **options: Unpack[PredictorOptions],
    ) -> DiffusionCodec:
        """Use a network of your own. docs/python.md has examples.

        Args:
            eps: a module, or any function, from x_t = alpha x_0 + sigma eps, (B, C, H, W), with x_0 in [-1, 1] and
                alpha^2 + sigma^2 = 1, and a noise level, (B,), to the prediction, (B, C, H, W). It must not draw random
                numbers. Modules are evaluated in evaluation mode, on their device, in their type of numbers.
            schedule: a `ScheduleConfig`, or the betas of timesteps 1 to T, (T,).
            device: of the states; None: that of the module, or the CPU.
            precision: see `DiffusionCodec`.
            options: see `PredictorSettings`.

        Raises:
            ConfigError: if an argument is invalid, or a function has no name.
            CheckpointError: if the network is for neither colour nor grey pictures.
        """
        model = ExternalModel.of_predictor(eps, schedule, PredictorSettings(**options))
        return cls(model, device=model.device if device is None else device, precision=precision)

    @classmethod
    def from_diffusers(
        cls,
        model: Any,
        scheduler: Any = None,
        *,
        device: str | torch.device | None = None,
        precision: Precision = "auto",
    ) -> DiffusionCodec:
        """Use a pipeline or a network of diffusers in memory.

        Networks that `from_pretrained` can load from a folder are copied, and their files are those of the folder. Any
        other network runs itself, as in `from_noise_predictor`.

        Args:
            model: a pipeline of a network and a scheduler, or a network.
            scheduler: the noise schedule of a network.
            device: where the network runs; None: where it is.
            precision: see `DiffusionCodec`.

        Raises:
            ConfigError: if there is no scheduler, the objects are others, or as `DiffusionCodec`.
            CheckpointError: if the model is not supported, for example because it needs a class or a text.
        """
        if getattr(model, "vae", None) is not None:
            latent = LatentModel.of_parts(PipelineParts(model))
            return cls(latent, device=latent.device if device is None else device, precision=precision)
        checkpoint = ExternalModel.of_diffusers(model, scheduler)
        where = device_of(getattr(model, "unet", model)) if device is None else device
        return cls(checkpoint, device=where, precision=precision)

    def compress(self, picture: PictureLike, **options: Unpack[CompressOptions]) -> Bitstream:
        """Compress one picture.

        Args:
            picture: any size, RGB or grey, with or without alpha (kept losslessly): a `Picture`, a Pillow image, an
                array or a tensor, see `as_picture`.
            options: see `CompressionSettings`.

        Raises:
            ConfigError: if an option is out of range, or the picture is something else.
            ImageError: if an array or a tensor has other values or another shape.
            TargetError: if no file meets the target.
        """
        return self.compress_batch([picture], **options)[0]

    def compress_batch(self, pictures: Iterable[PictureLike], **options: Unpack[CompressOptions]) -> list[Bitstream]:
        """Compress pictures of one size and colour mode together, otherwise as `compress`.

        With a target every picture ends at its own timestep, so they are compressed one after another.

        Args:
            pictures: a list, a tensor (B, C, H, W), or an array (B, H, W, C).
            options: see `CompressionSettings`.

        Raises:
            ConfigError: if an option is out of range, or the pictures differ in size or mode.
            ImageError, TargetError: as `compress`.
        """
        settings = checked_settings(CompressionSettings, options)
        known = [as_picture(each) for each in as_batch("pictures", pictures, is_single, "compress")]
        if not known:
            return []
        header = header_of(self.model, known, settings)
        # The receiver knows only the header, so the sender's context is that of the header, too.
        context = self.context_for(
            known[0],
            self._channel(settings),
            seed=header.seed,
            level_list=header.level_list,
            exact=header.timestep == 0,
        )
        return compress_pictures(context, known, header, settings)

    def _channel(self, settings: CompressionSettings) -> Channel:
        if isinstance(settings.channel, Channel):
            return settings.channel
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
            StreamError: if the stream is damaged or cut (without `partial`, or inside its header), made by another
                model, or takes more memory or work than the options allow.
            ConfigError: if `timestep` is finer than the stream, or there is no such reconstruction.
        """
        return self.decompress_batch([parsed(stream, checked_settings(DecompressionSettings, options))], **options)[0]

    def decompress_batch(self, streams: Sequence[Stream], **options: Unpack[DecompressOptions]) -> list[Restoration]:
        """Restore several pictures. Those of one size that end at one level are restored together, which is faster for
        small ones. Pictures depend on the rest of the batch only by rounding.

        Args:
            streams: any mixture of sizes and end levels.
            options: see `DecompressionSettings`.

        Raises:
            StreamError, ConfigError: as `decompress`.
        """
        settings = checked_settings(DecompressionSettings, options)
        given = as_batch("streams", streams, is_stream, "decompress")
        count = len(given)
        known = [parsed(stream, settings, f"stream {k} of {count}") for k, stream in enumerate(given, 1)]
        return restore_streams(self.contexts_of(known, settings.channel), known, settings)

    def progressive(self, stream: Stream, **options: Unpack[DecompressOptions]) -> Iterator[Restoration]:
        """Restore every prefix of a stream, from coarse to fine, one restoration per step.

        Args:
            stream: as for `decompress`.
            options: see `DecompressionSettings`. The reconstruction `auto` is `mean`; others start anew at every step.
                With `partial`, a cut stream ends with its last complete step, or, if it has none, with a picture made
                from pure noise.

        Raises:
            StreamError: as `decompress`.
            ConfigError: if there is no such reconstruction, or a timestep is given.
        """
        settings = checked_settings(DecompressionSettings, options)
        if settings.timestep is not None:
            raise ConfigError("timestep: progressive restores every step and takes no timestep")
        known = parsed(stream, settings)
        (context,) = self.contexts_of([known], settings.channel)
        how = Reconstruction.of(settings.reconstruction)
        check_work(known, context, settings)
        return (each[0] for each in Decoder(context, [known], how, Stopwatch()).progressive())

    def truncate(self, stream: Stream, max_bytes: int, *, keep_metadata: bool = True) -> bytes:
        """Shorten a file without re-encoding. `coding.truncation.truncate` does the same without codec and network.

        Args:
            stream: as for `decompress`.
            max_bytes: largest length of the result.
            keep_metadata: whether colour profile and EXIF block are kept.

        Returns:
            The file with as many complete steps as fit.

        Raises:
            ConfigError: if not even one step fits, or the picture is stored as a whole.
            StreamError: if the stream is damaged, or of another model.
        """
        known = parsed(stream, DecompressionSettings())
        return truncate(known, self.model, as_integer("max_bytes", max_bytes), keep_metadata=keep_metadata)
