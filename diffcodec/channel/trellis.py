"""The trellis channel: a codebook of exponentially many words that is searched in linear time. The default.

The message is a path of B bits. Among 2**B samples it selects the one with the largest likelihood ratio of the target
N(m, diag s^2) to the prior: it maximises sum over dims of m y / s^2 - (1 / s^2 - 1) y^2 / 2. The receiver replays the
path.

Related: trellis-coded quantizers for channel simulation (Sriramu et al. 2024, appendix), bitshift trellises (QTIP,
Tseng et al. 2024), trellis source coding (Viterbi and Omura 1974). docs/channel.md has the derivation and the numbers.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from diffcodec.channel.base import (
    Channel,
    ChannelId,
    FloatArray,
    Groups,
    Message,
    PendingGroups,
    StreamKey,
    SymbolReader,
    SymbolWriter,
    check_mean,
    check_request,
    key_of,
)
from diffcodec.channel.information import LOG_2
from diffcodec.channel.layout import Lane, is_wide, lane_count, lanes_of, state_bits
from diffcodec.channel.randomness import shared_normals
from diffcodec.channel.rotation import Rotation
from diffcodec.channel.threads import in_threads
from diffcodec.channel.viterbi import Search, Task, replay, search
from diffcodec.config import MAX_EFFORT, MIN_EFFORT

_COST = {
    8: (0.143, 1.0, 0.20),
    9: (0.120, 1.2, 0.17),
    10: (0.1005, 1.6, 0.14),
    11: (0.085, 1.9, 0.11),
    12: (0.0715, 1.8, 0.09),
    13: (0.060, 1.9, 0.06),
    14: (0.052, 2.1, 0.04),
    15: (0.047, 2.2, 0.02),
    16: (0.042, 2.2, 0.0),
}
"""Fitted by benchmarks/trellis_constants.py, by L: extra path bits per bit of KL, extra path bits per lane, and the
saving at many bits per dim due to the gain."""

_WIDE_COST = {
    10: (0.1114, 2.0, 0.14),
    11: (0.0805, 2.2, 0.11),
    12: (0.0755, 2.1, 0.09),
    13: (0.0676, 2.0, 0.06),
    14: (0.0593, 2.0, 0.04),
    15: (0.0488, 2.9, 0.02),
    16: (0.0438, 2.4, 0.0),
}
"""The same with split labels, measured at 100 dims per bit."""


_NOTHING: NDArray[np.uint8] = np.empty(0, np.uint8)


class TrellisChannel(Channel):
    """Channel simulation with a bitshift trellis.

    Args:
        effort: log2 of the number of states, 8 to 16; a budget, so short messages get more (see
            `layout.state_bits`). Time grows as 2**effort. Both sides must use the same.
        find_paths: the search. Encoder-only: any path decodes.

    Raises:
        ValueError: if effort is out of range.
    """

    channel_id = ChannelId.TRELLIS
    bits_per_length = 1

    def __init__(self, effort: int = 12, find_paths: Search = search) -> None:
        if not MIN_EFFORT <= effort <= MAX_EFFORT:
            raise ValueError(f"effort must lie in [{MIN_EFFORT}, {MAX_EFFORT}], got {effort}")
        self.effort = effort
        self._find_paths = find_paths

    def length_for(self, kl_bits: float, dims: int) -> int:
        """Path bits at which the information delivered equals `kl_bits`."""
        if not kl_bits > 0.0:
            return 0
        length = 2.1 * kl_bits  # for up to about three bits, where there are only a few candidates
        for _ in range(3):  # the costs depend on L and the number of lanes, which depend on the length
            bits = round(length)
            memory = state_bits(self.effort, bits, dims)
            slope, start, relief = (_WIDE_COST if is_wide(bits, dims) else _COST)[memory]
            rate = kl_bits / dims
            linear = kl_bits * (1.0 + slope) + start * lane_count(bits, dims)
            length = min(linear * (1.0 - relief * rate / (1.0 + 3.0 * rate)), 2.1 * kl_bits)
        return round(length)

    def path_bits(self, length: int, dims: int) -> float:
        """Cost of a message in bits: its length."""
        return float(length)

    def information_in(self, length: int) -> int:
        """Approximate inverse of `length_for` at the default effort, in 1 / 256 bits."""
        return max(123 * length, 239 * (length - 2))

    def select(
        self, mean: FloatArray, groups: Groups | None, lengths: Sequence[int], keys: Sequence[StreamKey]
    ) -> tuple[list[Message], NDArray[np.float32]]:
        """The bits of each image's likeliest path."""
        count, dims = check_mean(mean)
        check_request(dims, groups, lengths, keys, count)
        rotation = Rotation(None if groups is None else groups.of, dims, keys)
        layouts = self._layouts(rotation, groups, lengths, dims)
        rotated = rotation.forward(mean.astype(np.float32))
        tasks: list[Task] = []
        for i, lanes in enumerate(layouts):
            if not lanes:
                continue
            linear, quadratic = rotated[i], None
            if groups is not None:
                precision, of = 1.0 / np.square(groups.std[i]), rotation.groups_of(i)
                linear = linear * precision.astype(np.float32)[of]
                quadratic = (0.5 * (precision - 1.0)).astype(np.float32)[of]
            for lane in lanes:
                own = slice(lane.start, lane.stop)
                tasks.append(Task(lane, linear[own], None if quadratic is None else quadratic[own]))
        paths = iter(self._find_paths(tasks))
        messages: list[Message] = [np.concatenate([_NOTHING, *(next(paths) for _ in lanes)]) for lanes in layouts]
        return messages, _samples(rotation, layouts, groups, messages, dims, keys)

    def samples(
        self,
        dims: int,
        groups: Groups | None,
        lengths: Sequence[int],
        keys: Sequence[StreamKey],
        messages: Sequence[Message],
    ) -> NDArray[np.float32]:
        """Replays the paths."""
        rotation = Rotation(None if groups is None else groups.of, dims, keys)
        return _samples(rotation, self._layouts(rotation, groups, lengths, dims), groups, messages, dims, keys)

    def write(self, message: Message, writer: SymbolWriter) -> None:
        """Fair bits."""
        if len(message):
            writer.write_bits(message.astype(np.uint8, copy=False))

    def read(self, dims: int, groups: PendingGroups, length: int, key: StreamKey, reader: SymbolReader) -> Message:
        """As many bits as the length says, whatever the lanes."""
        return reader.read_bits(length) if length else _NOTHING

    def _layouts(
        self, rotation: Rotation, groups: Groups | None, lengths: Sequence[int], dims: int
    ) -> list[list[Lane]]:
        """The lanes of each image's message; none if it is empty."""

        def weights(i: int) -> NDArray[np.int64] | None:
            return None if groups is None else groups.weights[i][rotation.groups_of(i)]

        # Plain integers: numpy's could overflow in the layout.
        return [
            lanes_of(int(length), dims, self.effort, weights(i)) if length else [] for i, length in enumerate(lengths)
        ]


