"""What it takes to restore a stream. Torch-free."""

from __future__ import annotations

from typing import NamedTuple

from diffcodec.coding.matching import check_header
from diffcodec.coding.reconstruction import DEFAULT_STEPS, MIRRORINGS, Reconstruction
from diffcodec.coding.stream import ParsedStream
from diffcodec.model.description import ModelDescription
from diffcodec.model.tables import CodecTables


class DecodingCost(NamedTuple):
    """What it takes to restore a stream with the reconstruction `mean`.

    Args:
        steps: noise levels that the stream visits; 0 if it stores its picture as a whole.
        evaluations: of the network. Those at noisy levels cost less if the model computes them at half resolution.
    """

    steps: int
    evaluations: int


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
        return DecodingCost(0, 0)
    evaluations = evaluations_to_restore(stream, model.tables, Reconstruction(), None)
    return DecodingCost(len(stream.stops(model.tables)), evaluations)


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
    before = len(stops) - (tables.start is not None)
    if reconstruction.kind == "mean" or (stream.lossless is not None and timestep is None):
        return before + 1
    if reconstruction.kind == "mirrored":
        return before + (len(MIRRORINGS) if stops else 1)
    end = tables.timestep_at(stops[-1]) if stops else len(tables.timesteps)
    return before + evaluations_from(end, len(tables.timesteps), reconstruction)


def evaluations_from(timestep: int, coarsest: int, reconstruction: Reconstruction) -> int:
    """Evaluations with which a sampler, not `mean`, goes from a timestep down to the picture."""
    steps = reconstruction.steps or DEFAULT_STEPS[reconstruction.kind]
    return 1 + sum(round(coarsest + (1 - coarsest) * k / max(1, steps - 1)) < timestep for k in range(steps))
