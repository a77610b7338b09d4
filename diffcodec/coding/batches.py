"""Batches of pictures and of streams: what belongs together goes through the network together."""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence

from diffcodec.bitstream.container import Header
from diffcodec.coding.cost import check_work, evaluations_to_restore
from diffcodec.coding.decoder import Decoder
from diffcodec.coding.encoder import Encoder
from diffcodec.coding.options import CompressionSettings, DecompressionSettings
from diffcodec.coding.progress import ProgressCounter
from diffcodec.coding.quality_search import encode_with
from diffcodec.coding.reconstruction import Reconstruction
from diffcodec.coding.report import Bitstream, Restoration, Stopwatch
from diffcodec.coding.stream import ParsedStream
from diffcodec.coding.target_search import encode_to
from diffcodec.coding.targets import Target
from diffcodec.coding.trajectory import CodecContext
from diffcodec.errors import TargetError
from diffcodec.images import Picture
from diffcodec.model.levels import LOG_SNR_SCALE


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
    evaluations = _evaluations_of(context, header.timestep, settings)
    counter = ProgressCounter(settings.progress, len(pictures) * evaluations)
    if settings.goal is not None:
        return _compress_to(settings.goal, context, pictures, header, counter, restore=settings.measure)
    encoder = Encoder(context, Stopwatch(evaluated=counter.part(evaluations, len(pictures))))
    if header.timestep == 0:
        encoded = encoder.encode_exactly(pictures, header, may_store=settings.may_store)
    else:
        encoded = encoder.encode(pictures, header, restore=settings.measure)
    counter.reach(counter.expected)
    share = encoder.watch.share(len(pictures))
    return [each.bitstream(picture, share) for each, picture in zip(encoded, pictures, strict=True)]


def _evaluations_of(context: CodecContext, timestep: int, settings: CompressionSettings) -> int:
    """Evaluations of the network that a picture takes, at most."""
    levels = context.levels
    if timestep == 0 or settings.goal is not None:
        steps = len(levels.levels)
    else:
        steps = len(levels.steps_to(context.tables.level(timestep)))
    return steps - context.tables.has_start + settings.measure


def _compress_to(
    target: Target,
    context: CodecContext,
    pictures: Sequence[Picture],
    header: Header,
    counter: ProgressCounter,
    *,
    restore: bool,
) -> list[Bitstream]:
    """Files of pictures that meet a target, each of which ends at its own timestep.

    Raises:
        TargetError: if no file of one of the pictures does.
    """
    encode = encode_with if target.is_quality else encode_to
    streams = []
    for number, picture in enumerate(pictures, 1):
        each = counter.expected / len(pictures)
        encoder = Encoder(context, Stopwatch(evaluated=counter.part(each)))
        try:
            found = encode(target, encoder, picture, header, restore=restore)
        except TargetError as error:
            if len(pictures) == 1:
                raise
            raise TargetError(f"picture {number} of {len(pictures)}: {error}") from error
        counter.reach(number * each)
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
        StreamError: if a payload is malformed, or a stream takes more work than the settings allow.
        ConfigError: if a stream has no such timestep.
    """
    for stream, context in zip(streams, contexts, strict=True):
        check_work(stream, context, settings)
    alike: dict[Hashable, list[int]] = {}
    for place, stream in enumerate(streams):
        # Cut streams end at different steps.
        alike.setdefault((stream.batch_key, None if stream.is_complete else place), []).append(place)
    how = Reconstruction.of(settings.reconstruction)
    evaluations = [
        evaluations_to_restore(stream, context.tables, usual(how, stream, context, settings), settings.timestep)
        for stream, context in zip(streams, contexts, strict=True)
    ]
    counter = ProgressCounter(settings.progress, sum(evaluations))
    found: dict[int, Restoration] = {}
    for places in alike.values():
        group = [streams[place] for place in places]
        expected, done = evaluations[places[0]], counter.done
        watch = Stopwatch(evaluated=counter.part(expected, len(group)))
        decoder = Decoder(contexts[places[0]], group, how, watch)
        found.update(zip(places, decoder.restore(settings.timestep), strict=True))
        counter.reach(done + expected * len(group))
    return [found[place] for place in range(len(streams))]


def usual(
    how: Reconstruction, stream: ParsedStream, context: CodecContext, settings: DecompressionSettings
) -> Reconstruction:
    """The reconstruction that a complete stream will get."""
    if stream.is_stored:
        return how
    stops = stream.stops(context.tables)[: stream.steps_until(settings.timestep, context.tables)]
    log_snr = stops[-1].log_snr / LOG_SNR_SCALE if stops else -math.inf
    return how.resolved(context.usual_reconstruction(log_snr))