def _samples(
    rotation: Rotation,
    layouts: Sequence[Sequence[Lane]],
    groups: Groups | None,
    messages: Sequence[Message],
    dims: int,
    keys: Sequence[StreamKey],
) -> NDArray[np.float32]:
    """The samples that messages select, (N, dims). Both sides call it, so they get the same samples.

    Args:
        rotation: of the step.
        layouts: the lanes of each message; none if it is empty.
        groups: see `Channel.encode`.
        messages: bits of each image.
        dims: D.
        keys: see `Channel.encode`.
    """
    rotated = np.zeros((len(messages), dims), np.float32)
    parts: list[tuple[NDArray[np.float32], Lane, Message, float]] = []
    for i, (lanes, bits) in enumerate(zip(layouts, messages, strict=True)):
        floor = 0.0
        if groups is not None and lanes:
            each = 0.5 * (np.square(groups.std[i]) - 1.0) - np.log(groups.std[i])
            floor = float(np.mean(each[rotation.groups_of(i)])) / LOG_2
        done = 0
        for lane in lanes:
            parts.append((rotated[i, lane.start : lane.stop], lane, bits[done : done + lane.bits], floor))
            done += lane.bits
    in_threads(_fill, parts)
    samples = rotation.inverse(rotated)
    for i, lanes in enumerate(layouts):
        if not lanes:
            samples[i] = shared_normals(key_of(keys, i), 0, dims)
    return samples


def _fill(part: tuple[NDArray[np.float32], Lane, Message, float]) -> None:
    """Write the rotated sample of a lane; the arguments are its place, layout and bits, and the floor of `_gain`."""
    own, lane, bits, floor = part
    own[:] = replay(lane, bits)
    own *= _gain(lane, floor)


def _gain(lane: Lane, floor: float) -> np.float32:
    """Factor on a lane's sample: 1.004 at a tenth of a bit per dim, 1.03 at a whole bit, for L = 12 and s = 1.

    The more bits per dim, the more of an ideal sample's energy comes from selection, and a search with few states
    selects less: the variance of its noise is too small by about 0.26 * 2**(-(L - 8) / 4) * r / (1 + r) at r bits per
    dim (fitted). The gain compensates for this, and the larger mean that it causes saves the same fraction of bits.

    Args:
        lane: its layout.
        floor: KL in bits per dim at m = 0. Where s < 1 limits the noise, the shortfall vanishes.
    """
    rate = max(0.0, lane.bits / max(lane.stop - lane.start, 1) - 8.0 * floor)
    shortfall = 0.26 * 2.0 ** (2.0 - lane.memory / 4.0) * rate / (1.0 + rate)
    return np.float32((1.0 - shortfall) ** -0.5)
