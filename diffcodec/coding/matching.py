"""Checks that a model made a stream, and makes the context of its steps. Torch-free."""

from __future__ import annotations

from collections.abc import Sequence

from diffcodec.bitstream.container import ColourMode, Header
from diffcodec.channel import Channel, ChannelId, make_channel
from diffcodec.coding.canvas import Canvas, kinds_of
from diffcodec.coding.context import StreamContext
from diffcodec.coding.options import CompressionSettings
from diffcodec.coding.stream import ParsedStream
from diffcodec.config import MAX_EFFORT, MIN_EFFORT, ModelConfig
from diffcodec.errors import (
    CheckpointError,
    ConfigError,
    CorruptStreamError,
    ImageTooLargeError,
    ModelMismatchError,
    UnsupportedVersionError,
)
from diffcodec.images import Picture
from diffcodec.model.description import ModelDescription

FREE_PADDING = 1 << 20
"""Pixels that padding to the network's grid may add to any picture; more are allowed up to a quarter of max_pixels."""


def stream_context(model: ModelDescription, stream: ParsedStream, own: Channel | None = None) -> StreamContext:
    """The context of a stream's steps.

    Args:
        model: that made the stream.
        stream: parsed.
        own: the channel of streams whose channel is not part of diffcodec.

    Raises:
        ModelMismatchError: if another model made the stream.
        StreamError: if its header needs something that the model or this release does not have.
    """
    header, name = stream.header, stream.name
    check_header(model, header, name)
    canvas = canvas_of(model, header.colour, header.width, header.height)
    area = canvas.area
    if area - header.pixels > max(stream.max_pixels // 4, FREE_PADDING):
        raise ImageTooLargeError(
            f"{name}: the picture of {header.width} x {header.height} pixels is so thin that the network must pad it "
            f"to {area} pixels, too many for the limit of {stream.max_pixels}: raise the limit if you trust the file",
            parameters=["max_pixels"],
        )
    if header.channel != ChannelId.OWN:
        channel = make_channel(ChannelId(header.channel), header.effort)
    elif own is not None:
        channel = own
    else:
        raise UnsupportedVersionError(
            f"{name} was made with a channel that is not part of diffcodec: pass it as `channel`"
        )
    return StreamContext(model.tables, canvas, channel, header.seed, header.level_list)


def colour_of(picture: Picture) -> ColourMode:
    """The colour mode in which a picture is coded."""
    return ColourMode.L if picture.pixels.ndim == 2 else ColourMode.RGB


def canvas_of(model: ModelDescription, colour: ColourMode, width: int, height: int) -> Canvas:
    """Geometry of the pictures of a header; its colour mode must be one that the model can code."""
    config = model.config
    kind, stride, tile_side = kinds_of(config)[colour], config.network.stride, model.tables.tile_side
    if config.latent is None:
        return Canvas(kind, width, height, stride, tile_side)
    columns, rows = (-(-side // config.latent.downscale) for side in (width, height))
    return Canvas(kind, columns, rows, stride, tile_side, (height, width))


def check_header(model: ModelDescription, header: Header, name: str) -> None:
    """Check that a model can have written a header.

    Raises:
        ModelMismatchError, StreamError: as `stream_context`.
    """
    if header.fingerprint != model.fingerprint:
        raise ModelMismatchError(header.fingerprint.hex(), [model.fingerprint.hex()], name)
    if header.channel not in tuple(ChannelId):
        raise UnsupportedVersionError(f"{name}: channel {header.channel} is unknown to this release")
    if not MIN_EFFORT <= header.effort <= MAX_EFFORT:
        raise UnsupportedVersionError(f"{name}: effort {header.effort} is unknown to this release")
    tables = model.tables
    if header.colour not in kinds_of(model.config):
        raise CorruptStreamError(f"{name} holds a colour picture, but its model is for grey ones")
    if header.timestep == 0 and tables.lossless is None:
        raise CorruptStreamError(f"{name} is lossless (t = 0), but its model has no tables for lossless files")
    if header.level_list >= len(tables.lists) or not 0 <= header.timestep <= len(tables.timesteps):
        raise CorruptStreamError(f"{name}: level list {header.level_list}, timestep {header.timestep} do not exist")
    if header.shortened is not None:
        steps = header.shortened.steps
        levels = tables.lists[header.level_list].levels[:steps]
        if len(levels) < steps or tables.timestep_at(levels[-1]) != header.timestep:
            raise CorruptStreamError(f"{name}: {steps} steps do not lead to timestep {header.timestep}")


def check_channels(config: ModelConfig, name: str) -> None:
    """Check that a model is for colour or grey pictures.

    Args:
        config: of the model.
        name: of the model, for messages.

    Raises:
        CheckpointError: if it is not.
    """
    if not kinds_of(config):
        channels = config.network.image_channels
        raise CheckpointError(f"{name}: expected a model with 3 channels (RGB) or 1 (grey), found {channels}")


def check_colour(model: ModelDescription, picture: Picture) -> None:
    """Check that a model is for pictures of a colour mode.

    Raises:
        ConfigError: if it is not.
    """
    if colour_of(picture) not in kinds_of(model.config):
        raise ConfigError(f"{model.card.name} is for grey pictures, found one in {picture.mode}: convert it first")


def header_of(model: ModelDescription, pictures: Sequence[Picture], settings: CompressionSettings) -> Header:
    """The header of the files of pictures; for a target it has the coarsest timestep, where the search begins.

    Raises:
        ConfigError: if the timestep is out of range, the pictures differ in size or colour mode, or are colour ones
            and the model is for grey ones.
        CheckpointError: for lossless files, if the model has no tables for them.
    """
    tables, first = model.tables, pictures[0]
    coarsest = len(tables.timesteps)
    timestep = settings.end if settings.goal is None else coarsest
    if not 0 <= timestep <= coarsest:
        raise ConfigError(f"timestep: expected 0 (lossless) to {coarsest}, found {timestep}")
    if timestep == 0 and model.config.latent is not None:
        raise ConfigError(f"timestep: {model.card.name} is a latent model, which cannot be lossless: the finest is 1")
    if timestep == 0 and tables.lossless is None:
        raise CheckpointError(
            f"{model.card.name} has no tables for lossless files (t = 0): calibrate it, or use another model",
            parameters=["model"],
        )
    check_colour(model, first)
    if any(picture.pixels.shape != first.pixels.shape for picture in pictures):
        raise ConfigError("batch: expected pictures of one size and colour mode")
    return Header(
        fingerprint=model.fingerprint,
        colour=colour_of(first),
        channel=int(settings.channel_id),
        effort=settings.path_effort,
        level_list=settings.level_list(tables, first.width * first.height),
        timestep=timestep,
        width=first.width,
        height=first.height,
        seed=settings.seed,
        repeats_front=settings.repeat_front,
    )
