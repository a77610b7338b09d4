"""Channel simulation: conveys a sample of N(m, s^2) to a receiver who knows N(0, I), with shared randomness."""

from diffcodec.channel.base import (
    Channel,
    ChannelId,
    Groups,
    Message,
    PendingGroups,
    StreamKey,
    SymbolReader,
    SymbolWriter,
)
from diffcodec.channel.information import delivered_bits, kl_bits, measure_information
from diffcodec.channel.poisson import PoissonChannel
from diffcodec.channel.randomness import shared_normals, shared_rough_normals
from diffcodec.channel.simple import SimpleChannel
from diffcodec.channel.trellis import TrellisChannel

__all__ = [
    "Channel",
    "ChannelId",
    "Groups",
    "Message",
    "PendingGroups",
    "PoissonChannel",
    "SimpleChannel",
    "StreamKey",
    "SymbolReader",
    "SymbolWriter",
    "TrellisChannel",
    "delivered_bits",
    "kl_bits",
    "make_channel",
    "measure_information",
    "shared_normals",
    "shared_rough_normals",
]


def make_channel(channel_id: ChannelId, effort: int = 12) -> Channel:
    """The channel with this wire id.

    Args:
        channel_id: number in the file format.
        effort: 8 to 16, log2 of the number of trellis states; the Poisson channel ignores it.

    Raises:
        ValueError: if `effort` is out of range, or the channel is not part of diffcodec.
    """
    match channel_id:
        case ChannelId.TRELLIS:
            return TrellisChannel(effort)
        case ChannelId.POISSON:
            return PoissonChannel(effort)
        case ChannelId.OWN:
            raise ValueError("this channel is not part of diffcodec")
