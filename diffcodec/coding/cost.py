"""What it takes to restore a stream. Torch-free."""

from __future__ import annotations

from typing import NamedTuple

from diffcodec.coding.context import StreamContext
from diffcodec.coding.matching import canvas_of, check_header
from diffcodec.coding.options import DecompressionSettings
from diffcodec.coding.reconstruction import DEFAULT_STEPS, MIRRORINGS, SHORT_FLOW, Reconstruction
from diffcodec.coding.stream import ParsedStream
from diffcodec.errors import TooMuchWorkError
from diffcodec.model.description import ModelDescription
from diffcodec.model.tables import CodecTables


class DecodingCost(NamedTuple):
    """What it takes to restore a stream with the reconstruction `mean`.

    Args:
        steps: noise levels that the stream visits; 0 if it stores its picture as a whole.
        evaluations: of the network. Those at noisy levels cost less if the model computes them at half resolution.
        pixel_evaluations: their number times that of the pixels, with those that pad the picture to the network's grid.
    """

    steps: int
    evaluations: int
    pixel_evaluations: int


def decoding_cost(stream: ParsedStream, model: ModelDescription) -> DecodingCost:
    """The cost of restoring a stream to its end.

    Every step but the first begins with an evaluation, and the picture takes another. At pure noise most models have a
    constant instead.

    Args:
        stream: may be cut; it counts as if it were complete.
        model: that made it.

    Raises:
        ModelMismatchError: if another model made it.
        StreamError: if it is malformed.
    """
    check_header(model, stream.header, stream.name)
    if stream.is_stored:
        return DecodingCost(0, 0, 0)
    header, evaluations = stream.header, evaluations_to_restore(stream, model.tables, Reconstruction("mean"), None)
    canvas = canvas_of(model, header.colour, header.width, header.height)
    return DecodingCost(len(stream.stops(model.tables)), evaluations, evaluations * canvas.area)


def check_work(stream: ParsedStream, context: StreamContext, settings: DecompressionSettings) -> None:
    """Refuse a stream whose steps take more than the caller allows: few bytes may claim many pixels and steps.

    Evaluations of another reconstruction than `mean` do not count: they are the caller's choice, not the stream's.

    Args:
        stream: may be cut; it counts as if it were complete.
        context: of its steps.
        settings: with the limit, and the timestep at which to stop.

    Raises:
        TooMuchWorkError: if it does.
        StreamError: if it is malformed.
        ConfigError: if it has no such timestep.
    """
    evaluations = evaluations_to_restore(stream, context.tables, Reconstruction("mean"), settings.timestep)
    area, most = context.canvas.area, settings.max_pixel_evaluations
    if evaluations * area > most:
        raise TooMuchWorkError(
            f"{stream.name} takes {evaluations} evaluations of the network for {area} pixels, together "
            f"{evaluations * area}, more than the limit of {most}: raise the limit if you trust the file",
            parameters=["max_pixel_evaluations"],
        )


def evaluations_to_restore(
    stream: ParsedStream, tables: CodecTables, reconstruction: Reconstruction, timestep: int | None
) -> int:
    """Evaluations of the network that it takes to restore a complete stream.

    Args:
        stream: parsed.
        tables: of its model.
        reconstruction: of the picture.
        timestep: see `DecompressionSettings`.

    Raises:
        StreamError: if the stream is malformed.
        ConfigError: if it has no such timestep.
    """
    if stream.is_stored:
        return 0
    stops = stream.stops(tables)[: stream.steps_until(timestep, tables)]
    before = len(stops) - tables.has_start
    if reconstruction.kind == "mean" or (stream.lossless is not None and timestep is None):
        return before + 1
    if reconstruction.kind == "short-flow":
        return before + 1 + (len(SHORT_FLOW) if stops else 0)
    if reconstruction.kind == "mirrored":
        return before + (len(MIRRORINGS) if stops else 1)
    end = tables.timestep_at(stops[-1]) if stops else len(tables.timesteps)
    return before + evaluations_from(end, len(tables.timesteps), reconstruction)


def evaluations_from(timestep: int, coarsest: int, reconstruction: Reconstruction) -> int:
    """Evaluations with which a sampler, not `mean`, goes from a timestep down to the picture."""
    steps = reconstruction.steps or DEFAULT_STEPS[reconstruction.kind]
    return 1 + sum(round(coarsest + (1 - coarsest) * k / max(1, steps - 1)) < timestep for k in range(steps))
