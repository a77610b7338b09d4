"""The codec: where diffusion, channel simulation and bitstream meet.

Sender and receiver share the network and a seed. For every noise level of a static list the sender conveys one
sample of q(x_s | x_t, x_0) to the receiver, who only knows p(x_s | x_t) (Ho et al. 2020, algorithms 3 and 4), so
both hold the same x_s. Nothing that is parsed depends on a network's floats: docs/method.md, "Why it is safe".
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Iterator, Sequence
from copy import copy
from operator import index
from pathlib import Path

import torch

from diffcodec.bitstream.container import (
    DEFAULT_MAX_PIXELS,
    ColourMode,
    Header,
    read_header,
    read_partial,
)
from diffcodec.channel import Channel, ChannelId, TrellisChannel, make_channel
from diffcodec.checkpoint import DEFAULT_MODEL, Checkpoint, bundled_models, default_model, load_checkpoint
from diffcodec.compression import Sender, last
from diffcodec.decoders import Decoder, DecoderKind
from diffcodec.decompression import Incoming, Receiver
from diffcodec.device_search import DeviceSearch
from diffcodec.diffusion.denoiser import Denoiser
from diffcodec.errors import (
    CheckpointError,
    ConfigError,
    CorruptStreamError,
    ImageTooLargeError,
    ModelMismatchError,
    TargetError,
    UnsupportedVersionError,
)
from diffcodec.images import Picture
from diffcodec.last_step import LastStep
from diffcodec.plane import CHANNELS, Plane
from diffcodec.results import Bitstream, Preview, Stopwatch
from diffcodec.tables import CodecTables
from diffcodec.target_search import compress_to
from diffcodec.targets import Target
from diffcodec.truncation import Shortening
from diffcodec.walk import Transmission

MIN_EFFORT, DEFAULT_EFFORT, MAX_EFFORT = 8, 12, 16

FREE_PADDING = 1 << 20
"""Pixels that the network's grid may add to any picture; beyond, they must be few beside the limit of pixels."""


