"""What it takes to restore a stream. Torch-free."""

from __future__ import annotations

from typing import NamedTuple

from diffcodec.coding.matching import check_header
from diffcodec.coding.stream import ParsedStream
from diffcodec.model.description import ModelDescription


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
    steps = len(stream.stops(model.tables))
    return DecodingCost(steps, steps + (model.tables.start is None))
