"""Batches of pictures and of streams: what belongs together goes through the network together."""

from __future__ import annotations

from collections.abc import Hashable, Sequence

from diffcodec.bitstream.container import Header
from diffcodec.coding.decoder import Decoder
from diffcodec.coding.encoder import Encoder
from diffcodec.coding.options import CompressionSettings, DecompressionSettings
from diffcodec.coding.quality_search import encode_with
from diffcodec.coding.reconstruction import Reconstruction
from diffcodec.coding.report import Bitstream, Restoration, Stopwatch
from diffcodec.coding.stream import ParsedStream
from diffcodec.coding.target_search import encode_to
from diffcodec.coding.targets import Target
from diffcodec.coding.trajectory import CodecContext
from diffcodec.errors import TargetError
from diffcodec.images import Picture


def compress_pictures(
    context: CodecContext, pictures: Sequence[Picture], header: Header, settings: CompressionSettings
) -> list[Bitstream]:
    """Files of pictures.

    Args:
        context: for pictures of this size and colour mode.
        pictures: of one size and colour mode, at least one.
        header: of the files, except for the timestep of those that shall meet a target.
        settings: of compression.

    Raises:
        TargetError: if no file of one of them meets the target.
    """
    if settings.goal is not None:
        return _compress_to(settings.goal, context, pictures, header, restore=settings.measure)
    encoder = Encoder(context, Stopwatch())
    if header.timestep == 0:
        encoded = encoder.encode_exactly(pictures, header, may_store=settings.may_store)
    else:
        encoded = encoder.encode(pictures, header, restore=settings.measure)
    share = encoder.watch.share(len(pictures))
    return [each.bitstream(picture, share) for each, picture in zip(encoded, pictures, strict=True)]


def _compress_to(
    target: Target, context: CodecContext, pictures: Sequence[Picture], header: Header, *, restore: bool
) -> list[Bitstream]:
    """Files of pictures that meet a target, each of which ends at its own timestep.

    Raises:
        TargetError: if no file of one of the pictures does.
    """
    encode = encode_with if target.is_quality else encode_to
    streams = []
    for number, picture in enumerate(pictures, 1):
        encoder = Encoder(context, Stopwatch())
        try:
            found = encode(target, encoder, picture, header, restore=restore)
        except TargetError as error:
            if len(pictures) == 1:
                raise
            raise TargetError(f"picture {number} of {len(pictures)}: {error}") from error
        streams.append(found.bitstream(picture, encoder.watch))
    return streams


def restore_streams(
    contexts: Sequence[CodecContext], streams: Sequence[ParsedStream], settings: DecompressionSettings
) -> list[Restoration]:
    """Pictures of streams, in their order. Those of one size that end at one level are restored together.

    Args:
        contexts: one per stream.
        streams: any mixture.
        settings: of decompression.

    Raises:
        StreamError: if a payload is malformed.
        ConfigError: if a stream has no such timestep.
    """
    alike: dict[Hashable, list[int]] = {}
    for place, stream in enumerate(streams):
        # Cut streams end at different steps.
        alike.setdefault((stream.batch_key, None if stream.is_complete else place), []).append(place)
    found: dict[int, Restoration] = {}
    for places in alike.values():
        group = [streams[place] for place in places]
        decoder = Decoder(contexts[places[0]], group, Reconstruction.of(settings.reconstruction), Stopwatch())
        found.update(zip(places, decoder.restore(settings.timestep), strict=True))
    return [found[place] for place in range(len(streams))]