class DiffusionCodec:
    """Compresses pictures with a trained diffusion model.

    Args:
        checkpoint: a model. One that has not been calibrated runs with equal variances of q and p, and with tables that
            fit pictures and networks in general, see `is_calibrated`.
        device: where the network runs.
        denoiser: the network, if it is not to be made from the checkpoint.

    Attributes:
        is_calibrated: whether the model has tables of its own; without them files are larger, and there are no
            lossless ones.

    Raises:
        CheckpointError: if the model is not one of colour pictures.
    """

    def __init__(
        self, checkpoint: Checkpoint, *, device: str | torch.device = "cpu", denoiser: Denoiser | None = None
    ) -> None:
        check_channels(checkpoint)
        self.is_calibrated = checkpoint.tables is not None
        self.checkpoint = checkpoint.ready()
        assert self.checkpoint.tables is not None
        self.tables: CodecTables = self.checkpoint.tables
        self.device = torch.device(device)
        self.denoiser = denoiser if denoiser is not None else checkpoint.denoiser(device)
        self.fingerprint = self.checkpoint.fingerprint

    @classmethod
    def from_pretrained(
        cls, model: str | Path | None = None, *, device: str | torch.device = "cpu", allow_pickle: bool = False
    ) -> DiffusionCodec:
        """The codec with a model from wherever it is.

        Args:
            model: what `load_checkpoint` takes; if None the bundled model for pictures of up to 64 x 64, see
                `for_size`.
            device: where the network runs.
            allow_pickle: see `load_checkpoint`.

        Raises:
            CheckpointError: if there is no such model, or it is damaged.
        """
        return cls(load_checkpoint(model or DEFAULT_MODEL, allow_pickle=allow_pickle), device=device)

    @classmethod
    def for_size(cls, width: int, height: int, *, device: str | torch.device = "cpu") -> DiffusionCodec:
        """The codec with the bundled model that suits pictures of a size, in pixels: that of CIFAR-10 up to 64 x 64,
        that of photographs beyond."""
        return cls(load_checkpoint(default_model(width, height)), device=device)

    @classmethod
    def for_stream(cls, data: bytes, *, device: str | torch.device = "cpu", name: str = "the stream") -> DiffusionCodec:
        """The codec with the bundled model that made a stream.

        Raises:
            StreamError: if it is not a .dfc stream.
            ModelMismatchError: if no bundled model made it.
        """
        needed = read_header(data, name=name).header.fingerprint
        available = []
        for path in reversed(bundled_models().values()):  # the newest first, which made most files
            checkpoint = load_checkpoint(path)
            if checkpoint.fingerprint == needed:
                return cls(checkpoint, device=device)
            available.append(checkpoint.fingerprint.hex())
        raise ModelMismatchError(needed.hex(), sorted(available), name)

    # ---------------------------------------------------------------------------------------- compress

    def compress(
        self,
        picture: Picture,
        *,
        timestep: int | None = None,
        target: Target | None = None,
        channel: str = "trellis",
        effort: int = DEFAULT_EFFORT,
        seed: int = 0,
        steps: int | None = None,
    ) -> Bitstream:
        """Compress one picture.

        Args:
            picture: any size, RGB or grey, with or without alpha (kept losslessly).
            timestep: noise level t at which to stop, 1 (finest) to T (next to nothing), or 0 for lossless.
            target: instead of a timestep: what the file must meet, see `Target`. It is never lossless.
            channel: `trellis` or `poisson`.
            effort: 8 to 16; the trellis has 2^effort states.
            seed: of the shared randomness, below 2^64; 0 costs no bytes.
            steps: levels of the list that is followed, from pure noise to t = 1: fewer are faster, more are smaller.
                The model has lists of several lengths, and a default.

        Raises:
            ConfigError: if an option is out of range.
            TargetError: if no file meets the target.
        """
        return self.compress_batch(
            [picture], timestep=timestep, target=target, channel=channel, effort=effort, seed=seed, steps=steps
        )[0]

    def compress_batch(
        self,
        pictures: Sequence[Picture],
        *,
        timestep: int | None = None,
        target: Target | None = None,
        channel: str = "trellis",
        effort: int = DEFAULT_EFFORT,
        seed: int = 0,
        steps: int | None = None,
    ) -> list[Bitstream]:
        """Compress pictures of one size and colour mode together; see `compress`.

        With a target every picture ends at a timestep of its own, so they are compressed one after another.

        Raises:
            ConfigError: if an option is out of range, or the pictures differ in size or mode.
            TargetError: if no file of one of them meets the target.
        """
        if not pictures:
            return []
        if target is not None and timestep is None:
            timestep = len(self.tables.timesteps)  # where the search begins
        elif target is not None or timestep is None:
            raise ConfigError("expected a timestep or a target, and not both")
        timestep, effort, seed = _integers(timestep=timestep, effort=effort, seed=seed)
        header, chosen = self._prepare(pictures, timestep, channel, effort, seed, steps)
        if target is not None:
            return self._compress_to(target, pictures, header, chosen)
        watch = Stopwatch()
        sender = self._sender(pictures[0], chosen, header.seed, header.level_list, watch)
        if timestep == 0:
            compressed = sender.compress_exactly(pictures, header, self._last_step(header))
        else:
            compressed = sender.compress(pictures, header)
        share = Stopwatch(watch.network_s / len(pictures), watch.coding_s / len(pictures))
        return [each.stream(picture, copy(share)) for each, picture in zip(compressed, pictures, strict=True)]

    def _compress_to(
        self, target: Target, pictures: Sequence[Picture], header: Header, channel: Channel
    ) -> list[Bitstream]:
        streams = []
        for number, picture in enumerate(pictures, 1):
            watch = Stopwatch()
            try:
                sender = self._sender(picture, channel, header.seed, header.level_list, watch)
                found = compress_to(target, sender, picture, header)
            except TargetError as error:
                if len(pictures) == 1:
                    raise
                raise TargetError(f"picture {number} of {len(pictures)}: {error}") from error
            streams.append(found.stream(picture, watch))
        return streams

    def transmit(
        self,
        pictures: Sequence[Picture],
        *,
        timestep: int,
        channel: Channel,
        seed: int = 0,
        steps: int | None = None,
        watch: Stopwatch | None = None,
    ) -> Transmission:
        """Send pictures of one size and colour mode through any channel, without making files of them.

        Args:
            pictures: at least one.
            timestep: noise level t at which to stop.
            channel: simulates the samples.
            seed: of the shared randomness.
            steps: see `compress`.
            watch: is given the times.

        Returns:
            The messages, and the state and estimate that the receiver ends with.
        """
        level_list = self.tables.list_for(pictures[0].width * pictures[0].height, steps)
        sender = self._sender(pictures[0], channel, seed, level_list, watch or Stopwatch())
        return last(sender.transmit(pictures, self.tables.level(timestep)))

    def _sender(self, picture: Picture, channel: Channel, seed: int, level_list: int, watch: Stopwatch) -> Sender:
        return Sender(self.denoiser, self.tables, self.plane_for(picture), channel, seed, level_list, watch)

    def _last_step(self, header: Header) -> LastStep:
        if self.tables.lossless is None:
            raise CheckpointError(
                f"{self.checkpoint.card.name} has no tables for lossless files (t = 0): "
                "run `diffcodec calibrate` on it, or take another --model"
            )
        return LastStep(self.tables.lossless, self._plane(header), self.tables.lists[header.level_list])

    def _prepare(
        self, pictures: Sequence[Picture], timestep: int, channel: str, effort: int, seed: int, steps: int | None
    ) -> tuple[Header, Channel]:
        """Check the request; returns the header of its files, and the channel."""
        if not 0 <= timestep <= len(self.tables.timesteps):
            raise ConfigError(f"timestep: expected 0 (lossless) to {len(self.tables.timesteps)}, found {timestep}")
        first = pictures[0]
        if any(picture.pixels.shape != first.pixels.shape for picture in pictures):
            raise ConfigError("a batch holds pictures of one size and colour mode")
        if not 0 <= seed < 2**64:
            raise ConfigError(f"seed: expected 0 to 2^64 - 1, found {seed}")
        chosen = _channel(channel, effort, self.device)
        header = Header(
            fingerprint=self.fingerprint, colour=self.plane_for(first).colour,
            channel=int(chosen.channel_id), effort=effort,
            level_list=self.tables.list_for(first.width * first.height, steps), timestep=timestep,
            width=first.width, height=first.height, seed=seed,
        )  # fmt: skip
        return header, chosen

    # -------------------------------------------------------------------------------------- decompress

    def decompress(
        self,
        stream: Bitstream | bytes,
        *,
        timestep: int | None = None,
        decoder: Decoder | DecoderKind = "mean",
        partial: bool = False,
        max_pixels: int = DEFAULT_MAX_PIXELS,
        name: str = "the stream",
    ) -> Picture:
        """Restore a picture; see `restore` for the same with more to tell.

        Raises:
            StreamError: if the stream is damaged, cut, or of another model.
            ConfigError: if `timestep` is finer than the stream.
        """
        return self.restore(
            stream, timestep=timestep, decoder=decoder, partial=partial, max_pixels=max_pixels, name=name
        ).picture

    def restore(
        self,
        stream: Bitstream | bytes,
        *,
        timestep: int | None = None,
        decoder: Decoder | DecoderKind = "mean",
        partial: bool = False,
        max_pixels: int = DEFAULT_MAX_PIXELS,
        name: str = "the stream",
        watch: Stopwatch | None = None,
    ) -> Preview:
        """Restore a picture, and tell how far it got.

        Args:
            stream: what `compress` returned, or the bytes of a .dfc file.
            timestep: restore a coarser version: the last level of the stream that is not finer than this.
                A stored picture (t = 0) has none.
            decoder: what makes a picture of the noisy state x_t at the stream's end: `mean` is the network's estimate
                of it, with the least error; `flow` (deterministic) and `ancestral` (random) denoise x_t level by level,
                which looks more like a picture. A `Decoder` has steps and a seed, too. Exact pixels (t = 0) are what
                they are with any of them.
            partial: if the stream is cut or damaged, restore the last complete step before that instead of raising. Of
                damaged streams this works for those of more than a few KiB, which have a checksum for every block.
            max_pixels: refuse to decode more.
            name: of the stream, for messages.
            watch: is given the times.

        Raises:
            StreamError: if the stream is damaged or cut (without `partial`, or inside its header), or of another model.
            ConfigError: if `timestep` is finer than the stream, or there is no such decoder. If `timestep` is coarser
                than the first level, what the model makes of pure noise is returned.
        """
        decoder = Decoder.of(decoder)
        incoming = self._incoming(bytes(stream), max_pixels, name, partial=partial)
        previews = self._receiver([incoming], decoder, watch).previews(self._stop(timestep, incoming), every=False)
        return next(previews)[0]

    def decompress_batch(
        self,
        streams: Sequence[Bitstream | bytes],
        *,
        timestep: int | None = None,
        decoder: Decoder | DecoderKind = "mean",
        max_pixels: int = DEFAULT_MAX_PIXELS,
        names: Sequence[str] | None = None,
        watch: Stopwatch | None = None,
    ) -> list[Picture]:
        """Restore several pictures; see `restore_batch` for the same with more to tell.

        Raises:
            StreamError: if a stream is damaged, cut, or of another model.
            ConfigError: if `timestep` is finer than a stream.
        """
        previews = self.restore_batch(
            streams, timestep=timestep, decoder=decoder, max_pixels=max_pixels, names=names, watch=watch
        )
        return [preview.picture for preview in previews]

    def restore_batch(
        self,
        streams: Sequence[Bitstream | bytes],
        *,
        timestep: int | None = None,
        decoder: Decoder | DecoderKind = "mean",
        max_pixels: int = DEFAULT_MAX_PIXELS,
        names: Sequence[str] | None = None,
        watch: Stopwatch | None = None,
    ) -> list[Preview]:
        """Restore several pictures, together where they are of one size and ended at one level: small ones take half
        the time that they take one by one.

        Args:
            streams: what `compress_batch` returned, or the bytes of .dfc files; any mixture.
            timestep: restore coarser versions, see `restore`.
            decoder: see `restore`. Pictures do not depend on their company.
            max_pixels: refuse to decode more in one picture.
            names: of the streams, for messages.
            watch: is given the times.

        Raises:
            StreamError: if a stream is damaged, cut, or of another model.
            ConfigError: if `timestep` is finer than a stream.
        """
        decoder = Decoder.of(decoder)
        names = names or [f"stream {number} of {len(streams)}" for number in range(1, len(streams) + 1)]
        incoming = [
            self._incoming(bytes(stream), max_pixels, name) for stream, name in zip(streams, names, strict=True)
        ]
        alike: dict[Hashable, list[int]] = {}
        for place, each in enumerate(incoming):
            alike.setdefault(each.kind, []).append(place)
        previews: dict[int, Preview] = {}
        for places in alike.values():
            receiver = self._receiver([incoming[place] for place in places], decoder, watch)
            restored = next(receiver.previews(self._stop(timestep, incoming[places[0]]), every=False))
            previews.update(zip(places, restored, strict=True))
        return [previews[place] for place in range(len(streams))]

    def truncate(
        self,
        stream: Bitstream | bytes,
        max_bytes: int,
        *,
        keep_metadata: bool = True,
        partial: bool = False,
        max_pixels: int = DEFAULT_MAX_PIXELS,
        name: str = "the stream",
    ) -> bytes:
        """Shorten a file: keep as many of its steps as fit. The network does not run.

        What comes out is a .dfc file like others, with checksums. It restores the same picture as the original does
        when that is stopped at the same step. Alpha plane and metadata are kept.

        Args:
            stream: what `compress` returned, or the bytes of a .dfc file. One for t = 0 is no longer lossless, unless
                all of it fits.
            max_bytes: longest result.
            keep_metadata: whether to keep colour profile and EXIF.
            partial: take what there is of a stream that is cut or damaged.
            max_pixels: refuse larger pictures.
            name: of the stream, for messages.

        Raises:
            ConfigError: if not even one step fits, or the stream stores its picture as a whole.
            StreamError: as `restore`.
        """
        (max_bytes,) = _integers(max_bytes=max_bytes)
        incoming = self._incoming(bytes(stream), max_pixels, name, partial=partial)
        header = incoming.container.header
        channel = make_channel(ChannelId(header.channel), header.effort)
        shortening = Shortening(incoming, self.tables, self._plane(header), channel, keep_metadata)
        return shortening.longest(max_bytes)

    def progressive(
        self,
        stream: Bitstream | bytes,
        *,
        decoder: Decoder | DecoderKind = "mean",
        partial: bool = False,
        max_pixels: int = DEFAULT_MAX_PIXELS,
        name: str = "the stream",
    ) -> Iterator[Preview]:
        """What every prefix of a stream restores, from coarse to fine, one for each step.

        Args:
            stream: what `compress` returned, or the bytes of a .dfc file.
            decoder: see `restore`; other decoders than `mean` start anew at every step.
            partial: if the stream is cut, end with its last complete step instead of raising; where there is none,
                with what the model makes of pure noise.
            max_pixels: refuse to decode more.
            name: of the stream, for messages.

        Raises:
            StreamError: as `restore`.
            ConfigError: if there is no such decoder.
        """
        decoder = Decoder.of(decoder)
        incoming = self._incoming(bytes(stream), max_pixels, name, partial=partial)
        return (previews[0] for previews in self._receiver([incoming], decoder).previews(None, every=True))

    def _incoming(self, data: bytes, max_pixels: int, name: str, *, partial: bool = False) -> Incoming:
        """A stream, checked.

        Raises:
            StreamError: if it is damaged or cut (without `partial`, or inside its header), or of another model.
        """
        reading = read_partial(data, max_pixels=max_pixels, name=name)
        if not partial:
            reading.check(name)
        header = reading.container.header
        self._check_header(header, name)
        canvas = math.prod(self._plane(header).canvas_shape[1:])
        if canvas - header.pixels > max(max_pixels // 4, FREE_PADDING):
            raise ImageTooLargeError(
                f"{name} is a picture of {header.width} x {header.height} pixels, so thin that the network needs "
                f"{canvas}, more than the limit of {max_pixels}: raise that (--max-pixels) if you trust the file"
            )
        return Incoming(reading, name)

    def _receiver(self, streams: Sequence[Incoming], decoder: Decoder, watch: Stopwatch | None = None) -> Receiver:
        header = streams[0].container.header
        channel = make_channel(ChannelId(header.channel), header.effort)
        return Receiver(
            self.denoiser, self.tables, self._plane(header), channel, streams, decoder, watch or Stopwatch()
        )

    @staticmethod
    def _stop(timestep: int | None, stream: Incoming) -> int | None:
        """Where to stop before the stream's end; None if not."""
        if timestep is None:
            return None
        (timestep,) = _integers(timestep=timestep)
        header = stream.container.header
        return None if timestep == header.timestep and header.cut is None else timestep

    def _check_header(self, header: Header, name: str) -> None:
        if header.fingerprint != self.fingerprint:
            raise ModelMismatchError(header.fingerprint.hex(), [self.fingerprint.hex()], name)
        if header.channel not in tuple(ChannelId):
            raise UnsupportedVersionError(f"{name}: channel {header.channel} is not known to this release")
        if not MIN_EFFORT <= header.effort <= MAX_EFFORT:
            raise UnsupportedVersionError(f"{name}: effort {header.effort} is not known to this release")
        if header.timestep == 0 and self.tables.lossless is None:
            raise CorruptStreamError(f"{name} is lossless (t = 0), for which its model has no tables")
        if header.level_list >= len(self.tables.lists) or not 0 <= header.timestep <= len(self.tables.timesteps):
            raise CorruptStreamError(f"{name}: level list {header.level_list}, timestep {header.timestep} do not exist")
        if header.cut is not None:
            levels = self.tables.lists[header.level_list].levels[: header.cut.steps]
            if len(levels) < header.cut.steps or self.tables.timestep_at(levels[-1]) != header.timestep:
                raise CorruptStreamError(f"{name}: {header.cut.steps} steps do not lead to timestep {header.timestep}")

    def _plane(self, header: Header) -> Plane:
        return self._plane_of(header.colour, header.width, header.height)

    def plane_for(self, picture: Picture) -> Plane:
        """Geometry of pictures of this size and colour mode."""
        colour = ColourMode.L if picture.pixels.ndim == 2 else ColourMode.RGB
        return self._plane_of(colour, picture.width, picture.height)

    def _plane_of(self, colour: ColourMode, width: int, height: int) -> Plane:
        return Plane(colour, width, height, self.checkpoint.config.network.stride, self.tables.tile_side)


def check_channels(checkpoint: Checkpoint) -> None:
    """Whether a model is one of colour pictures.

    Raises:
        CheckpointError: if not.
    """
    if (channels := checkpoint.config.network.image_channels) != CHANNELS:
        raise CheckpointError(f"{checkpoint.card.name}: expected a model of 3 channels, RGB, found {channels}")


def _integers(**values: int) -> list[int]:
    """The values as Python integers, of whatever integer type they are.

    Raises:
        ConfigError: if one is not an integer.
    """
    integers = []
    for name, value in values.items():
        try:
            integers.append(index(value))
        except TypeError as error:
            raise ConfigError(f"{name}: expected an integer, found {value!r}") from error
    return integers


def _channel(name: str, effort: int, device: torch.device) -> Channel:
    if name not in (known := [channel.name.lower() for channel in ChannelId]):
        raise ConfigError(f"channel: expected one of {', '.join(known)}, found {name!r}")
    if not MIN_EFFORT <= effort <= MAX_EFFORT:
        raise ConfigError(f"effort: expected {MIN_EFFORT} to {MAX_EFFORT}, found {effort}")
    if ChannelId[name.upper()] is ChannelId.TRELLIS and device.type != "cpu":
        return TrellisChannel(effort, DeviceSearch(device))
    return make_channel(ChannelId[name.upper()], effort)
